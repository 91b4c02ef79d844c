//! The numbers contract: a sequence's output never depends on its company, to the bit.
//!
//! Each law runs over every tiny family, on the reference and on the cpu backend with every format of keys and values, and on
//! the cpu backend with the family's matrices packed in every scheme.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{assert_same_bits, backends, feed, feed_alone, load, packed_checkpoint, some_ids};
use lattice_inference::Model;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{
    Backend, Batch, Entry, KvFormat, LoadOptions, OutputRows, RunError, Runner, SequenceId,
};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_kernels::{IntIsa, Isa, PackedScheme};
use lattice_testkit::families;

fn options(kv: KvFormat) -> LoadOptions {
    LoadOptions {
        sequences_max: 8,
        output_rows_max: 512,
        kv: Some(kv),
        threads: 2,
        ..LoadOptions::default()
    }
}

/// Runs a law for every family, backend and format of keys and values.
fn for_all(law: impl Fn(&str, &Model, &dyn Backend, &LoadOptions)) {
    for golden in families() {
        let files = ModelFiles::open(&golden.dir).unwrap();
        let model = Model::open(&files, &OpenOptions::default()).unwrap();
        for backend in backends() {
            for kv in [KvFormat::F32, KvFormat::F16, KvFormat::Int8] {
                let what = format!("{} on {} with {kv:?}", golden.name, backend.name());
                law(&what, &model, backend, &options(kv));
            }
        }
        for (scheme, packed) in packed(&files) {
            let what = format!("{} in {scheme}", golden.name);
            law(&what, &packed, &Cpu, &options(KvFormat::F16));
        }
    }
}

/// The model with its matrices packed, in every scheme.
fn packed(files: &ModelFiles) -> impl Iterator<Item = (PackedScheme, Model)> {
    PackedScheme::OWN.into_iter().map(|scheme| {
        let mut model = Model::open(files, &OpenOptions::default()).unwrap();
        model.checkpoint = packed_checkpoint(&model.plan, &model.checkpoint, scheme);
        (scheme, model)
    })
}

fn runner(backend: &dyn Backend, model: &Model, options: &LoadOptions) -> Box<dyn Runner> {
    load(backend, &model.plan, &model.checkpoint, options)
}

fn one(runner: &mut dyn Runner, sequence: SequenceId, ids: &[u32]) -> Vec<f32> {
    let entries = [Entry {
        sequence,
        ids,
        types: &[],
        outputs: OutputRows::Last,
    }];
    runner
        .run(&Batch { entries: &entries })
        .unwrap()
        .rows
        .to_vec()
}

#[test]
fn decode_is_prefill_and_pieces_are_the_whole() {
    for_all(|what, model, backend, options| {
        let mut runner = runner(backend, model, options);
        let ids = some_ids(140, model.plan.vocab, 1);
        let whole = feed_alone(&mut *runner, &ids, 512);
        for piece in [1, 7, 63, 64, 65] {
            let pieces = feed_alone(&mut *runner, &ids, piece);
            assert_same_bits(&format!("{what}: pieces of {piece}"), &whole, &pieces);
        }
    });
}

