//! Layers worth a call by the kernels' vectors, small ones by plain loops: the same bits.

use lattice_kernels::{LayerShape, Solo};

use super::{Shape, plain};

/// Weights below which a call costs more than it saves.
const FEW: usize = 256;

/// Vectors of this machine, chosen once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Products(Solo);

impl Products {
    pub(crate) fn detect() -> Products {
        Products(Solo::detect())
    }

    #[inline(always)]
    pub(crate) fn affine(
        self,
        shape: Shape,
        weight: &[f32],
        bias: &[f32],
        x: &[f32],
        out: &mut [f32],
    ) {
        if weight.len() < FEW {
            return plain::affine(shape, weight, bias, x, out);
        }
        self.0.affine(layer(shape), weight, bias, x, out);
    }

    pub(crate) fn transposed(self, shape: Shape, weight: &[f32], y: &[f32], out: &mut [f32]) {
        if weight.len() < FEW {
            return plain::transposed(shape, weight, y, out);
        }
        self.0.transposed(layer(shape), weight, y, out);
    }

    pub(crate) fn outer(self, shape: Shape, x: &[f32], y: &[f32], sums: &mut [f32]) {
        if sums.len() < FEW {
            return plain::outer(shape, x, y, sums);
        }
        self.0.outer(layer(shape), x, y, sums);
    }

    pub(crate) fn sums_int8(self, shape: Shape, weight: &[i8], x: &[i8], sums: &mut [i32]) {
        if weight.len() < FEW {
            return plain::sums_int8(shape, weight, x, sums);
        }
        self.0.sums_int8(layer(shape), weight, x, sums);
    }
}

fn layer(shape: Shape) -> LayerShape {
    LayerShape {
        inputs: shape.inputs,
        outputs: shape.outputs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::vec::Vec;

    #[test]
    fn vectors_and_plain_loops_give_the_same_bits() {
        let mut random = Random::new(1);
        let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.within(2.0)).collect() };
        let products = Products::detect();
        for (inputs, outputs, rows) in [(3, 5, 2), (40, 33, 7), (784, 128, 5), (64, 10, 6)] {
            let shape = Shape { inputs, outputs };
            let (weight, bias) = (values(inputs * outputs), values(outputs));
            let (x, y) = (values(rows * inputs), values(rows * outputs));
            let mut two = [alloc::vec![0.0; y.len()], alloc::vec![0.0; y.len()]];
            products.affine(shape, &weight, &bias, &x, &mut two[0]);
            plain::affine(shape, &weight, &bias, &x, &mut two[1]);
            assert_eq!(two[0], two[1]);
            let mut two = [alloc::vec![0.0; x.len()], alloc::vec![0.0; x.len()]];
            products.transposed(shape, &weight, &y, &mut two[0]);
            plain::transposed(shape, &weight, &y, &mut two[1]);
            assert_eq!(two[0], two[1]);
            let mut two = [weight.clone(), weight];
            products.outer(shape, &x, &y, &mut two[0]);
            plain::outer(shape, &x, &y, &mut two[1]);
            assert_eq!(two[0], two[1]);
            let bytes: Vec<i8> = two[0].iter().map(|w| (w * 60.0) as i8).collect();
            let mut two = [alloc::vec![1; outputs], alloc::vec![2; outputs]];
            products.sums_int8(shape, &bytes, &bytes[..inputs], &mut two[0]);
            plain::sums_int8(shape, &bytes, &bytes[..inputs], &mut two[1]);
            assert_eq!(two[0], two[1]);
        }
    }
}
