//! Checkpoints as MLX, AWQ and GPTQ store them: logits of the peer or of transformers, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::path::Path;

use common::{backends, feed_alone, load};
use lattice_inference::Model;
use lattice_inference::backend::LoadOptions;
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_testkit::{grouped, nmse, tolerance};

fn open(dir: &Path) -> Result<Model, lattice_inference::Error> {
    let files = ModelFiles::open(dir)?;
    Model::open(&files, &OpenOptions::default())
}

#[test]
fn logits_equal_those_of_the_reference() {
    let goldens = grouped();
    assert_eq!(goldens.len(), 7);
    let mut far = Vec::new();
    for golden in goldens {
        let model = open(&golden.dir).unwrap();
        assert!(model.notes.is_empty(), "{}: {:?}", golden.name, model.notes);
        for backend in backends() {
            let options = LoadOptions {
                output_rows_max: 512,
                threads: 2,
                ..LoadOptions::default()
            };
            let mut runner = load(backend, &model.plan, &model.checkpoint, &options);
            // The reference backend computes with the values that the groups stand for.
            let limit = if backend.name() == "cpu" {
                "g4_64m"
            } else {
                "f32"
            };
            for prompt in &golden.prompts {
                let rows = feed_alone(&mut *runner, &prompt.ids, 512);
                let error = nmse(&prompt.logits, &rows[prompt.first_row * golden.vocab..]);
                let what = format!("{} {} {}", golden.name, backend.name(), prompt.ids.len());
                println!("{what}: NMSE {error:.1e}");
                if error > tolerance::nmse_limit(limit) {
                    far.push(what);
                }
            }
        }
    }
    assert!(far.is_empty(), "{far:?}");
}
