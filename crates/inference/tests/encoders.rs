//! Encoders against sentence-transformers, and the laws that their vectors keep.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{assert_same_bits, backends, cosine};
use lattice_inference::backend::LoadOptions;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::encoder::{EncodedText, Given};
use lattice_inference::plan::Pooling;
use lattice_inference::{CrossEncoder, Encoder, EncoderOptions};
use lattice_testkit::{
    CrossGolden, EncodedGolden, EncoderGolden, ScratchDir, cross_encoders, encoder, encoders,
    max_abs_error,
};

/// No component may be further from the reference's.
const DIFFERENCE_MAX: f64 = 2e-6;
const COSINE_MIN: f64 = 0.999_999_9;

fn open(golden: &EncoderGolden, options: &EncoderOptions) -> Encoder {
    Encoder::open(&ModelFiles::open(&golden.dir).unwrap(), &Cpu, options).unwrap()
}

fn open_cross(golden: &CrossGolden, options: &EncoderOptions) -> CrossEncoder {
    CrossEncoder::open(&ModelFiles::open(&golden.dir).unwrap(), &Cpu, options).unwrap()
}

fn threads(threads: usize) -> EncoderOptions {
    EncoderOptions {
        load: LoadOptions {
            threads,
            ..LoadOptions::default()
        },
        ..EncoderOptions::default()
    }
}

fn slices(ids: &[Vec<u32>]) -> Vec<&[u32]> {
    ids.iter().map(Vec::as_slice).collect()
}

/// Rows as near to the reference's as f32 allows.
#[track_caller]
fn assert_near(what: &str, expected: &[Vec<f32>], found: &[f32]) {
    let dims = expected[0].len();
    assert_eq!(found.len(), expected.len() * dims, "{what}");
    for (index, (expected, found)) in expected.iter().zip(found.chunks_exact(dims)).enumerate() {
        let difference = max_abs_error(expected, found);
        assert!(
            difference <= DIFFERENCE_MAX,
            "{what}: row {index}: a component is {difference:e} away"
        );
        let cosine = cosine(expected, found);
        assert!(cosine >= COSINE_MIN, "{what}: row {index}: cosine {cosine}");
    }
}

#[test]
fn texts_have_the_ids_of_the_reference_and_know_what_was_cut() {
    for golden in encoders() {
        let side = open(&golden, &threads(1)).text;
        let check = |expected: &EncodedGolden| {
            for (text, ids) in golden.texts.texts.iter().zip(&expected.ids) {
                let encoded = side.tokenise_after(&expected.prompt, text).unwrap();
                assert_eq!(&encoded.ids, ids, "{}: {text:?}", golden.name);
                assert!(encoded.tokens_before >= ids.len());
                assert_eq!(encoded.is_cut(), encoded.tokens_before > side.max_tokens());
            }
        };
        check(&golden.texts.plain);
        let Some(query) = &golden.texts.query else {
            continue;
        };
        check(query);
        assert_eq!(side.prompt("query").unwrap(), query.prompt);
        let error = side.prompt("quest").unwrap_err().to_string();
        assert_eq!(error, "no prompt \"quest\": there are passage, query");
    }
}

#[test]
fn vectors_are_those_of_the_reference_on_every_backend() {
    for golden in encoders() {
        let files = ModelFiles::open(&golden.dir).unwrap();
        for backend in backends() {
            let mut encoder = Encoder::open(&files, backend, &threads(1)).unwrap();
            for expected in std::iter::once(&golden.texts.plain).chain(&golden.texts.query) {
                let found = encoder.encode(&slices(&expected.ids)).unwrap();
                let what = format!("{} on {}", golden.name, backend.name());
                assert_near(&what, &expected.rows, &found);
            }
        }
    }
}

#[test]
fn a_caller_may_say_how_tokens_become_one_vector() {
    let golden = encoder("bert_mean");
    let ids = slices(&golden.texts.plain.ids);
    let others = Pooling::ALL.into_iter();
    for pooling in others.filter(|pooling| *pooling != Pooling::Mean) {
        let given = Given {
            pooling: Some(pooling),
            ..Given::default()
        };
        for backend in backends() {
            let options = EncoderOptions {
                given: given.clone(),
                ..threads(1)
            };
            let files = ModelFiles::open(&golden.dir).unwrap();
            let mut encoder = Encoder::open(&files, backend, &options).unwrap();
            assert_eq!(encoder.settings().pooling, pooling);
            let found = encoder.encode(&ids).unwrap();
            let name = pooling.name();
            assert_near(name, &golden.texts.pooled[name], &found);
        }
    }
}

