//! Products of input rows with weights in panels, and what happens to an output before it is
//! written.
//!
//! Layout: weights see [`super`], input rows f32 `[rows, columns]` or [`super::rows`], outputs f32
//! `[rows, outputs]` or rounded to the next products' rows.
//! Contract: an output is the product by its format's chain ([`super::float`], [`super::bf16`],
//! [`super::bytes`]), then + bias, then the activation, then + the residual, each rounded on its
//! own: the bits are those of the operations one after the other, but for GELU of outputs that leave
//! rounded, which is a coarser polynomial (4.9e-4). They depend on the input row and
//! the weight row alone. f32 and int8 give the same bits on every instruction set, bf16 the
//! processor's.
//! A task has a panel, or two if they are a chunk of the next products' columns, and a block of input
//! rows; products of the same rows share one region. It goes through its rows in tiles of up to six,
//! whose 24 sums (of 64 outputs) stay in registers; so a line of weight is used six times and a value
//! of input four.
//! Measured: see `examples/rates.rs`.

use std::marker::PhantomData;
use std::ops::Range;

use super::bytes::{self, ByteTask};
use super::float::Floats;
use super::rows::{PanelRows, RowParts};
use super::{CHUNK, CHUNK_VECTORS, LINE, Line, PANEL, PanelFormat, Panels, VECTORS};
#[cfg(target_arch = "x86_64")]
use super::{amx, bf16};
use crate::IntIsa;
use crate::cpu::Cpu;
use crate::elementwise::Activation;
use crate::lanes::{Body, LANES, Lanes};
use crate::packed::{Expand, Packed};
use crate::parts::Parts;
use crate::scratch;

/// Input rows of a tile, at most.
const TILE_ROWS: usize = 6;
/// Input rows that meet a panel before they meet the next of a task.
const GROUP_ROWS: usize = 4 * TILE_ROWS;
/// Floats of their sums.
const ROOM: usize = GROUP_ROWS * CHUNK;
/// Bytes of input rows in a task, about: they should lie in the second cache beside a panel.
const BLOCK_BYTES: usize = 384 * 1024;
/// Input rows that AMX takes at once: a task's first rounded row is a multiple.
const AMX_ROWS: usize = 32;
/// Rows of int8 that are worth a tile; the same bits as without.
#[cfg(target_arch = "x86_64")]
const AMX_LEAST: usize = 8;
/// Input rows of a task, at most.
const BLOCK_ROWS: usize = 96;
/// Input rows of a task on tiles of bf16, at most: what they are configured with should not come too often.
const TILED_ROWS: usize = 192;
/// Input rows of a task where they are long, so that a panel is read a few times.
const LEAST_ROWS: usize = 4 * TILE_ROWS;