#[test]
fn alone_is_the_same_as_in_a_crowd() {
    for_all(|what, model, backend, options| {
        let mut runner = runner(backend, model, options);
        let vocab = model.plan.vocab;
        let prompts: Vec<Vec<u32>> = [3, 70, 1, 64, 129]
            .iter()
            .map(|len| some_ids(*len, vocab, *len as u64))
            .collect();
        let alone: Vec<Vec<f32>> = prompts
            .iter()
            .map(|ids| feed_alone(&mut *runner, ids, 512))
            .collect();
        let open: Vec<SequenceId> = prompts.iter().map(|_| runner.open().unwrap()).collect();
        let entries: Vec<Entry<'_>> = prompts
            .iter()
            .zip(&open)
            .map(|(ids, sequence)| Entry {
                sequence: *sequence,
                ids,
                types: &[],
                outputs: OutputRows::All,
            })
            .collect();
        let crowd = runner
            .run(&Batch { entries: &entries })
            .unwrap()
            .rows
            .to_vec();
        assert_same_bits(what, &alone.concat(), &crowd);
        // And on: single steps side by side with a piece of a prompt.
        let next: Vec<Vec<f32>> = prompts
            .iter()
            .map(|ids| {
                let sequence = runner.open().unwrap();
                feed(&mut *runner, sequence, ids, 512);
                let row = one(&mut *runner, sequence, &[5]);
                runner.close(sequence);
                row
            })
            .collect();
        let entries: Vec<Entry<'_>> = open
            .iter()
            .map(|sequence| Entry {
                sequence: *sequence,
                ids: &[5],
                types: &[],
                outputs: OutputRows::Last,
            })
            .collect();
        let rows = runner
            .run(&Batch { entries: &entries })
            .unwrap()
            .rows
            .to_vec();
        assert_same_bits(what, &next.concat(), &rows);
    });
}

#[test]
fn threads_and_instruction_sets_do_not_show() {
    for_all(|what, model, backend, options| {
        let ids = some_ids(100, model.plan.vocab, 2);
        let expected = feed_alone(&mut *runner(backend, model, options), &ids, 50);
        for isa in Isa::available() {
            for threads in [1, 3] {
                let other = LoadOptions {
                    isa: Some(isa),
                    threads,
                    ..options.clone()
                };
                let found = feed_alone(&mut *runner(backend, model, &other), &ids, 33);
                assert_same_bits(
                    &format!("{what}, {isa}, {threads} threads"),
                    &expected,
                    &found,
                );
            }
        }
    });
}

#[test]
fn a_packed_model_gives_the_same_bits_on_every_instruction_set() {
    for golden in families() {
        let files = ModelFiles::open(&golden.dir).unwrap();
        for (scheme, model) in packed(&files) {
            let ids = some_ids(70, model.plan.vocab, 10);
            let run = |isa, int_isa, threads, piece| {
                let options = LoadOptions {
                    isa: Some(isa),
                    int_isa: Some(int_isa),
                    threads,
                    ..options(KvFormat::F16)
                };
                feed_alone(&mut *runner(&Cpu, &model, &options), &ids, piece)
            };
            let expected = run(Isa::Scalar, IntIsa::Scalar, 1, 70);
            for isa in Isa::available() {
                for int_isa in IntIsa::available() {
                    for (threads, piece) in [(1, 1), (2, 70), (3, 33)] {
                        let found = run(isa, int_isa, threads, piece);
                        let what = format!("{} in {scheme}: {isa}, {int_isa}", golden.name);
                        assert_same_bits(&what, &expected, &found);
                    }
                }
            }
        }
    }
}

#[test]
fn a_fork_goes_its_own_way() {
    for_all(|what, model, backend, options| {
        let mut runner = runner(backend, model, options);
        let vocab = model.plan.vocab;
        let (past, left, right) = (
            some_ids(90, vocab, 3),
            some_ids(20, vocab, 4),
            some_ids(80, vocab, 5),
        );
        let tail = |runner: &mut dyn Runner, rest: &[u32]| {
            let rows = feed_alone(runner, &[&past[..], rest].concat(), 512);
            rows[past.len() * vocab..].to_vec()
        };
        let (expect_left, expect_right) = (tail(&mut *runner, &left), tail(&mut *runner, &right));
        let first = runner.open().unwrap();
        feed(&mut *runner, first, &past, 512);
        let second = runner.fork(first).unwrap();
        assert_eq!(runner.tokens(second).unwrap(), past.len());
        assert_same_bits(what, &expect_left, &feed(&mut *runner, first, &left, 7));
        assert_same_bits(
            what,
            &expect_right,
            &feed(&mut *runner, second, &right, 512),
        );
        runner.close(first);
        let again = one(&mut *runner, second, &[1]);
        let whole = tail(&mut *runner, &[&right[..], &[1]].concat());
        assert_same_bits(what, &whole[right.len() * vocab..], &again);
    });
}

