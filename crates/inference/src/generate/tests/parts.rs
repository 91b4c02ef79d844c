//! Text, stop strings and thinking blocks.

use super::mock::{CLOSE, EMOJI, HOLE, NE, THINK};
use super::stop::StopFinder;
use super::text::TextOut;
use super::*;
use crate::tokenizer::TextStream;
use proptest::prelude::*;

/// Runs a model that says `script` after a prompt of five tokens.
fn say(script: &[u32], change: impl FnOnce(&mut Request)) -> Outcome {
    let mut request = greedy(prompt(1, 5), script.len());
    change(&mut request);
    run(
        &mut generator(Model::new(true).with_script(5, script)),
        vec![request],
    )
    .remove(0)
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// The text before the stop string that ends first, and its index: character by character.
fn cut(text: &str, stops: &[String]) -> (String, Option<usize>) {
    let ends = text.char_indices().map(|(at, char)| at + char.len_utf8());
    for end in ends {
        let longest = (0..stops.len())
            .filter(|&stop| text[..end].ends_with(&stops[stop]))
            .max_by_key(|&stop| (stops[stop].len(), std::cmp::Reverse(stop)));
        if let Some(stop) = longest {
            return (text[..end - stops[stop].len()].into(), Some(stop));
        }
    }
    (text.into(), None)
}

#[test]
fn stop_strings_are_found_at_every_split() {
    let text = "the né😀 end stops here";
    for stop in ["end", "nd st", "né", "é😀", "😀", "e", "the", text, "here"] {
        let (expected, _) = cut(text, &[stop.into()]);
        for size in 1..=text.len() {
            let mut out = TextOut::new(vec![stop.into()], TextStream::resumed(), Part::Answer);
            let mut said = String::new();
            let mut found = None;
            for piece in text.as_bytes().chunks(size) {
                let before = said.len();
                found = out.push(piece, Part::Answer, &mut said);
                assert!(!said[before..].contains('\u{fffd}'));
                assert!(expected.starts_with(&said), "{stop:?} in {size}s: {said:?}");
                if found.is_some() {
                    break;
                }
            }
            assert_eq!(
                (said, found),
                (expected.clone(), Some(0)),
                "{stop:?} in {size}s"
            );
        }
    }
}

#[test]
fn stop_strings_never_leak_from_the_loop() {
    // "né" and "😀" in tokens of their own shapes, "end stops" as "end", " ", "stops".
    let script = [
        &[NE][..],
        &EMOJI,
        &bytes(" a"),
        &[262],
        &bytes(" "),
        &bytes("stops!"),
    ]
    .concat();
    let ends = |stop: &str| say(&script, |request| request.stop = vec![stop.into()]);
    for (stop, text) in [
        ("end stops", "né😀 a"),
        ("é😀 ", "n"),
        ("né", ""),
        ("s!", "né😀 aend stop"),
    ] {
        let outcome = ends(stop);
        assert_eq!(outcome.text, text);
        assert_eq!(outcome.reason, Some(StopReason::StopString(0)));
    }
    // A stop string that only begins is text after all.
    let outcome = ends("s!!");
    assert_eq!(outcome.text, "né😀 aend stops!");
    assert_eq!(outcome.reason, Some(StopReason::MaxTokens));
    assert_eq!(outcome.usage.generated_tokens, script.len());
}

#[test]
fn text_held_back_is_told_at_the_end_whatever_the_end_is() {
    // Half of an emoji, and the start of a stop string.
    let stop = |request: &mut Request| request.stop = vec!["ab!".into()];
    let outcome = say(&[&bytes("xab")[..], &[EOS]].concat(), stop);
    assert_eq!(
        (outcome.text.as_str(), outcome.reason),
        ("xab", Some(StopReason::EndOfText(EOS)))
    );
    assert_eq!((outcome.ids.len(), outcome.usage.generated_tokens), (3, 4));
    let outcome = say(&[&bytes("xab")[..], &[EMOJI[0]]].concat(), stop);
    assert_eq!(outcome.text, "xab\u{fffd}");
    let model = Model::new(true).with_script(5, &bytes("xabxab"));
    let mut generator = generator(model);
    let mut request = greedy(prompt(1, 5), 6);
    stop(&mut request);
    let id = generator.submit(request).unwrap();
    let mut outcomes = BTreeMap::new();
    for _ in 0..3 {
        generator
            .step()
            .into_iter()
            .for_each(|event| hear(&mut outcomes, event));
    }
    assert_eq!(outcomes[&id].text, "x");
    assert!(generator.cancel(id));
    drain(&mut generator, &mut outcomes);
    assert_eq!(outcomes[&id].text, "xab");
}

#[test]
fn a_stop_id_may_be_the_whole_answer() {
    let outcome = say(&[EOS], |_| {});
    assert_eq!((outcome.ids.len(), outcome.text.as_str()), (0, ""));
    assert_eq!(outcome.reason, Some(StopReason::EndOfText(EOS)));
    assert_eq!(outcome.usage.generated_tokens, 1);
}

#[test]
fn thinking_is_told_apart_and_holds_no_stop_string() {
    let thinking = |open| {
        move |request: &mut Request| {
            request.stop = vec!["stop".into()];
            request.thinking = Some(Thinking {
                open,
                begin: vec![THINK],
                close: vec![CLOSE],
                budget: None,
            });
        }
    };
    let script = [
        &bytes("so stop")[..],
        &[EMOJI[0]],
        &[CLOSE],
        &bytes("yes, stop."),
    ]
    .concat();
    let outcome = say(&script, thinking(true));
    assert_eq!(
        (outcome.thinking.as_str(), outcome.text.as_str()),
        ("so stop", "yes, ")
    );
    assert_eq!(outcome.reason, Some(StopReason::StopString(0)));
    let script = [
        &bytes("a")[..],
        &[THINK],
        &bytes("b"),
        &[CLOSE],
        &bytes("c"),
    ]
    .concat();
    let outcome = say(&script, thinking(false));
    assert_eq!(
        (outcome.thinking.as_str(), outcome.text.as_str()),
        ("b", "ac")
    );
}

#[test]
fn a_thinking_budget_forces_the_end_of_the_block() {
    for rewinds in [true, false] {
        for (budget, close) in [(0, vec![CLOSE]), (1, vec![CLOSE]), (7, vec![10, CLOSE])] {
            let ask = || Request {
                stop_ids: vec![],
                thinking: Some(Thinking {
                    open: true,
                    begin: vec![THINK],
                    close: close.clone(),
                    budget: Some(budget),
                }),
                ..greedy(prompt(1, 5), 20)
            };
            let outcome = alone(&Model::new(rewinds), ask());
            let mut windows = outcome.ids.windows(close.len());
            assert_eq!(windows.position(|ids| ids == close), Some(budget));
            assert_eq!(outcome.ids.len(), 20);
        }
    }
}

#[test]
fn ids_without_a_token_are_never_chosen() {
    // The mock favours its padding; none of it may come, at any temperature.
    let model = Model::new(true);
    for n in 0..40 {
        let outcome = alone(&model, mixed(n));
        assert!(
            outcome.ids.iter().all(|&id| id != HOLE && id < 266),
            "request {n}"
        );
        let listed = outcome.logprobs.iter().flat_map(|token| &token.top);
        assert!(listed.into_iter().all(|&(id, _)| id != HOLE && id < 266));
    }
}

proptest! {
    #[test]
    fn stops_do_not_depend_on_the_split(
        text in "[ab é😀]{0,40}",
        stops in prop::collection::vec("[ab é😀]{1,4}", 0..4),
        sizes in prop::collection::vec(1usize..6, 1..20),
    ) {
        let (expected, stop) = cut(&text, &stops);
        let mut finder = StopFinder::new(stops);
        let mut said = String::new();
        let mut found = None;
        let mut chars = text.chars();
        for &size in sizes.iter().cycle() {
            let delta: String = chars.by_ref().take(size).collect();
            if delta.is_empty() || found.is_some() {
                break;
            }
            found = finder.push(&delta, &mut said);
        }
        if found.is_none() {
            finder.finish(&mut said);
        }
        prop_assert_eq!((said, found.is_some()), (expected, stop.is_some()));
    }

    #[test]
    fn deltas_are_the_whole_text(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80u8..0xc0, 0xf0u8..0xf5], 0..40),
        sizes in prop::collection::vec(1usize..5, 1..20),
    ) {
        let mut out = TextOut::new(Vec::new(), TextStream::resumed(), Part::Answer);
        let mut said = String::new();
        let mut rest = &bytes[..];
        for &size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            if piece.is_empty() {
                break;
            }
            out.push(piece, Part::Answer, &mut said);
        }
        out.finish(&mut said);
        prop_assert_eq!(said, String::from_utf8_lossy(&bytes));
    }
}
