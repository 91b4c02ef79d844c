//! Limits, refusals, cancels and failures.

use std::ops::ControlFlow;

use super::*;
use crate::backend::RunError;
use crate::sample::{Guide, SampleError, TokenMask};

const CONTEXT: usize = 300;

#[test]
fn prompts_up_to_the_context_less_one_are_read() {
    for rewinds in [true, false] {
        let mut generator = generator(Model::new(rewinds));
        for tokens in [CONTEXT, CONTEXT + 1, CONTEXT * 10] {
            assert_eq!(
                generator.submit(greedy(prompt(1, tokens), 5)),
                Err(RequestError::ContextLength {
                    prompt_tokens: tokens,
                    context_tokens: CONTEXT
                })
            );
        }
        let free = |tokens| Request {
            stop_ids: vec![],
            ..greedy(prompt(1, tokens), usize::MAX)
        };
        let outcome = run(&mut generator, vec![free(CONTEXT - 1)]).remove(0);
        assert_eq!((outcome.ids.len(), outcome.usage.max_tokens), (1, 1));
        assert_eq!(outcome.reason, Some(StopReason::ContextFull));
        let outcome = run(&mut generator, vec![free(CONTEXT - 20)]).remove(0);
        assert_eq!((outcome.ids.len(), outcome.usage.max_tokens), (20, 20));
        assert_eq!(outcome.reason, Some(StopReason::ContextFull));
    }
}

#[test]
fn max_tokens_ends_as_asked_where_the_context_has_room() {
    let ask = |tokens, max| Request {
        stop_ids: vec![],
        ..greedy(prompt(1, tokens), max)
    };
    for (asked, reason) in [
        (0, StopReason::MaxTokens),
        (1, StopReason::MaxTokens),
        (20, StopReason::MaxTokens),
        (21, StopReason::ContextFull),
    ] {
        let outcome = alone(&Model::new(true), ask(CONTEXT - 20, asked));
        assert_eq!(
            (outcome.ids.len(), outcome.reason),
            (asked.min(20), Some(reason))
        );
    }
}

#[test]
fn prompts_without_tokens_or_with_unknown_ones_are_refused() {
    let mut generator = generator(Model::new(true));
    let good = || greedy(prompt(1, 5), 5);
    let mut refused = |request| generator.submit(request).expect_err("wrong").to_string();
    assert_eq!(
        refused(Request {
            prompt: vec![],
            ..good()
        }),
        "prompt is empty"
    );
    assert_eq!(
        refused(Request {
            prompt: vec![1, 272],
            ..good()
        }),
        "prompt token 1 has id 272, the vocabulary has 272"
    );
    assert!(generator.idle());
}

#[test]
fn fields_outside_of_their_range_are_refused_by_name() {
    let mut generator = generator(Model::new(true));
    let good = || greedy(prompt(1, 5), 5);
    let mut refused = |request| generator.submit(request).expect_err("wrong").to_string();
    for (field, request) in [
        (
            "stop",
            Request {
                stop: vec!["a".into(); 17],
                ..good()
            },
        ),
        (
            "stop",
            Request {
                stop: vec![String::new()],
                ..good()
            },
        ),
        (
            "stop",
            Request {
                stop: vec!["a".repeat(1025)],
                ..good()
            },
        ),
        (
            "keep_marks",
            Request {
                keep_marks: vec![6],
                ..good()
            },
        ),
        (
            "keep_marks",
            Request {
                keep_marks: vec![0],
                ..good()
            },
        ),
        (
            "thinking.close",
            Request {
                thinking: Some(Thinking::default()),
                ..good()
            },
        ),
        (
            "top_p",
            Request {
                sampler: SamplerOptions {
                    top_p: 2.0,
                    ..Default::default()
                },
                ..good()
            },
        ),
    ] {
        let said = refused(request);
        assert!(said.starts_with(&format!("{field} is ")), "{said}");
    }
    assert!(generator.idle());
    assert!(
        generator
            .submit(Request {
                stop: vec!["a".into(); 16],
                ..good()
            })
            .is_ok()
    );
}

