//! Checkpoints as MLX, AWQ and GPTQ store them: logits of the peer or of transformers, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;
#[path = "grouped/faults.rs"]
mod faults;

use std::ops::ControlFlow;
use std::path::Path;

use common::{assert_same_bits, backends, feed_alone, load};
use lattice_inference::Model;
use lattice_inference::backend::{Backend, KvFormat, LoadOptions, cpu::Cpu};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::quantize::{Progress, Recipe, Source, WriteOptions, write};
use lattice_kernels::PackedScheme;
use lattice_testkit::{
    GroupedGolden, PromptGolden, ScratchDir, grouped, grouped_in, nmse, tolerance,
};

fn open(dir: &Path) -> Result<Model, lattice_inference::Error> {
    let files = ModelFiles::open(dir)?;
    Model::open(&files, &OpenOptions::default())
}

/// How far a model's logits are from a golden, by the tokens of the prompt.
fn errors(
    golden: &GroupedGolden,
    model: &Model,
    backend: &dyn Backend,
    options: &LoadOptions,
) -> Vec<(usize, f64)> {
    let mut runner = load(backend, &model.plan, &model.checkpoint, options);
    let error = |prompt: &PromptGolden| {
        let rows = feed_alone(&mut *runner, &prompt.ids, 512);
        let error = nmse(&prompt.logits, &rows[prompt.first_row * golden.vocab..]);
        (prompt.ids.len(), error)
    };
    golden.prompts.iter().map(error).collect()
}

#[test]
fn logits_equal_those_of_the_reference() {
    let goldens = grouped();
    assert_eq!(goldens.len(), 8);
    let mut far = Vec::new();
    for golden in goldens {
        let model = open(&golden.dir).unwrap();
        assert!(model.notes.is_empty(), "{}: {:?}", golden.name, model.notes);
        for backend in backends() {
            let options = LoadOptions {
                output_rows_max: 512,
                threads: 2,
                kv: Some(KvFormat::F32),
                ..LoadOptions::default()
            };
            // The reference backend computes with the values that the groups stand for.
            let limit = match (backend.name(), golden.name.ends_with("_f16")) {
                ("cpu", true) => "f16",
                ("cpu", false) => "g4_64m",
                _ => "f32",
            };
            for (tokens, error) in errors(&golden, &model, backend, &options) {
                println!(
                    "{} {} {tokens}: NMSE {error:.1e}",
                    golden.name,
                    backend.name()
                );
                if error > tolerance::nmse_limit(limit) {
                    far.push(golden.name.clone());
                }
            }
        }
    }
    assert!(far.is_empty(), "{far:?}");
}

#[test]
fn real_checkpoints_of_mlx_give_its_logits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../real/grouped");
    if !folder.is_dir() {
        println!("did not run: {} is not there", folder.display());
        return;
    }
    for golden in grouped_in(&folder) {
        let model = open(&golden.dir).unwrap();
        let options = LoadOptions {
            output_rows_max: 512,
            threads: 2,
            ..LoadOptions::default()
        };
        for (tokens, error) in errors(&golden, &model, &Cpu, &options) {
            println!("{} {tokens}: NMSE {error:.1e}", golden.name);
            assert!(
                error <= tolerance::nmse_limit("g4_64m"),
                "{}: {error:e}",
                golden.name
            );
        }
    }
}

/// The model as a directory of ours.
fn written(golden: &GroupedGolden, recipe: &Recipe, out: &Path) -> Model {
    let files = ModelFiles::open(&golden.dir).unwrap();
    let source = Source::open(&files, &OpenOptions::default()).unwrap();
    let go_on = &mut |_progress: Progress<'_>| ControlFlow::Continue(());
    let staged = write(&source, recipe, out, &WriteOptions::default(), go_on);
    staged.unwrap().publish(None).unwrap();
    open(out).unwrap()
}

#[test]
fn a_model_in_groups_can_be_packed_and_opened_again() {
    let options = LoadOptions {
        output_rows_max: 512,
        threads: 2,
        ..LoadOptions::default()
    };
    for golden in grouped() {
        let scratch = ScratchDir::new().unwrap();
        let recipe = Recipe::new(PackedScheme::Q8);
        let model = written(&golden, &recipe, &scratch.path().join("packed"));
        for (tokens, error) in errors(&golden, &model, &Cpu, &options) {
            println!("{} {tokens}: NMSE {error:.1e}", golden.name);
            // A row of a mixture may change an expert.
            let limit = if golden.name.contains("moe") {
                0.2
            } else {
                1e-2
            };
            assert!(error < limit, "{}: NMSE {error:e}", golden.name);
        }
    }
}

#[test]
fn a_converted_model_in_groups_gives_the_same_bits() {
    let options = LoadOptions {
        output_rows_max: 512,
        threads: 2,
        kv: Some(KvFormat::F32),
        ..LoadOptions::default()
    };
    for golden in grouped() {
        let scratch = ScratchDir::new().unwrap();
        let converted = written(&golden, &Recipe::keep(), &scratch.path().join("ours"));
        assert!(converted.notes.is_empty(), "{}", golden.name);
        let ids = &golden.prompts[golden.prompts.len() - 1].ids;
        let rows = |model: &Model| {
            let mut runner = load(&Cpu, &model.plan, &model.checkpoint, &options);
            feed_alone(&mut *runner, ids, 512)
        };
        let before = rows(&open(&golden.dir).unwrap());
        assert_same_bits(&golden.name, &rows(&converted), &before);
    }
}