/// Input rows of products.
#[derive(Debug, Clone, Copy)]
pub enum PanelInput<'a> {
    /// `[rows, columns]`, for weights of f32.
    Plain(&'a [f32]),
    /// For weights of the format that the rows were rounded to.
    Rounded(&'a PanelRows),
}

/// A weight of products.
#[derive(Debug, Clone, Copy)]
pub enum PanelWeight<'a> {
    /// In panels.
    Kept(&'a Panels),
    /// As files store it, for products in f32: every task expands its panels. See [`Packed::expands`].
    Packed(Packed<'a>),
}

impl PanelWeight<'_> {
    /// What its elements are while they are multiplied.
    pub fn format(&self) -> PanelFormat {
        match self {
            Self::Kept(panels) => panels.format,
            Self::Packed(_) => PanelFormat::F32,
        }
    }

    /// Whether it lies in the order of tiles.
    fn tiled(&self) -> bool {
        matches!(self, Self::Kept(panels) if panels.tiled)
    }

    /// Rows, the output size.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Kept(panels) => panels.outputs,
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// Columns, the input size.
    pub fn columns(&self) -> usize {
        match self {
            Self::Kept(panels) => panels.columns,
            Self::Packed(packed) => packed.columns(),
        }
    }
}

/// Where the outputs of a product go.
#[derive(Debug)]
pub enum PanelOut<'a> {
    /// `[rows, outputs]`.
    Plain(&'a mut [f32]),
    /// Rounded to a format, for the products that read them next.
    Rounded(PanelFormat, &'a mut PanelRows),
}

/// One product of some input rows.
#[derive(Debug)]
pub struct PanelProduct<'a> {
    /// The weight.
    pub weight: PanelWeight<'a>,
    /// `[outputs]`.
    pub bias: Option<&'a [f32]>,
    /// Applied to product + bias.
    pub activation: Option<Activation>,
    /// `[rows, outputs]`, added last.
    pub residual: Option<&'a [f32]>,
    /// The outputs.
    pub out: PanelOut<'a>,
}

/// Computes `out = activation(x weight^T + bias) + residual` for each product, all of the same rows.
///
/// # Panics
/// If a length does not fit, a weight is not of the format of the rows, or a packed one does not expand.
pub fn panel_products(cpu: &Cpu, input: PanelInput<'_>, products: &mut [PanelProduct<'_>]) {
    let Some(first) = products.first() else {
        return;
    };
    let (format, columns) = (first.weight.format(), first.weight.columns());
    let (rows, row_bytes) = match input {
        PanelInput::Plain(x) => {
            assert_eq!(
                format,
                PanelFormat::F32,
                "rows of f32 are for weights of f32"
            );
            assert!(
                x.len().is_multiple_of(columns),
                "rows of {columns} in {}",
                x.len()
            );
            (x.len() / columns, columns * size_of::<f32>())
        }
        PanelInput::Rounded(x) => {
            assert_eq!(x.format(), Some(format), "the format of rows and weight");
            assert_eq!(x.columns(), columns, "columns of input and weight");
            (x.rows(), x.row_bytes())
        }
    };
    let mut tasks = Vec::with_capacity(products.len());
    let mut least = LEAST_ROWS;
    for product in products {
        let weight = product.weight;
        assert_eq!(weight.format(), format, "formats of products in one go");
        assert_eq!(weight.columns(), columns, "columns of products in one go");
        if let PanelWeight::Packed(packed) = weight {
            assert!(packed.expands(), "{:?} in f32", packed.shape());
            least = BLOCK_ROWS;
        }
        tasks.push(shared(product, rows));
    }
    let spans: usize = tasks.iter().map(Shared::spans).sum();
    let tiled = tasks.iter().all(|task| task.weight.tiled());
    let most = match tiled && rows * spans >= cpu.threads() * TILED_ROWS * 2 {
        true => TILED_ROWS,
        false => (BLOCK_BYTES / row_bytes / TILE_ROWS * TILE_ROWS).clamp(least, BLOCK_ROWS),
    };
    // Blocks of even height.
    let blocks = rows.div_ceil(most).max(1);
    let step = match format {
        PanelFormat::F32 => TILE_ROWS,
        PanelFormat::Int8 if !has_tiles(cpu) => bytes::ROWS,
        PanelFormat::Bf16 | PanelFormat::Int8 => AMX_ROWS,
    };
    let block = rows.div_ceil(blocks).next_multiple_of(step);
    cpu.run(spans * rows.div_ceil(block.max(1)), &|i| {
        let (mut span, start) = (i % spans, i / spans * block);
        let holds = |task: &&Shared<'_>| {
            let here = span < task.spans();
            span -= if here { 0 } else { task.spans() };
            here
        };
        let shared = tasks.iter().find(holds);
        let shared = shared.expect("the tasks count the panels of all products");
        let task = Task {
            shared,
            panels: shared.span(span),
            rows: start..rows.min(start + block),
            expanded: &[],
        };
        let floats = match shared.weight {
            PanelWeight::Kept(_) => 0,
            PanelWeight::Packed(_) => PANEL * columns,
        };
        scratch::with(task.panels.len() * floats + ROOM, |room| {
            let (expanded, room) = room.split_at_mut(task.panels.len() * floats);
            if let PanelWeight::Packed(weight) = shared.weight {
                for (panel, out) in task.panels.clone().zip(expanded.chunks_exact_mut(floats)) {
                    cpu.isa().run(Expand { weight, panel, out });
                }
            }
            run(cpu, input, &Task { expanded, ..task }, room);
        });
    });
}

