//! Softmax of one row, and the exponentials that a softmax is made of.
//!
//! Layout: flat. Contract: m = the largest element; e = exp(x - m) by `math`; s = the sum of e over 16 lanes in
//! column order, missing elements counting 0, then the tree; y = e / s.
//! [`exp_shifted`] gives exp((x - most) / divisor) and adds nothing up.
//! Measured: softmax not; a row is an expert choice. `exp_shifted` is most of a plain draw over
//! 248,320 values, which takes 0.11 ms (AMD EPYC, Zen 5, AVX-512, one thread beside other work).

use std::sync::LazyLock;

use crate::cpu::Cpu;
use crate::isa::Isa;
use crate::lanes::{Body, LANES, Lanes};
use crate::math;

/// `out = exp(x - max(x)) / sum(exp(x - max(x)))`.
///
/// # Panics
/// If the lengths differ.
pub fn softmax(cpu: &Cpu, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "output of a softmax");
    cpu.isa().run(Softmax { x, out });
}

/// `x = exp((x - most) / divisor)`, element by element. The same bits on every machine, for any cut of
/// `x`; it runs on the calling thread.
pub fn exp_shifted(x: &mut [f32], most: f32, divisor: f32) {
    // Asking the processor allocates; it answers the same every time.
    static FASTEST: LazyLock<Isa> = LazyLock::new(Isa::detect);
    FASTEST.run(ExpShifted { x, most, divisor });
}

struct ExpShifted<'a> {
    x: &'a mut [f32],
    most: f32,
    divisor: f32,
}

impl Body for ExpShifted<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (most, divisor) = (L::splat(self.most), L::splat(self.divisor));
        for i in (0..self.x.len()).step_by(LANES) {
            let x = L::get(self.x, i).sub(most).div(divisor);
            math::exp(x).put(self.x, i);
        }
    }
}

struct Softmax<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Body for Softmax<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let len = self.x.len();
        let mut most = L::splat(f32::NEG_INFINITY);
        for i in (0..len).step_by(LANES) {
            most = L::get_or(self.x, i, f32::NEG_INFINITY).max(most);
        }
        let most = L::splat(most.max_lane());
        let mut sum = L::zero();
        for i in (0..len).step_by(LANES) {
            let e = math::exp(L::get_or(self.x, i, f32::NEG_INFINITY).sub(most));
            sum = sum.add(e);
            e.put(self.out, i);
        }
        let sum = L::splat(sum.sum());
        for i in (0..len).step_by(LANES) {
            L::get(self.out, i).div(sum).put(self.out, i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuOptions;

    #[test]
    fn shifted_exponentials_are_close_however_they_are_cut() {
        let x: Vec<f32> = (0..100)
            .map(|i| ((i * 37 % 23) as f32) * 0.5 - 8.0)
            .collect();
        let mut whole = x.clone();
        exp_shifted(&mut whole, 3.0, 0.7);
        for (x, found) in x.iter().zip(&whole) {
            let exact = ((f64::from(*x) - 3.0) / f64::from(0.7f32)).exp();
            assert!((f64::from(*found) / exact - 1.0).abs() < 4e-6, "{x}");
        }
        for len in [1, 15, 16, 33] {
            let mut parts = x.clone();
            parts
                .chunks_mut(len)
                .for_each(|part| exp_shifted(part, 3.0, 0.7));
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn rows_sum_to_one_and_agree_on_every_instruction_set() {
        for len in [1, 2, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..len)
                .map(|i| ((i * 37 % 23) as f32) * 0.5 - 8.0)
                .collect();
            let rows: Vec<Vec<f32>> = Isa::available()
                .into_iter()
                .map(|isa| {
                    let options = CpuOptions {
                        isa: Some(isa),
                        threads: 1,
                        ..CpuOptions::default()
                    };
                    let cpu = Cpu::new(options).expect("it is available");
                    let mut out = vec![0.0; len];
                    softmax(&cpu, &x, &mut out);
                    out
                })
                .collect();
            let max = x.iter().copied().fold(f32::MIN, f32::max);
            let exact: Vec<f64> = x.iter().map(|x| f64::from(x - max).exp()).collect();
            let sum: f64 = exact.iter().sum();
            for (found, exact) in rows[0].iter().zip(&exact) {
                assert!((f64::from(*found) - exact / sum).abs() < 1e-6, "{found}");
            }
            assert!(rows.iter().all(|row| row == &rows[0]), "length {len}");
        }
    }
}
