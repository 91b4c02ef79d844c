//! The lanes in four NEON registers.
//!
//! Layout: lanes 4r..4r + 4 in register r. Contract: see [`super`]; `min` and `max` are compare and
//! select, since NEON's own propagate NaN.
//! Measured: not measured.

#![allow(
    unused_unsafe,
    reason = "most AArch64 targets have NEON on, and its intrinsics are safe there"
)]

use std::arch::aarch64::*;

use super::{Body, LANES, Lanes, PairBody};

/// Runs `body` with NEON on.
///
/// # Safety
/// The machine has NEON.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn run<B: Body>(body: B) -> B::Out {
    body.run::<Neon>()
}

/// Runs `B` likewise.
///
/// # Safety
/// The machine has NEON. `n` readable elements at `a` and at `b`.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn run_pair<B: PairBody>(
    a: *const B::Element,
    b: *const B::Element,
    n: usize,
) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Neon>(a, b, n) }
}

#[derive(Clone, Copy)]
pub(crate) struct Neon(pub(crate) [float32x4_t; 4]);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: a `Neon` exists only under `run`, whose caller checked the feature.
        unsafe { $e }
    };
}

/// The four registers of the result, `$r` being the number of the register.
macro_rules! each {
    ($r:ident => $e:expr) => {
        Neon([
            { const $r: usize = 0; ops!($e) },
            { const $r: usize = 1; ops!($e) },
            { const $r: usize = 2; ops!($e) },
            { const $r: usize = 3; ops!($e) },
        ])
    };
}

impl Lanes for Neon {
    const WIDE: bool = false;
    type Wide = [float64x2_t; 8];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Neon([ops!(vdupq_n_f32(x)); 4])
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // The caller promises 16 readable floats.
        each!(R => vld1q_f32(p.add(4 * R)))
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // The caller promises 16 readable values.
        each!(R => vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p.add(4 * R)))))
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // The caller promises 16 readable values.
        each!(R => vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p.add(4 * R)))))
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(p: *const u16) -> [Self; 2] {
        let [mut even, mut odd] = [Self::zero(); 2];
        for r in 0..4 {
            // SAFETY: the caller promises 32 readable values.
            let x = unsafe { vreinterpretq_u32_u16(vld1q_u16(p.add(8 * r))) };
            even.0[r] = ops!(vreinterpretq_f32_u32(vshlq_n_u32::<16>(x)));
            odd.0[r] = ops!(vreinterpretq_f32_u32(vandq_u32(x, vdupq_n_u32(!0xffff))));
        }
        [even, odd]
    }

    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        let x = unsafe { vld1q_s8(p) };
        let (low, high) = ops!((vmovl_s8(vget_low_s8(x)), vmovl_s8(vget_high_s8(x))));
        ops!(Neon([
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
            vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
            vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))),
        ]))
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 16 writable floats.
        unsafe {
            vst1q_f32(p, self.0[0]);
            vst1q_f32(p.add(4), self.0[1]);
            vst1q_f32(p.add(8), self.0[2]);
            vst1q_f32(p.add(12), self.0[3]);
        }
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        let mut out = [0u16; LANES];
        for (chunk, x) in out.chunks_exact_mut(4).zip(self.0) {
            // SAFETY: the chunk has 4 values.
            unsafe { vst1_u16(chunk.as_mut_ptr(), vreinterpret_u16_f16(vcvt_f16_f32(x))) };
        }
        out
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        each!(R => vaddq_f32(self.0[R], b.0[R]))
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        each!(R => vsubq_f32(self.0[R], b.0[R]))
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        each!(R => vmulq_f32(self.0[R], b.0[R]))
    }

    #[inline(always)]
    fn div(self, b: Self) -> Self {
        each!(R => vdivq_f32(self.0[R], b.0[R]))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        each!(R => vsqrtq_f32(self.0[R]))
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        each!(R => vfmaq_f32(c.0[R], self.0[R], b.0[R]))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        each!(R => vnegq_f32(self.0[R]))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        each!(R => vabsq_f32(self.0[R]))
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        each!(R => vbslq_f32(vcltq_f32(self.0[R], b.0[R]), self.0[R], b.0[R]))
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        each!(R => vbslq_f32(vcgtq_f32(self.0[R], b.0[R]), self.0[R], b.0[R]))
    }

    #[inline(always)]
    fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        each!(R => vbslq_f32(vcltq_f32(self.0[R], b.0[R]), yes.0[R], no.0[R]))
    }

    #[inline(always)]
    fn round(self) -> Self {
        each!(R => vrndnq_f32(self.0[R]))
    }

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        each!(R => scale2_4(self.0[R], n.0[R]))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        let x = ops!(vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d)));
        ops!({
            let pair = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(pair) + vget_lane_f32::<1>(pair)
        })
    }

    #[inline(always)]
    fn wide_zero() -> [float64x2_t; 8] {
        [ops!(vdupq_n_f64(0.0)); 8]
    }

    #[inline(always)]
    fn widen(self) -> [float64x2_t; 8] {
        let mut out = Self::wide_zero();
        for r in 0..4 {
            out[2 * r] = ops!(vcvt_f64_f32(vget_low_f32(self.0[r])));
            out[2 * r + 1] = ops!(vcvt_high_f64_f32(self.0[r]));
        }
        out
    }

    #[inline(always)]
    fn wide_add(mut a: [float64x2_t; 8], b: [float64x2_t; 8]) -> [float64x2_t; 8] {
        for r in 0..8 {
            a[r] = ops!(vaddq_f64(a[r], b[r]));
        }
        a
    }

    #[inline(always)]
    fn wide_sub(mut a: [float64x2_t; 8], b: [float64x2_t; 8]) -> [float64x2_t; 8] {
        for r in 0..8 {
            a[r] = ops!(vsubq_f64(a[r], b[r]));
        }
        a
    }

    #[inline(always)]
    fn wide_fma(
        a: [float64x2_t; 8],
        b: [float64x2_t; 8],
        mut c: [float64x2_t; 8],
    ) -> [float64x2_t; 8] {
        for r in 0..8 {
            c[r] = ops!(vfmaq_f64(c[r], a[r], b[r]));
        }
        c
    }

    #[inline(always)]
    fn wide_sum(x: [float64x2_t; 8]) -> f64 {
        ops!({
            let half = |r: usize| vaddq_f64(x[r], x[r + 4]);
            let pair = vaddq_f64(vaddq_f64(half(0), half(2)), vaddq_f64(half(1), half(3)));
            vgetq_lane_f64::<0>(pair) + vgetq_lane_f64::<1>(pair)
        })
    }

    #[inline(always)]
    fn max_lane(self) -> f32 {
        let mut x = self.to_array();
        let mut width = LANES / 2;
        while width > 0 {
            for l in 0..width {
                x[l] = if x[l] > x[l + width] {
                    x[l]
                } else {
                    x[l + width]
                };
            }
            width /= 2;
        }
        x[0]
    }
}

#[inline(always)]
fn scale2_4(x: float32x4_t, n: float32x4_t) -> float32x4_t {
    ops!({
        let n = vcvtnq_s32_f32(n);
        let low = vshrq_n_s32::<1>(n);
        let high = vsubq_s32(n, low);
        vmulq_f32(vmulq_f32(x, exponent(low)), exponent(high))
    })
}

#[inline(always)]
fn exponent(n: int32x4_t) -> float32x4_t {
    ops!(vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(
        n,
        vdupq_n_s32(127)
    ))))
}
