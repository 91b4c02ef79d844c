//! Sixteen f32 lanes: the one vector type that every body is written against.
//!
//! Layout: lane l of a vector holds element l of 16 consecutive ones; missing elements are 0.
//! Contract: every method is defined per lane by IEEE 754 binary32 with round-to-nearest-even and
//! without flushing, so that all implementations give the same bits. NaN stays NaN; its payload is
//! not part of the contract. Horizontal `sum` and `max_lane` use one fixed tree: lane l with l + 8,
//! then l + 4, l + 2, l + 1.
//! Measured: see the operations; a vector type alone has no rate.
//!
//! [`Body`] is an operation over any such type and [`crate::Isa::run`] the only place that picks one.
//! The methods are safe to call because a type like `Avx512` is never named anywhere else: its
//! values exist only inside a function that was compiled for, and dispatched on, its features.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod scalar;

pub(crate) use scalar::Scalar;

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// An operation written once for every vector type. `run` must be `#[inline(always)]`, as must all
/// it calls with vectors, so that it is compiled inside the function that has the features on.
pub(crate) trait Body {
    type Out;
    fn run<L: Lanes>(self) -> Self::Out;
}

/// As [`Body`], on two vectors of one length. Its arguments travel in registers: through memory they
/// would cost a fifth of a dot product of 384 elements.
pub(crate) trait PairBody {
    type Element;
    type Out;

    /// # Safety
    /// `n` readable elements at `a` and at `b`.
    unsafe fn run<L: Lanes>(
        a: *const Self::Element,
        b: *const Self::Element,
        n: usize,
    ) -> Self::Out;
}

/// Sixteen f32 lanes.
pub(crate) trait Lanes: Copy {
    /// Whether a vector is one register of many: tiles may be large.
    const WIDE: bool;
    /// Sixteen f64 lanes.
    type Wide: Copy;

    fn splat(x: f32) -> Self;

    /// # Safety
    /// 16 readable floats at `p`; no alignment asked.
    unsafe fn load(p: *const f32) -> Self;

