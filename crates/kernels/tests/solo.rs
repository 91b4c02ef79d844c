//! Laws of the layers of small networks: every instruction set gives the bits of plain loops, and
//! neither other rows nor the pieces of a batch show.

mod common;

use common::{bits, values};
use lattice_kernels::{CpuError, Isa, LayerShape, Solo};

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
        [0, 1, 2, 4, 5, 9].map(|rows| {
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
        let mut expected = case.weight.clone();
        for r in 0..rows {
            for i in 0..inputs {
                for o in 0..outputs {
                    expected[i * outputs + o] += case.x[r * inputs + i] * case.y[r * outputs + o];
                }
            }
        }
        for solo in solos() {
            for piece in [1, 3, 9] {
                let mut found = case.weight.clone();
                let pieces = case.x.chunks(piece * inputs);
                for (x, y) in pieces.zip(case.y.chunks(piece * outputs)) {
                    solo.outer(case.shape, x, y, &mut found);
                }
                assert_eq!(bits(&found), bits(&expected), "{solo:?} {:?}", case.shape);
            }
        }
    }
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
