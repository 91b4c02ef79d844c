//! The laws of the generate loop, over a model and a tokenizer made for them.

mod cache;
mod drafts;
mod edges;
mod laws;
mod mock;
mod parts;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::sample::{SamplerOptions, TokenLogprobs};
use mock::{Bytes, EOS, Model};

/// All that one request gave.
#[derive(Debug, Clone, PartialEq, Default)]
struct Outcome {
    ids: Vec<u32>,
    text: String,
    thinking: String,
    logprobs: Vec<TokenLogprobs>,
    prompt_logprobs: Vec<TokenLogprobs>,
    reason: Option<StopReason>,
    cached: usize,
    usage: Usage,
}

impl Outcome {
    /// What must not depend on company, pieces, caches or drafts.
    fn output(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let Outcome {
            ids,
            text,
            thinking,
            logprobs,
            prompt_logprobs,
            reason,
            ..
        } = self.clone();
        (
            ids,
            text,
            thinking,
            logprobs,
            prompt_logprobs,
            reason,
            self.usage.generated_tokens,
        )
    }
}

fn generator(model: Model) -> Generator {
    Generator::new(Box::new(model), Arc::new(Bytes::new()))
}

fn with_options(model: Model, options: GeneratorOptions) -> Generator {
    Generator::with_options(Box::new(model), Arc::new(Bytes::new()), options)
}

/// Takes one event into the outcomes, and holds it against the order that events promise.
fn hear(outcomes: &mut BTreeMap<RequestId, Outcome>, event: Event) {
    let outcome = outcomes.entry(event.request()).or_default();
    assert_eq!(outcome.reason, None, "nothing follows the end");
    let (text, part) = match event {
        Event::Started { cached_tokens, .. } => {
            assert_eq!(outcome, &Outcome::default(), "the start comes first");
            outcome.cached = cached_tokens;
            return;
        }
        Event::PromptLogprobs {
            first, logprobs, ..
        } => {
            assert_eq!(
                first,
                outcome.prompt_logprobs.len() + 1,
                "in order, without holes"
            );
            outcome.prompt_logprobs.extend(logprobs);
            return;
        }
        Event::Token {
            id,
            text,
            part,
            logprobs,
            ..
        } => {
            outcome.ids.push(id);
            outcome.logprobs.extend(logprobs);
            (text, part)
        }
        Event::Done {
            text,
            part,
            reason,
            usage,
            ..
        } => {
            let stop_id = usize::from(matches!(reason, StopReason::EndOfText(_)));
            assert_eq!(usage.generated_tokens, outcome.ids.len() + stop_id);
            assert!(usage.generated_tokens <= usage.max_tokens);
            assert_eq!(usage.cached_tokens, outcome.cached);
            outcome.reason = Some(reason);
            outcome.usage = usage;
            (text, part)
        }
    };
    match part {
        Part::Answer => outcome.text.push_str(&text),
        Part::Thinking => outcome.thinking.push_str(&text),
        Part::Mark => {}
    }
}

/// Steps until nothing is left to do.
fn drain(generator: &mut Generator, outcomes: &mut BTreeMap<RequestId, Outcome>) {
    let mut steps = 0;
    while !generator.idle() {
        generator
            .step()
            .into_iter()
            .for_each(|event| hear(outcomes, event));
        steps += 1;
        assert!(steps < 100_000, "the loop makes progress");
    }
}

/// Submits all, then runs all; outcomes in the order of the requests.
fn run(generator: &mut Generator, requests: Vec<Request>) -> Vec<Outcome> {
    let mut outcomes = BTreeMap::new();
    let submit = |request| generator.submit(request).expect("a good request");
    let ids: Vec<_> = requests.into_iter().map(submit).collect();
    drain(generator, &mut outcomes);
    ids.iter()
        .map(|id| outcomes.remove(id).expect("each request ends"))
        .collect()
}

/// The outcome of one request in a generator of its own, prompt fed at once.
fn alone(model: &Model, request: Request) -> Outcome {
    let mut generator = generator(model.with_batch(100_000));
    let outcome = run(&mut generator, vec![request]).remove(0);
    assert_eq!(outcome.cached, 0);
    outcome
}

fn prompt(seed: u32, tokens: usize) -> Vec<u32> {
    (0..)
        .map(|at| mock::mix(u64::from(seed) << 32 | at) as u32 % 256)
        .take(tokens)
        .collect()
}

fn greedy(prompt: Vec<u32>, max_tokens: usize) -> Request {
    Request {
        prompt,
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(max_tokens),
        stop_ids: vec![EOS],
        ..Request::default()
    }
}

/// A request whose every option depends on `n`.
fn mixed(n: u32) -> Request {
    let sampler = SamplerOptions {
        temperature: [0.0, 0.7, 1.0, 1.5][n as usize % 4],
        top_k: [0, 20, 5][n as usize % 3],
        top_p: [1.0, 0.9, 0.5][n as usize / 2 % 3],
        min_p: [0.0, 0.05][n as usize / 3 % 2],
        repetition_penalty: [1.0, 1.3][n as usize / 4 % 2],
        presence_penalty: [0.0, 0.5][n as usize / 5 % 2],
        frequency_penalty: [0.0, 0.3][n as usize / 6 % 2],
        logit_bias: if n.is_multiple_of(7) {
            vec![(97, 5.0), (98, -5.0)]
        } else {
            Vec::new()
        },
        seed: Some(u64::from(n)),
        logprobs: [None, Some(0), Some(3)][n as usize % 3],
    };
    let budget = [None, Some(0), Some(6)][n as usize % 3];
    let thinking = Thinking {
        open: n.is_multiple_of(2),
        begin: vec![mock::THINK],
        close: if n.is_multiple_of(4) {
            vec![10, mock::CLOSE]
        } else {
            vec![mock::CLOSE]
        },
        budget,
    };
    let length = 1 + (n as usize * 37) % 90;
    Request {
        sampler,
        thinking: (n % 5 < 3).then_some(thinking),
        prompt_logprobs: n.is_multiple_of(6),
        stop: if n.is_multiple_of(3) {
            ["\u{fffd}z", "a", "e", "i", "o", "u", "0", "1", "2"]
                .map(String::from)
                .into()
        } else {
            Vec::new()
        },
        keep_marks: if length > 4 {
            vec![length / 2, length - 2]
        } else {
            Vec::new()
        },
        ..greedy(prompt(n, length), (n as usize * 13) % 40)
    }
}
