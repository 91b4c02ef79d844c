//! Weights rearranged in memory, for products that read them again and again.
//!
//! In: a weight's rows as f32, once, for [`Panels::pack`]; input rows of f32, or of a norm or a
//! product before, rounded as the weights want them. Out: [`panel_products`]. It does not know:
//! files, models.
//!
//! Layout: outputs come in panels of 64, the last filled up with zeros, one behind the other; columns
//! in chunks of 128, the last filled up with zeros (f32: not filled up). A panel has, in order
//!
//! ```text
//! f32:   for each column 64 f32, one for each output
//! bf16:  for each pair of columns 64 times 2 bf16
//! int8:  for each chunk 64 scales, f32, then for each 4 columns 64 times 4 int8
//! ```
//!
//! so that lanes are outputs, the order of a row's columns is kept, and each 64 bytes are an operand
//! of `vdpbf16ps` or `vpdpbusd`, and a row of an AMX tile. Where the processor has tiles of bf16, the lines of a panel of
//! bf16 lie in the order in which tiles read them: 32 outputs after the other, 32 columns after the other, two tiles each.
//! Rows see [`rows`].
//! Contract: an output is a function of its input row and its weight row alone, see [`product`].
//! Weights of int8 have a scale for each output and chunk of columns: S = max|w| / 127, w = S round(w
//! / S). So have input rows: that is what makes int8 coarser than [`crate::linear_packed`], whose
//! input rows keep 15 bits. Both are mixed within their chunks first ([`rows`]: an orthogonal matrix, as
//! Ashkboos et al. 2024, "QuaRot", have it), which leaves products as they are.
//! Measured: see [`product`].

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod bf16;
mod bytes;
pub(crate) mod float;
mod product;
mod rows;

pub use product::{PanelInput, PanelOut, PanelProduct, PanelWeight, panel_products};
pub(crate) use rows::RowParts;
pub use rows::{PanelRows, Rounding};

use crate::Bf16Isa;
use crate::bf16::bf16_from_f32;
use crate::cpu::Cpu;
use crate::lanes::{LANES, Lanes as _, Scalar};
use crate::parts::Parts;

/// Outputs of a panel.
pub(crate) const PANEL: usize = 64;
/// Vectors of outputs of a panel.
pub(crate) const VECTORS: usize = PANEL / LANES;
/// Columns that share a scale, and that rows are filled up to a multiple of; two panels of outputs.
pub(crate) const CHUNK: usize = 128;
/// Vectors of a chunk of columns.
pub(crate) const CHUNK_VECTORS: usize = CHUNK / LANES;
/// Bytes of a line.
pub(crate) const LINE: usize = 64;

/// What the elements of a weight in panels are, and what its products round input rows to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PanelFormat {
    /// f32 by f32.
    F32,
    /// bf16 by bf16, added in f32 as the processor does it.
    Bf16,
    /// Bytes by bytes, both with a scale for each 128 columns, mixed so that none is much larger than the others.
    Int8,
}

impl PanelFormat {
    /// [`PanelFormat::Bf16`] where the processor multiplies bf16, else [`PanelFormat::F32`].
    pub fn bf16_on(cpu: &Cpu) -> PanelFormat {
        match cpu.bf16_isa() {
            Bf16Isa::F32Fma => PanelFormat::F32,
            Bf16Isa::Avx512Bf16 | Bf16Isa::AmxBf16 => PanelFormat::Bf16,
        }
    }

    /// Lines of a panel for a weight of `columns`; None: more than memory can hold.
    fn panel_lines(self, columns: usize) -> Option<usize> {
        let chunks = columns.div_ceil(CHUNK);
        match self {
            PanelFormat::F32 => columns.checked_mul(VECTORS),
            PanelFormat::Bf16 => chunks.checked_mul(CHUNK / 2 * VECTORS),
            PanelFormat::Int8 => chunks.checked_mul(VECTORS + CHUNK / 4 * VECTORS),
        }
    }
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [u8; LINE]);

/// A weight `[outputs, columns]` in panels, in memory of its own.
#[derive(Debug, Clone)]
pub struct Panels {
    format: PanelFormat,
    outputs: usize,
    columns: usize,
    panel_lines: usize,
    /// Of bf16, in the order of tiles.
    tiled: bool,
    lines: Vec<Line>,
}

