//! Every operation x format x backend against the reference. Adding an operation is one row in [`cases`].

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::sync::Arc;

use common::{
    Format, SCHEMES, assert_same_bits, backends, feed_alone, formats, load, random_checkpoint,
    some_ids,
};
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{
    Backend, Batch, Compute, Entry, KvFormat, LoadOptions, OutputRows, Runner, reference::Reference,
};
use lattice_inference::checkpoint::Checkpoint;
use lattice_inference::plan::{
    Act, Builder, DeltaShape, Experts, Fold, HeadShape, Index, Mask, Part, Plan, Pooling,
    RopeShape, Val, Weight,
};
use lattice_testkit::{nmse, tolerance};

const VOCAB: usize = 50;

/// Name, width of the embedding that the operation reads, the operation.
type Case = (&'static str, usize, fn(&mut Builder, Val) -> Val);

fn cases() -> [Case; 26] {
    [
        ("embed", 37, |_, x| x),
        ("rms_norm row", 37, |b, x| {
            b.rms_norm(x, "g", 37, Fold::None, 1e-6)
        }),
        ("rms_norm heads", 72, |b, x| {
            b.rms_norm(x, "g", 24, Fold::OnePlus, 1e-5)
        }),
        ("layer_norm", 37, |b, x| b.layer_norm(x, "norm", 1e-5)),
        ("embed by position", 37, |b, x| {
            let table = b.weight("positions", &[4096 + 3, 37]);
            let placed = b.embed_by(table, Index::Position { first: 3 });
            b.add("sum", x, placed)
        }),
        ("act gelu", 61, |b, x| b.act("act", Act::Gelu, x)),
        ("act gelu_tanh", 61, |b, x| b.act("act", Act::GeluTanh, x)),
        ("act relu and tanh", 61, |b, x| {
            let tanh = b.act("tanh", Act::Tanh, x);
            b.act("relu", Act::Relu, tanh)
        }),
        ("linear", 100, |b, x| b.linear(x, "w", 67, None)),
        ("linear bias", 33, |b, x| {
            b.linear(x, "w", 130, Some("bias"))
        }),
        ("linear interleaved", 48, interleaved),
        ("rope whole head", 96, |b, x| {
            b.rope("rope", x, angles(3, 32, 16))
        }),
        ("rope part of head", 96, |b, x| {
            b.rope("rope", x, angles(2, 48, 6))
        }),
        ("rope with a factor", 96, |b, x| {
            let plain = b.rope("plain", x, angles(2, 48, 6));
            let factor = 1.3;
            b.rope(
                "rope",
                plain,
                RopeShape {
                    factor,
                    ..angles(2, 48, 6)
                },
            )
        }),
        ("attention causal", 80, |b, x| attention(b, x, Mask::Causal)),
        ("attention in a window", 80, |b, x| {
            attention(b, x, Mask::Window(37))
        }),
        ("attention to itself", 80, |b, x| {
            attention(b, x, Mask::Window(1))
        }),
        ("attention bidirectional", 80, |b, x| {
            attention(b, x, Mask::Bidirectional)
        }),
        ("conv1d", 70, |b, x| b.conv1d(x, "c", 4, Some(Act::Silu))),
        ("conv1d bare", 16, |b, x| b.conv1d(x, "c", 3, None)),
        ("gated_delta grouped", 40, |b, x| delta(b, x, 2, 4)),
        ("gated_delta equal", 40, |b, x| delta(b, x, 3, 3)),
        ("glu silu", 61, |b, x| b.glu("glu", Act::Silu, x, x)),
        ("glu broadcast", 61, broadcast),
        ("moe", 40, mixture),
        ("add", 19, |b, x| b.add("add", x, x)),
    ]
}

fn interleaved(b: &mut Builder, x: Val) -> Val {
    let weight = b.declare(Weight {
        tensor: "w".to_owned(),
        stored: vec![3 * 20, 48],
        part: Part::Rows {
            period: 20,
            start: 10,
            take: 10,
        },
        fold: Fold::None,
        shape: vec![30, 48],
    });
    b.linear_of(x, weight, None)
}

fn angles(heads: usize, head_dim: usize, pairs: usize) -> RopeShape {
    let inv_freq = (0..pairs)
        .map(|pair| 100f64.powf(-(pair as f64) / pairs as f64))
        .collect();
    RopeShape {
        heads,
        head_dim,
        inv_freq,
        factor: 1.0,
    }
}

fn attention(b: &mut Builder, x: Val, mask: Mask) -> Val {
    let shape = HeadShape {
        heads: 6,
        kv_heads: 2,
        head_dim: 24,
    };
    let q = b.linear(x, "q", 144, None);
    let k = b.linear(x, "k", 48, None);
    let v = b.linear(x, "v", 48, None);
    match mask {
        Mask::Causal => b.attention("attention", (q, k, v), shape, 0.2),
        Mask::Window(keys) => b.attention_window("attention", (q, k, v), shape, 0.2, keys),
        Mask::Bidirectional => b.attention_bidirectional("attention", (q, k, v), shape, 0.2),
    }
}

fn delta(b: &mut Builder, x: Val, key_heads: usize, value_heads: usize) -> Val {
    let shape = DeltaShape {
        key_heads,
        value_heads,
        key_dim: 24,
        value_dim: 20,
    };
    let qkv = b.linear(x, "qkv", 2 * key_heads * 24 + value_heads * 20, None);
    let a = b.linear(x, "a", value_heads, None);
    let beta = b.linear(x, "b", value_heads, None);
    b.gated_delta("delta", (qkv, a, beta), shape)
}

fn broadcast(b: &mut Builder, x: Val) -> Val {
    let gate = b.linear(x, "gate", 1, None);
    b.glu("glu", Act::Sigmoid, gate, x)
}

fn mixture(b: &mut Builder, x: Val) -> Val {
    let router = b.linear(x, "router", 6, None);
    let half = |b: &mut Builder, start: usize| {
        b.declare(Weight {
            tensor: "gate_up".to_owned(),
            stored: vec![6, 56, 40],
            part: Part::Rows {
                period: 56,
                start,
                take: 28,
            },
            fold: Fold::None,
            shape: vec![6, 28, 40],
        })
    };
    let (gate, up) = (half(b, 0), half(b, 28));
    let down = b.weight("down", &[6, 40, 28]);
    b.moe(
        "moe",
        x,
        router,
        Experts {
            gate,
            up,
            down,
            top_k: 2,
            renormalise: true,
        },
    )
}

fn plan(case: &Case) -> Arc<Plan> {
    let mut b = Builder::new("op", VOCAB, 4096);
    let table = b.weight("table", &[VOCAB, case.1]);
    let x = b.embed(table);
    let y = (case.2)(&mut b, x);
    let out = b.take_rows("outputs", y);
    Arc::new(b.finish(out).unwrap())
}

fn options(kv: KvFormat) -> LoadOptions {
    LoadOptions {
        output_rows_max: 512,
        kv: Some(kv),
        threads: 2,
        ..LoadOptions::default()
    }
}

#[test]
fn every_operation_agrees_with_the_reference_in_every_format_on_every_backend() {
    let ids = some_ids(150, VOCAB, 3);
    for case in cases() {
        let plan = plan(&case);
        for format in formats() {
            let weights = random_checkpoint(&plan, format, 7);
            let exact = options(KvFormat::F32);
            let expected = feed_alone(&mut *load(&Reference, &plan, &weights, &exact), &ids, 512);
            assert!(
                expected.iter().any(|value| value.abs() > 1e-3),
                "{} is not trivial",
                case.0
            );
            for backend in backends() {
                let found = feed_alone(&mut *load(backend, &plan, &weights, &exact), &ids, 512);
                let error = nmse(&expected, &found);
                let limit = tolerance::step_nmse_limit(&format.name().to_lowercase());
                let name = backend.name();
                assert!(
                    error <= limit,
                    "{} {format:?} {name}: NMSE {error:e} > {limit:e}",
                    case.0
                );
            }
        }
    }
}

/// Types and pooling are about whole texts: three of them, of different lengths, the second without types.
#[test]
fn texts_pooled_agree_with_the_reference_in_every_format_on_every_backend() {
    let ids = some_ids(150, VOCAB, 4);
    let types: Vec<u32> = (0..150).map(|row| row / 7 % 3).collect();
    for pooling in Pooling::ALL {
        let mut b = Builder::new("op", VOCAB, 4096);
        let words = b.weight("table", &[VOCAB, 37]);
        let kinds = b.weight("types", &[3, 37]);
        let (words, kinds) = (b.embed(words), b.embed_by(kinds, Index::Type));
        let sum = b.add("sum", words, kinds);
        let out = b.pool("pool", sum, pooling);
        let plan = Arc::new(b.finish(out).unwrap());
        let run = |backend: &dyn Backend, weights: &Arc<Checkpoint>| {
            let mut runner = load(backend, &plan, weights, &options(KvFormat::F32));
            let sequences = [(); 3].map(|()| runner.open().unwrap());
            let entry = |sequence, rows: std::ops::Range<usize>, typed: bool, outputs| Entry {
                sequence,
                ids: &ids[rows.clone()],
                types: if typed { &types[rows] } else { &[] },
                outputs,
            };
            let entries = [
                entry(sequences[0], 0..1, true, OutputRows::Last),
                entry(sequences[1], 1..70, false, OutputRows::LastFrom(3)),
                entry(sequences[2], 70..150, true, OutputRows::Last),
            ];
            let rows = runner
                .run(&Batch { entries: &entries })
                .unwrap()
                .rows
                .to_vec();
            assert_eq!(rows.len(), 3 * 37);
            // Nothing is kept: the same again gives the same.
            assert_eq!(runner.run(&Batch { entries: &entries }).unwrap().rows, rows);
            rows
        };
        for format in formats() {
            let weights = random_checkpoint(&plan, format, 9);
            let expected = run(&Reference, &weights);
            for backend in backends() {
                let error = nmse(&expected, &run(backend, &weights));
                let limit = tolerance::step_nmse_limit(&format.name().to_lowercase());
                let name = backend.name();
                assert!(error <= limit, "{pooling:?} {format:?} {name}: {error:e}");
            }
        }
    }
}

/// A layer of an encoder: three products of one norm, attention, sums and an activation on products' way out.
fn layer(b: &mut Builder, x: Val) -> Val {
    let x = b.layer_norm(x, "norm", 1e-6);
    let [q, k, v] = ["q", "k", "v"].map(|name| b.linear(x, name, 96, Some(&format!("{name}b"))));
    let shape = HeadShape {
        heads: 3,
        kv_heads: 3,
        head_dim: 32,
    };
    let mixed = b.attention_bidirectional("attention", (q, k, v), shape, 0.17);
    let y = b.linear(mixed, "out", 96, Some("outb"));
    let y = b.add("residual", y, x);
    let y = b.layer_norm(y, "norm2", 1e-6);
    let wide = b.linear(y, "wide", 200, Some("wideb"));
    let wide = b.act("act", Act::Gelu, wide);
    let down = b.linear(wide, "down", 96, Some("downb"));
    b.add("residual2", down, y)
}

#[test]
fn what_products_compute_in_is_close_and_no_row_depends_on_company_or_threads() {
    // No mixture: a router in fewer bits takes another expert now and then.
    let cases: [Case; 2] = [
        ("layer", 96, layer),
        ("linear", 100, |b, x| b.linear(x, "w", 67, None)),
    ];
    for case in cases {
        let plan = plan(&case);
        for format in [Format::F32, Format::Bf16, Format::Packed(SCHEMES[0])] {
            let weights = random_checkpoint(&plan, format, 7);
            let exact = options(KvFormat::F32);
            let ids = some_ids(70, VOCAB, 3);
            let expected = feed_alone(&mut *load(&Reference, &plan, &weights, &exact), &ids, 512);
            for compute in Compute::ALL {
                let with = |threads| {
                    let options = LoadOptions {
                        compute,
                        threads,
                        ..exact.clone()
                    };
                    load(&Cpu, &plan, &weights, &options)
                };
                let mut runner = with(2);
                let found = feed_alone(&mut *runner, &ids, 512);
                let stored = format.name().to_lowercase();
                let limit = match compute {
                    Compute::AsStored => tolerance::step_nmse_limit(&stored),
                    _ => tolerance::step_nmse_limit(&format!("compute {}", compute.name())),
                };
                let (error, name) = (nmse(&expected, &found), compute.name());
                println!("{} {format:?} {name}: NMSE {error:.1e}", case.0);
                assert!(
                    error <= limit,
                    "{} {format:?} {name}: NMSE {error:e} > {limit:e}",
                    case.0
                );
                let one = feed_alone(&mut *with(1), &ids, 512);
                assert_same_bits(name, &one, &found);
                let crowd = in_a_crowd(&mut *runner, &ids);
                assert_same_bits(name, &crowd, &found);
            }
        }
    }
}

#[test]
fn texts_that_cannot_be_run_are_refused() {
    let mut b = Builder::new("op", VOCAB, 4096);
    let words = b.weight("table", &[VOCAB, 8]);
    let kinds = b.weight("types", &[2, 8]);
    let (words, kinds) = (b.embed(words), b.embed_by(kinds, Index::Type));
    let sum = b.add("sum", words, kinds);
    let out = b.pool("pool", sum, Pooling::Mean);
    let plan = Arc::new(b.finish(out).unwrap());
    let weights = random_checkpoint(&plan, Format::F32, 9);
    for backend in backends() {
        let mut runner = load(backend, &plan, &weights, &options(KvFormat::F32));
        let sequence = runner.open().unwrap();
        let mut refused = |ids: &[u32], types: &[u32], outputs| {
            let entries = [Entry {
                sequence,
                ids,
                types,
                outputs,
            }];
            let error = runner.run(&Batch { entries: &entries }).unwrap_err();
            error.to_string()
        };
        let last = OutputRows::Last;
        assert_eq!(
            refused(&[1, 2], &[0, 2], last),
            "token type 2 is outside of the 2 that the model tells apart"
        );
        assert_eq!(
            refused(&[1, 2], &[0], last),
            "an entry has 2 ids and 1 token types"
        );
        assert_eq!(
            refused(&[1], &[], OutputRows::All),
            "a text has one output row, and every token's was asked for"
        );
        assert_eq!(
            refused(&[1; 513], &[], last),
            "batch of 513 tokens, at most 512"
        );
    }
}

/// The output rows of `ids` as one of three sequences in a batch.
fn in_a_crowd(runner: &mut dyn Runner, ids: &[u32]) -> Vec<f32> {
    let sequences = [(); 3].map(|()| runner.open().unwrap());
    let others = some_ids(33, VOCAB, 9);
    let entry = |(sequence, ids)| Entry {
        sequence,
        ids,
        types: &[],
        outputs: OutputRows::All,
    };
    let entries = [
        (sequences[0], &others[..20]),
        (sequences[1], ids),
        (sequences[2], &others[20..]),
    ];
    let entries = entries.map(entry);
    let outputs = runner.run(&Batch { entries: &entries }).unwrap();
    outputs.rows[20 * outputs.width..(20 + ids.len()) * outputs.width].to_vec()
}

#[test]
fn keys_and_values_in_fewer_bits_stay_close() {
    let ids = some_ids(200, VOCAB, 5);
    let case = cases()
        .into_iter()
        .find(|case| case.0 == "attention causal")
        .unwrap();
    let plan = plan(&case);
    let weights = random_checkpoint(&plan, Format::F32, 7);
    for backend in backends() {
        let run = |kv| feed_alone(&mut *load(backend, &plan, &weights, &options(kv)), &ids, 64);
        let exact = run(KvFormat::F32);
        for (kv, limit) in [
            (KvFormat::F16, 1e-6),
            (KvFormat::Int8, tolerance::step_nmse_limit("kv int8")),
        ] {
            let error = nmse(&exact, &run(kv));
            println!("{} {kv:?}: NMSE {error:.1e}", backend.name());
            assert!(error <= limit, "{} {kv:?}: NMSE {error:e}", backend.name());
        }
    }
}
