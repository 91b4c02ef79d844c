//! Layers worth a call by the kernels' vectors, small ones by plain loops: the same bits.

use lattice_kernels::{LayerShape, Solo};

use super::{AdamStep, Onto, SgdStep, Shape, plain};

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

    pub(crate) fn outer(
        self,
        shape: Shape,
        x: &[f32],
        y: &[f32],
        (onto, sums): (Onto, &mut [f32]),
    ) {
        if sums.len() < FEW {
            return plain::outer(shape, x, y, (onto, sums));
        }
        let onto = match onto {
            Onto::Zeros => lattice_kernels::Onto::Zeros,
            Onto::Held => lattice_kernels::Onto::Held,
        };
        self.0.outer(layer(shape), x, y, (onto, sums));
    }

    pub(crate) fn sgd(self, step: SgdStep, sums: &[f32], v: &mut [f32], w: &mut [f32]) {
        let step = lattice_kernels::SgdStep {
            scale: step.scale,
            rate: step.rate,
            momentum: step.momentum,
            nesterov: step.nesterov,
            decay: step.decay,
        };
        self.0.sgd(step, sums, v, w);
    }

    pub(crate) fn adam(self, step: AdamStep, sums: &[f32], ms: [&mut [f32]; 2], w: &mut [f32]) {
        let step = lattice_kernels::AdamStep {
            scale: step.scale,
            beta1: step.beta1,
            beta2: step.beta2,
            epsilon: step.epsilon,
            keep: step.keep,
            step: step.step,
            root: step.root,
        };
        self.0.adam(step, sums, ms, w);
    }

    /// Asks for memory that will be read soon.
    pub(crate) fn ask_for(self, x: &[f32]) {
        lattice_kernels::ask_for(x);
    }

    pub(crate) fn square_sum(self, x: &[f32]) -> f64 {
        self.0.square_sum(x)
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
    use crate::products::steps;
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
            for onto in [Onto::Held, Onto::Zeros] {
                products.outer(shape, &x, &y, (onto, &mut two[0]));
                plain::outer(shape, &x, &y, (onto, &mut two[1]));
                assert_eq!(two[0], two[1]);
            }
            let bytes: Vec<i8> = two[0].iter().map(|w| (w * 60.0) as i8).collect();
            let mut two = [alloc::vec![1; outputs], alloc::vec![2; outputs]];
            products.sums_int8(shape, &bytes, &bytes[..inputs], &mut two[0]);
            plain::sums_int8(shape, &bytes, &bytes[..inputs], &mut two[1]);
            assert_eq!(two[0], two[1]);
        }
    }

    #[test]
    fn steps_by_vectors_and_plain_loops_give_the_same_bits() {
        let products = Products::detect();
        for n in [1, 15, 64, 1000, 5003] {
            let mut random = Random::new(n as u64);
            let mut values = || -> Vec<f32> { (0..n).map(|_| random.within(2.0)).collect() };
            let (sums, w, m) = (values(), values(), values());
            let s: Vec<f32> = values().iter().map(|x| x * x).collect();
            assert_eq!(products.square_sum(&sums), steps::square_sum(&sums));
            for (moves, nesterov) in [(false, false), (true, false), (true, true)] {
                let step = SgdStep {
                    scale: 0.3,
                    rate: 0.1,
                    momentum: 0.9,
                    nesterov,
                    decay: 0.01,
                };
                let v = if moves { m.clone() } else { Vec::new() };
                let mut two = [(w.clone(), v.clone()), (w.clone(), v)];
                products.sgd(step, &sums, &mut two[0].1, &mut two[0].0);
                steps::sgd(step, &sums, &mut two[1].1, &mut two[1].0);
                assert_eq!(two[0], two[1]);
            }
            let step = AdamStep {
                scale: 0.3,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                keep: 0.99,
                step: 0.01,
                root: 1.3,
            };
            let mut two = [[w.clone(), m.clone(), s.clone()], [w, m, s]];
            let [[w, m, s], [plain_w, plain_m, plain_s]] = &mut two;
            products.adam(step, &sums, [m, s], w);
            steps::adam(step, &sums, [plain_m, plain_s], plain_w);
            assert_eq!(two[0], two[1]);
        }
    }
}
