//! The lanes in plain Rust: what the other implementations must equal.
//!
//! Layout: an array. Contract: see [`super`]. Measured: not measured; right, not fast.

use super::{LANES, Lanes, exponent_halves};

#[derive(Clone, Copy)]
pub(crate) struct Scalar([f32; LANES]);

#[inline(always)]
fn zip(a: Scalar, b: Scalar, f: impl Fn(f32, f32) -> f32) -> Scalar {
    let mut out = a.0;
    for (o, b) in out.iter_mut().zip(b.0) {
        *o = f(*o, b);
    }
    Scalar(out)
}

#[inline(always)]
fn tree<T: Copy>(mut x: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            x[l] = f(x[l], x[l + width]);
        }
        width /= 2;
    }
    x[0]
}

impl Lanes for Scalar {
    const WIDE: bool = false;
    type Wide = [f64; LANES];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Scalar([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises 16 readable floats.
        Scalar(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller promises 16 readable values.
        let bits = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        Scalar(bits.map(|b| half::f16::from_bits(b).to_f32_const()))
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller promises 16 readable values.
        let bits = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        Scalar(bits.map(|b| f32::from_bits(u32::from(b) << 16)))
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(p: *const u16) -> [Self; 2] {
        // SAFETY: the caller promises 32 readable values.
        let bits = unsafe { p.cast::<[[u16; 2]; LANES]>().read_unaligned() };
        [0, 1].map(|half| Scalar(bits.map(|pair| f32::from_bits(u32::from(pair[half]) << 16))))
    }

    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        let values = unsafe { p.cast::<[i8; LANES]>().read_unaligned() };
        Scalar(values.map(f32::from))
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 16 writable floats.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        self.0.map(|x| half::f16::from_f32_const(x).to_bits())
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        zip(self, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        zip(self, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        zip(self, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, b: Self) -> Self {
        zip(self, b, |a, b| a / b)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Scalar(self.0.map(f32::sqrt))
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        let mut out = c.0;
        for ((o, a), b) in out.iter_mut().zip(self.0).zip(b.0) {
            *o = a.mul_add(b, *o);
        }
        Scalar(out)
    }

    #[inline(always)]
    fn neg(self) -> Self {
        Scalar(self.0.map(|x| -x))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Scalar(self.0.map(f32::abs))
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        zip(self, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        zip(self, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        let mut out = no.0;
        for l in 0..LANES {
            if self.0[l] < b.0[l] {
                out[l] = yes.0[l];
            }
        }
        Scalar(out)
    }

    #[inline(always)]
    fn round(self) -> Self {
        Scalar(self.0.map(f32::round_ties_even))
    }

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        zip(self, n, |x, n| {
            let (low, high) = exponent_halves(n as i32);
            x * low * high
        })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        tree(self.0, |a, b| a + b)
    }

    #[inline(always)]
    fn wide_zero() -> [f64; LANES] {
        [0.0; LANES]
    }

    #[inline(always)]
    fn widen(self) -> [f64; LANES] {
        self.0.map(f64::from)
    }

    #[inline(always)]
    fn wide_add(mut a: [f64; LANES], b: [f64; LANES]) -> [f64; LANES] {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    }

    #[inline(always)]
    fn wide_sub(mut a: [f64; LANES], b: [f64; LANES]) -> [f64; LANES] {
        a.iter_mut().zip(b).for_each(|(a, b)| *a -= b);
        a
    }

    #[inline(always)]
    fn wide_fma(a: [f64; LANES], b: [f64; LANES], mut c: [f64; LANES]) -> [f64; LANES] {
        for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
            *c = a.mul_add(b, *c);
        }
        c
    }

    #[inline(always)]
    fn wide_sum(x: [f64; LANES]) -> f64 {
        tree(x, |a, b| a + b)
    }

    #[inline(always)]
    fn max_lane(self) -> f32 {
        tree(self.0, |a, b| if a > b { a } else { b })
    }
}
