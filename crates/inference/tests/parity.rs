//! The engine against transformers: logits of every family at every prompt length, and greedy ids.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{backends, feed_alone, load};
use lattice_inference::Model;
use lattice_inference::backend::{
    Backend, Batch, Entry, KvFormat, LoadOptions, OutputRows, Runner, SequenceId, cpu::Cpu,
};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_testkit::{Golden, families, lattice_tiny, nmse, tolerance};

fn open(golden: &Golden) -> Model {
    let files = ModelFiles::open(&golden.dir).unwrap();
    Model::open(&files, &OpenOptions::default()).unwrap()
}

fn runner(backend: &dyn Backend, model: &Model) -> Box<dyn Runner> {
    runner_with(backend, model, None)
}

fn runner_with(backend: &dyn Backend, model: &Model, kv: Option<KvFormat>) -> Box<dyn Runner> {
    let options = LoadOptions {
        output_rows_max: 512,
        threads: 2,
        kv,
        ..LoadOptions::default()
    };
    load(backend, &model.plan, &model.checkpoint, &options)
}

#[test]
fn logits_equal_those_of_transformers() {
    for golden in families() {
        let model = open(&golden);
        assert!(model.notes.is_empty(), "{}: {:?}", golden.name, model.notes);
        for backend in backends() {
            let mut runner = runner(backend, &model);
            for prompt in &golden.prompts {
                let rows = feed_alone(&mut *runner, &prompt.ids, 512);
                let found = &rows[prompt.first_row * golden.vocab..];
                let error = nmse(&prompt.logits, found);
                let what = format!("{} {} {}", golden.name, backend.name(), prompt.ids.len());
                assert!(
                    error <= tolerance::nmse_limit("f32"),
                    "{what}: NMSE {error:e}"
                );
                println!("{what}: NMSE {error:.1e}");
            }
        }
    }
}

fn bundled() -> Model {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/lattice-tiny");
    let files = ModelFiles::open(dir.as_ref()).unwrap();
    Model::open(&files, &OpenOptions::default()).unwrap()
}

#[test]
fn the_bundled_model_in_bf16_is_close_to_transformers_in_f32() {
    let model = bundled();
    let mut checked = 0;
    for backend in backends() {
        let mut runner = runner(backend, &model);
        for chat in lattice_tiny() {
            let Some(expected) = chat.last_logits else {
                continue;
            };
            let rows = feed_alone(&mut *runner, &chat.greedy.prompt, 512);
            let error = nmse(&expected, &rows[rows.len() - expected.len()..]);
            assert!(
                error <= tolerance::nmse_limit("bf16"),
                "{}: NMSE {error:e}",
                backend.name()
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 2 * 4);
}

#[test]
fn keys_and_values_in_int8_stay_close_to_transformers() {
    let check = |what: &str, expected: &[f32], rows: &[f32]| {
        let error = nmse(expected, &rows[rows.len() - expected.len()..]);
        println!("{what}: NMSE {error:.1e}");
        let limit = tolerance::nmse_limit("kv int8");
        assert!(error <= limit, "{what}: NMSE {error:e}");
    };
    for golden in families() {
        let mut runner = runner_with(&Cpu, &open(&golden), Some(KvFormat::Int8));
        for prompt in &golden.prompts {
            let rows = feed_alone(&mut *runner, &prompt.ids, 512);
            let what = format!("{} {}", golden.name, prompt.ids.len());
            check(&what, &prompt.logits, &rows);
        }
    }
    let mut runner = runner_with(&Cpu, &bundled(), Some(KvFormat::Int8));
    for chat in lattice_tiny() {
        let Some(expected) = chat.last_logits else {
            continue;
        };
        let rows = feed_alone(&mut *runner, &chat.greedy.prompt, 512);
        check("lattice-tiny", &expected, &rows);
    }
}

/// Index of the largest value, the first among equals.
fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).reduce(|best, i| if row[i] > row[best] { i } else { best });
    best.unwrap() as u32
}

fn greedy(runner: &mut dyn Runner, sequence: SequenceId, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = prompt.to_vec();
    while found.len() < count {
        let entries = [Entry {
            sequence,
            ids: &next,
            types: &[],
            outputs: OutputRows::Last,
        }];
        let id = argmax(runner.run(&Batch { entries: &entries }).unwrap().rows);
        found.push(id);
        next = vec![id];
    }
    found
}

#[test]
fn greedy_ids_equal_those_of_transformers() {
    for golden in families() {
        let model = open(&golden);
        for backend in backends() {
            let mut runner = runner(backend, &model);
            let sequence = runner.open().unwrap();
            let Golden {
                greedy: expected, ..
            } = &golden;
            let found = greedy(&mut *runner, sequence, &expected.prompt, expected.ids.len());
            let step = expected.first_difference(&found);
            assert_eq!(step, None, "{} {}: {found:?}", golden.name, backend.name());
        }
    }
}