#[test]
fn a_prompt_may_be_read_and_not_pooled() {
    let golden = encoder("bert_mean");
    let copy = ScratchDir::new().unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
    ] {
        std::fs::copy(golden.dir.join(file), copy.path().join(file)).unwrap();
    }
    let more = ["tokenizer_config.json", "sentence_bert_config.json"];
    for file in more {
        std::fs::copy(golden.dir.join(file), copy.path().join(file)).unwrap();
    }
    std::fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    assert_eq!(golden.texts.without_prompt.len(), 4);
    for (mode, expected) in &golden.texts.without_prompt {
        let config = format!("{{\"pooling_mode\": \"{mode}\", \"include_prompt\": false}}");
        std::fs::write(copy.path().join("1_Pooling/config.json"), config).unwrap();
        let files = ModelFiles::open(copy.path()).unwrap();
        for backend in backends() {
            let mut encoder = Encoder::open(&files, backend, &threads(1)).unwrap();
            assert!(!encoder.settings().include_prompt);
            let texts = golden.texts.texts.iter();
            let texts = texts.map(|text| encoder.text.tokenise_after(&expected.prompt, text));
            let texts: Vec<EncodedText> = texts.collect::<Result<_, _>>().unwrap();
            for (text, ids) in texts.iter().zip(&expected.ids) {
                assert_eq!(&text.ids, ids);
                assert!(text.prompt_tokens > 1 && text.prompt_tokens < ids.len());
            }
            let texts: Vec<&EncodedText> = texts.iter().collect();
            let found = encoder.encode_texts(&texts).unwrap();
            assert_near(mode, &expected.rows, &found);
        }
    }
}

#[test]
fn a_vector_does_not_depend_on_its_company_its_pieces_or_the_number_of_threads() {
    for golden in encoders() {
        let ids = slices(&golden.texts.plain.ids);
        let mut alone = Vec::new();
        let mut encoder = open(&golden, &threads(1));
        for text in &ids {
            alone.extend(encoder.encode(&[text]).unwrap());
        }
        for (count, sequences_max, batch_tokens_max) in
            [(1, 4, 512), (2, 64, 512), (3, 3, 33), (4, 1, 1)]
        {
            let mut options = threads(count);
            options.load.sequences_max = sequences_max;
            options.load.batch_tokens_max = batch_tokens_max;
            let found = open(&golden, &options).encode(&ids).unwrap();
            let what = format!("{}: {sequences_max} x {batch_tokens_max}", golden.name);
            assert_same_bits(&what, &alone, &found);
        }
        // A runner that has run other texts before.
        let again = encoder.encode(&ids).unwrap();
        assert_same_bits(&golden.name, &alone, &again);
    }
}

#[test]
fn pairs_have_the_ids_types_and_scores_of_the_reference() {
    for golden in cross_encoders() {
        let files = ModelFiles::open(&golden.dir).unwrap();
        for backend in backends() {
            let mut encoder = CrossEncoder::open(&files, backend, &threads(1)).unwrap();
            let pair = |[first, second]: &[String; 2]| encoder.text.tokenise_pair(first, second);
            let pairs: Result<Vec<EncodedText>, _> = golden.pairs.pairs.iter().map(pair).collect();
            let pairs = pairs.unwrap();
            for (index, pair) in pairs.iter().enumerate() {
                assert_eq!(pair.ids, golden.pairs.ids[index], "{} {index}", golden.name);
                assert_eq!(
                    pair.type_ids, golden.pairs.type_ids[index],
                    "{}",
                    golden.name
                );
            }
            let name = format!("{} on {}", golden.name, backend.name());
            let labels = encoder.settings().labels.len();
            assert_eq!(labels, golden.pairs.logits[0].len(), "{name}");
            let near = |expected: &[Vec<f32>], found: &[f32]| {
                let difference = max_abs_error(&expected.concat(), found);
                assert!(difference <= 5e-6, "{name}: {difference:e}");
            };
            near(&golden.pairs.logits, &encoder.logits(&pairs).unwrap());
            near(&golden.pairs.scores, &encoder.score(&pairs).unwrap());
        }
    }
}

#[test]
fn a_score_does_not_depend_on_its_company() {
    for golden in cross_encoders() {
        let mut encoder = open_cross(&golden, &threads(1));
        let pair = |[first, second]: &[String; 2]| encoder.text.tokenise_pair(first, second);
        let pairs: Result<Vec<EncodedText>, _> = golden.pairs.pairs.iter().map(pair).collect();
        let pairs = pairs.unwrap();
        let mut alone = Vec::new();
        for pair in &pairs {
            alone.extend(encoder.score(std::slice::from_ref(pair)).unwrap());
        }
        let crowd = open_cross(&golden, &threads(3)).score(&pairs).unwrap();
        assert_same_bits(&golden.name, &alone, &crowd);
    }
}
