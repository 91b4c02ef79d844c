//! Laws of operations that give integers: they are those of the rows the plain operations write.

mod common;

use common::packed::*;
use common::*;
use lattice_kernels::*;
use proptest::prelude::*;

/// Every processor, and every set for integers.
fn all_cpus() -> Vec<Cpu> {
    cpus().into_iter().chain(int_cpus()).collect()
}

/// The integers' values of some rows, and their products with a weight.
fn outcome(cpu: &Cpu, weight: &Owned, x: &Activations) -> Vec<u32> {
    let mut out = vec![0.0; x.rows() * weight.shape.rows()];
    linear_packed_quantised(cpu, weight.view(), None, x, &mut out);
    bits(&[x.values(), out].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_norm_or_a_gate_rounded_on_the_way_is_one_rounded_after(
        columns in 1usize..600, tokens in 0usize..40, seed: u64,
    ) {
        let (x, up, gain) = (values(seed, tokens * columns), values(seed ^ 1, tokens * columns), values(seed ^ 2, columns));
        let weight = Owned::random(PackedScheme::Q8, seed, 20, columns);
        for cpu in all_cpus() {
            let (mut plain, mut fused) = (Activations::new(), Activations::new());
            let mut rows = vec![0.0; x.len()];
            rms_norm(&cpu, &x, &gain, 1e-6, &mut rows);
            quantise_rows(&cpu, &rows, columns, &mut plain);
            quantise_norm(&cpu, &x, &gain, 1e-6, &mut fused);
            prop_assert!(outcome(&cpu, &weight, &fused) == outcome(&cpu, &weight, &plain), "norm on {cpu:?}");
            glu(&cpu, Activation::Silu, &x, columns, &up, columns, &mut rows);
            quantise_rows(&cpu, &rows, columns, &mut plain);
            quantise_glu(&cpu, Activation::Silu, &x, &up, columns, &mut fused);
            prop_assert!(outcome(&cpu, &weight, &fused) == outcome(&cpu, &weight, &plain), "gate on {cpu:?}");
        }
    }

    #[test]
    fn a_gate_with_its_products_is_the_three_of_them(
        scheme in proptest::sample::select(&PackedScheme::OWN[..]),
        tiles in 1usize..40, columns in proptest::sample::select(&[64usize, 100, 256, 576, 1024][..]),
        tokens in 1usize..150, odd: bool, seed: u64,
    ) {
        let inner = 16 * tiles;
        let gate = Owned::random(scheme, seed, inner, columns);
        let up = Owned::random(scheme, seed ^ 1, inner, columns);
        let down = Owned::random(scheme, seed ^ 2, 20, inner);
        let mut x = values(seed ^ 3, tokens * columns);
        if odd {
            x[tokens / 2 * columns] = f32::NAN;
        }
        for cpu in int_cpus() {
            if !fuses_gate(&cpu, gate.view(), up.view(), tokens) {
                continue;
            }
            let (mut integers, mut plain, mut fused) = (Activations::new(), Activations::new(), Activations::new());
            quantise_rows(&cpu, &x, columns, &mut integers);
            let rows = [&gate, &up].map(|weight| weight.linear(&cpu, None, &x));
            quantise_glu(&cpu, Activation::Silu, &rows[0], &rows[1], inner, &mut plain);
            gate_packed(&cpu, Activation::Silu, gate.view(), up.view(), &integers, &mut fused);
            prop_assert!(outcome(&cpu, &down, &fused) == outcome(&cpu, &down, &plain), "{cpu:?}");
        }
    }
}

#[test]
fn gates_run_with_their_products_where_there_are_tiles() {
    let (gate, short) = (
        Owned::random(PackedScheme::Q8, 1, 32, 64),
        Owned::random(PackedScheme::Q8, 2, 24, 64),
    );
    for cpu in int_cpus() {
        let tiles = cpu.int_isa() == IntIsa::AmxInt8;
        assert_eq!(fuses_gate(&cpu, gate.view(), gate.view(), 64), tiles);
        assert!(!fuses_gate(&cpu, gate.view(), gate.view(), 1));
        assert!(!fuses_gate(&cpu, gate.view(), short.view(), 64));
        assert!(!fuses_gate(&cpu, short.view(), short.view(), 64));
    }
}
