//! Rotary position embedding, "rotate half".
//!
//! Layout: rows `[heads, head_dim]`; inside the first `rotary_dim` values of a head, value i is paired
//! with i + rotary_dim / 2; the rest is copied.
//! Contract: with c, s of the row's position and pair, out\[i\] = fma(-x\[j\], s, x\[i\] * c) and
//! out\[j\] = fma(x\[i\], s, x\[j\] * c), where j = i + rotary_dim / 2. The tables are computed in
//! f64 by `libm`, so that they are the same on every machine.
//! Measured: not measured; bound by the caches.

use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;

/// Cosines and sines of every position: `[positions, pairs]` each.
#[derive(Debug, Clone)]
pub struct RopeTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    pairs: usize,
}

impl RopeTable {
    /// Tables for positions `0..positions` with the angle `position * inv_freq[pair]`; 8 bytes for
    /// each position and pair.
    pub fn new(inv_freq: &[f64], positions: usize) -> RopeTable {
        RopeTable::scaled(inv_freq, positions, 1.0)
    }

    /// As [`RopeTable::new`], cosine and sine multiplied by `factor` (the attention factor of
    /// scaled contexts).
    pub fn scaled(inv_freq: &[f64], positions: usize, factor: f64) -> RopeTable {
        let mut table = RopeTable {
            cos: Vec::new(),
            sin: Vec::new(),
            pairs: inv_freq.len(),
        };
        table.cos.reserve_exact(positions * inv_freq.len());
        table.sin.reserve_exact(positions * inv_freq.len());
        for position in 0..positions {
            for f in inv_freq {
                let (sin, cos) = libm::sincos(position as f64 * f);
                table.cos.push((cos * factor) as f32);
                table.sin.push((sin * factor) as f32);
            }
        }
        table
    }

    /// Positions the table holds.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.pairs).unwrap_or(usize::MAX)
    }

    /// Pairs per head: half of the rotary size.
    pub fn pairs(&self) -> usize {
        self.pairs
    }
}

/// The shape of a row to rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RopeShape {
    /// Heads in a row.
    pub heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// The first values of a head, which are rotated; even.
    pub rotary_dim: usize,
}

/// Rotates each row of `x` by its position. `x`, `out`: `[positions.len(), heads * head_dim]`.
///
/// # Panics
/// If a length does not fit, the table has other pairs, or a position is outside of it.
pub fn rope(
    cpu: &Cpu,
    shape: RopeShape,
    table: &RopeTable,
    positions: &[u32],
    x: &[f32],
    out: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    assert!(
        shape.rotary_dim <= shape.head_dim && shape.rotary_dim.is_multiple_of(2),
        "{shape:?}"
    );
    assert_eq!(table.pairs, shape.rotary_dim / 2, "pairs of the rope table");
    assert_eq!(x.len(), positions.len() * width, "rows to rotate");
    assert_eq!(x.len(), out.len(), "output of a rotation");
    let out = Parts::new(out);
    cpu.run_ranges(positions.len(), width, |rows| {
        for r in rows {
            let range = r * width..(r + 1) * width;
            let at = positions[r] as usize * table.pairs..(positions[r] as usize + 1) * table.pairs;
            // SAFETY: each row belongs to one range.
            let out = unsafe { out.part(range.clone()) };
            let (cos, sin) = (&table.cos[at.clone()], &table.sin[at]);
            cpu.isa().run(Rotate {
                head_dim: shape.head_dim,
                cos,
                sin,
                x: &x[range],
                out,
            });
        }
    });
}

struct Rotate<'a> {
    head_dim: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Body for Rotate<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let half = self.cos.len();
        let heads = self.x.chunks_exact(self.head_dim);
        for (x, out) in heads.zip(self.out.chunks_exact_mut(self.head_dim)) {
            let (low, rest) = x.split_at(half);
            let (high, rest) = rest.split_at(half);
            let (out_low, out_rest) = out.split_at_mut(half);
            let (out_high, out_rest) = out_rest.split_at_mut(half);
            for i in (0..half).step_by(LANES) {
                let (a, b) = (L::get(low, i), L::get(high, i));
                let (cos, sin) = (L::get(self.cos, i), L::get(self.sin, i));
                b.neg().fma(sin, a.mul(cos)).put(out_low, i);
                a.fma(sin, b.mul(cos)).put(out_high, i);
            }
            out_rest.copy_from_slice(rest);
        }
    }
}
