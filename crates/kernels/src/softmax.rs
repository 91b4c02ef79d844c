//! Softmax of one row.
//!
//! Layout: flat. Contract: m = the largest element; e = exp(x - m) by `math`; s = the sum of e over 16 lanes in
//! column order, missing elements counting 0, then the tree; y = e / s.
//! Measured: not measured; a row is an expert choice or a vocabulary.

use crate::cpu::Cpu;
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

struct Softmax<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

/// Elements from `i` on, the missing ones of the last vector being minus infinity.
#[inline(always)]
fn get_or_least<L: Lanes>(x: &[f32], i: usize) -> L {
    if x.len() - i >= LANES {
        return L::get(x, i);
    }
    let mut lanes = [f32::NEG_INFINITY; LANES];
    lanes[..x.len() - i].copy_from_slice(&x[i..]);
    L::from_array(lanes)
}

impl Body for Softmax<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let len = self.x.len();
        let mut most = L::splat(f32::NEG_INFINITY);
        for i in (0..len).step_by(LANES) {
            most = get_or_least::<L>(self.x, i).max(most);
        }
        let most = L::splat(most.max_lane());
        let mut sum = L::zero();
        for i in (0..len).step_by(LANES) {
            let e = math::exp(get_or_least::<L>(self.x, i).sub(most));
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
    use crate::{CpuOptions, Isa};

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
