//! Laws of the layers of small networks: every instruction set gives the bits of plain loops, and
//! neither other rows nor the pieces of a batch show.

mod common;

use common::{bits, values};
use lattice_kernels::{AdamStep, CpuError, Isa, LayerShape, Onto, SgdStep, Solo};

const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (3, 5),
    (7, 16),
    (33, 17),
    (5, 63),
    (64, 10),
    (20, 100),
    (9, 128),
    (4, 259),
];

fn solos() -> Vec<Solo> {
    let isas = Isa::available().into_iter();
    isas.map(|isa| Solo::new(isa).expect("it is available"))
        .collect()
}

struct Case {
    shape: LayerShape,
    weight: Vec<f32>,
    bias: Vec<f32>,
    x: Vec<f32>,
    y: Vec<f32>,
}

fn cases() -> impl Iterator<Item = (Case, usize)> {
    SHAPES.into_iter().flat_map(|(inputs, outputs)| {
        [0, 1, 2, 4, 5, 9, 21].map(|rows| {
            let case = Case {
                shape: LayerShape { inputs, outputs },
                weight: values(1, inputs * outputs),
                bias: values(2, outputs),
                x: values(3, rows * inputs),
                y: values(4, rows * outputs),
            };
            (case, rows)
        })
    })
}

#[test]
fn affine_is_the_plain_loop() {
    for (case, rows) in cases() {
        let LayerShape { inputs, outputs } = case.shape;
        let mut expected = vec![0.0; rows * outputs];
        for (at, sum) in expected.iter_mut().enumerate() {
            let (r, o) = (at / outputs, at % outputs);
            *sum = (0..inputs).fold(case.bias[o], |sum, i| {
                sum + case.x[r * inputs + i] * case.weight[i * outputs + o]
            });
        }
        for solo in solos() {
            let mut found = vec![f32::NAN; rows * outputs];
            solo.affine(case.shape, &case.weight, &case.bias, &case.x, &mut found);
            assert_eq!(bits(&found), bits(&expected), "{solo:?} {:?}", case.shape);
        }
    }
}

#[test]
fn transposed_is_the_plain_loop() {
    for (case, rows) in cases() {
        let LayerShape { inputs, outputs } = case.shape;
        let mut expected = vec![0.0; rows * inputs];
        for (at, sum) in expected.iter_mut().enumerate() {
            let (r, i) = (at / inputs, at % inputs);
            let mut lanes = [0.0f32; 16];
            for o in 0..outputs {
                lanes[o % 16] += case.y[r * outputs + o] * case.weight[i * outputs + o];
            }
            for width in [8, 4, 2, 1] {
                for l in 0..width {
                    lanes[l] += lanes[l + width];
                }
            }
            *sum = lanes[0];
        }
        for solo in solos() {
            let mut found = vec![f32::NAN; rows * inputs];
            solo.transposed(case.shape, &case.weight, &case.y, &mut found);
            assert_eq!(bits(&found), bits(&expected), "{solo:?} {:?}", case.shape);
        }
    }
}

#[test]
fn outer_is_the_plain_loop_and_pieces_do_not_show() {
    for (case, rows) in cases() {
        let LayerShape { inputs, outputs } = case.shape;
        let zeros = vec![0.0; inputs * outputs];
        for (first, start) in [(Onto::Held, &case.weight), (Onto::Zeros, &zeros)] {
            let mut expected = start.clone();
            for r in 0..rows {
                for i in 0..inputs {
                    for o in 0..outputs {
                        expected[i * outputs + o] +=
                            case.x[r * inputs + i] * case.y[r * outputs + o];
                    }
                }
            }
            for (solo, piece) in solos().into_iter().zip([1, 3, 9].into_iter().cycle()) {
                let mut found = case.weight.clone();
                let mut onto = first;
                solo.outer(case.shape, &[], &[], (onto, &mut found));
                let pieces = case.x.chunks(piece * inputs);
                for (x, y) in pieces.zip(case.y.chunks(piece * outputs)) {
                    solo.outer(case.shape, x, y, (onto, &mut found));
                    onto = Onto::Held;
                }
                assert_eq!(bits(&found), bits(&expected), "{solo:?} {:?}", case.shape);
            }
        }
    }
}

/// Lengths of whole vectors, parts, and more than a block of squares.
const LENGTHS: [usize; 6] = [0, 1, 16, 37, 1024, 2500];

