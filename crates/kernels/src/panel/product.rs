//! Products of input rows with weights in panels, and what happens to an output before it is
//! written.
//!
//! Layout: weights see [`super`], input rows f32 `[rows, columns]` or [`super::rows`], outputs f32
//! `[rows, outputs]` or rounded to the next products' rows.
//! Contract: an output is the product by its format's chain ([`super::float`], [`super::bf16`],
//! [`super::bytes`]), then + bias, then the activation, then + the residual, each rounded on its
//! own: the bits are those of the operations one after the other, but for GELU of outputs that leave
//! as bytes, which is a coarser polynomial (1.3e-4). They depend on the input row and
//! the weight row alone. f32 and int8 give the same bits on every instruction set, bf16 the
//! processor's.
//! A task has a panel and a block of input rows; products of the same rows share one region. It goes
//! through its rows in tiles of up to six, whose 24 sums (of 64 outputs) stay in registers; so a line
//! of weight is used six times and a value of input four.
//! Measured: see `examples/rates.rs`.

use std::marker::PhantomData;
use std::ops::Range;

use super::bytes::ByteTask;
use super::float::Floats;
use super::rows::{PanelRows, RowParts};
use super::{Line, PANEL, PanelFormat, Panels, VECTORS};
#[cfg(target_arch = "x86_64")]
use super::{amx, bf16};
#[cfg(target_arch = "x86_64")]
use crate::Bf16Isa;
use crate::cpu::Cpu;
use crate::elementwise::Activation;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;

/// Input rows of a tile, at most.
const TILE_ROWS: usize = 6;
/// Bytes of input rows in a task, about: they should lie in the second cache beside a panel.
const BLOCK_BYTES: usize = 384 * 1024;
/// Input rows that AMX takes at once: a task's first row of bf16 is a multiple.
const AMX_ROWS: usize = 32;
/// Input rows of a task, at most.
const BLOCK_ROWS: usize = 96;

/// Input rows of products.
#[derive(Debug, Clone, Copy)]
pub enum PanelInput<'a> {
    /// `[rows, columns]`, for weights of f32.
    Plain(&'a [f32]),
    /// For weights of the format that the rows were rounded to.
    Rounded(&'a PanelRows),
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
    pub weight: &'a Panels,
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
/// If a length does not fit, or a weight is not of the format of the rows.
pub fn panel_products(cpu: &Cpu, input: PanelInput<'_>, products: &mut [PanelProduct<'_>]) {
    let Some(first) = products.first() else {
        return;
    };
    let (format, columns) = (first.weight.format, first.weight.columns);
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
    for product in products {
        assert_eq!(
            product.weight.format, format,
            "formats of products in one go"
        );
        assert_eq!(
            product.weight.columns, columns,
            "columns of products in one go"
        );
        tasks.push(shared(product, rows));
    }
    let panels: usize = tasks.iter().map(|task| task.weight.panels()).sum();
    let most = (BLOCK_BYTES / row_bytes / TILE_ROWS * TILE_ROWS).clamp(4 * TILE_ROWS, BLOCK_ROWS);
    // Blocks of even height.
    let blocks = rows.div_ceil(most).max(1);
    let step = match format {
        PanelFormat::Bf16 => AMX_ROWS,
        PanelFormat::F32 | PanelFormat::Int8 => TILE_ROWS,
    };
    let block = rows.div_ceil(blocks).next_multiple_of(step);
    cpu.run(panels * rows.div_ceil(block.max(1)), &|i| {
        let (mut panel, start) = (i % panels, i / panels * block);
        let holds = |task: &&Shared<'_>| {
            let here = panel < task.weight.panels();
            panel -= if here { 0 } else { task.weight.panels() };
            here
        };
        let shared = tasks.iter().find(holds);
        let shared = shared.expect("the tasks count the panels of all products");
        let rows = start..rows.min(start + block);
        run(
            cpu,
            input,
            &Task {
                shared,
                panel,
                rows,
            },
        );
    });
}

