//! Input rows as products with panels read them.
//!
//! Layout: rows one behind the other, columns filled up with zeros to a multiple of 128. bf16: four
//! lines for each 128 columns. int8: two, and a [`Head`]. There are rows of unspecified value up to a
//! multiple of 16, so that a tile may read them.
//! Contract: bf16 to nearest even; what lies beyond the largest number becomes an infinity, a NaN
//! stays one. int8: for each 128 columns, [`mixed`], s = max|x| / 127 and v = round(x (127 / max|x|)), to
//! even; s is 0 below 2^-100, NaN where one of them is not finite.
//! Measured: with the products.

use super::{CHUNK, CHUNK_VECTORS, LINE, Line, PanelFormat};
use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;

/// Rows that there is room for, a multiple of: those of an AMX tile.
const GROUP: usize = 16;
/// Rows that are rounded together.
const TOGETHER: usize = 4;
/// 2^-100: below it the inverse of a scale would leave the normal numbers.
const TINY: f32 = 1.0 / (1u128 << 100) as f32;
/// The largest |v|.
const V_MAX: f32 = 127.0;

/// How rows are rounded.
#[derive(Debug, Clone, Copy)]
pub struct Rounding<'a> {
    /// To what.
    pub format: PanelFormat,
    /// Each column is multiplied by its factor first.
    pub factors: Option<&'a [f32]>,
}

impl PanelFormat {
    /// Rounding to it, of values as they are.
    pub fn rounding(self) -> Rounding<'static> {
        Rounding {
            format: self,
            factors: None,
        }
    }
}

/// What a chunk of columns of a row of int8 shares.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) scale: f32,
    /// -128 times the sum of its integers.
    pub(crate) start: i32,
}

/// Rounded rows. Used again, it allocates only to become larger.
#[derive(Debug, Default)]
pub struct PanelRows {
    format: Option<PanelFormat>,
    rows: usize,
    columns: usize,
    lines: Vec<Line>,
    heads: Vec<Head>,
}

impl PanelRows {
    /// No rows.
    pub const fn new() -> PanelRows {
        PanelRows {
            format: None,
            rows: 0,
            columns: 0,
            lines: Vec::new(),
            heads: Vec::new(),
        }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What they are rounded to; None before they are first filled.
    pub fn format(&self) -> Option<PanelFormat> {
        self.format
    }

    /// Takes the rows of `x`, `[rows, columns]`, rounded.
    ///
    /// # Panics
    /// If `x` is no whole number of rows, for [`PanelFormat::F32`], whose products read f32, or if there
    /// are not as many factors as columns.
    pub fn round(&mut self, cpu: &Cpu, rounding: Rounding<'_>, x: &[f32], columns: usize) {
        let whole = columns > 0 && x.len().is_multiple_of(columns);
        assert!(whole, "rows of {columns} in {}", x.len());
        let fits = rounding.factors.is_none_or(|f| f.len() == columns);
        assert!(fits, "a factor for each of {columns} columns");
        let rows = x.len() / columns;
        let out = self.parts(rounding.format, rows, columns);
        cpu.run_ranges(rows, columns, |rows| {
            for r in rows {
                let x = &x[r * columns..(r + 1) * columns];
                // A row belongs to one range.
                cpu.isa().run(RoundRow {
                    x,
                    factors: rounding.factors,
                    out: &out,
                    r,
                });
            }
        });
    }

    /// Makes it `rows` rows of `columns`, of unspecified value.
    pub(crate) fn parts(
        &mut self,
        format: PanelFormat,
        rows: usize,
        columns: usize,
    ) -> RowParts<'_> {
        assert!(format != PanelFormat::F32, "rows of f32 are not rounded");
        let chunks = columns.div_ceil(CHUNK);
        let chunk_lines = chunk_lines(format);
        let padded = rows.next_multiple_of(GROUP);
        if self.lines.len() < padded * chunks * chunk_lines {
            self.lines
                .resize(padded * chunks * chunk_lines, Line([0; LINE]));
        }
        if format == PanelFormat::Int8 && self.heads.len() < padded * chunks {
            self.heads.resize(padded * chunks, Head::default());
        }
        (self.format, self.rows, self.columns) = (Some(format), rows, columns);
        RowParts {
            format,
            chunks,
            lines: Parts::new(&mut self.lines),
            heads: Parts::new(&mut self.heads),
        }
    }