    /// Lanes from `n` on are 0.
    /// # Safety
    /// `n` readable floats at `p`, n < 16.
    unsafe fn load_partial(p: *const f32, n: usize) -> Self {
        let mut lanes = [0.0; LANES];
        // SAFETY: the caller's promise; `lanes` has 16.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n.min(LANES));
            Self::load(lanes.as_ptr())
        }
    }

    /// # Safety
    /// 16 readable f16 bit patterns at `p`.
    unsafe fn load_f16(p: *const u16) -> Self;

    /// # Safety
    /// 16 readable bf16 bit patterns at `p`.
    unsafe fn load_bf16(p: *const u16) -> Self;

    /// The elements of even and those of odd index.
    /// # Safety
    /// 32 readable bf16 bit patterns at `p`.
    unsafe fn load_bf16_pairs(p: *const u16) -> [Self; 2];

    /// # Safety
    /// 16 readable bytes at `p`.
    unsafe fn load_i8(p: *const i8) -> Self;

    /// # Safety
    /// 16 writable floats at `p`.
    unsafe fn store(self, p: *mut f32);

    /// Writes the first `n` lanes.
    /// # Safety
    /// `n` writable floats at `p`, n < 16.
    unsafe fn store_partial(self, p: *mut f32, n: usize) {
        let lanes = self.to_array();
        // SAFETY: the caller's promise; `lanes` has 16.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n.min(LANES)) };
    }

    /// The lanes rounded to f16, to nearest even.
    fn to_f16(self) -> [u16; LANES];

    /// The lanes of two vectors rounded to bf16, to nearest even; NaN stays NaN.
    #[inline(always)]
    fn to_bf16(x: [Self; 2]) -> [u16; 2 * LANES] {
        let mut out = [0; 2 * LANES];
        for i in 0..2 {
            let lanes = x[i].to_array();
            for l in 0..LANES {
                out[i * LANES + l] = crate::bf16::bf16_from_f32(lanes[l]);
            }
        }
        out
    }

    /// The lanes as bytes, each rounded to the nearest integer, ties to even, and the sum of these; none may
    /// round to more than 127 or less than -127.
    #[inline(always)]
    fn to_bytes(x: [Self; 8]) -> ([i8; 8 * LANES], i32) {
        let (mut out, mut sum) = ([0; 8 * LANES], 0);
        for i in 0..8 {
            let lanes = x[i].round().to_array();
            for l in 0..LANES {
                out[i * LANES + l] = lanes[l] as i8;
                sum += lanes[l] as i32;
            }
        }
        (out, sum)
    }

    /// The largest |x| of all lanes: infinite or NaN where one of them is.
    #[inline(always)]
    fn largest<const N: usize>(x: [Self; N]) -> f32 {
        // As integers, NaN is above infinity and that above all numbers.
        let mut most = [0u32; LANES];
        for x in x {
            let lanes = x.abs().to_array();
            for l in 0..LANES {
                most[l] = most[l].max(lanes[l].to_bits());
            }
        }
        let mut all = 0;
        for l in 0..LANES {
            all = all.max(most[l]);
        }
        f32::from_bits(all)
    }

    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// The square root, rounded once.
    fn sqrt(self) -> Self;
    /// self * b + c, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// Flips the sign bit.
    fn neg(self) -> Self;
    /// Clears the sign bit.
    fn abs(self) -> Self;
    /// `if self < b { self } else { b }`: b where either is NaN.
    fn min(self, b: Self) -> Self;
    /// `if self > b { self } else { b }`: b where either is NaN.
    fn max(self, b: Self) -> Self;
    /// `if self < b { yes } else { no }`: no where either is NaN.
    fn select_lt(self, b: Self, yes: Self, no: Self) -> Self;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// self * 2^n, rounded once, for self in 0.5..=2 and integral n in -150..=130; NaN where self is
    /// NaN.
    fn scale2(self, n: Self) -> Self;

    /// The lanes added along the fixed tree.
    fn sum(self) -> f32;
    /// The lanes' [`Lanes::max`] along the fixed tree.
    fn max_lane(self) -> f32;

    /// Sixteen zeros.
    fn wide_zero() -> Self::Wide;
    /// The lanes in f64, exactly.
    fn widen(self) -> Self::Wide;
    fn wide_add(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn wide_sub(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// a * b + c, rounded once.
    fn wide_fma(a: Self::Wide, b: Self::Wide, c: Self::Wide) -> Self::Wide;
    /// The lanes added along the fixed tree, in f64.
    fn wide_sum(x: Self::Wide) -> f64;

    /// [`Lanes::sum`] of four vectors.
    #[inline(always)]
    fn sum4(x: [Self; 4]) -> [f32; 4] {
        [x[0].sum(), x[1].sum(), x[2].sum(), x[3].sum()]
    }

    /// Lane j of vector i becomes lane i of vector j; any bits are kept.
    #[inline(always)]
    fn transposed(x: [Self; LANES]) -> [Self; LANES] {
        let x = x.map(Self::to_array);
        let mut out = [[0.0; LANES]; LANES];
        for (i, row) in x.into_iter().enumerate() {
            for (j, x) in row.into_iter().enumerate() {
                out[j][i] = x;
            }
        }
        out.map(Self::from_array)
    }

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    #[inline(always)]
    fn from_array(lanes: [f32; LANES]) -> Self {
        // SAFETY: an array of 16.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: an array of 16.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    /// Elements `i..i + 16` of `x`, 0 beyond its end.
    #[inline(always)]
    fn get(x: &[f32], i: usize) -> Self {
        let left = x.len().saturating_sub(i);
        if left >= LANES {
            // SAFETY: 16 elements from i on.
            unsafe { Self::load(x.as_ptr().add(i)) }
        } else if left > 0 {
            // SAFETY: `left` elements from i on.
            unsafe { Self::load_partial(x.as_ptr().add(i), left) }
        } else {
            Self::zero()
        }
    }

    /// Elements `i..i + 16` of `x`, `fill` beyond its end; `i` is inside of it.
    #[inline(always)]
    fn get_or(x: &[f32], i: usize, fill: f32) -> Self {
        if x.len() - i >= LANES {
            return Self::get(x, i);
        }
        let mut lanes = [fill; LANES];
        lanes[..x.len() - i].copy_from_slice(&x[i..]);
        Self::from_array(lanes)
    }

    /// Writes elements `i..i + 16` of `x`, as far as it reaches.
    #[inline(always)]
    fn put(self, x: &mut [f32], i: usize) {
        let left = x.len().saturating_sub(i);
        if left >= LANES {
            // SAFETY: 16 elements from i on.
            unsafe { self.store(x.as_mut_ptr().add(i)) };
        } else if left > 0 {
            // SAFETY: `left` elements from i on.
            unsafe { self.store_partial(x.as_mut_ptr().add(i), left) };
        }
    }
}

/// 2^n for the two halves of `n` as factors: each is a normal number for n in -150..=130.
#[inline(always)]
pub(crate) fn exponent_halves(n: i32) -> (f32, f32) {
    let low = n >> 1;
    let high = n.wrapping_sub(low);
    (exponent_bits(low), exponent_bits(high))
}

#[inline(always)]
fn exponent_bits(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests;