#[test]
fn a_cancelled_request_frees_its_place_for_the_next_step() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds).with_sequences(1);
        let mut generator = generator(model);
        let first = generator
            .submit(Request {
                stop_ids: vec![],
                ..greedy(prompt(1, 5), 100)
            })
            .unwrap();
        let second = generator.submit(greedy(prompt(2, 5), 5)).unwrap();
        let third = generator.submit(greedy(prompt(3, 5), 5)).unwrap();
        generator.step();
        assert_eq!((generator.running(), generator.waiting()), (1, 2));
        assert!(generator.cancel(first) && generator.cancel(third));
        assert!(!generator.cancel(first), "it has ended");
        let events = generator.step();
        let of = |id| {
            events
                .iter()
                .filter(|event| event.request() == id)
                .collect::<Vec<_>>()
        };
        for id in [first, third] {
            assert!(matches!(
                of(id)[..],
                [Event::Done {
                    reason: StopReason::Cancelled,
                    ..
                }]
            ));
        }
        assert!(matches!(
            of(second)[..],
            [Event::Started { .. }, Event::Token { .. }]
        ));
    }
}

#[test]
fn the_queue_is_bounded() {
    let options = GeneratorOptions {
        queue_max: 2,
        ..GeneratorOptions::default()
    };
    let model = Model::new(true).with_sequences(1);
    let mut generator = Generator::with_options(Box::new(model), Arc::new(Bytes::new()), options);
    for _ in 0..3 {
        assert!(generator.submit(greedy(prompt(1, 5), 5)).is_ok());
    }
    let full = Err(RequestError::QueueFull { waiting: 2 });
    assert_eq!(generator.submit(greedy(prompt(1, 5), 5)), full);
    let mut outcomes = BTreeMap::new();
    generator
        .step()
        .into_iter()
        .for_each(|event| hear(&mut outcomes, event));
    assert_eq!(generator.submit(greedy(prompt(1, 5), 5)), full);
    drain(&mut generator, &mut outcomes);
    assert_eq!(outcomes.len(), 3);
    assert!(generator.submit(greedy(prompt(1, 5), 5)).is_ok());
}

#[test]
fn a_failing_request_takes_nobody_with_it() {
    for rewinds in [true, false] {
        let mut model = Model::new(rewinds);
        model.poison = Some(7);
        let ask = |n: u32| {
            let clean = mixed(n).prompt.into_iter().map(|id| id.max(8)).collect();
            Request {
                prompt: clean,
                ..mixed(n)
            }
        };
        let poisoned = || greedy([prompt(1, 30), vec![7], prompt(2, 10)].concat(), 5);
        let mut generator = generator(model.with_sequences(6));
        let mut requests: Vec<_> = (0..5).map(ask).collect();
        requests.insert(2, poisoned());
        let mut outcomes = run(&mut generator, requests);
        let failed = outcomes.remove(2);
        let error = RunError::TokenOutOfRange {
            id: 7,
            vocab: mock::WIDTH,
        };
        assert_eq!(failed.reason, Some(StopReason::Failed(Failure::Run(error))));
        for (n, outcome) in (0..).zip(&outcomes) {
            assert_eq!(
                outcome.output(),
                alone(&model, ask(n)).output(),
                "request {n}"
            );
        }
    }
}

#[test]
fn memory_too_small_for_one_request_ends_it() {
    let mut model = Model::new(true);
    model.memory_tokens = 20;
    let outcomes = run(
        &mut generator(model),
        vec![
            greedy(prompt(1, 50), 5),
            greedy(prompt(2, 10), 5),
            greedy(prompt(3, 50), 5),
        ],
    );
    let full = StopReason::Failed(Failure::Run(RunError::CacheFull(20)));
    assert_eq!(outcomes[0].reason, Some(full.clone()));
    assert_eq!(outcomes[2].reason, Some(full));
    assert_eq!(outcomes[1].ids.len(), 5);
}

