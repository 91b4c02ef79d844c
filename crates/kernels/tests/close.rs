//! Law: every operation is close to the same sum in f64, plainly written.

mod common;

use common::*;
use lattice_kernels::*;

/// The largest difference relative to the largest expected value.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f64::from(*f) - e).abs());
    worst.fold(0.0, f64::max) / scale
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn linear_is_a_matrix_product() {
    for cpu in cpus() {
        for kind in KINDS {
            for rows in [1, 6, 20] {
                let weight = Weight::new(kind, 1, 33, 601);
                let (x, bias) = (values(2, rows * 601), values(3, 33));
                let mut out = vec![0.0; rows * 33];
                linear(&cpu, weight.dense(), Some(&bias), &x, &mut out);
                let expected: Vec<f64> = x
                    .chunks_exact(601)
                    .flat_map(|x| {
                        let rows = weight.wide().chunks_exact(601).zip(&bias);
                        rows.map(|(w, b)| dot(w, x) + f64::from(*b))
                            .collect::<Vec<_>>()
                    })
                    .collect();
                assert!(error(&out, &expected) < 1e-6, "{cpu:?} {kind:?} {rows}");
            }
        }
    }
}

#[test]
fn norm_divides_by_the_root_mean_square() {
    let (x, gain) = (values(4, 5 * 77), values(5, 77));
    let mut out = vec![0.0; x.len()];
    rms_norm(&fast(1), &x, &gain, 1e-2, &mut out);
    let mut expected = Vec::new();
    for x in x.chunks_exact(77) {
        let root = (dot(x, x) / 77.0 + 1e-2).sqrt();
        expected.extend(
            x.iter()
                .zip(&gain)
                .map(|(x, g)| f64::from(*x) / root * f64::from(*g)),
        );
    }
    assert!(error(&out, &expected) < 1e-6);
}

#[test]
fn layer_norm_gives_mean_zero_and_variance_one() {
    for width in [1, 16, 77, 384] {
        let (x, gain, bias) = (values(4, 5 * width), values(5, width), values(6, width));
        let mut out = vec![0.0; x.len()];
        let norm = LayerNorm {
            gain: &gain,
            bias: &bias,
            eps: 1e-2,
        };
        layer_norm(&fast(1), &x, norm, &mut out);
        let mut expected = Vec::new();
        for x in x.chunks_exact(width) {
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
            let square = |x: &f32| (f64::from(*x) - mean).powi(2);
            let variance = x.iter().map(square).sum::<f64>() / width as f64;
            let root = (variance + 1e-2).sqrt();
            let gains = gain.iter().zip(&bias);
            let normed = x.iter().zip(gains);
            expected.extend(normed.map(|(x, (gain, bias))| {
                (f64::from(*x) - mean) / root * f64::from(*gain) + f64::from(*bias)
            }));
        }
        assert!(error(&out, &expected) < 1e-6, "{width}");
    }
}

#[test]
fn texts_are_pooled_column_by_column() {
    let (width, texts) = (21, [0..1, 1..6, 6..40]);
    let x = values(7, 40 * width);
    let column = |text: &std::ops::Range<usize>, c: usize| -> Vec<f64> {
        let rows = text.clone();
        rows.map(|row| f64::from(x[row * width + c])).collect()
    };
    let pooled = |of: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        let all = |text| (0..width).map(move |c| (text, c));
        let places = texts.iter().flat_map(all);
        places.map(|(text, c)| of(&column(text, c))).collect()
    };
    let sum = |rows: &[f64]| rows.iter().sum::<f64>();
    // The rows of each text count from 0; the last text begins at 2.
    let positions: Vec<u32> = (0..1).chain(0..5).chain(2..36).collect();
    let check = |kind, of: &dyn Fn(&[f64]) -> f64| {
        let mut out = vec![0.0; texts.len() * width];
        pool_rows(&fast(2), kind, (&texts, &positions), &x, width, &mut out);
        assert!(error(&out, &pooled(of)) < 1e-6, "{kind:?}");
    };
    check(PoolKind::First, &|rows| rows[0]);
    check(PoolKind::Last, &|rows| rows[rows.len() - 1]);
    check(PoolKind::Mean, &|rows| sum(rows) / rows.len() as f64);
    check(PoolKind::MeanSqrtLen, &|rows| {
        sum(rows) / (rows.len() as f64).sqrt()
    });
    check(PoolKind::WeightedMean, &|rows| {
        let first = if rows.len() > 5 { 3.0 } else { 1.0 };
        let weights: Vec<f64> = (0..rows.len()).map(|row| row as f64 + first).collect();
        let all = rows.iter().zip(&weights);
        all.map(|(row, weight)| row * weight).sum::<f64>() / sum(&weights)
    });
    check(PoolKind::Max, &|rows| {
        rows.iter().copied().fold(f64::MIN, f64::max)
    });
}