    /// Chunks of columns of a row.
    #[inline(always)]
    pub(crate) fn chunks(&self) -> usize {
        self.columns.div_ceil(CHUNK)
    }

    /// Bytes of a row.
    #[inline(always)]
    pub(crate) fn row_bytes(&self) -> usize {
        self.chunks() * chunk_lines(self.format.unwrap_or(PanelFormat::Int8)) * LINE
    }

    /// The bytes of row `r`, and of those behind it.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> *const u8 {
        debug_assert!(r <= self.rows);
        self.lines
            .as_ptr()
            .cast::<u8>()
            .wrapping_add(r * self.row_bytes())
    }

    /// The pairs of rows of bf16 as words of 32 bits, and how many a row has.
    pub(crate) fn words(&self) -> (&[f32], usize) {
        let stride = self.row_bytes() / size_of::<f32>();
        let lines = &self.lines[..self.rows * stride * size_of::<f32>() / LINE];
        // SAFETY: lines are whole floats, which any bits are.
        let words = unsafe {
            std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines) / size_of::<f32>())
        };
        (words, stride)
    }

    /// The heads of all rows, of int8.
    #[inline(always)]
    pub(crate) fn heads(&self) -> &[Head] {
        &self.heads[..self.rows * self.chunks()]
    }
}

/// Lines of a chunk of columns.
#[inline(always)]
fn chunk_lines(format: PanelFormat) -> usize {
    match format {
        PanelFormat::F32 => CHUNK * 4 / LINE,
        PanelFormat::Bf16 => CHUNK * 2 / LINE,
        PanelFormat::Int8 => CHUNK / LINE,
    }
}

/// Rows to write, each chunk of columns of one by one task.
pub(crate) struct RowParts<'a> {
    format: PanelFormat,
    chunks: usize,
    lines: Parts<'a, Line>,
    heads: Parts<'a, Head>,
}

impl RowParts<'_> {
    /// Writes row `r`, which is `x`, each column by its factor.
    ///
    /// # Safety
    /// No other task writes this row.
    #[inline(always)]
    pub(crate) unsafe fn put_row<L: Lanes>(&self, r: usize, x: &[f32], factors: Option<&[f32]>) {
        for chunk in 0..self.chunks {
            let mut lanes = [L::zero(); CHUNK_VECTORS];
            for (i, lanes) in lanes.iter_mut().enumerate() {
                let at = chunk * CHUNK + i * LANES;
                *lanes = L::get(x, at);
                if let Some(factors) = factors {
                    *lanes = lanes.mul(L::get(factors, at));
                }
            }
            // SAFETY: the caller's promise.
            unsafe { self.put(r, chunk, &mut [lanes]) };
        }
    }

    /// To what.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn format(&self) -> PanelFormat {
        self.format
    }

    /// Line `line` of the first of `rows`, and how many lines the next row is from it, for those who have these lines to
    /// themselves.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn first_line(
        &self,
        rows: &std::ops::Range<usize>,
        line: usize,
    ) -> (*mut Line, usize) {
        let each = self.chunks * chunk_lines(self.format);
        assert!(line < each && rows.start < rows.end && rows.end * each <= self.lines.len());
        let first = self.lines.start().wrapping_add(rows.start * each + line);
        (first, each)
    }

    /// Writes chunk `chunk` of rows `r..` from `x`, a row each, whose missing columns are zeros.
    ///
    /// # Safety
    /// No other task writes this chunk of these rows.
    #[inline(always)]
    pub(crate) unsafe fn put<L: Lanes>(
        &self,
        r: usize,
        chunk: usize,
        x: &mut [[L; CHUNK_VECTORS]],
    ) {
        match self.format {
            PanelFormat::F32 => unreachable!("`PanelRows::parts` refused it"),
            PanelFormat::Bf16 => {
                for (n, x) in x.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    let lines = unsafe { self.lines(r + n, chunk) };
                    for i in 0..CHUNK_VECTORS / 2 {
                        let bits = L::to_bf16([x[2 * i], x[2 * i + 1]]);
                        let to = lines[i].0.as_mut_ptr();
                        // SAFETY: a line, 64 bytes.
                        unsafe { to.cast::<[u16; 2 * LANES]>().write_unaligned(bits) };
                    }
                }
            }
            PanelFormat::Int8 => {
                // Several rows' largest at once: none waits for another's.
                for (part, x) in x.chunks_mut(TOGETHER).enumerate() {
                    let mut most = [0.0; TOGETHER];
                    for (x, most) in x.iter_mut().zip(&mut most) {
                        *x = mixed(*x);
                        *most = L::largest(*x);
                    }
                    for (n, x) in x.iter().enumerate() {
                        let row = r + part * TOGETHER + n;
                        let at = row * self.chunks + chunk;
                        // SAFETY: the caller's promise.
                        let (lines, heads) =
                            unsafe { (self.lines(row, chunk), self.heads.part(at..at + 1)) };
                        heads[0] = bytes(x, most[n], lines);
                    }
                }
            }
        }
    }

    /// The lines of chunk `chunk` of row `r`.
    ///
    /// # Safety
    /// As [`Parts::part`].
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[inline(always)]
    unsafe fn lines(&self, r: usize, chunk: usize) -> &mut [Line] {
        let (at, each) = (r * self.chunks + chunk, chunk_lines(self.format));
        // SAFETY: the caller's promise.
        unsafe { self.lines.part(at * each..(at + 1) * each) }
    }
}

