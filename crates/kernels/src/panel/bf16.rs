//! Products of rows of bf16 with panels of bf16, by `vdpbf16ps`.
//!
//! Layout: see [`super`]. Contract: a chain of the instruction over the pairs of columns in order,
//! starting at 0; what fills columns up adds zeros. Measured: see [`super::product`].

use std::arch::x86_64::*;

use super::float::AHEAD;
use super::product::{Multiply, Task};
use super::rows::PanelRows;
use super::{CHUNK, LINE, Line, VECTORS};
use crate::lanes::LANES;
use crate::lanes::avx512::Avx512;
use crate::linear::prefetch;

/// Rows of bf16.
#[derive(Clone, Copy)]
struct Pairs<'a> {
    x: &'a PanelRows,
}

/// Runs `task` over the rows `x`, with room for sums.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::Avx512Bf16`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn run(task: &Task<'_>, x: &PanelRows, room: &mut [f32]) {
    task.run(Pairs { x }, room);
}

impl Multiply for Pairs<'_> {
    type Float = Avx512;
    const WIDE: bool = true;

    #[inline(always)]
    fn sums<const V: usize, const N: usize>(
        &self,
        panel: &[Line],
        vector: usize,
        r: usize,
    ) -> [[Avx512; V]; N] {
        let pairs = self.x.chunks() * CHUNK / 2;
        assert!(panel.len() == pairs * VECTORS && vector + V <= VECTORS);
        assert!(r + N <= self.x.rows());
        let x: [*const i32; N] = std::array::from_fn(|n| self.x.row(r + n).cast());
        let panel = panel.as_ptr().wrapping_add(vector).cast();
        // SAFETY: the machine has the instructions, as `run`'s caller promised; a pair has four lines
        // in the panel, and each row has all pairs, as asserted.
        unsafe { chain::<V, N, 1>(panel, VECTORS * LANES, x, pairs) }
    }
}

/// V vectors of outputs of N rows: `w` has V vectors of pairs for each of `pairs` pairs of columns,
/// `stride` pairs apart, and a row's pairs are `S` apart. Asks for what lies ahead of them.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::Avx512Bf16`]; as many readable pairs at `w`, and `pairs` at
/// each of `x`.
#[inline(always)]
pub(crate) unsafe fn chain<const V: usize, const N: usize, const S: usize>(
    w: *const i32,
    stride: usize,
    x: [*const i32; N],
    pairs: usize,
) -> [[Avx512; V]; N] {
    let mut at = w;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[Avx512(_mm512_setzero_ps()); V]; N];
        for i in 0..pairs {
            let mut w = [_mm512_setzero_si512(); V];
            for v in 0..V {
                prefetch(at.cast::<u8>().wrapping_add(AHEAD + v * LINE));
                w[v] = _mm512_loadu_si512(at.add(v * LANES).cast());
            }
            for n in 0..N {
                let x = bf16(_mm512_set1_epi32(*x[n].add(i * S)));
                for v in 0..V {
                    sums[n][v].0 = _mm512_dpbf16_ps(sums[n][v].0, bf16(w[v]), x);
                }
            }
            at = at.wrapping_add(stride);
        }
        sums
    }
}

/// The same bits as bf16.
#[inline(always)]
fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, and all bits are valid in both.
    unsafe { std::mem::transmute(x) }
}
