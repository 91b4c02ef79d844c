//! Laws of the way forward: close to f64, the same bits for any batch split, nothing allocated.

mod common;

use common::*;
use lattice_fann::{
    Activation, Error, Fixed, FixedLayer, Init, Int8Network, NetworkBuilder, Scratch,
};

#[test]
fn outputs_are_close_to_those_in_f64() {
    for (seed, activation) in ACTIVATIONS.into_iter().enumerate() {
        for widths in [[3, 5, 2], [70, 90, 33], [784, 128, 10]] {
            let layers = [(widths[1], activation), (widths[2], activation)];
            let mut builder = NetworkBuilder::new(widths[0]).seed(seed as u64);
            for (outputs, activation) in layers {
                builder = builder.layer(outputs, activation);
            }
            let mut network = builder.build().expect("a right shape");
            let x = values(seed as u64, widths[0]);
            let exact: Vec<f64> = network.parameters().iter().map(|w| f64::from(*w)).collect();
            let exact = exact::forward(&network, &exact, &x);
            let found = network.forward(&x).expect("a right row");
            for (found, exact) in found.iter().zip(exact) {
                let error = (f64::from(*found) - exact).abs();
                assert!(
                    error < 3e-6 * exact.abs().max(1.0),
                    "{activation}: {found} {exact}"
                );
            }
        }
    }
}

#[test]
fn a_row_is_the_same_in_every_batch() {
    let layers = [
        (100, Activation::Gelu),
        (40, Activation::Tanh),
        (7, Activation::Softmax),
    ];
    let mut network = network(50, &layers, 3);
    let x = values(4, 133 * 50);
    let mut alone = Vec::new();
    for row in x.chunks(50) {
        alone.extend_from_slice(network.forward(row).expect("a right row"));
    }
    for rows in [1, 2, 3, 4, 5, 15, 16, 17, 64, 133] {
        let mut found = vec![0.0; 133 * 7];
        for (x, out) in x.chunks(rows * 50).zip(found.chunks_mut(rows * 7)) {
            network.forward_batch(x, out).expect("right rows");
        }
        assert_eq!(bits(&found), bits(&alone), "{rows} rows at a time");
    }
}

#[test]
fn threads_share_a_network() {
    let mut network = network(50, &[(64, Activation::Relu), (3, Activation::Linear)], 3);
    let x = values(4, 40 * 50);
    let mut expected = vec![0.0; 40 * 3];
    network
        .forward_batch(&x, &mut expected)
        .expect("right rows");
    let mut found = vec![0.0; 40 * 3];
    std::thread::scope(|scope| {
        for (x, out) in x.chunks(13 * 50).zip(found.chunks_mut(13 * 3)) {
            let network = &network;
            scope.spawn(move || network.forward_with(&mut Scratch::new(network), x, out));
        }
    });
    assert_eq!(bits(&found), bits(&expected));
}

#[test]
fn forward_allocates_nothing() {
    let mut network = network(
        784,
        &[(128, Activation::Gelu), (10, Activation::Softmax)],
        1,
    );
    let mut int8 = Int8Network::from_network(&network).expect("finite");
    let fixed = FixedLayer::<2, 3>::new([[0.5; 3]; 2], [0.1; 3], Activation::Sigmoid);
    let (x, mut out) = (values(2, 40 * 784), vec![0.0; 400]);
    let counted = allocation_counter::measure(|| {
        network.forward(&x[..784]).expect("a right row");
        network.forward_batch(&x, &mut out).expect("right rows");
        int8.forward(&x[..784]).expect("a right row");
        int8.forward_batch(&x, &mut out).expect("right rows");
        std::hint::black_box(fixed.forward(&[1.0, 2.0]));
        network.forward(&x).expect_err("too many");
    });
    assert_eq!(counted.count_total, 0);
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8; 10])));
    assert_eq!(counted.count_total, 1, "the counter counts");
}

#[test]
fn fixed_networks_have_the_same_bits() {
    for activation in ACTIVATIONS {
        let mut network = network(4, &[(33, activation), (3, activation)], 9);
        let fixed = Fixed::<4, 33, 3>::from_network(&network).expect("the same shape");
        for x in values(1, 40).as_chunks::<4>().0 {
            let expected = network.forward(x).expect("a right row");
            assert_eq!(bits(&fixed.forward(x)), bits(expected), "{activation}");
        }
    }
    static STATIC: Fixed<1, 1, 1> = Fixed::new(
        FixedLayer::new([[2.0]], [1.0], Activation::Relu),
        FixedLayer::new([[3.0]], [0.5], Activation::Linear),
    );
    assert_eq!(STATIC.forward(&[2.0]), [15.5]);
    let three = network(4, &[(5, Activation::Tanh); 3], 1);
    let found = Fixed::<4, 5, 5>::from_network(&three);
    let expected = (0, 0);
    assert_eq!(
        found,
        Err(Error::FixedShape {
            layer: 2,
            expected,
            found: (5, 5)
        })
    );
    let found = FixedLayer::<5, 6>::from_network(&three, 1);
    let expected = (5, 6);
    assert_eq!(
        found,
        Err(Error::FixedShape {
            layer: 1,
            expected,
            found: (5, 5)
        })
    );
}