#[test]
fn rope_turns_pairs_half_a_rotation_apart() {
    let frequencies: Vec<f64> = (0..9).map(|i| 1e7f64.powf(-f64::from(i) / 9.0)).collect();
    let table = RopeTable::new(&frequencies, 1001);
    let shape = RopeShape {
        heads: 2,
        head_dim: 25,
        rotary_dim: 18,
    };
    let x = values(6, 3 * 50);
    let positions = [0, 17, 1000];
    let mut out = vec![0.0; x.len()];
    rope(&fast(1), shape, &table, &positions, &x, &mut out);
    let mut expected: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for (head, expected) in expected.chunks_exact_mut(25).enumerate() {
        for i in 0..9 {
            let (sin, cos) = (f64::from(positions[head / 2]) * frequencies[i]).sin_cos();
            let (a, b) = (expected[i], expected[i + 9]);
            (expected[i], expected[i + 9]) = (a * cos - b * sin, b * cos + a * sin);
        }
    }
    assert!(error(&out, &expected) < 1e-6);
    assert_eq!(out[..50], x[..50], "position 0 turns nothing");
}

#[test]
fn gates_are_what_their_names_say() {
    let (gate, up) = (values(7, 300), values(8, 300));
    let mut out = vec![0.0; 300];
    glu(&fast(1), Activation::Silu, &gate, 300, &up, 300, &mut out);
    let pairs = gate
        .iter()
        .zip(&up)
        .map(|(g, u)| (f64::from(*g), f64::from(*u)));
    let expected: Vec<f64> = pairs.map(|(g, u)| g * sigmoid(g) * u).collect();
    assert!(error(&out, &expected) < 1e-6);
    glu(
        &fast(1),
        Activation::Sigmoid,
        &gate[..3],
        1,
        &up,
        100,
        &mut out,
    );
    let rows = up
        .iter()
        .enumerate()
        .map(|(i, u)| sigmoid(f64::from(gate[i / 100])) * f64::from(*u));
    assert!(error(&out, &rows.collect::<Vec<_>>()) < 1e-6);
}

#[test]
fn convolution_looks_back() {
    let shape = ConvShape {
        channels: 21,
        kernel: 4,
        activation: None,
    };
    let (x, weight, before) = (values(9, 10 * 21), values(10, 21 * 4), values(11, 3 * 21));
    let (mut state, mut out) = (before.clone(), vec![0.0; x.len()]);
    let span = [StateSpan {
        rows: 0..10,
        state: 0,
    }];
    let taps = conv_taps(&weight, 4);
    conv1d_causal(&fast(1), shape, &span, &taps, &x, &mut state, &mut out);
    let history = [before, x].concat();
    let mut expected = Vec::new();
    for t in 0..10 {
        for c in 0..21 {
            let taps =
                (0..4).map(|j| f64::from(weight[c * 4 + j]) * f64::from(history[(t + j) * 21 + c]));
            expected.push(taps.sum());
        }
    }
    assert!(error(&out, &expected) < 1e-6);
    assert_eq!(state, history[10 * 21..]);
}

/// The rule of the head's contract in f64, on all rows from a given state.
fn delta_f64(delta: &Delta, state: &mut [f64]) -> Vec<f64> {
    let DeltaShape {
        key_heads,
        value_heads,
        key_dim,
        value_dim,
    } = delta.shape;
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let unit = |x: &[f32]| {
        let norm = (dot(x, x) + 1e-6).sqrt();
        wide(x).iter().map(|x| x / norm).collect::<Vec<f64>>()
    };
    let mut out = Vec::new();
    for (t, row) in delta.qkv.chunks_exact(delta.shape.qkv_width()).enumerate() {
        for h in 0..value_heads {
            let head = h / (value_heads / key_heads) * key_dim;
            let q = unit(&row[head..head + key_dim]);
            let k = unit(&row[key_heads * key_dim + head..key_heads * key_dim + head + key_dim]);
            let v = wide(&row[2 * key_heads * key_dim + h * value_dim..][..value_dim]);
            let at = t * value_heads + h;
            let beta = sigmoid(f64::from(delta.b[at]));
            let softplus = (f64::from(delta.a[at]) + f64::from(delta.dt_bias[h]))
                .exp()
                .ln_1p();
            let g = (-f64::from(delta.a_log[h]).exp() * softplus).exp();
            let s = &mut state[h * key_dim * value_dim..(h + 1) * key_dim * value_dim];
            s.iter_mut().for_each(|s| *s *= g);
            for c in 0..value_dim {
                let column = |s: &[f64], x: &[f64]| -> f64 {
                    (0..key_dim).map(|d| s[d * value_dim + c] * x[d]).sum()
                };
                let write = (v[c] - column(s, &k)) * beta;
                (0..key_dim).for_each(|d| s[d * value_dim + c] += k[d] * write);
                out.push(column(s, &q) / (key_dim as f64).sqrt());
            }
        }
    }
    out
}

