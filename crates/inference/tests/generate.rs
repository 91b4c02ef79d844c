//! The generate loop over the bundled model: what transformers says, and the laws on a real recurrent state.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{Backend as _, KvFormat, LoadOptions};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::generate::{Answer, Event, Generator, Part, Request, StopReason, Thinking};
use lattice_inference::sample::{NgramDraft, SamplerOptions};
use lattice_inference::tokenizer::{
    ChatMessage, ChatOptions, HfTokenizer, Prompt, Role, Tokenizer,
};
use lattice_inference::{Engine, EngineOptions, Model};
use lattice_testkit::{ScratchDir, lattice_tiny};

const STOPS: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];

struct Bundled {
    model: Model,
    tokenizer: Arc<dyn Tokenizer>,
}

impl Bundled {
    fn open() -> Bundled {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny");
        let read = |file| std::fs::read(dir.join(file)).expect("the bundled model is whole");
        let config =
            String::from_utf8(read("tokenizer_config.json")).expect("the bundled model is whole");
        let tokenizer = HfTokenizer::from_json(&read("tokenizer.json"), Some(&config))
            .expect("the bundled model is whole");
        let files = ModelFiles::open(&dir).expect("the bundled model is whole");
        Bundled {
            model: Model::open(&files, &OpenOptions::default())
                .expect("the bundled model is whole"),
            tokenizer: Arc::new(tokenizer),
        }
    }

    fn generator(&self, sequences_max: usize, batch_tokens_max: usize) -> Generator {
        let options = LoadOptions {
            sequences_max,
            batch_tokens_max,
            context_tokens_max: 1024,
            kv: Some(KvFormat::F32),
            threads: 2,
            ..LoadOptions::default()
        };
        let (plan, weights) = (self.model.plan.clone(), self.model.checkpoint.clone());
        let runner = Cpu
            .load(plan, weights, &options)
            .expect("the bundled model is whole");
        Generator::new(runner, self.tokenizer.clone())
    }

    fn id(&self, token: &str) -> u32 {
        self.tokenizer
            .id_from_token(token)
            .expect("the bundled model is whole")
    }

    fn request(&self, prompt: &[u32], sampler: SamplerOptions) -> Request {
        Request {
            prompt: prompt.to_vec(),
            sampler,
            max_tokens: Some(64),
            stop_ids: STOPS
                .iter()
                .filter_map(|stop| self.tokenizer.id_from_token(stop))
                .collect(),
            ..Request::default()
        }
    }
}

fn answer(generator: &mut Generator, request: Request) -> Answer {
    generator
        .generate(request, |_| ControlFlow::Continue(()))
        .expect("the request is good")
}

fn sampled(seed: u64) -> SamplerOptions {
    SamplerOptions {
        temperature: 0.8,
        top_k: 40,
        top_p: 0.95,
        presence_penalty: 0.3,
        seed: Some(seed),
        ..SamplerOptions::default()
    }
}

#[test]
fn conversations_side_by_side_equal_those_of_transformers() {
    let bundled = Bundled::open();
    let mut generator = bundled.generator(8, 128);
    let chats = lattice_tiny();
    let ask = |prompt: &[u32]| bundled.request(prompt, SamplerOptions::greedy());
    let asked: Vec<_> = chats
        .iter()
        .map(|chat| generator.submit(ask(&chat.greedy.prompt)).unwrap())
        .collect();
    let mut texts = vec![String::new(); chats.len()];
    let mut found = vec![Vec::new(); chats.len()];
    while !generator.idle() {
        for event in generator.step() {
            let at = asked.iter().position(|&id| id == event.request()).unwrap();
            match event {
                Event::Token { id, text, .. } => {
                    found[at].push(id);
                    texts[at].push_str(&text);
                }
                Event::Done { text, reason, .. } => {
                    texts[at].push_str(&text);
                    match reason {
                        StopReason::EndOfText(id) => found[at].push(id),
                        other => assert_eq!(other, StopReason::MaxTokens),
                    }
                }
                Event::Started { .. } | Event::PromptLogprobs { .. } => {}
            }
        }
    }
    for (at, chat) in chats.iter().enumerate() {
        assert_eq!(
            chat.greedy.first_difference(&found[at]),
            None,
            "{:?}",
            chat.rendered
        );
        if found[at] == chat.greedy.ids {
            assert_eq!(texts[at], chat.text);
        }
    }
}

#[test]
fn company_and_pieces_and_drafts_change_nothing() {
    let bundled = Bundled::open();
    let chats = lattice_tiny();
    let prompts: Vec<_> = chats
        .iter()
        .take(6)
        .map(|chat| &chat.greedy.prompt[..])
        .collect();
    let alone: Vec<Answer> = (0..)
        .zip(&prompts)
        .map(|(n, prompt)| {
            answer(
                &mut bundled.generator(1, 512),
                bundled.request(prompt, sampled(n)),
            )
        })
        .collect();
    let mut crowd = bundled.generator(4, 24);
    let mut drafted = 0;
    let ask = |n: u64, prompt: &[u32]| Request {
        guides: vec![Box::new(NgramDraft::new(1))],
        ..bundled.request(prompt, sampled(n))
    };
    for (n, prompt) in (1..).zip(&prompts[1..]) {
        crowd.submit(ask(n, prompt)).unwrap();
    }
    let last = answer(&mut crowd, ask(0, prompts[0]));
    assert_eq!((&last.ids, &last.text), (&alone[0].ids, &alone[0].text));
    // Once more, each by itself, now from what the crowd left behind.
    while !crowd.idle() {
        crowd.step();
    }
    for (n, (prompt, alone)) in (0..).zip(prompts.iter().zip(&alone)) {
        let again = answer(&mut crowd, ask(n, prompt));
        assert_eq!((&again.ids, &again.text), (&alone.ids, &alone.text));
        drafted += again.usage.drafted_tokens;
    }
    assert!(drafted > 0);
}

