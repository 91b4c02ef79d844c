//! Products of many input rows with int8 tiles of weight, by AMX.
//!
//! Layout: 64 columns of a tile of weight are 16 rows of 64 bytes as they lie: operand B. Operand A
//! see [`super::activations`].
//! Contract: as [`super::linear`]: both planes' products are exact in i32 for 256 columns, then
//! acc = fma(f32(128 hi + lo), S s, acc). Same bits as everywhere.
//! A *unit* is one pair of tiles by one group of rows by one block of 256 columns: 16 products in
//! four sums, stored when the block ends. The floats of the unit before run between the products
//! of this one: they use other parts of the processor, and cost nothing there. The order of units
//! keeps what is used again in the first cache: two pairs of tiles and some groups of rows share a
//! block. Outputs are asked for a block before they are written: a store that waits for its line
//! holds up the tiles stored after it.
//! Measured: see [`super::linear`]. Intel Xeon (family 6 model 207), one thread, 3,584 x 1,024 with
//! 256 rows, cycles of 2.58 GHz: a unit takes 685 to 690, without the floats 500, where its products
//! alone would take 256. With the floats in one piece after the products of a unit, or after half of
//! them, 700 to 790. 2, 8 or 16 groups together, one pair after the other, operands asked for in the
//! first cache, none asked for, or all of them there already: the same within 5 %.

use std::arch::x86_64::*;
use std::ops::Range;

use super::activations::Activations;
use super::{BLOCK, CHUNK, TILE};
use crate::amx::{self, Tiles};
use crate::parts::Parts;

/// Tiles of weight that share a pass over the rows: two pairs.
pub(super) const QUAD: usize = 4;
/// Groups of rows that share a block of the tiles.
pub(super) const SPAN: usize = 4;
/// Times 64 columns of a block.
const STEPS: usize = BLOCK / CHUNK;
/// Floats or integers of a tile register.
const REGISTER: usize = TILE * TILE;
/// Sums of a unit: two planes by two tiles of weight.
const SUMS: usize = 4 * REGISTER;
/// Floats of memory that [`Configured::multiply`] needs.
pub(super) const FLOATS: usize = 2 * SUMS + SPAN * QUAD * REGISTER;

/// A tile of weight: 16 bytes for each padded column and 16 scales (f16) for each block.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightTile<'a> {
    pub(super) values: &'a [i8],
    pub(super) scales: &'a [u16],
    /// The first row of the weight it has, and how many.
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// Input rows, and where their outputs go.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) x: &'a Activations,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: Target<'a>,
}

/// Memory for outputs: some columns of some rows.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) floats: &'a Parts<'a, f32>,
    /// Floats from a row to the next.
    pub(super) stride: usize,
    /// The input row and the output column that lie at its start.
    pub(super) row: usize,
    pub(super) column: usize,
    /// Whether it lies so far that its lines are to be asked for.
    pub(super) far: bool,
}

impl Target<'_> {
    /// Whether `rows` have their outputs `columns` here.
    fn holds(&self, rows: Range<usize>, columns: Range<usize>) -> bool {
        let inside = self.row <= rows.start && self.column <= columns.start;
        inside
            && columns.end - self.column <= self.stride
            && (rows.is_empty()
                || (rows.end - 1 - self.row) * self.stride + columns.end - self.column
                    <= self.floats.len())
    }
}

/// A [`Product`] on a thread whose tiles are configured for it.
pub(super) struct Configured<'a> {
    product: Product<'a>,
    _tiles: Tiles,
}

/// One pair of tiles by one group of rows by one block.
#[derive(Clone, Copy)]
struct Unit {
    /// Operands of the rows and of the tiles, of `chunks` times 64 columns.
    a: *const u8,
    b: [*const u8; 2],
    chunks: usize,
    /// Cache lines that are asked for.
    ahead: *const u8,
    lines: usize,
    floats: Floats,
}

