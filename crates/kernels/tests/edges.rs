//! Law: what is not a number stays visible, and what does not fit is refused before anything is
//! written.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::*;
use lattice_kernels::*;

#[test]
fn nan_and_infinity_reach_the_output() {
    for cpu in cpus() {
        for rows in [1, 9] {
            let weight = Weight::new(Kind::Bf16, 1, 20, 40);
            let mut x = values(2, rows * 40);
            x[(rows - 1) * 40 + 33] = f32::NAN;
            let mut out = vec![0.0; rows * 20];
            linear(&cpu, weight.dense(), None, &x, &mut out);
            assert!(out[(rows - 1) * 20..].iter().all(|x| x.is_nan()));
            assert!(out[..(rows - 1) * 20].iter().all(|x| x.is_finite()));
        }
        let mut out = [0.0; 3];
        act(
            &cpu,
            Activation::Silu,
            &[f32::NAN, f32::INFINITY, -1e20],
            &mut out,
        );
        assert!(out[0].is_nan() && out[1] == f32::INFINITY && out[2] == 0.0);
    }
}

#[test]
fn attention_shows_nan_of_seen_keys_and_hides_unseen_ones() {
    // `Memory` is full of NaN where nothing was stored: unseen slots of the same page must not leak.
    let shape = AttendShape {
        heads: 2,
        kv_heads: 1,
        head_dim: 20,
        scale: 1.0,
        sees: Sees::Past,
    };
    let span = [KvSpan {
        rows: 0..70,
        first_position: 0,
        page_table: &[0, 1],
    }];
    for cpu in cpus() {
        for kv in KVS {
            for bad in [f32::NAN, f32::INFINITY] {
                let (mut k, v, q) = (values(3, 70 * 20), values(4, 70 * 20), values(5, 70 * 40));
                k[50 * 20 + 7] = bad;
                let mut memory = Memory::new(shape, 2, kv);
                memory.store(&cpu, &span, &k, &v);
                let out = memory.attend(&cpu, &span, &q);
                assert!(out[..50 * 40].iter().all(|x| x.is_finite()), "{cpu:?}");
                if bad.is_nan() || kv == Kv::Int8 {
                    assert!(out[50 * 40..].iter().all(|x| x.is_nan()), "{cpu:?} {kv:?}");
                }
            }
        }
    }
}

#[test]
fn extreme_scores_do_not_overflow() {
    let shape = AttendShape {
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        scale: 1.0,
        sees: Sees::Past,
    };
    let span = [KvSpan {
        rows: 0..3,
        first_position: 0,
        page_table: &[0],
    }];
    let cpu = fast(1);
    let mut memory = Memory::new(shape, 1, Kv::F32);
    memory.store(&cpu, &span, &[-3e4, 0.0, 3e4], &[1.0, 2.0, 3.0]);
    let out = memory.attend(&cpu, &span, &[1e4, 1e4, 1e4]);
    assert_eq!(out, [1.0, 2.0, 3.0], "the largest score takes all");
}

#[test]
fn non_finite_counts_and_finds_the_first() {
    let cpu = fast(3);
    let n = 3_000_000;
    let mut x = vec![1.0f32; n];
    let dense = |x: &[f32]| non_finite(&cpu, Dense::new(DenseData::F32(x), 3, 1_000_000));
    assert_eq!(dense(&x), None);
    for i in [2_999_999, 1_500_000, 2_000_001] {
        x[i] = if i % 2 == 0 {
            f32::NAN
        } else {
            f32::NEG_INFINITY
        };
    }
    assert_eq!(
        dense(&x),
        Some(NonFinite {
            count: 3,
            first: 1_500_000
        })
    );
    for kind in [
        DenseData::F16(&[0x3c00, 0x7c00, 0xfe00, 0x7bff]),
        DenseData::Bf16(&[0x7f00, 0x7f80, 0xffc0, 0]),
    ] {
        let found = non_finite(&cpu, Dense::new(kind, 2, 2));
        assert_eq!(found, Some(NonFinite { count: 2, first: 1 }));
    }
}

fn refuses(what: &str, call: impl FnOnce()) {
    let refused = catch_unwind(AssertUnwindSafe(call));
    assert!(refused.is_err(), "{what} was accepted");
}

#[test]
fn wrong_shapes_are_refused() {
    let cpu = fast(2);
    let weight = Weight::new(Kind::F16, 1, 4, 6);
    let (x, mut out) = (values(1, 12), vec![0.0; 8]);
    refuses("a matrix too short", || {
        let _ = Dense::new(DenseData::F32(&x), 4, 4);
    });
    refuses("half a row", || {
        linear(&cpu, weight.dense(), None, &x[..7], &mut [0.0; 8])
    });
    refuses("a short output", || {
        linear(&cpu, weight.dense(), None, &x, &mut [0.0; 7])
    });
    refuses("a short bias", || {
        linear(&cpu, weight.dense(), Some(&x[..3]), &x, &mut [0.0; 8])
    });
    refuses("a row that is not there", || {
        linear_select(&cpu, weight.dense(), None, &x, &[0, 2], &mut out);
    });
    refuses("an id that is not there", || {
        embed(&cpu, weight.dense(), &[4], &mut [0.0; 6])
    });
    let shape = RopeShape {
        heads: 1,
        head_dim: 4,
        rotary_dim: 4,
    };
    let table = RopeTable::new(&[1.0, 0.1], 5);
    refuses("a position outside of the table", || {
        rope(&cpu, shape, &table, &[5], &x[..4], &mut [0.0; 4]);
    });
}

#[test]
fn overlapping_sequences_are_refused() {
    let cpu = fast(2);
    let shape = ConvShape {
        channels: 2,
        kernel: 3,
        activation: None,
    };
    let run = |rows: [std::ops::Range<usize>; 2], states: [usize; 2]| {
        let [a, b] = rows;
        let spans = [
            StateSpan {
                rows: a,
                state: states[0],
            },
            StateSpan {
                rows: b,
                state: states[1],
            },
        ];
        let mut out = [0.0; 8];
        conv1d_causal(
            &cpu,
            shape,
            &spans,
            &[0.5; 6],
            &[1.0; 8],
            &mut [0.0; 9],
            &mut out,
        );
    };
    run([0..1, 1..4], [0, 5]);
    refuses("one state twice", || run([0..1, 1..4], [0, 3]));
    refuses("a state beyond the end", || run([0..1, 1..4], [0, 6]));
    refuses("one row twice", || run([0..2, 1..4], [0, 4]));
    refuses("a row beyond the end", || run([0..1, 1..5], [0, 4]));
}

#[test]
fn empty_batches_are_nothing() {
    let cpu = fast(2);
    let weight = Weight::new(Kind::Bf16, 1, 4, 6);
    linear(&cpu, weight.dense(), None, &[], &mut []);
    embed(&cpu, weight.dense(), &[], &mut []);
    rms_norm(&cpu, &[], &[1.0; 4], 1e-6, &mut []);
    let shape = AttendShape {
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        scale: 1.0,
        sees: Sees::Past,
    };
    let memory = Memory::new(shape, 1, Kv::F16);
    assert!(memory.attend(&cpu, &[], &[]).is_empty());
    let span = [KvSpan {
        rows: 0..0,
        first_position: 0,
        page_table: &[],
    }];
    assert!(memory.attend(&cpu, &span, &[]).is_empty());
}
