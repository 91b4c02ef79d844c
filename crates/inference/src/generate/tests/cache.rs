//! Cache hit = cold.

use std::path::Path;

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
        assert_eq!(seen.lock().unwrap().open, 0);
        // Each turn continues the one before: they are one.
        let use_of =
            |generator: &Generator| (generator.cache().prefixes, seen.lock().unwrap().kept);
        assert_eq!(use_of(&generator), (1, 1));
        generator.forget();
        assert_eq!(use_of(&generator), (0, 0));
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
        assert_eq!(seen.lock().unwrap().begun, 3);
        // The first conversation is still there as well.
        assert_eq!(
            run(&mut generator, vec![ask(2)])[0].cached,
            if rewinds { 59 } else { 50 }
        );
    }
}

#[test]
fn the_beginning_used_longest_ago_makes_room() {
    let model = Model::new(true).with_sequences(2);
    let seen = model.seen.clone();
    let mut generator = with_options(
        model,
        GeneratorOptions {
            prefixes_max: 2,
            ..GeneratorOptions::default()
        },
    );
    for n in 0..6 {
        // Each prompt starts with another token.
        let outcome = run(&mut generator, vec![greedy(edited(vec![n; 20], 19), 4)]).remove(0);
        assert_eq!(outcome.cached, 0);
        assert!(seen.lock().unwrap().kept <= 2);
    }
    let mut again = |n| run(&mut generator, vec![greedy(vec![n; 20], 4)])[0].cached;
    assert_eq!((again(5), again(0)), (19, 0));
}

#[test]
fn more_conversations_than_places_all_hit() {
    for rewinds in [true, false] {
        let mut generator = generator(Model::new(rewinds).with_sequences(2));
        let ask = |n: u32, said: &[u32]| greedy([prompt(n, 30), said.to_vec()].concat(), 5);
        let first = run(&mut generator, (0..12).map(|n| ask(n, &[])).collect());
        for (n, first) in (0..).zip(&first) {
            let second = ask(n, &[&first.ids[..], &[1, 2, 3]].concat());
            let held = 30 + first.usage.generated_tokens - 1;
            assert_eq!(run(&mut generator, vec![second])[0].cached, held);
        }
    }
}

#[test]
fn what_two_requests_begin_with_is_read_once() {
    for rewinds in [true, false] {
        let model = Model::new(rewinds).with_batch(20);
        let start = prompt(1, 100);
        let ask = |n: u32| Request {
            keep_marks: vec![100],
            ..greedy([start.clone(), prompt(n, 10)].concat(), 6)
        };
        for late in [0, 3] {
            let model = model.with_batch(20);
            let seen = model.seen.clone();
            let mut generator = generator(model.clone());
            let mut outcomes = BTreeMap::new();
            generator.submit(ask(2)).unwrap();
            for _ in 0..late {
                let events = generator.step();
                events
                    .into_iter()
                    .for_each(|event| hear(&mut outcomes, event));
            }
            for n in 3..6 {
                generator.submit(ask(n)).unwrap();
            }
            drain(&mut generator, &mut outcomes);
            let outcomes: Vec<Outcome> = outcomes.into_values().collect();
            let cached: Vec<usize> = outcomes.iter().map(|outcome| outcome.cached).collect();
            // The last piece of a beginning is not worth the wait, where a sequence can be cut anywhere.
            let shared = if rewinds { 80 } else { 100 };
            assert_eq!(cached, [0, shared, shared, shared], "{late} steps later");
            for (n, outcome) in (2..).zip(&outcomes) {
                assert_eq!(outcome.output(), alone(&model, ask(n)).output());
            }
            // The start, four endings, and all but the last of what was generated.
            let fed: usize = seen
                .lock()
                .unwrap()
                .batches
                .iter()
                .map(|batch| batch.1)
                .sum();
            let generated: usize = outcomes.iter().map(|it| it.usage.generated_tokens).sum();
            assert_eq!(fed, 4 * 110 - 3 * shared + generated - 4);
        }
    }
}

#[test]
fn a_waiting_request_goes_on_when_its_reader_is_cancelled() {
    for rewinds in [true, false] {
        let mut generator = generator(Model::new(rewinds).with_batch(20));
        let ask = || Request {
            keep_marks: vec![60],
            ..greedy(prompt(1, 100), 6)
        };
        let first = generator.submit(ask()).unwrap();
        let mut outcomes = BTreeMap::new();
        let events = generator.step();
        events
            .into_iter()
            .for_each(|event| hear(&mut outcomes, event));
        let second = generator.submit(ask()).unwrap();
        let events = generator.step();
        events
            .into_iter()
            .for_each(|event| hear(&mut outcomes, event));
        assert_eq!((generator.running(), generator.waiting()), (1, 1));
        assert!(generator.cancel(first));
        drain(&mut generator, &mut outcomes);
        assert_eq!(outcomes[&second].cached, 40);
        assert_eq!(outcomes[&second].ids.len(), 6);
    }
}

