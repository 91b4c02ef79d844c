//! Cache hit = cold.

use super::*;

/// `ids` with the one at `at` changed.
fn edited(mut ids: Vec<u32>, at: usize) -> Vec<u32> {
    ids[at] ^= 1;
    ids
}

#[test]
fn a_second_turn_feeds_only_the_new_tokens() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        let seen = model.seen.clone();
        let mut generator = generator(model.clone());
        let mut history = prompt(1, 40);
        let mut held = 0;
        for turn in 0..5 {
            let outcome = run(&mut generator, vec![greedy(history.clone(), 8)]).remove(0);
            assert_eq!(outcome.cached, held, "turn {turn}");
            assert_eq!(
                outcome.output(),
                alone(&model, greedy(history.clone(), 8)).output()
            );
            // The last token is chosen, but not fed.
            held = history.len() + outcome.usage.generated_tokens - 1;
            history.extend(&outcome.ids);
            history.extend(prompt(100 + turn, 7));
        }
        assert_eq!(seen.lock().unwrap().open, 1);
        assert_eq!(generator.parked(), 1);
        generator.forget();
        assert_eq!(seen.lock().unwrap().open, 0);
    }
}

#[test]
fn an_edit_at_every_place_of_a_prompt_equals_cold() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds);
        for at in 0..60 {
            let mut generator = generator(model.with_sequences(2));
            let first = Request {
                keep_marks: vec![10, 25, 50],
                ..greedy(prompt(1, 60), 8)
            };
            run(&mut generator, vec![first]);
            let second = greedy(edited(prompt(1, 60), at), 8);
            let warm = run(&mut generator, vec![second]).remove(0);
            let cold = alone(&model, greedy(edited(prompt(1, 60), at), 8));
            assert_eq!(warm.output(), cold.output(), "edit at {at}");
            let reach = if rewinds {
                at
            } else {
                [0, 10, 25, 50]
                    .into_iter()
                    .rfind(|&mark| mark <= at)
                    .unwrap()
            };
            assert_eq!(warm.cached, reach, "edit at {at}");
        }
    }
}

#[test]
fn the_same_prompt_again_leaves_one_token_to_feed() {
    let mut generator = generator(Model::new(true));
    let first = run(&mut generator, vec![greedy(prompt(1, 30), 8)]).remove(0);
    let again = run(&mut generator, vec![greedy(prompt(1, 30), 8)]).remove(0);
    assert_eq!((again.cached, again.output()), (29, first.output()));
    let shorter = run(&mut generator, vec![greedy(prompt(1, 20), 8)]).remove(0);
    assert_eq!(shorter.cached, 19);
}

#[test]
fn conversations_from_one_start_all_hit() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds).with_sequences(4);
        let seen = model.seen.clone();
        let mut generator = generator(model.clone());
        let start = prompt(1, 50);
        let ask = |n: u32| {
            let ids = [start.clone(), prompt(n, 10)].concat();
            Request {
                keep_marks: vec![50],
                ..greedy(ids, 6)
            }
        };
        let others: Vec<_> = (10..13).map(|n| alone(&model, ask(n))).collect();
        run(&mut generator, vec![ask(2)]);
        let warm = run(&mut generator, (10..13).map(ask).collect());
        for (warm, cold) in warm.iter().zip(&others) {
            assert_eq!((warm.cached, warm.output()), (50, cold.output()));
        }
        assert_eq!(seen.lock().unwrap().forks, 3);
        // The first conversation is still there as well.
        assert_eq!(
            run(&mut generator, vec![ask(2)])[0].cached,
            if rewinds { 59 } else { 50 }
        );
    }
}

#[test]
fn the_oldest_parked_sequence_makes_room() {
    let model = Model::new(true).with_sequences(2);
    let seen = model.seen.clone();
    let mut generator = generator(model);
    for n in 0..6 {
        // Each prompt starts with another token.
        let outcome = run(&mut generator, vec![greedy(edited(vec![n; 20], 19), 4)]).remove(0);
        assert_eq!(outcome.cached, 0);
        assert!(seen.lock().unwrap().open <= 2);
    }
    assert_eq!(
        run(&mut generator, vec![greedy(vec![5; 20], 4)])[0].cached,
        19
    );
    assert_eq!(
        run(&mut generator, vec![greedy(vec![0; 20], 4)])[0].cached,
        0
    );
}

#[test]
fn any_history_of_prompts_equals_cold() {
    for rewinds in [true, false] {
        for case in 0..40u64 {
            let noise = |n: u64| mock::mix(case << 32 | n) as usize;
            let model = Model::new(rewinds).with_sequences(1 + noise(0) % 4);
            let mut generator = generator(model.with_batch(1 + noise(1) % 40));
            let mut known = vec![prompt(case as u32, 40)];
            for turn in 0..8u64 {
                let asks: Vec<(Vec<u32>, Vec<usize>)> = (0..1 + noise(turn + 5) as u64 % 3)
                    .map(|n| {
                        let pick = |k: u64| noise(100 + turn * 50 + n * 10 + k);
                        let mut ids = known[pick(0) % known.len()].clone();
                        ids.truncate(1 + pick(1) % ids.len());
                        ids.extend(prompt(pick(2) as u32 % 3, pick(3) % 12));
                        let marks = vec![1 + pick(4) % ids.len(), 1 + pick(5) % ids.len()];
                        (ids, marks)
                    })
                    .collect();
                let ask = |(ids, marks): &(Vec<u32>, Vec<usize>)| Request {
                    keep_marks: marks.clone(),
                    ..greedy(ids.clone(), 6)
                };
                let warm = run(&mut generator, asks.iter().map(ask).collect());
                for (warm, asked) in warm.iter().zip(&asks) {
                    assert_eq!(warm.output(), alone(&model, ask(asked)).output());
                    let said = [&asked.0[..], &warm.ids].concat();
                    if said.len() < 200 {
                        known.push(said);
                    }
                }
            }
        }
    }
}