#[test]
fn what_is_kept_outlives_its_sequence_and_begins_others() {
    for_all(|what, model, backend, options| {
        let mut runner = runner(backend, model, options);
        let vocab = model.plan.vocab;
        let (past, rest) = (some_ids(90, vocab, 3), some_ids(20, vocab, 4));
        let first = runner.open().unwrap();
        feed(&mut *runner, first, &past[..70], 512);
        let state = runner.snapshot(first).unwrap();
        feed(&mut *runner, first, &past[70..], 512);
        let wanted = Err(RunError::BadRestore {
            tokens: 90,
            wanted: 91,
        });
        assert_eq!(runner.keep(first, 91), wanted);
        let prefix = runner.keep(first, 90).unwrap();
        feed(&mut *runner, first, &rest, 512);
        runner.close(first);
        let whole = feed_alone(&mut *runner, &[&past[..70], &rest].concat(), 512);
        for _ in 0..2 {
            let second = runner.open_from(prefix, 70, Some(&state)).unwrap();
            assert_eq!(runner.tokens(second).unwrap(), 70);
            let rows = feed(&mut *runner, second, &rest, 7);
            assert_same_bits(what, &whole[70 * vocab..], &rows);
        }
        if !runner.limits().rewinds {
            let wanted = Err(RunError::CannotRewind {
                tokens: 90,
                wanted: 70,
            });
            assert_eq!(runner.open_from(prefix, 70, None), wanted);
        }
        let unfit = runner.open_from(prefix, 71, Some(&state));
        assert!(
            matches!(unfit, Err(RunError::BadRestore { .. })),
            "{unfit:?}"
        );
        runner.release(prefix);
        runner.release(prefix);
        let unknown = Err(RunError::UnknownPrefix(prefix.0));
        assert_eq!(runner.open_from(prefix, 70, Some(&state)), unknown);
    });
}

#[test]
fn restore_and_truncate_equal_a_fresh_sequence() {
    for_all(|what, model, backend, options| {
        let mut runner = runner(backend, model, options);
        let vocab = model.plan.vocab;
        let (past, wrong, right) = (
            some_ids(70, vocab, 6),
            some_ids(30, vocab, 7),
            some_ids(9, vocab, 8),
        );
        let expected = feed_alone(&mut *runner, &[&past[..], &right[..]].concat(), 512);
        let expected = &expected[past.len() * vocab..];
        let sequence = runner.open().unwrap();
        feed(&mut *runner, sequence, &past, 512);
        let snapshot = runner.snapshot(sequence).unwrap();
        feed(&mut *runner, sequence, &wrong, 512);
        runner.restore(sequence, &snapshot).unwrap();
        assert_eq!(runner.tokens(sequence).unwrap(), past.len());
        assert_same_bits(what, expected, &feed(&mut *runner, sequence, &right, 512));
        let cut = runner.truncate(sequence, past.len());
        if runner.limits().rewinds {
            assert_eq!(cut, Ok(()));
            assert_same_bits(what, expected, &feed(&mut *runner, sequence, &right, 4));
        } else {
            let tokens = past.len() + right.len();
            assert_eq!(
                cut,
                Err(RunError::CannotRewind {
                    tokens,
                    wanted: past.len()
                })
            );
        }
        runner.truncate(sequence, 0).unwrap();
        let again = feed(
            &mut *runner,
            sequence,
            &[&past[..], &right[..]].concat(),
            512,
        );
        assert_same_bits(what, expected, &again[past.len() * vocab..]);
    });
}

