//! Company and pieces change nothing.

use super::schedule::{Room, Wish, share};
use super::*;

#[test]
fn pieces_equal_whole() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        for n in 0..12 {
            let whole = alone(&model, mixed(n));
            for batch_tokens in (1..=20).chain([50, 89, 90, 91, 200]) {
                let mut generator = generator(model.with_batch(batch_tokens));
                let pieces = run(&mut generator, vec![mixed(n)]).remove(0);
                assert_eq!(pieces.output(), whole.output(), "{n} in {batch_tokens}s");
            }
        }
    }
}

#[test]
fn crowd_equals_alone() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        let solo: Vec<_> = (0..64).map(|n| alone(&model, mixed(n))).collect();
        let stopped = |word: &str| {
            solo.iter()
                .filter(|one| one.reason.as_ref().is_some_and(|why| why.detail() == word))
                .count()
        };
        assert!(stopped("stop_string") > 3 && stopped("max_tokens") > 20);
        for (sequences, batch_tokens, rows) in [(64, 96, 96), (64, 16, 3), (7, 5, 1), (1, 64, 64)] {
            let mut model = model.with_sequences(sequences).with_batch(batch_tokens);
            model.limits.output_rows_max = rows;
            let crowd = run(&mut generator(model), (0..64).map(mixed).collect());
            for (n, (crowd, solo)) in crowd.iter().zip(&solo).enumerate() {
                assert_eq!(
                    crowd.output(),
                    solo.output(),
                    "request {n} among {sequences}"
                );
            }
        }
    }
}

#[test]
fn crowd_with_cancels_equals_alone() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        let mut generator = generator(model.with_sequences(8));
        let mut outcomes = BTreeMap::new();
        let mut asked = Vec::new();
        for round in 0..200u64 {
            if round < 64 {
                let n = round as u32;
                asked.push((n, generator.submit(mixed(n)).unwrap(), false));
            }
            generator
                .step()
                .into_iter()
                .for_each(|event| hear(&mut outcomes, event));
            let at = mock::mix(round) as usize % asked.len();
            if mock::mix(round + 1000).is_multiple_of(4) {
                asked[at].2 |= generator.cancel(asked[at].1);
            }
        }
        drain(&mut generator, &mut outcomes);
        assert!(asked.iter().filter(|asked| asked.2).count() > 5);
        for (n, id, cancelled) in asked {
            let (outcome, solo) = (&outcomes[&id], alone(&model, mixed(n)));
            if cancelled {
                assert_eq!(outcome.reason, Some(StopReason::Cancelled));
                assert!(solo.ids.starts_with(&outcome.ids));
            } else {
                assert_eq!(outcome.output(), solo.output(), "request {n}");
            }
        }
    }
}

#[test]
fn same_seed_gives_same_text_and_seeds_are_told() {
    let ask = |seed| Request {
        sampler: SamplerOptions {
            seed,
            ..SamplerOptions::default()
        },
        ..greedy(prompt(1, 9), 20)
    };
    let model = Model::new(true);
    let first = alone(&model, ask(Some(5)));
    assert_eq!(first.ids, alone(&model, ask(Some(5))).ids);
    assert_ne!(first.ids, alone(&model, ask(Some(6))).ids);
    // Without a seed the engine takes one, and a request with it gives the same text.
    let mut generator = generator(model.clone());
    let id = generator.submit(ask(None)).unwrap();
    let mut outcomes = BTreeMap::new();
    let mut seeds = Vec::new();
    while !generator.idle() {
        for event in generator.step() {
            if let Event::Started { seed, .. } = event {
                seeds.push(seed);
            }
            hear(&mut outcomes, event);
        }
    }
    assert_eq!(seeds.len(), 1);
    assert_eq!(outcomes[&id].ids, alone(&model, ask(Some(seeds[0]))).ids);
}