/// What becomes of a unit's sums.
#[derive(Clone, Copy)]
struct Floats {
    /// Scales of the rows and of the tiles.
    row_scales: *const f32,
    scales: [*const u16; 2],
    /// `[height, 2, 16]`: the outputs so far, unless it is the first block.
    acc: *mut f32,
    kept: __mmask16,
    /// The first outputs of each tile, the lanes it has of them, and how many rows.
    out: [*mut f32; 2],
    lanes: [__mmask16; 2],
    rows: usize,
    bias: [*const f32; 2],
    last: bool,
    /// Whether the outputs are asked for.
    ask: bool,
}

impl<'a> Product<'a> {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// The machine has [`crate::IntIsa::AmxInt8`], and no two threads multiply the same groups by
    /// the same tiles of weight at the same time.
    pub(super) unsafe fn configure(self) -> Configured<'a> {
        // Sums 0 to 3, input rows 4 and 5, weights 6 and 7.
        let mut heights = [self.x.height(); 8];
        heights[6..].fill(TILE);
        // SAFETY: the caller's promise.
        let tiles = unsafe { Tiles::configure(heights) };
        Configured {
            product: self,
            _tiles: tiles,
        }
    }
}

impl Configured<'_> {
    /// The rows of `groups` by `tiles`, of which there are at most [`QUAD`]. Asks for `ahead` (start
    /// and bytes) on the way: what is read after them. `scratch` has [`FLOATS`].
    pub(super) fn multiply(
        &self,
        groups: Range<usize>,
        tiles: &[WeightTile<'_>],
        ahead: (*const u8, usize),
        scratch: &mut [f32],
    ) {
        let Product { x, bias, out } = self.product;
        assert!((1..=QUAD).contains(&tiles.len()), "{} tiles", tiles.len());
        assert!(groups.end <= x.groups(), "groups {groups:?}");
        assert_eq!(scratch.len(), FLOATS, "room for sums");
        for tile in tiles {
            let values = x.chunks() * CHUNK * TILE;
            assert_eq!(tile.values.len(), values, "values of a tile");
            assert!(tile.scales.len() >= x.blocks() * TILE, "scales of a tile");
            let rows =
                x.rows().min(groups.start * x.height())..x.rows().min(groups.end * x.height());
            let columns = tile.first..tile.first + tile.rows;
            let fits = tile.rows <= TILE && out.holds(rows, columns.clone());
            assert!(fits, "rows {}.. of a tile", tile.first);
            let fits = bias.is_none_or(|bias| columns.end <= bias.len());
            assert!(fits, "bias of outputs {columns:?}");
        }
        let start = scratch.as_mut_ptr();
        let units = Units {
            product: self.product,
            tiles,
            sums: [start, start.wrapping_add(SUMS)],
            acc: start.wrapping_add(2 * SUMS),
            pending: None,
        };
        // SAFETY: tiles are configured, so the machine has AMX int8 and AVX-512; these outputs are
        // this call's by the promise of `configure`.
        unsafe { units.run(groups, ahead) };
    }
}

/// A pass over the units of some tiles.
struct Units<'a> {
    product: Product<'a>,
    tiles: &'a [WeightTile<'a>],
    /// Outputs so far of the groups of a span.
    acc: *mut f32,
    /// The sums of the next unit, and of the pending one.
    sums: [*mut f32; 2],
    pending: Option<Floats>,
}