#[test]
fn a_refused_batch_changes_nothing() {
    for_all(|what, model, backend, options| {
        let small = LoadOptions {
            context_tokens_max: 100,
            batch_tokens_max: 64,
            ..options.clone()
        };
        let mut runner = runner(backend, model, &small);
        let vocab = model.plan.vocab;
        let ids = some_ids(64, vocab, 9);
        let sequence = runner.open().unwrap();
        feed(&mut *runner, sequence, &ids, 64);
        let mut refuse =
            |entries: &[Entry<'_>]| runner.run(&Batch { entries }).map(drop).unwrap_err();
        let entry = |ids, outputs| Entry {
            sequence,
            ids,
            types: &[],
            outputs,
        };
        assert_eq!(refuse(&[]), RunError::EmptyBatch);
        assert_eq!(
            refuse(&[entry(&[], OutputRows::Last)]),
            RunError::EmptyBatch
        );
        let full = RunError::ContextFull {
            found: 128,
            max: 100,
        };
        assert_eq!(refuse(&[entry(&ids, OutputRows::Last)]), full);
        let out = RunError::TokenOutOfRange {
            id: vocab as u32,
            vocab,
        };
        let beyond = [vocab as u32];
        assert_eq!(refuse(&[entry(&beyond, OutputRows::Last)]), out);
        let twice = entry(&[1], OutputRows::Last);
        assert_eq!(refuse(&[twice, twice]), RunError::SequenceTwice(sequence.0));
        let long = some_ids(65, vocab, 1);
        let too_long = RunError::BatchTooLong { found: 65, max: 64 };
        assert_eq!(refuse(&[entry(&long, OutputRows::None)]), too_long);
        assert_eq!(runner.tokens(sequence).unwrap(), 64);
        let expected = feed_alone(&mut *runner, &[&ids[..], &[2]].concat(), 64);
        assert_same_bits(
            what,
            &expected[64 * vocab..],
            &one(&mut *runner, sequence, &[2]),
        );
    });
}

#[test]
fn sequences_are_counted_and_their_places_come_back() {
    for_all(|what, model, backend, options| {
        let mut runner = runner(backend, model, options);
        let open: Vec<SequenceId> = (0..8).map(|_| runner.open().unwrap()).collect();
        assert_eq!(runner.open(), Err(RunError::SequencesFull(8)), "{what}");
        assert_eq!(
            runner.fork(open[0]),
            Err(RunError::SequencesFull(8)),
            "{what}"
        );
        one(&mut *runner, open[3], &[1, 2, 3]);
        runner.close(open[3]);
        runner.close(open[3]);
        assert_eq!(
            runner.tokens(open[3]),
            Err(RunError::UnknownSequence(open[3].0))
        );
        let fresh = runner.open().unwrap();
        runner.close(open[4]);
        let expected = feed_alone(&mut *runner, &[1], 1);
        assert_same_bits(what, &expected, &one(&mut *runner, fresh, &[1]));
    });
}

#[test]
fn memory_for_keys_and_values_is_bounded_and_comes_back() {
    for_all(|what, model, backend, options| {
        if backend.name() == "reference" {
            return;
        }
        let tight = LoadOptions {
            kv_tokens_max: Some(128),
            ..options.clone()
        };
        let mut runner = runner(backend, model, &tight);
        let (first, second) = (runner.open().unwrap(), runner.open().unwrap());
        let ids = some_ids(65, model.plan.vocab, 1);
        one(&mut *runner, first, &ids);
        let entries = [Entry {
            sequence: second,
            ids: &ids,
            types: &[],
            outputs: OutputRows::Last,
        }];
        let refused = runner.run(&Batch { entries: &entries }).map(drop);
        assert_eq!(refused, Err(RunError::CacheFull(128)), "{what}");
        assert_eq!(runner.tokens(second), Ok(0));
        runner.close(first);
        let expected = feed_alone(&mut *runner, &ids, 65);
        let found = one(&mut *runner, second, &ids);
        assert_same_bits(what, &expected[64 * model.plan.vocab..], &found);
    });
}
