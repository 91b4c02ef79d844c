//! Distances and products of one point with a panel of 16 others.
//!
//! Layout: a panel holds 16 points by coordinate: `[dimension, 16]`. Missing points are 0.
//! Contract: coordinates add in order, one lane a point, so a distance depends on its two points alone.
//! Measured: see the costs of optimal transport, which are made of it.

use super::{REAL_LANES, Real};
use crate::Cpu;
use crate::lanes::{Body, Lanes};

/// The sum over coordinates of (x - y)^2 for the points y of each panel. `x`: `[dimension]`, `panels`:
/// `[out.len() / 16, dimension, 16]`, `out`: a multiple of 16 long.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn squared_distance_panel<T: Real>(cpu: &Cpu, x: &[T], panels: &[T], out: &mut [T]) {
    check(x, panels, out);
    cpu.isa().run(Panel::<T, true> { x, panels, out });
}

/// As [`squared_distance_panel`], the sum of x y.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn dot_panel<T: Real>(cpu: &Cpu, x: &[T], panels: &[T], out: &mut [T]) {
    check(x, panels, out);
    cpu.isa().run(Panel::<T, false> { x, panels, out });
}

fn check<T>(x: &[T], panels: &[T], out: &[T]) {
    assert!(
        out.len().is_multiple_of(REAL_LANES),
        "panels have 16 points, not {}",
        out.len()
    );
    assert_eq!(Some(panels.len()), out.len().checked_mul(x.len()), "panels");
}

struct Panel<'a, T, const SQUARES: bool> {
    x: &'a [T],
    panels: &'a [T],
    out: &'a mut [T],
}

impl<T: Real, const SQUARES: bool> Body for Panel<'_, T, SQUARES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let panel = self.x.len() * REAL_LANES;
        let (outs, _) = self.out.as_chunks_mut::<REAL_LANES>();
        // Four panels at a time: a coordinate's sums do not wait for each other.
        let (fours, rest) = outs.as_chunks_mut::<4>();
        let left = fours.len() * 4 * panel;
        for (i, four) in fours.iter_mut().enumerate() {
            let panels = &self.panels[i * 4 * panel..][..4 * panel];
            *four = sums::<T, 4, SQUARES>(self.x, panels);
        }
        for (i, one) in rest.iter_mut().enumerate() {
            let panels = &self.panels[left + i * panel..][..panel];
            [*one] = sums::<T, 1, SQUARES>(self.x, panels);
        }
    }
}

#[inline(always)]
fn sums<T: Real, const N: usize, const SQUARES: bool>(
    x: &[T],
    panels: &[T],
) -> [[T; REAL_LANES]; N] {
    let mut sums = [[T::ZERO; REAL_LANES]; N];
    let (rows, _) = panels.as_chunks::<REAL_LANES>();
    let d = x.len();
    let panels: [&[[T; REAL_LANES]]; N] = std::array::from_fn(|p| &rows[p * d..][..d]);
    for (k, x) in x.iter().enumerate() {
        for p in 0..N {
            let y = &panels[p][k];
            for l in 0..REAL_LANES {
                sums[p][l] = if SQUARES {
                    let apart = *x - y[l];
                    apart.fma(apart, sums[p][l])
                } else {
                    x.fma(y[l], sums[p][l])
                };
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CpuOptions, Isa};

    #[test]
    fn panels_agree_with_the_definition_on_every_instruction_set() {
        let (d, points) = (5, 96);
        let x: Vec<f64> = (0..d).map(|k| k as f64 * 0.3 - 0.5).collect();
        let y = |j: usize, k: usize| ((j * 7 + k * 13) % 29) as f64 / 29.0;
        let mut panels = Vec::new();
        for panel in 0..points / REAL_LANES {
            for k in 0..d {
                panels.extend((0..REAL_LANES).map(|l| y(panel * REAL_LANES + l, k)));
            }
        }
        for isa in Isa::available() {
            let options = CpuOptions {
                isa: Some(isa),
                threads: 1,
                ..CpuOptions::default()
            };
            let cpu = Cpu::new(options).expect("it is available");
            let (mut squares, mut dots) = (vec![0.0; points], vec![0.0; points]);
            squared_distance_panel(&cpu, &x, &panels, &mut squares);
            dot_panel(&cpu, &x, &panels, &mut dots);
            for j in 0..points {
                let (mut square, mut dot) = (0.0, 0.0);
                for (k, x) in x.iter().enumerate() {
                    square = (x - y(j, k)).mul_add(x - y(j, k), square);
                    dot = x.mul_add(y(j, k), dot);
                }
                assert_eq!((squares[j], dots[j]), (square, dot), "{isa} {j}");
            }
        }
    }
}
