//! Every method of every vector type against plain Rust.

use super::*;
use crate::Isa;

/// Strange and ordinary numbers, in 16 pairs.
const A: [f32; LANES] = [
    0.0,
    -0.0,
    1.5,
    -2.25,
    f32::NAN,
    3.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    1e-40,
    -1e-40,
    f32::MAX,
    2.5,
    -0.5,
    0.5,
    1e20,
    65_504.0,
];
const B: [f32; LANES] = [
    -0.0,
    0.0,
    2.5,
    -2.25,
    1.0,
    f32::NAN,
    f32::INFINITY,
    1.0,
    1e-41,
    1e-40,
    f32::MAX,
    -7.0,
    3.0,
    -0.25,
    1e20,
    0.1,
];

/// All methods on the two inputs, as bits with one NaN.
struct Everything;

impl Body for Everything {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Vec<u32> {
        let (a, b) = (L::from_array(A), L::from_array(B));
        let c = L::splat(0.7);
        // Numbers near 1 and the exponents that `scale2` promises.
        let near_one = L::from_array(std::array::from_fn(|l| 0.7 + l as f32 / 16.0));
        let n = L::from_array([
            -150.0, -149.0, -127.0, -126.0, -125.0, -75.0, -1.0, 0.0, 1.0, 2.0, 64.0, 126.0, 127.0,
            128.0, 129.0, 130.0,
        ]);
        let vectors = [
            a.add(b),
            a.sub(b),
            a.mul(b),
            a.div(b),
            a.sqrt(),
            b.sqrt(),
            a.fma(b, c),
            b.fma(c, a),
            a.neg(),
            a.min(b),
            b.min(a),
            a.max(b),
            b.max(a),
            a.select_lt(b, c, a),
            a.round(),
            near_one.scale2(n),
            L::from_array([f32::NAN; LANES]).scale2(n),
        ];
        let mut out: Vec<f32> = vectors.iter().flat_map(|v| v.to_array()).collect();
        out.extend([
            near_one.sum(),
            near_one.max_lane(),
            n.sum(),
            n.max_lane(),
            b.max_lane(),
        ]);
        out.extend(L::sum4([near_one, n, c, near_one.neg()]));
        for x in [[n; 2], [near_one, n.neg()], [a, n]] {
            out.push(L::largest(x));
        }
        for x in [[a, b], [b, near_one]] {
            out.extend(L::to_bf16(x).map(|bits| f32::from_bits(u32::from(bits) << 16)));
        }
        let halves = n.mul(L::splat(0.5)).max(L::splat(-63.0));
        let (bytes, sum) = L::to_bytes([
            n.mul(c).mul(c),
            halves,
            halves.neg(),
            c,
            c,
            near_one,
            c,
            halves,
        ]);
        out.extend(bytes.map(f32::from));
        out.push(sum as f32);
        let bytes: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        for bytes in bytes.chunks_exact(LANES) {
            // SAFETY: a chunk has 16 bytes.
            out.extend(unsafe { L::load_i8(bytes.as_ptr()) }.to_array());
        }
        let x: Vec<f32> = (0..40).map(|i| i as f32 * 0.37).collect();
        for n in 0..40 {
            let mut copy = [0.0; 40];
            L::get(&x[..n], n / 2).put(&mut copy[..n], n / 3);
            out.extend(copy);
        }
        let bits = |x: f32| {
            if x.is_nan() {
                f32::NAN.to_bits()
            } else {
                x.to_bits()
            }
        };
        out.into_iter().map(bits).collect()
    }
}

#[test]
fn every_method_agrees_with_plain_rust() {
    let expected = Isa::Scalar.run(Everything);
    for isa in Isa::available() {
        let found = isa.run(Everything);
        for (i, (e, f)) in expected.iter().zip(&found).enumerate() {
            let (vector, lane) = (i / LANES, i % LANES);
            let (e, f) = (f32::from_bits(*e), f32::from_bits(*f));
            assert!(
                e.to_bits() == f.to_bits(),
                "{isa}: {e} {f}, vector {vector} lane {lane}"
            );
        }
    }
}

#[test]
fn min_and_max_prefer_the_second_where_one_is_nan() {
    let one = Scalar::splat(1.0);
    let nan = Scalar::splat(f32::NAN);
    assert_eq!(nan.max(one).to_array()[0], 1.0);
    assert!(one.max(nan).to_array()[0].is_nan());
    assert_eq!(nan.min(one).to_array()[0], 1.0);
    assert!(one.min(nan).to_array()[0].is_nan());
}

#[test]
fn the_sum_is_the_tree() {
    let x: [f32; LANES] = std::array::from_fn(|l| 1.0 / (l as f32 + 1.0).powi(3) * 1e3);
    let eight: Vec<f32> = (0..8).map(|l| x[l] + x[l + 8]).collect();
    let four: Vec<f32> = (0..4).map(|l| eight[l] + eight[l + 4]).collect();
    let expected = (four[0] + four[2]) + (four[1] + four[3]);
    assert_eq!(Scalar::from_array(x).sum(), expected);
}