/// Whether bytes are multiplied by AMX.
fn has_tiles(cpu: &Cpu) -> bool {
    cpu.int_isa() == IntIsa::AmxInt8
}

/// What every task of a product knows.
fn shared<'a>(product: &'a mut PanelProduct<'_>, rows: usize) -> Shared<'a> {
    let outputs = product.weight.outputs();
    let fits = product.bias.is_none_or(|bias| bias.len() == outputs);
    assert!(fits, "bias of {outputs} outputs");
    let fits = product.residual.is_none_or(|x| x.len() == rows * outputs);
    assert!(fits, "residual [{rows}, {outputs}]");
    let out = match &mut product.out {
        PanelOut::Plain(out) => {
            assert_eq!(out.len(), rows * outputs, "output [{rows}, {outputs}]");
            Out::Plain(Parts::new(out))
        }
        PanelOut::Rounded(format, out) => Out::Rounded(out.parts(*format, rows, outputs)),
    };
    Shared {
        weight: product.weight,
        bias: product.bias,
        activation: product.activation,
        residual: product.residual,
        out,
    }
}

fn run(cpu: &Cpu, input: PanelInput<'_>, task: &Task<'_>, room: &mut [f32]) {
    let columns = task.shared.weight.columns();
    match (input, task.shared.weight.format()) {
        (PanelInput::Plain(x), _) => cpu.isa().run(FloatTask {
            task,
            x,
            columns,
            room,
        }),
        #[cfg(target_arch = "x86_64")]
        (PanelInput::Rounded(x), PanelFormat::Int8)
            if has_tiles(cpu) && task.rows.len() >= AMX_LEAST =>
        {
            // SAFETY: a `Cpu` refuses a set that `is_available` denies.
            unsafe { amx::run_int8(task, x) }
        }
        (PanelInput::Rounded(x), PanelFormat::Int8) => {
            cpu.int_isa().run(ByteTask { task, x, room })
        }
        #[cfg(target_arch = "x86_64")]
        (PanelInput::Rounded(x), _) if task.shared.weight.tiled() => {
            // SAFETY: a weight is only packed for tiles where the processor has them.
            unsafe { amx::run_bf16(task, x) }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; a weight of bf16 is only packed where the processor multiplies bf16.
        (PanelInput::Rounded(x), _) => unsafe { bf16::run(task, x, room) },
        #[cfg(not(target_arch = "x86_64"))]
        (PanelInput::Rounded(_), _) => unreachable!("no rows are rounded to bf16 here"),
    }
}

/// What every task of a product knows.
pub(super) struct Shared<'a> {
    weight: PanelWeight<'a>,
    bias: Option<&'a [f32]>,
    activation: Option<Activation>,
    residual: Option<&'a [f32]>,
    out: Out<'a>,
}

impl Shared<'_> {
    /// Panels of a task: those that are rounded together, if any are.
    fn together(&self) -> usize {
        match self.out {
            Out::Plain(_) if !self.weight.tiled() => 1,
            Out::Plain(_) | Out::Rounded(_) => SPAN,
        }
    }

    /// Panels.
    fn panels(&self) -> usize {
        self.weight.outputs().div_ceil(PANEL)
    }

    fn spans(&self) -> usize {
        self.panels().div_ceil(self.together())
    }

    fn span(&self, i: usize) -> Range<usize> {
        let first = i * self.together();
        first..self.panels().min(first + self.together())
    }
}

enum Out<'a> {
    Plain(Parts<'a, f32>),
    Rounded(RowParts<'a>),
}

/// Some panels by the input rows `rows`.
pub(super) struct Task<'a> {
    shared: &'a Shared<'a>,
    /// At most [`SPAN`].
    pub(super) panels: Range<usize>,
    pub(super) rows: Range<usize>,
    /// The panels in f32, if the weight is not kept in such: `[panels, columns, 64]`.
    expanded: &'a [f32],
}

