//! bf16 products by `vdpbf16ps` of 512 bits.
//!
//! Layout: weight `[out, in]` row-major as stored, input rows see [`super::rows`].
//! Contract: a dot product has 16 lanes, each of which adds two columns of every 32 in order, the
//! last columns filled up with zeros; then the sum along the tree of [`crate::lanes`], then + bias.
//! Tasks and tiles are those of [`crate::linear`].
//! Measured: see [`crate::linear`].

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::rows::{Line, Rounded, Rows, STEP};
use crate::cpu::Cpu;
use crate::lanes::avx512::Avx512;
use crate::linear::{Shared, TILE_ROWS, cut, prefetch};

thread_local! {
    static KEPT: RefCell<Rounded> = const { RefCell::new(Rounded::new()) };
}

/// All input rows by all weight rows.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::Avx512Bf16`].
pub(super) unsafe fn product(cpu: &Cpu, weight: &[u16], shared: Shared<'_>) {
    let inputs = shared.inputs;
    // Taken out rather than borrowed: a nested call finds an empty one and allocates its own.
    let mut kept = KEPT.take();
    kept.fill(cpu, inputs, Rows::Plain);
    let (group, block) = cut(
        inputs.rows,
        inputs.columns,
        size_of::<u16>(),
        size_of::<u16>(),
    );
    let groups = shared.outputs.div_ceil(group);
    cpu.run(groups * inputs.rows.div_ceil(block), &|i| {
        let (first, start) = (i % groups * group, i / groups * block);
        let block = Block {
            weight,
            shared,
            x: &kept,
            range: first..shared.outputs.min(first + group),
            rows: start..inputs.rows.min(start + block),
        };
        // SAFETY: the caller's promise.
        unsafe { block.run() };
    });
    KEPT.set(kept);
}

/// The input rows `rows` against the weight rows of `range`.
struct Block<'a> {
    weight: &'a [u16],
    shared: Shared<'a>,
    x: &'a Rounded,
    range: Range<usize>,
    rows: Range<usize>,
}

impl Block<'_> {
    /// # Safety
    /// The machine has [`crate::Bf16Isa::Avx512Bf16`].
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn run(self) {
        // Tiles of even height: 7 rows are 4 + 3, not 6 + 1.
        let tiles = self.rows.len().div_ceil(TILE_ROWS).max(1);
        let height = self.rows.len().div_ceil(tiles);
        let mut r = self.rows.start;
        while r < self.rows.end {
            let n = height.min(self.rows.end - r);
            // SAFETY: the caller's promise.
            unsafe {
                match n {
                    1 => self.tiles::<4, 1>(r),
                    2 => self.tiles::<4, 2>(r),
                    3 => self.tiles::<4, 3>(r),
                    4 => self.tiles::<4, 4>(r),
                    5 => self.tiles::<4, 5>(r),
                    _ => self.tiles::<4, 6>(r),
                }
            }
            r += n;
        }
    }

    /// Input rows `r..r + N` against all weight rows of the range, M at a time.
    ///
    /// # Safety
    /// As [`Block::run`].
    #[inline(always)]
    unsafe fn tiles<const M: usize, const N: usize>(&self, r: usize) {
        let columns = self.shared.inputs.columns;
        // The first tile brings the weight rows in; for the others they are there.
        let ahead = if r == self.rows.start { M * columns } else { 0 };
        let mut x: [&[Line]; N] = [&[]; N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = self.x.row(r + n);
        }
        for o in self.range.clone().step_by(M) {
            let end = self.range.end.min(o + M);
            let mut w: [&[u16]; M] = [&[]; M];
            for (m, w) in w.iter_mut().enumerate() {
                // Beyond the end the last row is computed again, and not written.
                let row = self.shared.stored.stored((o + m).min(end - 1));
                *w = &self.weight[row * columns..(row + 1) * columns];
            }
            // SAFETY: the caller's promise.
            let sums = unsafe { dots::<M, N>(w, x, ahead) };
            self.shared.finish(&sums, o..end, r);
        }
    }
}

/// `[m][n]`: the lanes of `w[m]` times `x[n]`. Asks for the weights `ahead` elements further on.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::Avx512Bf16`].
#[inline(always)]
unsafe fn dots<const M: usize, const N: usize>(
    w: [&[u16]; M],
    x: [&[Line]; N],
    ahead: usize,
) -> [[Avx512; N]; M] {
    let columns = w[0].len();
    let steps = columns.div_ceil(STEP);
    assert!(w.iter().all(|w| w.len() == columns) && x.iter().all(|x| x.len() == steps));
    // SAFETY: a step before the last has 32 columns in all rows, and the last as many as the mask.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        let full = columns / STEP;
        for i in 0..full {
            let mut xs = [_mm512_setzero_si512(); N];
            for n in 0..N {
                xs[n] = _mm512_load_si512(x[n].as_ptr().add(i).cast());
            }
            for m in 0..M {
                let at = w[m].as_ptr().wrapping_add(i * STEP);
                prefetch(at.wrapping_add(ahead));
                let w = bf16(_mm512_loadu_si512(at.cast()));
                for n in 0..N {
                    sums[m][n] = _mm512_dpbf16_ps(sums[m][n], w, bf16(xs[n]));
                }
            }
        }
        if full < steps {
            let mask = (1 << (columns % STEP)) - 1;
            for m in 0..M {
                let at = w[m].as_ptr().add(full * STEP).cast();
                let w = bf16(_mm512_maskz_loadu_epi16(mask, at));
                for n in 0..N {
                    let x = _mm512_load_si512(x[n].as_ptr().add(full).cast());
                    sums[m][n] = _mm512_dpbf16_ps(sums[m][n], w, bf16(x));
                }
            }
        }
        sums.map(|sums| sums.map(Avx512))
    }
}

/// The same bits as bf16.
#[inline(always)]
fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, and all bits are valid in both.
    unsafe { std::mem::transmute(x) }
}
