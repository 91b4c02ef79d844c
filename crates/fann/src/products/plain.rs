//! The products in plain Rust. They need no feature of a processor and define all others.

#[cfg(not(feature = "simd"))]
use super::{AdamStep, SgdStep, steps};
use super::{Onto, Shape};

/// Outputs that are summed side by side.
const LANES: usize = 16;

/// The plain loops for every size.
#[cfg(not(feature = "simd"))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Products;

#[cfg(not(feature = "simd"))]
impl Products {
    pub(crate) fn detect() -> Products {
        Products
    }

    pub(crate) fn affine(
        self,
        shape: Shape,
        weight: &[f32],
        bias: &[f32],
        x: &[f32],
        out: &mut [f32],
    ) {
        affine(shape, weight, bias, x, out);
    }

    pub(crate) fn transposed(self, shape: Shape, weight: &[f32], y: &[f32], out: &mut [f32]) {
        transposed(shape, weight, y, out);
    }

    pub(crate) fn outer(self, shape: Shape, x: &[f32], y: &[f32], sums: (Onto, &mut [f32])) {
        outer(shape, x, y, sums);
    }

    pub(crate) fn sgd(self, step: SgdStep, sums: &[f32], v: &mut [f32], w: &mut [f32]) {
        steps::sgd(step, sums, v, w);
    }

    pub(crate) fn adam(self, step: AdamStep, sums: &[f32], ms: [&mut [f32]; 2], w: &mut [f32]) {
        steps::adam(step, sums, ms, w);
    }

    /// Plain Rust has no word for it.
    pub(crate) fn ask_for(self, _: &[f32]) {}

    pub(crate) fn square_sum(self, x: &[f32]) -> f64 {
        steps::square_sum(x)
    }

    pub(crate) fn sums_int8(self, shape: Shape, weight: &[i8], x: &[i8], sums: &mut [i32]) {
        sums_int8(shape, weight, x, sums);
    }
}

/// `out[r] = bias + x[r] weight`, input after input.
pub(crate) fn affine(shape: Shape, weight: &[f32], bias: &[f32], x: &[f32], out: &mut [f32]) {
    // A division costs as much as a small layer.
    if x.len() == shape.inputs {
        return affine_row(shape, weight, bias, x, out);
    }
    let rows = x.chunks_exact(shape.inputs);
    for (x, out) in rows.zip(out.chunks_exact_mut(shape.outputs)) {
        affine_row(shape, weight, bias, x, out);
    }
}

/// [`affine`] of one row. Inlined, so that the compiler sees a shape that it knows.
#[inline(always)]
pub(crate) fn affine_row(shape: Shape, weight: &[f32], bias: &[f32], x: &[f32], out: &mut [f32]) {
    let o = blocks::<LANES>(shape, [weight, bias, x], out, 0);
    let o = blocks::<8>(shape, [weight, bias, x], out, o);
    let o = blocks::<4>(shape, [weight, bias, x], out, o);
    match shape.outputs - o {
        3 => blocks::<3>(shape, [weight, bias, x], out, o),
        2 => blocks::<2>(shape, [weight, bias, x], out, o),
        1 => blocks::<1>(shape, [weight, bias, x], out, o),
        _ => o,
    };
}

/// One row's outputs from `o` on, N side by side in registers while N are left; where it ended.
#[inline(always)]
fn blocks<const N: usize>(
    shape: Shape,
    [weight, bias, x]: [&[f32]; 3],
    out: &mut [f32],
    mut o: usize,
) -> usize {
    while o + N <= shape.outputs {
        let mut sums = [0.0; N];
        sums.copy_from_slice(&bias[o..o + N]);
        let mut at = o;
        for x in x {
            add_times(&mut sums, *x, &weight[at..at + N]);
            at += shape.outputs;
        }
        out[o..o + N].copy_from_slice(&sums);
        o += N;
    }
    o
}

/// `out[r] = y[r] weight^T`: 16 lanes along the outputs, then their sum along a tree.
pub(crate) fn transposed(shape: Shape, weight: &[f32], y: &[f32], out: &mut [f32]) {
    let rows = y.chunks_exact(shape.outputs);
    for (y, out) in rows.zip(out.chunks_exact_mut(shape.inputs)) {
        for (out, w) in out.iter_mut().zip(weight.chunks_exact(shape.outputs)) {
            *out = dot(w, y);
        }
    }
}

/// `sums = onto + x^T y`, row after row.
pub(crate) fn outer(shape: Shape, x: &[f32], y: &[f32], (onto, sums): (Onto, &mut [f32])) {
    if onto == Onto::Zeros {
        sums.fill(0.0);
    }
    let rows = x.chunks_exact(shape.inputs);
    for (x, y) in rows.zip(y.chunks_exact(shape.outputs)) {
        for (x, sums) in x.iter().zip(sums.chunks_exact_mut(shape.outputs)) {
            add_times(sums, *x, y);
        }
    }
}

/// `sums = x weight`, exactly: fewer than 2^17 inputs keep it below 2^31.
pub(crate) fn sums_int8(shape: Shape, weight: &[i8], x: &[i8], sums: &mut [i32]) {
    sums.fill(0);
    for (x, row) in x.iter().zip(weight.chunks_exact(shape.outputs)) {
        for (sum, w) in sums.iter_mut().zip(row) {
            *sum += i32::from(*x) * i32::from(*w);
        }
    }
}

#[inline(always)]
fn add_times(sums: &mut [f32], x: f32, y: &[f32]) {
    for (sum, y) in sums.iter_mut().zip(y) {
        *sum += x * y;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    halved(&mut lanes)
}

/// The sum of a power of two of lanes: the upper half is added to the lower until one is left.
pub(super) fn halved(lanes: &mut [f32]) -> f32 {
    let mut width = lanes.len() / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(a, b)| *a += *b);
        width /= 2;
    }
    lanes[0]
}