/// What the rows of 32 columns of outputs begin and end with, checked once for all of them.
#[cfg(target_arch = "x86_64")]
pub(super) struct Ends {
    /// -0, which changes nothing, where there is none.
    pub(super) bias: [f32; 2 * LANES],
    /// That of the first row, or null.
    pub(super) residual: *const f32,
    /// Of the first row; null where outputs are rounded.
    pub(super) out: *mut f32,
    /// Of the first row; null where they are not.
    pub(super) line: *mut Line,
    /// Floats from a row to the next.
    pub(super) outputs: usize,
    /// Lines from a row to the next.
    pub(super) lines: usize,
    /// Columns that are outputs.
    pub(super) width: usize,
}

#[cfg(target_arch = "x86_64")]
impl Ends {
    /// Of no outputs.
    pub(super) fn none() -> Ends {
        Ends {
            bias: [-0.0; 2 * LANES],
            residual: std::ptr::null(),
            out: std::ptr::null_mut(),
            line: std::ptr::null_mut(),
            outputs: 0,
            lines: 0,
            width: 0,
        }
    }
}

/// Panels that are a chunk of columns together.
pub(super) const SPAN: usize = CHUNK / PANEL;
/// Sums of a row with the panels of a task.
pub(super) type RowSums<L> = [L; CHUNK_VECTORS];

/// Sums of rows of one kind with panels, by one instruction set.
pub(super) trait Multiply {
    type Float: Lanes;
    /// Whether 24 sums stay in registers; else 6.
    const WIDE: bool;
    /// Rows of a tile, at most [`TILE_ROWS`].
    const ROWS: usize = TILE_ROWS;

    /// Rows `r..r + N` by the vectors of outputs `vector..vector + V` of a panel.
    fn sums<const V: usize, const N: usize>(
        &self,
        panel: &[Line],
        vector: usize,
        r: usize,
    ) -> [[Self::Float; V]; N];
}

/// A task over rows of f32.
struct FloatTask<'a> {
    task: &'a Task<'a>,
    x: &'a [f32],
    columns: usize,
    room: &'a mut [f32],
}

impl Body for FloatTask<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let rows = Floats::<L> {
            x: self.x,
            columns: self.columns,
            lanes: PhantomData,
        };
        self.task.run(rows, self.room);
    }
}