#[test]
fn states_are_kept_at_regular_lengths_within_their_bytes() {
    const STATE: usize = 16;
    let options = GeneratorOptions {
        snapshot_every: 16,
        snapshot_bytes_max: 10 * STATE,
        ..GeneratorOptions::default()
    };
    let model = Model::new(false);
    for at in 0..90 {
        let mut generator = with_options(model.clone(), options);
        run(&mut generator, vec![greedy(prompt(1, 90), 4)]);
        let second = greedy(edited(prompt(1, 90), at), 4);
        let warm = run(&mut generator, vec![second]).remove(0);
        assert_eq!(warm.cached, at / 16 * 16, "edit at {at}");
    }
    let mut generator = with_options(model, options);
    for n in 0..20 {
        run(
            &mut generator,
            vec![greedy(prompt(n, 90), 4), greedy(prompt(n / 3, 120), 30)],
        );
        let figures = generator.cache();
        assert!(figures.snapshot_bytes <= 10 * STATE, "{figures:?}");
        assert!(figures.snapshots >= 2, "{figures:?}");
    }
}

#[test]
fn nothing_is_reused_where_nothing_may_be_kept() {
    let options = GeneratorOptions {
        prefixes_max: 0,
        ..GeneratorOptions::default()
    };
    let mut generator = with_options(Model::new(true), options);
    for _ in 0..2 {
        let outcome = run(&mut generator, vec![greedy(prompt(1, 30), 4)]).remove(0);
        assert_eq!(
            (outcome.cached, generator.cache()),
            (0, CacheUse::default())
        );
    }
}

fn kept_in(model: &Model, folder: &Path, name: &str, bytes_max: u64) -> Generator {
    let mut generator = generator(model.clone());
    assert!(generator.keep_in(folder, name, bytes_max).unwrap());
    generator
}

#[test]
fn what_was_kept_survives_a_restart() {
    for rewinds in [true, false] {
        let folder = lattice_testkit::ScratchDir::new().unwrap();
        let model = Model::new(rewinds);
        let mut before = kept_in(&model, folder.path(), "a", 1 << 20);
        let first = run(&mut before, vec![greedy(prompt(1, 90), 8)]).remove(0);
        run(&mut before, vec![greedy(prompt(2, 100), 8)]);
        assert_eq!(before.save().unwrap(), 2);
        // What a file has is not written again.
        assert_eq!(before.save().unwrap(), 0);
        let mut after = kept_in(&model, folder.path(), "a", 1 << 20);
        let ids = [prompt(1, 90), first.ids, vec![1, 2]].concat();
        let warm = run(&mut after, vec![greedy(ids.clone(), 8)]).remove(0);
        assert_eq!(warm.cached, 90 + first.usage.generated_tokens - 1);
        assert_eq!(warm.output(), alone(&model, greedy(ids, 8)).output());
        // It continues one that is there; the other was not asked for, and stays.
        assert_eq!(after.save().unwrap(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let mut other = kept_in(&model, folder.path(), "b", 1 << 20);
        assert_eq!(run(&mut other, vec![greedy(prompt(1, 90), 8)])[0].cached, 0);
    }
}

#[test]
fn a_file_that_is_not_whole_is_as_if_it_were_not_there() {
    let model = Model::new(false);
    let folder = lattice_testkit::ScratchDir::new().unwrap();
    let mut before = kept_in(&model, folder.path(), "a", 1 << 20);
    run(&mut before, vec![greedy(prompt(1, 70), 4)]);
    before.save().unwrap();
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
    let path = file.unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    let cold = alone(&model, greedy(prompt(1, 72), 4));
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        for bytes in [&flipped[..], &whole[..at]] {
            std::fs::write(&path, bytes).unwrap();
            let mut after = kept_in(&model, folder.path(), "a", 1 << 20);
            let outcome = run(&mut after, vec![greedy(prompt(1, 72), 4)]).remove(0);
            assert_eq!(
                (outcome.cached, outcome.output()),
                (0, cold.output()),
                "byte {at}"
            );
        }
    }
}

#[test]
fn files_take_no_more_than_they_may() {
    let folder = lattice_testkit::ScratchDir::new().unwrap();
    let model = Model::new(true);
    let mut generator = kept_in(&model, folder.path(), "a", 3000);
    for n in 0..12 {
        run(&mut generator, vec![greedy(prompt(n, 80), 4)]);
    }
    generator.save().unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!((1500..=3000).contains(&bytes), "{bytes}");
    let mut after = kept_in(&model, folder.path(), "a", 3000);
    let mut again = |n| run(&mut after, vec![greedy(prompt(n, 80), 4)])[0].cached;
    assert_eq!((again(11), again(0)), (79, 0));
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