#[test]
fn a_second_turn_equals_a_cold_start() {
    let bundled = Bundled::open();
    let prompt_ids = |text: &str| {
        bundled
            .tokenizer
            .ids_from_prompt(&Prompt::trusted(text))
            .unwrap()
    };
    let first =
        prompt_ids("<|im_start|>user\nTell me about a fox.<|im_end|>\n<|im_start|>assistant\n");
    let second = "<|im_end|>\n<|im_start|>user\nAnd a dog?<|im_end|>\n<|im_start|>assistant\n";
    let mut generator = bundled.generator(2, 32);
    let said = answer(&mut generator, bundled.request(&first, sampled(1)));
    let next = [&first[..], &said.ids, &prompt_ids(second)].concat();
    let warm = answer(&mut generator, bundled.request(&next, sampled(2)));
    let cold = answer(
        &mut bundled.generator(1, 512),
        bundled.request(&next, sampled(2)),
    );
    assert_eq!((&warm.ids, &warm.text), (&cold.ids, &cold.text));
    assert!(
        warm.usage.cached_tokens >= first.len() + said.ids.len() - 1,
        "{:?}",
        warm.usage
    );
    assert_eq!(cold.usage.cached_tokens, 0);
    // Another question in the same place starts from the end of the first prompt.
    let other = [&first[..], &prompt_ids("No")].concat();
    let warm = answer(&mut generator, bundled.request(&other, sampled(3)));
    let cold = answer(
        &mut bundled.generator(1, 512),
        bundled.request(&other, sampled(3)),
    );
    assert_eq!(
        (&warm.ids, warm.usage.cached_tokens),
        (&cold.ids, first.len())
    );
}

#[test]
fn a_thinking_budget_holds() {
    let bundled = Bundled::open();
    let text = "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n<think>\n";
    let prompt = bundled
        .tokenizer
        .ids_from_prompt(&Prompt::trusted(text))
        .unwrap();
    let close = bundled.id("</think>");
    let request = Request {
        thinking: Some(Thinking {
            open: true,
            begin: vec![bundled.id("<think>")],
            close: vec![close],
            budget: Some(3),
        }),
        ..bundled.request(&prompt, SamplerOptions::greedy())
    };
    let mut parts = Vec::new();
    let mut generator = bundled.generator(1, 512);
    let answer = generator.generate(request, |event| {
        if let Event::Token { part, .. } = event {
            parts.push(*part);
        }
        ControlFlow::Continue(())
    });
    let answer = answer.unwrap();
    let at = answer.ids.iter().position(|&id| id == close).unwrap();
    assert!(at <= 3);
    assert_eq!(parts[at], Part::Mark);
    assert!(parts[..at].iter().all(|&part| part == Part::Thinking));
    assert!(parts[at + 1..].iter().all(|&part| part == Part::Answer));
}

/// An engine whose kept beginnings lie in `folder` as well.
fn engine_in(folder: &std::path::Path) -> Engine {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny");
    let files = ModelFiles::open(&dir).expect("the bundled model is whole");
    let mut engine = Engine::open(&files, &Cpu, &EngineOptions::default()).expect("it loads");
    let kept = engine.keep_in(folder, 1 << 30);
    assert!(kept.expect("the folder can be used"));
    engine
}

/// A conversation of eight messages, one of them changed.
fn converse(engine: &mut Engine, changed: usize) -> Answer {
    let message = |at: usize| {
        let role = if at.is_multiple_of(2) {
            Role::User
        } else {
            Role::Assistant
        };
        let animal = if at == changed { "owl" } else { "fox" };
        ChatMessage::new(
            role,
            format!("Message {at} is about the {animal} and its hole. ").repeat(8),
        )
    };
    let messages: Vec<ChatMessage> = (0..7).map(message).collect();
    let chat = engine.chat(&messages, &ChatOptions::default());
    let request = Request {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(8),
        ..chat.expect("a conversation").request
    };
    answer(&mut engine.generator, request)
}

#[test]
fn a_changed_history_is_read_from_the_message_that_changed_after_a_restart_as_well() {
    let (folder, cold) = (ScratchDir::new().unwrap(), ScratchDir::new().unwrap());
    let mut engine = engine_in(folder.path());
    let whole = converse(&mut engine, usize::MAX);
    assert_eq!(whole.usage.cached_tokens, 0);
    let per_message = whole.usage.prompt_tokens / 7;
    for changed in 0..7 {
        let warm = converse(&mut engine, changed);
        assert_eq!(warm.ids, converse(&mut engine_in(cold.path()), changed).ids);
        let cached = warm.usage.cached_tokens;
        let most = (changed + 1) * per_message;
        assert!(
            (changed * per_message * 9 / 10..most).contains(&cached),
            "{changed}: {cached}"
        );
    }
    assert!(engine.generator.save().unwrap() > 0);
    let mut again = engine_in(folder.path());
    let warm = converse(&mut again, usize::MAX);
    assert_eq!(warm.ids, whole.ids);
    assert!(
        warm.usage.cached_tokens > 6 * per_message,
        "{:?}",
        warm.usage
    );
}