impl Task<'_> {
    /// The lines of a panel.
    #[inline(always)]
    pub(super) fn lines(&self, panel: usize) -> &[Line] {
        match self.shared.weight {
            PanelWeight::Kept(panels) => panels.panel(panel),
            PanelWeight::Packed(weight) => {
                let floats = PANEL * weight.columns();
                let first = (panel - self.panels.start) * floats;
                let floats = &self.expanded[first..first + floats];
                // SAFETY: whole lines, which any bits are; scratch memory begins on one.
                unsafe {
                    std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats) / LINE)
                }
            }
        }
    }

    /// Goes through the rows in tiles of even height: 7 rows are 4 + 3, not 6 + 1. Of two panels some tiles meet
    /// the first before they meet the second: in the first cache there is room for one.
    #[inline(always)]
    pub(super) fn run<M: Multiply>(&self, m: M, room: &mut [f32]) {
        let mut tiles = self.rows.len().div_ceil(M::ROWS);
        let mut r = self.rows.start;
        // Through memory: the sums of every number of rows end in one piece of code.
        let sums = row_sums::<M::Float>(room);
        let together = match self.panels.len() {
            1 => 1,
            _ => GROUP_ROWS / M::ROWS,
        };
        while r < self.rows.end {
            let group = tiles.min(together);
            let mut end = r;
            for (i, panel) in self.panels.clone().enumerate() {
                let (panel, first) = (self.lines(panel), i * VECTORS);
                end = r;
                for tile in 0..group {
                    let n = (self.rows.end - end).div_ceil(tiles - tile);
                    tile_of(&m, n, panel, end, first, &mut sums[end - r..]);
                    end += n;
                }
            }
            self.finish::<M::Float>(&mut sums[..end - r], r);
            r = end;
            tiles -= group;
        }
    }

    /// What its outputs are rounded to.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn rounds(&self) -> Option<PanelFormat> {
        match &self.shared.out {
            Out::Plain(_) => None,
            Out::Rounded(out) => Some(out.format()),
        }
    }

    /// What outputs go through.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn activation(&self) -> Option<Activation> {
        self.shared.activation
    }

    /// The ends of the 32 columns from `column` on of `rows`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn ends(&self, rows: Range<usize>, column: usize) -> Ends {
        let shared = self.shared;
        let outputs = shared.weight.outputs();
        let width = outputs.saturating_sub(column).min(2 * LANES);
        let mut ends = Ends {
            outputs,
            width,
            ..Ends::none()
        };
        if let Some(bias) = shared.bias {
            ends.bias[..width].copy_from_slice(&bias[column.min(outputs)..][..width]);
        }
        let (start, end) = (
            rows.start * outputs + column.min(outputs),
            (rows.end - 1) * outputs + column.min(outputs) + width,
        );
        if let Some(residual) = shared.residual {
            ends.residual = residual[start..end].as_ptr();
        }
        match &shared.out {
            Out::Plain(out) => {
                assert!(start <= end && end <= out.len(), "outputs of a block");
                ends.out = out.start().wrapping_add(start);
            }
            Out::Rounded(out) => {
                (ends.line, ends.lines) = out.first_line(&rows, column / (LINE / 2))
            }
        }
        ends
    }

    /// Makes outputs of the sums of the rows from `r` on and writes them.
    #[inline(always)]
    pub(super) fn finish<L: Lanes>(&self, sums: &mut [RowSums<L>], r: usize) {
        match &self.shared.out {
            Out::Plain(out) => {
                for (i, panel) in self.panels.clone().enumerate() {
                    self.finish_panel(panel, sums, i * VECTORS, (r, out));
                }
            }
            Out::Rounded(out) => {
                if self.panels.len() < SPAN {
                    // What fills columns up.
                    for sums in sums.iter_mut() {
                        for v in VECTORS..CHUNK_VECTORS {
                            sums[v] = L::zero();
                        }
                    }
                }
                self.finish_rounded(sums, r);
                // SAFETY: a panel meets an input row in one task alone, and a task's panels are a chunk of the
                // next rows' columns.
                unsafe { out.put(r, self.panels.start / SPAN, sums) };
            }
        }
    }

    /// Makes outputs of the sums with all panels of the task, to be rounded.
    #[inline(always)]
    fn finish_rounded<L: Lanes>(&self, sums: &mut [RowSums<L>], r: usize) {
        let shared = self.shared;
        let outputs = shared.weight.outputs();
        let columns = self.panels.start * PANEL..outputs.min(self.panels.end * PANEL);
        // Nothing: -0 keeps the sign of a zero.
        let mut bias = [L::splat(-0.0); CHUNK_VECTORS];
        if let Some(x) = shared.bias {
            bias = vectors(&x[columns.clone()]);
        }
        for (n, sums) in sums.iter_mut().enumerate() {
            let mut y = *sums;
            for v in 0..CHUNK_VECTORS {
                y[v] = y[v].add(bias[v]);
            }
            if let Some(activation) = shared.activation {
                y = activation.apply_coarse(y);
            }
            if let Some(residual) = shared.residual {
                let start = (r + n) * outputs;
                let residual: RowSums<L> =
                    vectors(&residual[start + columns.start..start + columns.end]);
                for v in 0..CHUNK_VECTORS {
                    y[v] = y[v].add(residual[v]);
                }
            }
            *sums = y;
        }
    }

    /// Makes outputs of the sums with a panel, which are those from vector `at` on, and writes them.
    #[inline(always)]
    fn finish_panel<L: Lanes>(
        &self,
        panel: usize,
        sums: &mut [RowSums<L>],
        at: usize,
        (r, out): (usize, &Parts<'_, f32>),
    ) {
        let shared = self.shared;
        let outputs = shared.weight.outputs();
        let columns = panel * PANEL..outputs.min((panel + 1) * PANEL);
        // As in `finish_rounded`.
        let mut bias = [L::splat(-0.0); VECTORS];
        if let Some(x) = shared.bias {
            bias = vectors(&x[columns.clone()]);
        }
        for (n, sums) in sums.iter_mut().enumerate() {
            let mut y = [L::zero(); VECTORS];
            for v in 0..VECTORS {
                y[v] = sums[at + v].add(bias[v]);
            }
            if let Some(activation) = shared.activation {
                for v in 0..VECTORS {
                    y[v] = activation.apply(y[v]);
                }
            }
            let start = (r + n) * outputs;
            let row = start + columns.start..start + columns.end;
            if let Some(residual) = shared.residual {
                let residual: [L; VECTORS] = vectors(&residual[row.clone()]);
                for v in 0..VECTORS {
                    y[v] = y[v].add(residual[v]);
                }
            }
            // SAFETY: a panel meets an input row in one task alone.
            put_vectors(y, unsafe { out.part(row) });
        }
    }
}