#[test]
fn int8_is_close_and_the_same_for_any_batch() {
    let layers = [
        (128, Activation::Relu),
        (64, Activation::Tanh),
        (10, Activation::Linear),
    ];
    let mut builder = NetworkBuilder::new(784);
    for (outputs, activation) in layers {
        builder = builder.layer(outputs, activation);
    }
    let mut network = builder.build().expect("a right shape");
    let mut int8 = Int8Network::from_network(&network).expect("finite");
    assert!(int8.parameter_bytes() * 3 < network.parameters().len() * 4);
    let x = values(3, 20 * 784);
    let (mut exact, mut found) = (vec![0.0; 200], vec![0.0; 200]);
    network.forward_batch(&x, &mut exact).expect("right rows");
    int8.forward_batch(&x, &mut found).expect("right rows");
    let power = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
    let error = power(&mut found.iter().zip(&exact).map(|(a, b)| a - b));
    let share = (error / power(&mut exact.iter().copied())).sqrt();
    assert!(share < 0.02, "{share} of the output is error");
    for (x, found) in x.chunks(784).zip(found.chunks(10)) {
        assert_eq!(bits(int8.forward(x).expect("a right row")), bits(found));
    }
    let mut row = x[..784].to_vec();
    row[9] = f32::NAN;
    let found = int8.forward(&row).expect("a right length");
    assert!(found.iter().all(|y| y.is_nan()));
}

#[test]
fn nan_goes_in_and_comes_out() {
    for activation in ACTIVATIONS {
        let mut network = network(3, &[(20, activation), (2, activation)], 1);
        let found = network
            .forward(&[0.0, f32::NAN, 1.0])
            .expect("a right length");
        assert!(found.iter().all(|y| y.is_nan()), "{activation}");
    }
}

#[test]
fn seeds_decide_first_weights_within_their_limits() {
    let build = |init, seed| {
        let builder = NetworkBuilder::new(24)
            .layer(72, Activation::Tanh)
            .layer(6, Activation::Relu);
        builder
            .init(init)
            .seed(seed)
            .build()
            .expect("a right shape")
    };
    assert_eq!(build(Init::Auto, 3), build(Init::Auto, 3));
    assert_ne!(build(Init::Auto, 3), build(Init::Auto, 4));
    let most = |init, layer: usize| {
        let network = build(init, 5);
        let weight = &network.parameters()[network.layers()[layer].weight_range()];
        weight.iter().fold(0.0f32, |most, w| most.max(w.abs()))
    };
    let near = |found: f32, limit: f32| found <= limit && found > 0.97 * limit;
    assert!(near(most(Init::Auto, 0), 0.25) && near(most(Init::Xavier, 0), 0.25));
    assert!(near(most(Init::He, 0), 0.5) && near(most(Init::Uniform(0.1), 1), 0.1));
    assert!(near(most(Init::Auto, 1), (6.0f32 / 72.0).sqrt()));
    assert_eq!(most(Init::Zeros, 1), 0.0);
    // The very numbers: they are the same on every machine.
    let network = build(Init::Uniform(1.0), 1);
    assert_eq!(network.parameters()[..3], FIRST_OF_SEED_1);
}

const FIRST_OF_SEED_1: [f32; 3] = [0.133_123_04, 0.491_563_44, 0.942_005_4];

#[test]
fn wrong_shapes_are_refused() {
    let build = |inputs, layers: &[usize]| {
        let mut builder = NetworkBuilder::new(inputs);
        for &outputs in layers {
            builder = builder.layer(outputs, Activation::Linear);
        }
        builder.build().map(drop)
    };
    assert_eq!(build(3, &[]), Err(Error::NoLayers));
    assert_eq!(build(0, &[1]), Err(Error::ZeroWidth { layer: 0 }));
    assert_eq!(build(1, &[2, 0, 3]), Err(Error::ZeroWidth { layer: 2 }));
    for (inputs, layers) in [
        (usize::MAX, &[usize::MAX][..]),
        (1 << 20, &[1 << 20]),
        (1, &[1; 257]),
    ] {
        assert!(matches!(build(inputs, layers), Err(Error::TooMany { .. })));
    }
    let slope = NetworkBuilder::new(1).layer(1, Activation::LeakyRelu(f32::NAN));
    assert!(matches!(
        slope.build(),
        Err(Error::NotFinite { index: 0, .. })
    ));
    for limit in [f32::NAN, -1.0, f32::INFINITY] {
        let builder = NetworkBuilder::new(1).layer(1, Activation::Tanh);
        let found = builder.init(Init::Uniform(limit)).build();
        assert!(matches!(found, Err(Error::Setting { name: "init", .. })));
    }
    let builder = NetworkBuilder::new(1).layer(1, Activation::Tanh);
    let found = builder.build_with(&[1.0, f32::INFINITY]);
    assert!(matches!(found, Err(Error::NotFinite { index: 1, .. })));
    assert!(matches!(
        builder.build_with(&[1.0]),
        Err(Error::Length { .. })
    ));
}

#[test]
fn wrong_lengths_are_refused() {
    let mut small = network(3, &[(2, Activation::Tanh)], 1);
    assert!(matches!(
        small.forward(&[1.0; 4]),
        Err(Error::Length {
            expected: 3,
            found: 4,
            ..
        })
    ));
    let found = small.forward_batch(&[1.0; 4], &mut [0.0; 2]);
    assert!(matches!(
        found,
        Err(Error::Rows {
            width: 3,
            found: 4,
            ..
        })
    ));
    let found = small.forward_batch(&[1.0; 6], &mut [0.0; 3]);
    assert!(matches!(
        found,
        Err(Error::Length {
            expected: 4,
            found: 3,
            ..
        })
    ));
    small.forward_batch(&[], &mut []).expect("no rows are rows");
    let wide = network(3, &[(200, Activation::Tanh)], 1);
    let found = wide.forward_with(&mut Scratch::new(&small), &[1.0; 3], &mut [0.0; 200]);
    assert!(matches!(found, Err(Error::OtherNetwork { .. })));
    let before = small.clone();
    assert!(small.set_parameters(&[0.0; 7]).is_err());
    assert!(small.set_parameters(&[f32::NAN; 8]).is_err());
    assert_eq!(small, before);
}