/// What every task of a product knows.
fn shared<'a>(product: &'a mut PanelProduct<'_>, rows: usize) -> Shared<'a> {
    let outputs = product.weight.outputs;
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

fn run(cpu: &Cpu, input: PanelInput<'_>, task: &Task<'_>) {
    let columns = task.shared.weight.columns;
    match (input, task.shared.weight.format) {
        (PanelInput::Plain(x), _) => cpu.isa().run(FloatTask { task, x, columns }),
        (PanelInput::Rounded(x), PanelFormat::Int8) => cpu.int_isa().run(ByteTask { task, x }),
        #[cfg(target_arch = "x86_64")]
        (PanelInput::Rounded(x), _) if cpu.bf16_isa() == Bf16Isa::AmxBf16 => {
            // SAFETY: a `Cpu` refuses a set that `is_available` denies.
            unsafe { amx::run(task, x) }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; a weight of bf16 is only packed where the processor multiplies bf16.
        (PanelInput::Rounded(x), _) => unsafe { bf16::run(task, x) },
        #[cfg(not(target_arch = "x86_64"))]
        (PanelInput::Rounded(_), _) => unreachable!("no rows are rounded to bf16 here"),
    }
}

/// What every task of a product knows.
pub(super) struct Shared<'a> {
    weight: &'a Panels,
    bias: Option<&'a [f32]>,
    activation: Option<Activation>,
    residual: Option<&'a [f32]>,
    out: Out<'a>,
}

enum Out<'a> {
    Plain(Parts<'a, f32>),
    Rounded(RowParts<'a>),
}

/// Panel `panel` by the input rows `rows`.
pub(super) struct Task<'a> {
    shared: &'a Shared<'a>,
    panel: usize,
    pub(super) rows: Range<usize>,
}

/// Sums of rows of one kind with panels, by one instruction set.
pub(super) trait Multiply {
    type Float: Lanes;
    /// Whether 24 sums stay in registers; else 6.
    const WIDE: bool;

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
}

impl Body for FloatTask<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        self.task.run(Floats::<L> {
            x: self.x,
            columns: self.columns,
            lanes: PhantomData,
        });
    }
}

impl Task<'_> {
    /// The lines of its panel.
    #[inline(always)]
    pub(super) fn lines(&self) -> &[Line] {
        self.shared.weight.panel(self.panel)
    }

    /// Goes through the rows in tiles.
    #[inline(always)]
    pub(super) fn run<M: Multiply>(&self, m: M) {
        // Tiles of even height: 7 rows are 4 + 3, not 6 + 1.
        let tiles = self.rows.len().div_ceil(TILE_ROWS).max(1);
        let height = self.rows.len().div_ceil(tiles);
        let mut r = self.rows.start;
        while r < self.rows.end {
            let n = height.min(self.rows.end - r);
            // Through memory: the sums of every number of rows end in one piece of code.
            let mut sums = [[M::Float::zero(); VECTORS]; TILE_ROWS];
            match n {
                1 => self.tile::<M, 1>(&m, r, &mut sums),
                2 => self.tile::<M, 2>(&m, r, &mut sums),
                3 => self.tile::<M, 3>(&m, r, &mut sums),
                4 => self.tile::<M, 4>(&m, r, &mut sums),
                5 => self.tile::<M, 5>(&m, r, &mut sums),
                _ => self.tile::<M, 6>(&m, r, &mut sums),
            }
            self.finish::<M::Float>(&sums[..n], r);
            r += n;
        }
    }

    /// Rows `r..r + N` by the panel.
    #[inline(always)]
    fn tile<M: Multiply, const N: usize>(
        &self,
        m: &M,
        r: usize,
        sums: &mut [[M::Float; VECTORS]; TILE_ROWS],
    ) {
        let panel = self.lines();
        if M::WIDE {
            sums[..N].copy_from_slice(&m.sums::<VECTORS, N>(panel, 0, r));
            return;
        }
        for vector in 0..VECTORS {
            let part = m.sums::<1, N>(panel, vector, r);
            for n in 0..N {
                sums[n][vector] = part[n][0];
            }
        }
    }

    /// Makes outputs of the sums of the rows from `r` on and writes them.
    #[inline(always)]
    pub(super) fn finish<L: Lanes>(&self, sums: &[[L; VECTORS]], r: usize) {
        let shared = self.shared;
        let outputs = shared.weight.outputs;
        let first = self.panel * PANEL;
        for (n, sums) in sums.iter().enumerate() {
            let mut sums = *sums;
            let start = (r + n) * outputs;
            if let Some(bias) = shared.bias {
                for v in 0..VECTORS {
                    sums[v] = sums[v].add(L::get(bias, first + v * LANES));
                }
            }
            if let Some(activation) = shared.activation {
                let coarse = matches!(&shared.out, Out::Rounded(out) if out.are_bytes());
                for sum in &mut sums {
                    *sum = match coarse {
                        true => activation.apply_coarse(*sum),
                        false => activation.apply(*sum),
                    };
                }
            }
            if let Some(residual) = shared.residual {
                let row = &residual[start..start + outputs];
                for v in 0..VECTORS {
                    sums[v] = sums[v].add(L::get(row, first + v * LANES));
                }
            }
            match &shared.out {
                Out::Plain(out) => {
                    let end = outputs.min(first + PANEL);
                    // SAFETY: a panel meets an input row in one task alone.
                    let out = unsafe { out.part(start + first..start + end) };
                    for v in 0..VECTORS {
                        sums[v].put(out, v * LANES);
                    }
                }
                // SAFETY: as above; a panel is a chunk of the next rows' columns.
                Out::Rounded(out) => unsafe { out.put(r + n, self.panel, sums) },
            }
        }
    }
}
