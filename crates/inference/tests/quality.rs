//! Perplexity and divergence on tiny checkpoints, against loops that anyone can read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{feed_alone, load, some_ids};
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{LoadOptions, Runner};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::quality::{Measurement, QualityError, Rule, measure};
use lattice_inference::{Error, Model};
use lattice_testkit::families;

const TOKENS: usize = 70;

fn open(family: &str) -> Model {
    let golden = families().into_iter().find(|g| g.name == family).unwrap();
    let files = ModelFiles::open(&golden.dir).unwrap();
    Model::open(&files, &OpenOptions::default()).unwrap()
}

fn runner(model: &Model, output_rows_max: usize) -> Box<dyn Runner> {
    let options = LoadOptions {
        sequences_max: 1,
        output_rows_max,
        threads: 1,
        ..LoadOptions::default()
    };
    load(&Cpu, &model.plan, &model.checkpoint, &options)
}

fn measured(runner: &mut dyn Runner, ids: &[u32], rule: &Rule) -> Measurement {
    measure(runner, None, ids, rule, |_| ()).unwrap()
}

/// ln p of each entry of a row.
fn log_softmax(row: &[f32]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
    row.iter().map(|&x| f64::from(x) - sum.ln()).collect()
}

/// Mean of `-ln p` over the tokens of `scored` (places in the window) of each window that begins at one of `starts`.
fn naive(
    runner: &mut dyn Runner,
    ids: &[u32],
    starts: &[usize],
    scored: std::ops::Range<usize>,
) -> f64 {
    let width = runner.limits().output_width;
    let mut all = Vec::new();
    for &start in starts {
        let window = &ids[start..start + scored.end];
        let rows = feed_alone(runner, window, 16);
        for place in scored.clone() {
            let row = &rows[(place - 1) * width..place * width];
            all.push(-log_softmax(row)[window[place] as usize]);
        }
    }
    all.iter().sum::<f64>() / all.len() as f64
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    let relative = (found / expected - 1.0).abs();
    assert!(relative < 1e-9, "{found} instead of {expected}");
}

#[test]
fn perplexity_is_what_a_plain_loop_computes() {
    for golden in families() {
        let model = open(&golden.name);
        let ids = some_ids(TOKENS, golden.vocab, 5);
        let runner = &mut *runner(&model, 64);
        let chunks = Rule {
            context_tokens: 16,
            ..Rule::default()
        };
        let found = measured(runner, &ids, &chunks);
        assert_eq!((found.windows, found.tokens_scored), (4, 4 * 7));
        let expected = naive(runner, &ids, &[0, 16, 32, 48], 9..16).exp();
        assert_close(found.perplexity.value, expected);
        let strided = Rule {
            context_tokens: 32,
            stride: Some(15),
            ..Rule::default()
        };
        let found = measured(runner, &ids, &strided);
        assert_eq!((found.windows, found.tokens_scored), (3, 3 * 15));
        let expected = naive(runner, &ids, &[0, 15, 30], 17..32).exp();
        assert_close(found.perplexity.value, expected);
    }
}

#[test]
fn how_many_rows_come_at_once_does_not_show() {
    let model = open("qwen3_5");
    let ids = some_ids(TOKENS, model.plan.vocab, 6);
    let rule = Rule {
        context_tokens: 32,
        ..Rule::default()
    };
    let whole = measured(&mut *runner(&model, 64), &ids, &rule);
    assert_eq!(measured(&mut *runner(&model, 1), &ids, &rule), whole);
    assert_eq!(measured(&mut *runner(&model, 5), &ids, &rule), whole);
}

#[test]
fn a_beginning_token_stands_in_each_windows_first_place() {
    let model = open("llama");
    let mut ids = some_ids(TOKENS, model.plan.vocab, 7);
    let runner = &mut *runner(&model, 64);
    let rule = Rule {
        context_tokens: 8,
        bos: Some(1),
        ..Rule::default()
    };
    let found = measured(runner, &ids, &rule);
    ids.iter_mut().step_by(8).for_each(|id| *id = 1);
    let plain = Rule { bos: None, ..rule };
    assert_eq!(found, measured(runner, &ids, &plain));
}

#[test]
fn a_model_does_not_diverge_from_itself() {
    let model = open("qwen3_5");
    let ids = some_ids(TOKENS, model.plan.vocab, 8);
    let rule = Rule {
        context_tokens: 16,
        ..Rule::default()
    };
    let (mut one, mut two) = (runner(&model, 64), runner(&model, 3));
    let both = measure(&mut *one, Some(&mut *two), &ids, &rule, |_| ()).unwrap();
    let against = both.against.unwrap();
    assert_eq!(against.kl_mean.value, 0.0);
    assert_eq!((against.kl_q99, against.kl_max), (0.0, 0.0));
    assert_eq!(against.same_top.value, 1.0);
    assert_eq!(against.perplexity_ratio.value, 1.0);
    assert_eq!(against.base_perplexity, both.perplexity);
    assert_eq!(both.perplexity, measured(&mut *one, &ids, &rule).perplexity);
}

#[test]
fn the_divergence_of_two_models_is_what_a_plain_loop_computes() {
    let (model, base) = (open("qwen3"), open("qwen3_5"));
    assert_eq!(model.plan.vocab, base.plan.vocab);
    let ids = some_ids(16, model.plan.vocab, 9);
    let rule = Rule {
        context_tokens: 16,
        ..Rule::default()
    };
    let (mut one, mut two) = (runner(&model, 64), runner(&base, 64));
    let found = measure(&mut *one, Some(&mut *two), &ids, &rule, |_| ()).unwrap();
    let width = model.plan.vocab;
    let (rows, base_rows) = (
        feed_alone(&mut *one, &ids, 16),
        feed_alone(&mut *two, &ids, 16),
    );
    let kl = |place: usize| {
        let row = place * width..(place + 1) * width;
        let (p, q) = (
            log_softmax(&base_rows[row.clone()]),
            log_softmax(&rows[row]),
        );
        p.iter()
            .zip(&q)
            .map(|(p, q)| p.exp() * (p - q))
            .sum::<f64>()
    };
    let mean = (8..15).map(kl).sum::<f64>() / 7.0;
    let against = found.against.unwrap();
    assert!(mean > 1e-3, "two random models differ: {mean}");
    assert_close(against.kl_mean.value, mean);
    let ratio = found.perplexity.value / against.base_perplexity.value;
    assert_close(against.perplexity_ratio.value, ratio);
}

#[test]
fn what_cannot_be_measured_is_refused_and_leaves_the_runner_free() {
    let model = open("llama");
    let mut runner = runner(&model, 64);
    let ids = some_ids(20, model.plan.vocab, 1);
    let mut refused = |ids: &[u32], context_tokens| {
        let rule = Rule {
            context_tokens,
            ..Rule::default()
        };
        match measure(&mut *runner, None, ids, &rule, |_| ()) {
            Err(error) => error,
            Ok(found) => panic!("{found:?}"),
        }
    };
    let error = refused(&ids, 21);
    assert!(matches!(
        error,
        Error::Quality(QualityError::TextTooShort {
            found: 20,
            context: 21
        })
    ));
    let beyond = vec![model.plan.vocab as u32; 20];
    assert!(matches!(refused(&beyond, 20), Error::Run(_)));
    let long = model.plan.context_tokens_max + 1;
    assert!(matches!(
        refused(&vec![1; long], long),
        Error::Quality(QualityError::ContextTooLong { .. })
    ));
    let rule = Rule {
        context_tokens: 20,
        ..Rule::default()
    };
    measured(&mut *runner, &ids, &rule);
}