/// Rules everything out after some tokens, or demands an id.
struct Wall {
    after: usize,
    demand: Option<u32>,
}

impl Guide for Wall {
    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), SampleError> {
        if self.after == 0 {
            allowed.retain(|_| false);
        }
        Ok(())
    }

    fn forced(&mut self) -> Option<u32> {
        self.demand.filter(|_| self.after == 0)
    }

    fn accept(&mut self, _id: u32) {
        self.after -= 1;
    }
}

#[test]
fn a_dead_end_is_said() {
    let ask = |demand| Request {
        stop_ids: vec![],
        guides: vec![Box::new(Wall { after: 3, demand })],
        ..greedy(prompt(1, 5), 10)
    };
    let outcome = alone(&Model::new(true), ask(None));
    let dead = SampleError::DeadEnd {
        width: mock::WIDTH,
        index: 3,
    };
    assert_eq!(
        outcome.reason,
        Some(StopReason::Failed(Failure::Sample(dead)))
    );
    assert_eq!(outcome.ids.len(), 3);
    let outcome = alone(&Model::new(true), ask(Some(mock::HOLE)));
    let unknown = SampleError::NoSuchToken { id: mock::HOLE };
    assert_eq!(
        outcome.reason,
        Some(StopReason::Failed(Failure::Sample(unknown)))
    );
}

#[test]
fn broken_logits_end_the_request_and_not_the_loop() {
    let mut model = Model::new(true);
    model.broken_logits = true;
    let outcome = alone(&model, greedy(prompt(1, 5), 10));
    assert!(matches!(
        outcome.reason,
        Some(StopReason::Failed(Failure::Sample(
            SampleError::NotFinite { id: 0, .. }
        )))
    ));
}

#[test]
fn generate_returns_what_its_events_said() {
    for n in 0..20 {
        let model = Model::new(n % 2 == 0);
        let solo = alone(&model, mixed(n));
        let mut generator = generator(model.with_batch(16));
        let mut heard = 0;
        let answer = generator
            .generate(mixed(n), |_| {
                heard += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(
            (&answer.text, &answer.thinking),
            (&solo.text, &solo.thinking)
        );
        assert_eq!(
            (&answer.ids, Some(&answer.reason)),
            (&solo.ids, solo.reason.as_ref())
        );
        assert!(heard >= 2 + answer.ids.len());
    }
}

#[test]
fn a_listener_that_breaks_cancels() {
    let mut generator = generator(Model::new(true));
    let mut tokens = 0;
    let answer = generator
        .generate(
            Request {
                stop_ids: vec![],
                ..greedy(prompt(1, 5), 100)
            },
            |event| {
                tokens += usize::from(matches!(event, Event::Token { .. }));
                if tokens == 4 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        )
        .unwrap();
    assert_eq!(
        (answer.ids.len(), answer.reason),
        (4, StopReason::Cancelled)
    );
    assert!(generator.idle());
}

/// A guide whose second token panics.
struct Panics(usize);

impl Guide for Panics {
    fn accept(&mut self, _id: u32) {
        self.0 += 1;
        assert!(self.0 < 2, "a fault of this request");
    }
}

#[test]
fn a_panic_ends_its_request_and_no_other() {
    let mut generator = generator(Model::new(true));
    let ask = |seed| greedy(prompt(seed, 20), 5);
    let alone = run(&mut generator, vec![ask(1), ask(2)]);
    let faulty = Request {
        guides: vec![Box::new(Panics(0))],
        ..ask(2)
    };
    let both = run(&mut generator, vec![ask(1), faulty]);
    assert_eq!(both[0].output(), alone[0].output());
    let panicked = Some(StopReason::Failed(Failure::Panicked));
    assert_eq!(both[1].reason, panicked);
    let after = run(&mut generator, vec![ask(2)]);
    assert_eq!(after[0].output(), alone[1].output());
}