#[test]
fn gated_delta_follows_its_rule() {
    let shape = DeltaShape {
        key_heads: 2,
        value_heads: 6,
        key_dim: 32,
        value_dim: 70,
    };
    let delta = Delta::new(shape, 70, 12);
    let before = values(13, shape.state_len());
    for cpu in cpus() {
        let mut state = before.clone();
        let out = delta.run(
            &cpu,
            &[StateSpan {
                rows: 0..70,
                state: 0,
            }],
            &mut state,
        );
        let mut exact: Vec<f64> = before.iter().map(|&x| f64::from(x)).collect();
        assert!(
            error(&out, &delta_f64(&delta, &mut exact)) < 2e-6,
            "{cpu:?}"
        );
        assert!(error(&state, &exact) < 2e-6, "{cpu:?}");
    }
}

#[test]
fn strong_decay_forgets_without_nan() {
    let shape = DeltaShape {
        key_heads: 1,
        value_heads: 1,
        key_dim: 16,
        value_dim: 16,
    };
    let mut delta = Delta::new(shape, 50, 14);
    delta.a_log = vec![8.0];
    delta.a.fill(90.0);
    let mut state = values(15, shape.state_len());
    let out = delta.run(
        &fast(1),
        &[StateSpan {
            rows: 0..50,
            state: 0,
        }],
        &mut state,
    );
    assert!(out.iter().chain(&state).all(|x| x.is_finite()));
}

#[test]
fn attention_is_a_softmax_average_of_what_was_kept() {
    let (rows, heads, kv_heads, head_dim) = (340, 6, 2, 50);
    let (k, v) = (values(16, rows * 100), values(17, rows * 100));
    let q = values(18, rows * 300);
    let span = [KvSpan {
        rows: 0..rows,
        first_position: 0,
        page_table: &[2, 0, 1, 5, 3, 4],
    }];
    let kinds = [Sees::Past, Sees::All, Sees::Last(1), Sees::Last(270)];
    for (kv, sees) in KVS.into_iter().flat_map(|kv| kinds.map(|sees| (kv, sees))) {
        let shape = AttendShape {
            heads,
            kv_heads,
            head_dim,
            scale: 0.25,
            sees,
        };
        let kept = [&k, &v].map(|x| kv.kept(x, head_dim));
        let expected = softmax_average(shape, &q, &kept);
        for cpu in cpus() {
            let mut memory = Memory::new(shape, 6, kv);
            memory.store(&cpu, &span, &k, &v);
            let out = memory.attend(&cpu, &span, &q);
            let error = error(&out, &expected);
            assert!(error < 2e-6, "{cpu:?} {kv:?} {sees:?}: {error:e}");
        }
    }
}

/// Attention of one sequence in f64.
fn softmax_average(shape: AttendShape, q: &[f32], [k, v]: &[Vec<f32>; 2]) -> Vec<f64> {
    let (heads, kv_heads, head_dim) = (shape.heads, shape.kv_heads, shape.head_dim);
    let rows = q.len() / (heads * head_dim);
    let mut expected = Vec::new();
    for (i, q) in q.chunks_exact(head_dim).enumerate() {
        let (row, kv_head) = (i / heads, i % heads / (heads / kv_heads));
        let seen = match shape.sees {
            Sees::All => 0..rows,
            Sees::Past => 0..row + 1,
            Sees::Last(keys) => (row + 1).saturating_sub(keys)..row + 1,
        };
        let at = |t: usize| {
            let head = t * kv_heads + kv_head;
            head * head_dim..(head + 1) * head_dim
        };
        let scores: Vec<f64> = seen
            .clone()
            .map(|t| (dot(q, &k[at(t)]) * f64::from(shape.scale)).exp())
            .collect();
        let total: f64 = scores.iter().sum();
        expected.extend((0..head_dim).map(|d| {
            let values = seen.clone().map(|t| f64::from(v[at(t)][d]));
            let mixed = scores.iter().zip(values).map(|(score, v)| score * v);
            mixed.sum::<f64>() / total
        }));
    }
    expected
}