#[test]
fn steps_of_descent_are_the_plain_loop() {
    for n in LENGTHS {
        let (sums, velocity, before) = (values(1, n), values(2, n), values(3, n));
        for (moves, nesterov) in [(false, false), (true, false), (true, true)] {
            let step = SgdStep {
                scale: 0.03,
                rate: 0.2,
                momentum: 0.9,
                nesterov,
                decay: 0.01,
            };
            let (mut w, mut v) = (before.clone(), velocity.clone());
            for i in 0..n {
                let g = sums[i] * step.scale + step.decay * w[i];
                v[i] = step.momentum * v[i] + g;
                let ahead = if nesterov {
                    g + step.momentum * v[i]
                } else {
                    v[i]
                };
                w[i] -= step.rate * if moves { ahead } else { g };
            }
            for solo in solos() {
                let mut found = before.clone();
                let mut kept = if moves { velocity.clone() } else { Vec::new() };
                solo.sgd(step, &sums, &mut kept, &mut found);
                assert_eq!(bits(&found), bits(&w), "{solo:?} {n}");
                assert!(!moves || bits(&kept) == bits(&v), "{solo:?} {n}");
            }
        }
    }
}

#[test]
fn steps_of_adam_are_the_plain_loop() {
    let step = AdamStep {
        scale: 0.03,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        keep: 0.999,
        step: 0.01,
        root: 1.5,
    };
    for n in LENGTHS {
        let (sums, before, mean) = (values(1, n), values(2, n), values(3, n));
        let square: Vec<f32> = values(4, n).iter().map(|x| x * x).collect();
        let (mut w, mut m, mut s) = (before.clone(), mean.clone(), square.clone());
        for i in 0..n {
            let g = sums[i] * step.scale;
            m[i] += (1.0 - step.beta1) * (g - m[i]);
            s[i] = step.beta2 * s[i] + (1.0 - step.beta2) * g * g;
            let below = s[i].sqrt() * step.root + step.epsilon;
            w[i] = step.keep * w[i] - step.step * m[i] / below;
        }
        for solo in solos() {
            let mut found = [before.clone(), mean.clone(), square.clone()];
            let [parameters, mean, square] = &mut found;
            solo.adam(step, &sums, [mean, square], parameters);
            assert_eq!(bits(&found.concat()), bits(&[&w[..], &m, &s].concat()));
        }
    }
}

#[test]
fn squares_are_added_in_blocks_of_64_lanes() {
    for n in LENGTHS {
        let x = values(1, n);
        let blocks = x.chunks(1024).map(|block| {
            let mut lanes = [0.0f32; 64];
            for (i, x) in block.iter().enumerate() {
                lanes[i % 64] += x * x;
            }
            for width in [32, 16, 8, 4, 2, 1] {
                for l in 0..width {
                    lanes[l] += lanes[l + width];
                }
            }
            f64::from(lanes[0])
        });
        let expected = blocks.fold(0.0, |sum, block| sum + block);
        for solo in solos() {
            assert_eq!(solo.square_sum(&x), expected, "{solo:?} {n}");
        }
    }
}

#[test]
#[should_panic(expected = "3 gradients")]
fn a_step_by_fewer_gradients_panics() {
    let step = SgdStep {
        scale: 1.0,
        rate: 1.0,
        momentum: 0.0,
        nesterov: false,
        decay: 0.0,
    };
    Solo::detect().sgd(step, &[0.0; 3], &mut [], &mut [0.0; 4]);
}

#[test]
fn sums_of_bytes_are_exact() {
    for (inputs, outputs) in SHAPES.into_iter().chain([(3000, 33), (1024, 130)]) {
        let shape = LayerShape { inputs, outputs };
        let byte = |i: usize| ((i * 7919 % 509) as i32 - 254).clamp(-128, 127) as i8;
        let weight: Vec<i8> = (0..inputs * outputs).map(byte).collect();
        for x in [
            vec![-128i8; inputs],
            (0..inputs).map(|i| byte(i + 5)).collect(),
        ] {
            let column = |o: usize| -> i32 {
                let weight = weight.iter().skip(o).step_by(outputs);
                let products = weight.zip(&x).map(|(w, x)| i32::from(*w) * i32::from(*x));
                products.sum()
            };
            let expected: Vec<i32> = (0..outputs).map(column).collect();
            for solo in solos() {
                let mut found = vec![1; outputs];
                solo.sums_int8(shape, &weight, &x, &mut found);
                assert_eq!(found, expected, "{solo:?} {shape:?}");
            }
        }
    }
}

#[test]
fn a_missing_instruction_set_is_refused() {
    let missing = Isa::ALL.into_iter().find(|isa| !isa.is_available());
    let error = Solo::new(missing.expect("no machine is of two architectures"));
    assert!(matches!(error, Err(CpuError::IsaMissing { .. })));
}

#[test]
#[should_panic(expected = "2 rows of 3 outputs")]
fn a_wrong_length_panics() {
    let shape = LayerShape {
        inputs: 2,
        outputs: 3,
    };
    Solo::detect().affine(shape, &[0.0; 6], &[0.0; 3], &[0.0; 4], &mut [0.0; 5]);
}