/// The vectors of up to 16 V values, filled up with zeros.
#[inline(always)]
fn vectors<L: Lanes, const V: usize>(x: &[f32]) -> [L; V] {
    let mut y = [L::zero(); V];
    if x.len() == V * LANES {
        for v in 0..V {
            // SAFETY: as many vectors.
            y[v] = unsafe { L::load(x.as_ptr().add(v * LANES)) };
        }
    } else {
        for v in 0..V {
            y[v] = L::get(x, v * LANES);
        }
    }
    y
}

/// Writes as many values as there is room for.
#[inline(always)]
fn put_vectors<L: Lanes>(y: [L; VECTORS], out: &mut [f32]) {
    if let Ok(out) = <&mut [f32; PANEL]>::try_from(&mut *out) {
        for v in 0..VECTORS {
            y[v].put(out, v * LANES);
        }
    } else {
        for v in 0..VECTORS {
            y[v].put(out, v * LANES);
        }
    }
}

/// [`ROOM`] floats as sums of rows, of whatever value.
#[inline(always)]
fn row_sums<L: Lanes>(room: &mut [f32]) -> &mut [RowSums<L>; GROUP_ROWS] {
    const {
        assert!(size_of::<[RowSums<L>; GROUP_ROWS]>() == ROOM * size_of::<f32>());
        assert!(align_of::<L>() <= LINE);
    }
    let room = &mut room[..ROOM];
    assert!(room.as_ptr().cast::<Line>().is_aligned());
    // SAFETY: as many bytes, aligned; vectors are floats, which any bits are.
    unsafe { &mut *room.as_mut_ptr().cast() }
}

/// Rows `r..r + n` by a panel, to `sums` from vector `first` on.
#[inline(always)]
fn tile_of<M: Multiply>(
    m: &M,
    n: usize,
    panel: &[Line],
    r: usize,
    first: usize,
    sums: &mut [RowSums<M::Float>],
) {
    match n {
        1 => tile::<M, 1>(m, panel, r, first, sums),
        2 => tile::<M, 2>(m, panel, r, first, sums),
        3 => tile::<M, 3>(m, panel, r, first, sums),
        4 => tile::<M, 4>(m, panel, r, first, sums),
        5 if M::ROWS > 4 => tile::<M, 5>(m, panel, r, first, sums),
        6 if M::ROWS > 4 => tile::<M, 6>(m, panel, r, first, sums),
        _ => unreachable!("a tile of {n} rows"),
    }
}

/// Rows `r..r + N` by a panel, to `sums` from vector `first` on.
#[inline(always)]
fn tile<M: Multiply, const N: usize>(
    m: &M,
    panel: &[Line],
    r: usize,
    first: usize,
    sums: &mut [RowSums<M::Float>],
) {
    if M::WIDE {
        return put(m.sums::<VECTORS, N>(panel, 0, r), sums, first);
    }
    for vector in 0..VECTORS {
        put(m.sums::<1, N>(panel, vector, r), sums, first + vector);
    }
}

/// Writes the sums of N rows from vector `first` on.
#[inline(always)]
fn put<L: Lanes, const V: usize, const N: usize>(
    part: [[L; V]; N],
    sums: &mut [RowSums<L>],
    first: usize,
) {
    for n in 0..N {
        for v in 0..V {
            sums[n][first + v] = part[n][v];
        }
    }
}