impl<'a> Units<'a> {
    /// # Safety
    /// The machine has AMX int8 and AVX-512, the tiles are configured for the product, and nobody
    /// else writes the outputs of these groups and tiles.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn run(mut self, groups: Range<usize>, ahead: (*const u8, usize)) {
        let x = self.product.x;
        let pairs = self.tiles.len().div_ceil(2);
        let units = x.blocks() * pairs * groups.len();
        let lines = ahead.1.div_ceil(CHUNK);
        let share = lines.div_ceil(units);
        let mut asked = 0;
        for start in groups.clone().step_by(SPAN) {
            let end = groups.end.min(start + SPAN);
            for block in 0..x.blocks() {
                for g in start..end {
                    for pair in 0..pairs {
                        let mut unit = self.unit(g, block, pair, g - start);
                        unit.ahead = ahead.0.wrapping_add(asked * CHUNK);
                        unit.lines = share.min(lines - asked);
                        asked += unit.lines;
                        // SAFETY: the caller's promise; the unit is of this product.
                        unsafe { self.step(unit) };
                    }
                }
            }
        }
        if let Some(floats) = self.pending {
            // SAFETY: as above.
            unsafe { self.fold(&floats, 0, x.height()) };
        }
    }

    /// The unit of a pair of tiles, the `place`-th group of a span and a block.
    #[inline(always)]
    fn unit(&self, group: usize, block: usize, pair: usize, place: usize) -> Unit {
        let Product { x, out, bias } = self.product;
        // The last tile may stand alone: then it is multiplied twice and written once.
        let count = (self.tiles.len() - 2 * pair).min(2);
        let tiles = [self.tiles[2 * pair], self.tiles[2 * pair + count - 1]];
        let acc = (place * QUAD / 2 + pair) * 2 * REGISTER;
        let row = group * x.height();
        let mut floats = Floats {
            row_scales: x.scales(group, block).as_ptr(),
            scales: tiles.map(|t| t.scales[block * TILE..(block + 1) * TILE].as_ptr()),
            acc: self.acc.wrapping_add(acc),
            kept: if block == 0 { 0 } else { 0xffff },
            out: [std::ptr::null_mut(); 2],
            lanes: [0; 2],
            rows: x.height().min(x.rows() - row),
            bias: [std::ptr::null(); 2],
            last: block + 1 == x.blocks(),
            ask: out.far && block == x.blocks().saturating_sub(2),
        };
        for t in 0..2 {
            let WeightTile { first, rows, .. } = tiles[t];
            let at = (row - out.row) * out.stride + first - out.column;
            floats.out[t] = out.floats.start().wrapping_add(at);
            if t < count {
                floats.lanes[t] = (0xffffu32 >> (TILE - rows)) as __mmask16;
            }
            if let Some(bias) = bias {
                floats.bias[t] = bias[first..first + rows].as_ptr();
            }
        }
        Unit {
            a: x.operands(group, block).as_ptr().cast(),
            b: tiles.map(|t| t.values[block * BLOCK * TILE..].as_ptr().cast()),
            chunks: STEPS.min(x.chunks() - block * STEPS),
            ahead: std::ptr::null(),
            lines: 0,
            floats,
        }
    }

    /// Multiplies a unit while the floats of the pending one run.
    ///
    /// # Safety
    /// As [`Units::run`]; the unit is of this product.
    #[inline(always)]
    unsafe fn step(&mut self, unit: Unit) {
        // SAFETY: the caller's promise; there are four sums, and four times 64 columns.
        unsafe {
            amx::zero::<0>();
            amx::zero::<1>();
            amx::zero::<2>();
            amx::zero::<3>();
            if unit.chunks == STEPS && self.product.x.height() == TILE {
                let lines = unit.lines.div_ceil(STEPS);
                // Written out: the compiler would leave it a loop, with numbers to look up.
                self.chunk(&unit, 0, lines, TILE, (0, 4));
                self.chunk(&unit, 1, lines, TILE, (4, 4));
                self.chunk(&unit, 2, lines, TILE, (8, 4));
                self.chunk(&unit, 3, lines, TILE, (12, 4));
            } else {
                let (height, chunks) = (self.product.x.height(), unit.chunks);
                let lines = unit.lines.div_ceil(chunks);
                for chunk in 0..chunks {
                    let (from, to) = (chunk * height / chunks, (chunk + 1) * height / chunks);
                    self.chunk(&unit, chunk, lines, height, (from, to - from));
                }
            }
            let sums = self.sums[0];
            amx::store::<0>(sums.cast());
            amx::store::<1>(sums.add(REGISTER).cast());
            amx::store::<2>(sums.add(2 * REGISTER).cast());
            amx::store::<3>(sums.add(3 * REGISTER).cast());
        }
        self.sums.swap(0, 1);
        self.pending = Some(unit.floats);
    }

    /// One of the unit's times 64 columns, and meanwhile `rows` (first, count) of the floats.
    ///
    /// # Safety
    /// As [`Units::step`]; the unit has that chunk and the groups that height.
    #[inline(always)]
    unsafe fn chunk(
        &self,
        unit: &Unit,
        chunk: usize,
        lines: usize,
        height: usize,
        rows: (usize, usize),
    ) {
        let plane = height * CHUNK;
        // SAFETY: the caller's promise.
        unsafe {
            let a = unit.a.add(chunk * 2 * plane);
            let b = unit.b.map(|b| b.add(chunk * CHUNK * TILE));
            amx::load::<4>(a);
            amx::load::<6>(b[0]);
            amx::dot_i8::<0, 4, 6>();
            amx::load::<7>(b[1]);
            amx::dot_i8::<1, 4, 7>();
            amx::load::<5>(a.add(plane));
            amx::dot_i8::<2, 5, 6>();
            amx::dot_i8::<3, 5, 7>();
            if unit.floats.ask {
                for n in rows.0..rows.0 + rows.1 {
                    for out in unit.floats.out {
                        amx::ask_to_write(out.wrapping_add(n * self.product.out.stride));
                    }
                }
            }
            for line in chunk * lines..(chunk + 1) * lines {
                amx::ask_far(unit.ahead.wrapping_add(line * CHUNK));
            }
            if let Some(floats) = &self.pending {
                self.fold(floats, rows.0, rows.1);
            }
        }
    }

    /// Adds `count` rows from `from` on of the pending unit's sums to its outputs.
    ///
    /// # Safety
    /// The machine has AVX-512; the floats are those of the pending unit, which has the rows.
    #[inline(always)]
    unsafe fn fold(&self, floats: &Floats, from: usize, count: usize) {
        let floats = *floats;
        // SAFETY: scales, sums and outputs have as many elements as the fields say.
        unsafe {
            let scales = floats
                .scales
                .map(|s| _mm512_cvtph_ps(_mm256_loadu_si256(s.cast())));
            if floats.last {
                for n in from..floats.rows.min(from + count) {
                    self.finish(&floats, self.folded(&floats, scales, n), n);
                }
            } else {
                for n in from..from + count {
                    let acc = self.folded(&floats, scales, n);
                    _mm512_storeu_ps(floats.acc.add(2 * n * TILE), acc[0]);
                    _mm512_storeu_ps(floats.acc.add((2 * n + 1) * TILE), acc[1]);
                }
            }
        }
    }

    /// Row `n` of the pending unit's outputs with its sums added.
    ///
    /// # Safety
    /// As [`Units::fold`].
    #[inline(always)]
    unsafe fn folded(&self, floats: &Floats, scales: [__m512; 2], n: usize) -> [__m512; 2] {
        let sums = self.sums[1];
        // SAFETY: the caller's promise.
        unsafe {
            let row_scale = _mm512_set1_ps(*floats.row_scales.add(n));
            let mut acc = [_mm512_setzero_ps(); 2];
            for t in 0..2 {
                let at = t * REGISTER + n * TILE;
                let hi = _mm512_loadu_si512(sums.add(at).cast());
                let lo = _mm512_loadu_si512(sums.add(2 * REGISTER + at).cast());
                let dot = _mm512_add_epi32(_mm512_slli_epi32::<7>(hi), lo);
                let before = _mm512_maskz_loadu_ps(floats.kept, floats.acc.add((2 * n + t) * TILE));
                let scale = _mm512_mul_ps(scales[t], row_scale);
                acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, before);
            }
            acc
        }
    }

    /// Writes the outputs of row `n` of a unit.
    ///
    /// # Safety
    /// The machine has AVX-512; nobody else writes them.
    #[inline(always)]
    unsafe fn finish(&self, floats: &Floats, acc: [__m512; 2], n: usize) {
        if n >= floats.rows {
            return;
        }
        for t in 0..2 {
            let out = floats.out[t].wrapping_add(n * self.product.out.stride);
            let lanes = floats.lanes[t];
            // SAFETY: the unit's rows and lanes are outputs, and its bias has as many lanes.
            unsafe {
                let mut acc = acc[t];
                if !floats.bias[t].is_null() {
                    acc = _mm512_add_ps(acc, _mm512_maskz_loadu_ps(lanes, floats.bias[t]));
                }
                _mm512_mask_storeu_ps(out, lanes, acc);
            }
        }
    }
}
