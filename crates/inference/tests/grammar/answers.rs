//! Answers of the bundled model that are held to grammars.

use std::ops::ControlFlow;

use lattice_inference::Engine;
use lattice_inference::generate::{Answer, Failure, Request, StopReason, Thinking};
use lattice_inference::grammar::{Grammar, GrammarLimits, Grammars};
use lattice_inference::sample::{Guide, NgramDraft, SampleError, SamplerOptions, TokenMask};
use lattice_inference::tokenizer::{ChatMessage, ChatOptions, Role, Tokenizer as _};
use serde_json::{Value, json};

use super::{engine, regex, schema, tokenizer};

fn ask(engine: &Engine, think: bool) -> Request {
    let options = ChatOptions {
        enable_thinking: Some(think),
        ..ChatOptions::default()
    };
    let messages = [ChatMessage::new(
        Role::User,
        "Tell me of a fox named Rufus.",
    )];
    let mut request = engine.chat(&messages, &options).unwrap().request;
    request.sampler = SamplerOptions::greedy();
    request.max_tokens = Some(200);
    request
}

fn answer(engine: &mut Engine, request: Request) -> Answer {
    let go_on = |_: &_| ControlFlow::Continue(());
    engine.generator.generate(request, go_on).unwrap()
}

fn person() -> Grammar {
    schema(json!({"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "mood": {"enum": ["glad", "sad"]}}, "required": ["name", "age", "mood"], "additionalProperties": false}))
}

#[test]
fn an_answer_ends_with_its_closing_brace() {
    let mut engine = engine();
    for seed in 0..6 {
        let mut request = ask(&engine, false);
        request.sampler.temperature = if seed == 0 { 0.0 } else { 1.5 };
        request.sampler.seed = Some(seed);
        engine.hold(&mut request, &person(), false).unwrap();
        let answer = answer(&mut engine, request);
        assert_eq!(answer.reason, StopReason::Complete, "{}", answer.text);
        assert_eq!((answer.reason.word(), answer.incomplete), ("stop", false));
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(value["age"].as_u64().unwrap() < 100 && value["mood"].is_string());
        assert_eq!(engine.tokenizer.text_from_ids(&answer.ids), answer.text);
    }
}

/// A model that would write nothing but white space writes as much as the grammar has, and ends.
#[test]
fn white_space_does_not_run_away() {
    let mut engine = engine();
    let mut request = ask(&engine, false);
    for id in 0..u32::try_from(engine.tokenizer.ids_max()).unwrap() {
        let bytes = engine.tokenizer.bytes_from_id(id).unwrap_or_default();
        if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_whitespace) {
            request.sampler.logit_bias.push((id, 100.0));
        }
    }
    assert!(request.sampler.logit_bias.len() > 2);
    request.max_tokens = Some(2000);
    let flags = json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
        "required": ["a", "b"], "additionalProperties": false});
    engine.hold(&mut request, &schema(flags), false).unwrap();
    let answer = answer(&mut engine, request);
    assert_eq!(answer.reason, StopReason::Complete, "{:?}", answer.text);
    assert!(answer.text.len() < 700, "{:?}", answer.text);
    serde_json::from_str::<Value>(&answer.text).unwrap();
}

#[test]
fn an_answer_cut_short_says_so() {
    let mut engine = engine();
    for max_tokens in [0, 1, 2, 5, 9] {
        let mut request = ask(&engine, false);
        request.max_tokens = Some(max_tokens);
        engine.hold(&mut request, &person(), false).unwrap();
        let answer = answer(&mut engine, request);
        assert_eq!(answer.reason, StopReason::MaxTokens, "{}", answer.text);
        assert_eq!((answer.reason.word(), answer.incomplete), ("length", true));
        assert!(answer.ids.len() == max_tokens);
    }
    // Digits may end anywhere: what there is is whole.
    let mut request = ask(&engine, false);
    request.max_tokens = Some(3);
    request.stop_ids.clear();
    engine.hold(&mut request, &regex("[0-9]+"), false).unwrap();
    let answer = answer(&mut engine, request);
    assert_eq!((answer.reason.word(), answer.incomplete), ("length", false));
}

struct Options {
    think: bool,
    stop: bool,
    drafts: bool,
    logprobs: bool,
    temperature: f32,
}

fn with(engine: &Engine, grammar: &Grammar, options: &Options) -> Request {
    let mut request = ask(engine, options.think);
    if let Some(Thinking { budget, .. }) = &mut request.thinking {
        *budget = Some(12);
    }
    if options.stop {
        request.stop = vec!["\"age".to_owned()];
    }
    if options.drafts {
        request.guides.push(Box::new(NgramDraft::new(2)));
    }
    request.sampler.temperature = options.temperature;
    request.sampler.seed = Some(5);
    request.sampler.logprobs = options.logprobs.then_some(1);
    engine.hold(&mut request, grammar, options.think).unwrap();
    request
}