impl Panels {
    /// Packs the weight `[outputs, columns]` whose rows `rows` writes: those of the indices it is
    /// given, as f32 and row-major.
    ///
    /// # Panics
    /// If it has no columns, is larger than memory can be, or is [`PanelFormat::Bf16`] where `cpu`
    /// does not multiply bf16.
    pub fn pack(
        cpu: &Cpu,
        format: PanelFormat,
        [outputs, columns]: [usize; 2],
        rows: impl Fn(&[u32], &mut [f32]) + Sync,
    ) -> Panels {
        assert!(columns > 0, "a weight without columns");
        let able = format != PanelFormat::Bf16 || PanelFormat::bf16_on(cpu) == format;
        assert!(able, "{:?} does not multiply bf16", cpu.bf16_isa());
        let panels = outputs.div_ceil(PANEL);
        let panel_lines = format.panel_lines(columns);
        let lines = panel_lines.and_then(|lines| lines.checked_mul(panels));
        let (Some(panel_lines), Some(lines)) = (panel_lines, lines) else {
            panic!("a weight [{outputs}, {columns}] is larger than memory");
        };
        let mut packed = Panels {
            format,
            outputs,
            columns,
            panel_lines,
            tiled: format == PanelFormat::Bf16 && cpu.bf16_isa() == Bf16Isa::AmxBf16,
            lines: vec![Line([0; LINE]); lines],
        };
        let tiled = packed.tiled;
        let all = Parts::new(&mut packed.lines);
        cpu.run(panels, &|panel| {
            let first = panel * PANEL;
            let ids: Vec<u32> = (first..outputs.min(first + PANEL))
                .map(|o| o as u32)
                .collect();
            let mut values = vec![0.0; ids.len() * columns];
            rows(&ids, &mut values);
            // SAFETY: a panel belongs to one task.
            let lines = unsafe { all.part(panel * panel_lines..(panel + 1) * panel_lines) };
            for (o, row) in values.chunks_exact(columns).enumerate() {
                match format {
                    PanelFormat::F32 => put_floats(lines, o, row),
                    PanelFormat::Bf16 if tiled => put_tiles(lines, o, row),
                    PanelFormat::Bf16 => put_pairs(lines, o, row),
                    PanelFormat::Int8 => put_bytes(lines, o, row),
                }
            }
        });
        packed
    }

    /// What its elements are.
    pub fn format(&self) -> PanelFormat {
        self.format
    }

    /// Rows, the output size.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns, the input size.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    /// The lines of panel `panel`.
    #[inline(always)]
    fn panel(&self, panel: usize) -> &[Line] {
        &self.lines[panel * self.panel_lines..(panel + 1) * self.panel_lines]
    }
}

/// Writes `bytes` as element `at` of the lines, all elements having as many bytes.
#[inline(always)]
fn put<const N: usize>(lines: &mut [Line], at: usize, bytes: [u8; N]) {
    let byte = at * N;
    lines[byte / LINE].0[byte % LINE..byte % LINE + N].copy_from_slice(&bytes);
}

/// Row `o` of a panel of f32.
fn put_floats(lines: &mut [Line], o: usize, row: &[f32]) {
    for (i, value) in row.iter().enumerate() {
        put(lines, i * PANEL + o, value.to_ne_bytes());
    }
}

/// Row `o` of a panel of bf16.
fn put_pairs(lines: &mut [Line], o: usize, row: &[f32]) {
    for (i, value) in row.iter().enumerate() {
        let at = i / 2 * 2 * PANEL + 2 * o + i % 2;
        put(lines, at, bf16_from_f32(*value).to_ne_bytes());
    }
}

/// Row `o` of a panel of bf16, in the order of tiles.
fn put_tiles(lines: &mut [Line], o: usize, row: &[f32]) {
    const TILE: usize = 16;
    const PER_LINE: usize = LINE / 2;
    let steps = lines.len() / (2 * VECTORS * TILE / 2);
    let (pair, tile, o) = (o / (2 * LANES), o / LANES % 2, o % LANES);
    for (i, value) in row.iter().enumerate() {
        let (step, i) = (i / PER_LINE, i % PER_LINE);
        let line = ((pair * steps + step) * 2 + tile) * TILE + i / 2;
        put(
            lines,
            line * PER_LINE + 2 * o + i % 2,
            bf16_from_f32(*value).to_ne_bytes(),
        );
    }
}

/// Row `o` of a panel of int8. A chunk with a NaN or an infinity has the scale NaN.
fn put_bytes(lines: &mut [Line], o: usize, row: &[f32]) {
    // Of numbers below 2^22 it takes the fraction off, to the nearest even integer.
    const ROUND: f32 = 1.5 * (1 << 23) as f32;
    let chunk_lines = VECTORS + CHUNK / 4 * VECTORS;
    for (lines, chunk) in lines.chunks_exact_mut(chunk_lines).zip(row.chunks(CHUNK)) {
        let finite = chunk.iter().all(|x| x.is_finite());
        let chunk = mixed_chunk(chunk);
        let most = chunk.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = if finite { most / 127.0 } else { f32::NAN };
        put(lines, o, scale.to_ne_bytes());
        let values = &mut lines[VECTORS..];
        for (i, x) in chunk.iter().enumerate() {
            // A scale of 0 or NaN: NaN becomes 0.
            let v = ((x / scale + ROUND) - ROUND) as i8;
            put(values, i / 4 * 4 * PANEL + 4 * o + i % 4, [v as u8]);
        }
    }
}

/// Up to 128 columns of a weight, mixed as [`rows::mixed`] does, and by 1 / 8, as input rows are not.
fn mixed_chunk(x: &[f32]) -> [f32; CHUNK] {
    let mut lanes = [Scalar::zero(); CHUNK_VECTORS];
    let eighth = Scalar::splat(1.0 / CHUNK_VECTORS as f32);
    for (i, lanes) in lanes.iter_mut().enumerate() {
        *lanes = Scalar::get(x, i * LANES).mul(eighth);
    }
    let mut out = [0.0; CHUNK];
    for (i, lanes) in rows::mixed(lanes).into_iter().enumerate() {
        lanes.put(&mut out, i * LANES);
    }
    out
}
