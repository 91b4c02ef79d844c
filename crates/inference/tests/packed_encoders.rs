//! Encoders packed to 8 bits: what their matrices become, and how near their vectors stay.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "a test that does not run says so")]

mod common;

use std::ops::ControlFlow;
use std::path::Path;

use common::cosine;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::{Kept, ModelFiles, OpenOptions};
use lattice_inference::quantize::{Recipe, Source, Target, WriteOptions, plan_tensors, write};
use lattice_inference::{Encoder, EncoderOptions};
use lattice_kernels::PackedScheme;
use lattice_testkit::{ScratchDir, cross_encoders, encoders};

fn open(dir: &Path) -> Source {
    Source::open(&ModelFiles::open(dir).unwrap(), &OpenOptions::default()).unwrap()
}

/// The schemes of the matrices in a copy in 8 bits.
fn schemes(source: &Source) -> Vec<String> {
    let recipe = Recipe::new(PackedScheme::Q8);
    let targets = plan_tensors(source, &recipe, false).unwrap().tensors;
    let packed = targets
        .iter()
        .filter(|target| matches!(target.form, Kept::Packed(_)));
    packed.map(Target::scheme).collect()
}

/// A vector for each text, one behind the other, and their width.
fn vectors(dir: &Path, texts: &[String]) -> (Vec<f32>, usize) {
    let files = ModelFiles::open(dir).unwrap();
    let mut encoder = Encoder::open(&files, &Cpu, &EncoderOptions::default()).unwrap();
    let texts = texts.iter().map(|text| encoder.text.tokenise(text));
    let texts = texts.collect::<Result<Vec<_>, _>>().unwrap();
    let rows = encoder.encode_texts(&texts.iter().collect::<Vec<_>>());
    (rows.unwrap(), encoder.settings().dims)
}

/// The least cosine of texts between a model's vectors and those of its copy in 8 bits.
fn least_cosine(dir: &Path, texts: &[String]) -> f64 {
    let scratch = ScratchDir::new().unwrap();
    let out = scratch.path().join("packed");
    let (recipe, options) = (Recipe::new(PackedScheme::Q8), WriteOptions::default());
    let staged = write(&open(dir), &recipe, &out, &options, &mut |_| {
        ControlFlow::Continue(())
    });
    staged.unwrap().publish(None).unwrap();
    let ((a, dims), (b, _)) = (vectors(dir, texts), vectors(&out, texts));
    let pairs = a.chunks_exact(dims).zip(b.chunks_exact(dims));
    pairs.map(|(a, b)| cosine(a, b)).fold(1.0, f64::min)
}

#[test]
fn what_makes_vectors_and_scores_has_a_scale_for_each_16_columns() {
    let dirs = encoders().into_iter().map(|golden| golden.dir);
    for dir in dirs.chain(cross_encoders().into_iter().map(|golden| golden.dir)) {
        let schemes = schemes(&open(&dir));
        assert!(!schemes.is_empty() && schemes.iter().all(|scheme| scheme == "g8_16"));
    }
}

#[test]
fn vectors_of_eight_bits_are_near_those_of_the_model() {
    for golden in encoders() {
        let least = least_cosine(&golden.dir, &golden.texts.texts);
        assert!(least >= 0.9995, "{}: {least}", golden.name);
    }
}

/// Real weights, where somebody put them: `real/all-MiniLM-L6-v2` in the repository root.
#[test]
fn real_encoders_in_eight_bits_keep_the_limit() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../real/all-MiniLM-L6-v2");
    if !dir.exists() {
        println!("did not run: {} is not there", dir.display());
        return;
    }
    let some = encoders().remove(0).texts.texts;
    let texts = (0..200).map(|i| {
        let words = some.iter().cycle().skip(i).take(1 + i % 13);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    });
    let least = least_cosine(&dir, &texts.collect::<Vec<_>>());
    println!("least cosine {least}");
    assert!(least >= 0.9995, "{least}");
}