/// Thoughts, stop strings, drafts, fast-forwarding (off where log probabilities are asked for): the text is one.
#[test]
fn nothing_beside_the_grammar_changes_what_it_holds() {
    let mut engine = engine();
    let list = json!({"type": "array", "minItems": 4, "maxItems": 4, "items": {"enum": ["a fox", "a hare"]}});
    let mut forwarded = 0;
    for grammar in [person(), schema(list), regex("(ab|ba){6}(c|d)")] {
        for (think, stop, temperature) in [
            (false, false, 0.0),
            (true, false, 1.2),
            (true, true, 0.0),
            (false, true, 0.8),
        ] {
            let ask = |drafts, logprobs| Options {
                think,
                stop,
                drafts,
                logprobs,
                temperature,
            };
            let request = with(&engine, &grammar, &ask(false, false));
            let plain = answer(&mut engine, request);
            for (drafts, logprobs) in [(true, false), (false, true), (true, true)] {
                let request = with(&engine, &grammar, &ask(drafts, logprobs));
                let other = answer(&mut engine, request);
                assert_eq!(
                    (&other.ids, &other.text, &other.reason),
                    (&plain.ids, &plain.text, &plain.reason)
                );
                assert_eq!(
                    (&other.thinking, other.incomplete),
                    (&plain.thinking, plain.incomplete)
                );
            }
            forwarded += usize::from(plain.usage.generated_tokens > 12);
            let whole = engine
                .grammars
                .compile(&grammar)
                .unwrap()
                .matches(&plain.text)
                .unwrap();
            match plain.reason {
                StopReason::Complete | StopReason::EndOfText(_) => {
                    assert!(whole && !plain.incomplete)
                }
                StopReason::StopString(_) => assert!(stop && !plain.text.contains("\"age")),
                ref reason => panic!("{reason:?}: {}", plain.text),
            }
            assert_eq!(plain.thinking.is_empty(), !think);
        }
    }
    assert!(forwarded > 0);
}

#[test]
fn each_answer_is_the_same_in_a_crowd() {
    let mut engine = engine();
    let grammars = [
        person(),
        regex("[A-Z][a-z]{3,9}( [a-z]{2,6}){2,4}\\."),
        Grammar::JsonObject,
    ];
    let plain = Options {
        think: false,
        stop: false,
        drafts: false,
        logprobs: false,
        temperature: 0.9,
    };
    let alone: Vec<Answer> = grammars
        .iter()
        .map(|grammar| {
            let request = Request {
                max_tokens: Some(60),
                ..with(&engine, grammar, &plain)
            };
            answer(&mut engine, request)
        })
        .collect();
    let submit = |grammar| {
        let request = Request {
            max_tokens: Some(60),
            ..with(&engine, grammar, &plain)
        };
        (request, Vec::new())
    };
    let mut crowd: Vec<(Request, Vec<u32>)> = grammars.iter().map(submit).collect();
    let ids: Vec<_> = crowd
        .iter_mut()
        .map(|(request, _)| engine.generator.submit(std::mem::take(request)).unwrap())
        .collect();
    while !engine.generator.idle() {
        for event in engine.generator.step() {
            if let lattice_inference::generate::Event::Token { request, id, .. } = event {
                let at = ids.iter().position(|known| *known == request).unwrap();
                crowd[at].1.push(id);
            }
        }
    }
    for ((_, ids), alone) in crowd.iter().zip(&alone) {
        assert_eq!(ids, &alone.ids);
    }
}

/// Rules everything out.
struct Wall;

impl Guide for Wall {
    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), SampleError> {
        allowed.retain(|_| false);
        Ok(())
    }
}

#[test]
fn a_dead_end_is_an_error_and_no_silence() {
    let mut engine = engine();
    let mut request = ask(&engine, false);
    request.guides.push(Box::new(Wall));
    engine
        .hold(&mut request, &regex("[a-z]{3,}"), false)
        .unwrap();
    let dead = answer(&mut engine, request);
    assert!(matches!(
        dead.reason,
        StopReason::Failed(Failure::Sample(SampleError::DeadEnd { .. }))
    ));
    assert!(dead.incomplete);

    // A lexer that outgrows what it may take.
    let limits = GrammarLimits {
        states_max: 60,
        ..GrammarLimits::default()
    };
    let grammars = Grammars::with_limits(tokenizer(), limits);
    let compiled = grammars.compile(&regex("(?s:.*)[aeiou](?s:.{14})"));
    let mut request = ask(&engine, false);
    let said = match compiled {
        Err(error) => error.to_string(),
        Ok(compiled) => {
            request.constraint = Some(lattice_inference::generate::Constraint {
                guide: Box::new(compiled.guide(&request.stop_ids)),
                may_think: false,
            });
            let answer = answer(&mut engine, request);
            assert!(answer.incomplete, "{answer:?}");
            match answer.reason {
                StopReason::Failed(failure) => failure.to_string(),
                reason => panic!("{reason:?}: {}", answer.text),
            }
        }
    };
    assert!(
        said.contains("too complex") || said.contains("cannot go on"),
        "{said}"
    );
}

#[test]
fn a_model_that_opens_its_thinking_block_may_do_so_first() {
    let mut engine = engine();
    let begin = engine.tokenizer.id_from_token("<think>").unwrap();
    for may_think in [true, false] {
        let mut request = ask(&engine, false);
        request.sampler.logit_bias = vec![(begin, 100.0)];
        request.thinking.as_mut().unwrap().budget = Some(4);
        engine
            .hold(&mut request, &regex("yes|no"), may_think)
            .unwrap();
        let answer = answer(&mut engine, request);
        assert_eq!(answer.reason, StopReason::Complete);
        assert!(
            ["yes", "no"].contains(&answer.text.as_str()),
            "{:?}",
            answer.text
        );
        assert_eq!(answer.ids.contains(&begin), may_think);
    }
}
