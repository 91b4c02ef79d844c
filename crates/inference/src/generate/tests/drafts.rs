//! Drafts on = drafts off.

use super::*;
use crate::sample::{Guide, NgramDraft};

/// Proposes the true continuation, with mistakes.
struct Oracle {
    truth: Vec<u32>,
    prompt_tokens: usize,
    /// One guess in this many is wrong; 0 makes none.
    wrong: u64,
}

impl Guide for Oracle {
    fn propose(&mut self, ids: &[u32], max: usize, out: &mut Vec<u32>) {
        let from = ids.len() - self.prompt_tokens;
        for at in from..self.truth.len().min(from + max) {
            let noise = mock::mix((at * 1000 + ids.len()) as u64);
            let wrong = self.wrong > 0 && noise.is_multiple_of(self.wrong);
            out.push(if wrong {
                noise as u32 % 256
            } else {
                self.truth[at]
            });
        }
    }
}

fn with_oracle(n: u32, truth: &Outcome, wrong: u64) -> Request {
    let request = mixed(n);
    let oracle = Oracle {
        truth: truth.ids.clone(),
        prompt_tokens: request.prompt.len(),
        wrong,
    };
    Request {
        guides: vec![Box::new(oracle)],
        ..request
    }
}

#[test]
fn drafts_change_no_text() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        let solo: Vec<_> = (0..48).map(|n| alone(&model, mixed(n))).collect();
        for (wrong, sequences, batch_tokens) in [(0, 4, 64), (2, 4, 64), (4, 16, 20), (3, 1, 3)] {
            let model = model.with_sequences(sequences).with_batch(batch_tokens);
            let ask = |(n, truth)| with_oracle(n, truth, wrong);
            let drafted = run(&mut generator(model), (0..).zip(&solo).map(ask).collect());
            let mut accepted = 0;
            let mut proposed = 0;
            for (n, (drafted, solo)) in drafted.iter().zip(&solo).enumerate() {
                assert_eq!(
                    drafted.output(),
                    solo.output(),
                    "request {n}, 1 wrong in {wrong}"
                );
                accepted += drafted.usage.accepted_tokens;
                proposed += drafted.usage.drafted_tokens;
            }
            assert!(accepted > 20, "{accepted} of {proposed}");
            assert!(wrong == 0 || accepted < proposed);
        }
    }
}

#[test]
fn right_drafts_save_batches() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        let ask = || Request {
            stop_ids: vec![],
            ..greedy(prompt(3, 10), 40)
        };
        let solo = alone(&model, ask());
        let batches = |wrong| {
            let model = model.with_batch(64);
            let seen = model.seen.clone();
            let oracle = Oracle {
                truth: solo.ids.clone(),
                prompt_tokens: 10,
                wrong,
            };
            let request = Request {
                guides: vec![Box::new(oracle)],
                ..ask()
            };
            assert_eq!(run(&mut generator(model), vec![request])[0].ids, solo.ids);
            seen.lock().unwrap().batches.len()
        };
        // One batch for the prompt, then nine tokens with each: eight proposed and one more.
        assert_eq!(batches(0), 1 + 39_usize.div_ceil(9));
        assert!(batches(3) < 40);
        assert_eq!(batches(1), 40);
    }
}

#[test]
fn a_sequence_after_wrong_drafts_is_reused_like_any_other() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        for n in (0..30).filter(|n: &u32| !n.is_multiple_of(6)) {
            let solo = alone(&model, mixed(n));
            let mut generator = generator(model.with_batch(64));
            let first = run(&mut generator, vec![with_oracle(n, &solo, 3)]).remove(0);
            let next = [&mixed(n).prompt[..], &first.ids, &[1, 2, 3]].concat();
            let second = run(&mut generator, vec![greedy(next.clone(), 12)]).remove(0);
            assert_eq!(second.output(), alone(&model, greedy(next, 12)).output());
            assert!(second.cached >= mixed(n).prompt.len());
        }
    }
}

#[test]
fn ngram_drafts_are_right_where_the_text_repeats() {
    for rewinds in [true, false] {
        let text: Vec<u32> = b"abcdefgh"
            .iter()
            .cycle()
            .take(60)
            .map(|&byte| byte.into())
            .collect();
        let model = Model::new(rewinds).with_script(5, &text);
        let ask = || Request {
            guides: vec![Box::new(NgramDraft::new(3))],
            ..greedy(prompt(1, 5), 60)
        };
        let outcome = run(&mut generator(model), vec![ask()]).remove(0);
        assert_eq!(outcome.ids, text);
        assert!(outcome.usage.accepted_tokens > 35, "{:?}", outcome.usage);
    }
}

#[test]
fn drafts_that_do_not_fit_in_memory_cost_nothing_but_themselves() {
    for rewinds in [true, false] {
        let mut model = Model::new(rewinds);
        let solo: Vec<_> = (0..16).map(|n| alone(&model, mixed(n))).collect();
        for memory_tokens in [100, 130, 200] {
            model.memory_tokens = memory_tokens;
            let ask = |(n, truth)| with_oracle(n, truth, 4);
            let requests: Vec<_> = (0..).zip(&solo).map(ask).collect();
            let drafted = run(&mut generator(model.with_sequences(16)), requests);
            for (n, (drafted, solo)) in drafted.iter().zip(&solo).enumerate() {
                let needs = mixed(n as u32).prompt.len() + solo.usage.generated_tokens;
                if needs <= memory_tokens {
                    assert_eq!(drafted.output(), solo.output(), "request {n}");
                }
            }
        }
    }
}

#[test]
fn a_guess_that_the_runner_refuses_costs_nothing() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        let ask = || Request {
            stop_ids: vec![],
            ..greedy(prompt(3, 10), 30)
        };
        let solo = alone(&model, ask());
        let mut model = model.with_batch(64);
        model.poison = (0..256).find(|id| !solo.ids.contains(id) && !prompt(3, 10).contains(id));
        let truth = vec![model.poison.unwrap(); 30];
        let oracle = Oracle {
            truth,
            prompt_tokens: 10,
            wrong: 0,
        };
        let request = Request {
            guides: vec![Box::new(oracle)],
            ..ask()
        };
        assert_eq!(
            run(&mut generator(model), vec![request])[0].output(),
            solo.output()
        );
    }
}