/// The columns of a chunk, those that lie 16 apart through the Hadamard matrix of order 8, unscaled: of a
/// few large columns, which would take the resolution of all others, each becomes eight smaller ones.
/// Its inverse is itself by 1 / 8, so that a product of two mixed rows is eight times theirs.
#[inline(always)]
pub(super) fn mixed<L: Lanes>(mut x: [L; CHUNK_VECTORS]) -> [L; CHUNK_VECTORS] {
    let mut distance = CHUNK_VECTORS / 2;
    while distance > 0 {
        for i in 0..CHUNK_VECTORS {
            if i & distance == 0 {
                let (a, b) = (x[i], x[i + distance]);
                (x[i], x[i + distance]) = (a.add(b), a.sub(b));
            }
        }
        distance /= 2;
    }
    x
}

/// A chunk of mixed columns, the largest of them being `most`, as integers, in `lines`.
#[inline(always)]
fn bytes<L: Lanes>(x: &[L; CHUNK_VECTORS], most: f32, lines: &mut [Line]) -> Head {
    if !most.is_finite() {
        lines.fill(Line([0; LINE]));
        return Head {
            scale: f32::NAN,
            start: 0,
        };
    }
    let inverse = if most >= TINY { V_MAX / most } else { 0.0 };
    let inverse = L::splat(inverse);
    let mut scaled = *x;
    for v in 0..CHUNK_VECTORS {
        scaled[v] = x[v].mul(inverse);
    }
    let (bytes, sum) = L::to_bytes(scaled);
    assert_eq!(size_of_val(lines), size_of_val(&bytes));
    // SAFETY: as asserted.
    unsafe { lines.as_mut_ptr().cast::<[i8; CHUNK]>().write(bytes) };
    Head {
        scale: if most >= TINY { most / V_MAX } else { 0.0 },
        start: -128 * sum,
    }
}

/// Rounds row `r`, which is `x`.
struct RoundRow<'a> {
    x: &'a [f32],
    factors: Option<&'a [f32]>,
    out: &'a RowParts<'a>,
    r: usize,
}

impl Body for RoundRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        // SAFETY: the row is this body's alone.
        unsafe { self.out.put_row::<L>(self.r, self.x, self.factors) };
    }
}