#[test]
fn a_long_prompt_starves_nobody() {
    let model = Model::new(true).with_batch(16);
    let seen = model.seen.clone();
    let mut generator = generator(model);
    let writing = generator
        .submit(Request {
            stop_ids: vec![],
            ..greedy(prompt(1, 3), 100)
        })
        .unwrap();
    generator.step();
    let long = generator.submit(greedy(prompt(2, 250), 1)).unwrap();
    let short = generator.submit(greedy(prompt(3, 20), 1)).unwrap();
    let mut done = Vec::new();
    while done.len() < 2 {
        let events = generator.step();
        let tokens = |id| {
            events.iter().filter(
                move |event| matches!(event, Event::Token { request, .. } if *request == id),
            )
        };
        assert_eq!(tokens(writing).count(), 1, "a token with every step");
        for event in events {
            if let Event::Done { request, .. } = event {
                done.push(request);
            }
        }
    }
    assert_eq!(done, [short, long]);
    // Both prompts together took as few batches as fit them.
    assert!(seen.lock().unwrap().batches.len() <= 1 + 270 / 15 + 2);
}

#[test]
fn full_memory_makes_requests_wait_and_changes_no_text() {
    for rewinds in [true, false] {
        let mut model = Model::new(rewinds).with_sequences(16);
        let ask = |n: u32| Request {
            stop: vec![],
            ..mixed(n)
        };
        let solo: Vec<_> = (0..16).map(|n| alone(&model, ask(n))).collect();
        model.memory_tokens = 150;
        let crowd = run(&mut generator(model), (0..16).map(ask).collect());
        for (n, (crowd, solo)) in crowd.iter().zip(&solo).enumerate() {
            assert_eq!(crowd.output(), solo.output(), "request {n}");
        }
    }
}

#[test]
fn logprobs_do_not_depend_on_the_sampler() {
    let ask = |temperature| Request {
        sampler: SamplerOptions {
            temperature,
            top_k: 1,
            logprobs: Some(4),
            repetition_penalty: 1.0,
            ..SamplerOptions::default()
        },
        prompt_logprobs: true,
        ..greedy(prompt(4, 30), 10)
    };
    let model = Model::new(true);
    let (cold, warm) = (alone(&model, ask(0.0)), alone(&model, ask(1.7)));
    assert_eq!(cold.output(), warm.output());
    assert_eq!(cold.prompt_logprobs.len(), 29);
    let ids: Vec<u32> = cold.prompt_logprobs.iter().map(|token| token.id).collect();
    assert_eq!(ids, prompt(4, 30)[1..]);
    for (token, &id) in cold.logprobs.iter().zip(&cold.ids) {
        assert_eq!(token.id, id);
        assert_eq!(token.top.len(), 4);
        assert_eq!(token.top[0], (id, token.logprob), "greedy takes the best");
        assert!(token.top.is_sorted_by(|a, b| a.1 >= b.1));
    }
}

#[test]
fn batches_are_shared_fairly() {
    let wish = |tokens, all_rows| Wish {
        tokens,
        row_at_end: true,
        all_rows,
    };
    let granted = |wishes: &[Wish], tokens, rows| {
        let mut room = Room { tokens, rows };
        let granted = share(wishes, &mut room);
        assert_eq!(granted.iter().sum::<usize>() + room.tokens, tokens);
        granted
    };
    let plain = [
        wish(100, false),
        wish(1, false),
        wish(6, false),
        wish(100, false),
    ];
    // One for each, the short prompt whole; half of the rest for all, half for the first of the long ones.
    assert_eq!(granted(&plain, 47, 9), [31, 1, 6, 9]);
    assert_eq!(granted(&plain, 1000, 9), [100, 1, 6, 100]);
    assert_eq!(granted(&plain, 3, 9), [1, 1, 1, 0]);
    // Without a row left a prompt stops before its last token, and a single token waits.
    assert_eq!(granted(&plain, 1000, 2), [99, 1, 6, 99]);
    assert_eq!(granted(&plain[1..2], 5, 0), [0]);
    // Where every token needs a row, rows are the limit.
    assert_eq!(granted(&[wish(50, true), wish(1, false)], 100, 8), [7, 1]);
}
