//! Dot products in plain Rust: what the others must equal.
//!
//! Layout, Contract: see [`super`]. Measured: not measured; right, not fast.

use super::{Dots, LOW};
use crate::lanes::{self, LANES, Lanes as _};

#[derive(Clone, Copy)]
pub(crate) struct Scalar([i32; LANES]);

impl Dots for Scalar {
    type Float = lanes::Scalar;
    type Weights = [i8; 64];
    type Inputs = [i32; 4];
    type Bytes = [i32; 4];
    const TILES: usize = 1;
    const ROWS: usize = 4;

    #[inline(always)]
    fn zero() -> Self {
        Scalar([0; LANES])
    }

    #[inline(always)]
    unsafe fn weights(p: *const i8) -> [i8; 64] {
        // SAFETY: the caller promises 64 readable bytes; bytes have no alignment.
        unsafe { p.cast::<[i8; 64]>().read() }
    }

    #[inline(always)]
    unsafe fn inputs(p: *const i8) -> [i32; 4] {
        // SAFETY: the caller promises 4 readable bytes here and 4 there.
        let (hi, lo) = unsafe {
            (
                p.cast::<[i8; 4]>().read(),
                p.add(LOW).cast::<[i8; 4]>().read(),
            )
        };
        [0, 1, 2, 3].map(|i| 128 * i32::from(hi[i]) + i32::from(lo[i]))
    }

    #[inline(always)]
    fn step(mut self, w: [i8; 64], x: [i32; 4]) -> Self {
        for l in 0..LANES {
            for i in 0..4 {
                self.0[l] += i32::from(w[4 * l + i]) * x[i];
            }
        }
        self
    }

    #[inline(always)]
    unsafe fn bytes(p: *const i8) -> [i32; 4] {
        // SAFETY: the caller promises 4 readable bytes.
        unsafe { p.cast::<[i8; 4]>().read() }.map(i32::from)
    }

    #[inline(always)]
    fn step_bytes(self, w: [i8; 64], x: [i32; 4]) -> Self {
        self.step(w, x)
    }

    #[inline(always)]
    fn total_bytes(self) -> lanes::Scalar {
        self.total(0)
    }

    #[inline(always)]
    fn merge(mut self, other: Self) -> Self {
        for l in 0..LANES {
            self.0[l] += other.0[l];
        }
        self
    }

    #[inline(always)]
    fn total(self, _: i32) -> lanes::Scalar {
        lanes::Scalar::from_array(self.0.map(|x| x as f32))
    }
}
