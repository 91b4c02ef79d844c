//! The mask is what a plain automaton says of every token of a vocabulary, one after the other.

use std::sync::Arc;

use lattice_inference::grammar::{Grammar, Grammars};
use lattice_inference::sample::{Guide as _, TokenMask};
use lattice_inference::tokenizer::{HfTokenizer, Tokenizer};
use lattice_testkit::SplitMix64;
use regex_automata::Anchored;
use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::util::primitives::StateID;
use serde_json::{Map, Value, json};

use super::tokenizer;

/// With letters of several bytes, classes, runs, a JSON text, and spaces at the start.
const PATTERNS: [&str; 9] = [
    "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "(once|on|only|One day) (upon|there).*",
    r#"\{"name": "([^"\\\x00-\x1f]|\\["\\nt])*", "age": [1-9][0-9]{0,2}\}"#,
    "(a+)+b?",
    "[\u{e0}-\u{17f}\u{4e00}-\u{9fff}\u{1f600}-\u{1f64f} ]{2,8}",
    r"( ?[A-Za-z]+[,.]?){3,6}",
    r"(?s:.)*end",
    " leading|  two",
    r"<\|im_end\|>|<think>",
];

/// The automaton, after some text.
struct Acceptor {
    dfa: dense::DFA<Vec<u32>>,
    state: StateID,
}

impl Acceptor {
    fn new(pattern: &str) -> Acceptor {
        let config = dense::Config::new().minimize(true);
        let dfa = dense::Builder::new()
            .configure(config)
            .build(pattern)
            .unwrap();
        let start = regex_automata::util::start::Config::new().anchored(Anchored::Yes);
        let state = dfa.start_state(&start).unwrap();
        Acceptor { dfa, state }
    }

    fn after(&self, bytes: &[u8]) -> StateID {
        let next = |state, &byte| self.dfa.next_state(state, byte);
        bytes.iter().fold(self.state, next)
    }

    /// Whether something that begins like this matches. A state that only tells of a match before its last byte leads
    /// nowhere.
    fn viable(&self, bytes: &[u8]) -> bool {
        let state = self.after(bytes);
        let matches = self.dfa.is_match_state(self.dfa.next_eoi_state(state));
        let goes_on = |byte| !self.dfa.is_dead_state(self.dfa.next_state(state, byte));
        !self.dfa.is_dead_state(state) && (matches || (0..=255).any(goes_on))
    }

    fn matches(&self) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(self.state))
    }
}

/// Walks one text by random allowed tokens, and holds every mask against the automaton.
fn walk(
    tokenizer: &HfTokenizer,
    grammars: &Grammars,
    pattern: &str,
    forcing: bool,
    rng: &mut SplitMix64,
) {
    let escaped = pattern.replace('/', "\\/");
    let grammar = if forcing {
        Grammar::Regex(pattern.to_owned())
    } else {
        Grammar::Lark(format!(
            "%llguidance {{\"no_forcing\": true}}\nstart: /{escaped}/"
        ))
    };
    let stop = u32::try_from(tokenizer.ids_max()).unwrap() - 1;
    let mut guide = grammars.compile(&grammar).unwrap().guide(&[stop]);
    let mut acceptor = Acceptor::new(pattern);
    let mut text = Vec::new();
    let controls: Vec<u32> = tokenizer
        .control_ids()
        .into_iter()
        .map(|(_, id)| id)
        .collect();
    for step in 0..12 {
        if guide.complete() {
            assert!(acceptor.matches(), "{pattern}");
            return;
        }
        if step % 2 == 1 {
            guide.prepare();
        }
        let mut mask = TokenMask::from_tokenizer(tokenizer, tokenizer.ids_max() + 5);
        guide.mask(&mut mask).unwrap();
        let mut allowed = Vec::new();
        for id in 0..u32::try_from(mask.width()).unwrap() {
            let bytes = tokenizer.bytes_from_id(id).unwrap_or_default();
            let is_text = !bytes.is_empty() && !controls.contains(&id);
            // The first space of all would not come out.
            let lost = step == 0 && tokenizer.strips_leading_space() && bytes.starts_with(b" ");
            let expected = is_text && !lost && acceptor.viable(bytes) && id != stop
                || id == stop && acceptor.matches();
            if forcing {
                assert!(expected || !mask.allows(id), "{pattern}: step {step}: {id}");
            } else {
                assert_eq!(
                    mask.allows(id),
                    expected,
                    "{pattern}: {text:?}: {id} {bytes:?}"
                );
            }
            if mask.allows(id) && id != stop {
                allowed.push(id);
            }
        }
        if allowed.is_empty() {
            // Only the end may come, or the text was a space that does not come out.
            return;
        }
        let next = guide.forced();
        let next = next.unwrap_or_else(|| allowed[rng.below(allowed.len())]);
        assert!(mask.allows(next), "{pattern}: forced {next}");
        guide.accept(next);
        text.extend_from_slice(tokenizer.bytes_from_id(next).unwrap());
        acceptor.state = acceptor.after(tokenizer.bytes_from_id(next).unwrap());
    }
}

/// A vocabulary in SentencePiece's way: bytes as tokens of their own, the mark of spaces, a decoder that drops the first.
fn byte_fallback() -> HfTokenizer {
    let mut vocab = Map::new();
    let mut add = |token: String| {
        let id = vocab.len();
        vocab.entry(token).or_insert(Value::from(id));
    };
    ["<unk>", "<s>", "</s>"]
        .into_iter()
        .for_each(|token| add(token.to_owned()));
    (0..=255u8).for_each(|byte| add(format!("<0x{byte:02X}>")));
    ('!'..='~').for_each(|c| add(c.to_string()));
    [
        "\u{2581}",
        "\u{2581}a",
        "\u{2581}on",
        "on",
        "\u{e9}",
        "2026",
        "end",
    ]
    .into_iter()
    .for_each(|token| add(token.to_owned()));
    add("</think>".to_owned());
    let last = vocab.len() - 1;
    let json = json!({
        "added_tokens": [
            {"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true},
            {"id": last, "content": "</think>", "special": false},
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
            "vocab": vocab, "merges": [["\u{2581}", "a"], ["o", "n"], ["\u{2581}", "on"]]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    });
    HfTokenizer::from_json(json.to_string().as_bytes(), None).unwrap()
}

#[test]
fn every_token_is_allowed_where_the_automaton_goes_on() {
    let mut rng = SplitMix64::new(7);
    for tokenizer in [tokenizer(), Arc::new(byte_fallback())] {
        let grammars = Grammars::new(Arc::<HfTokenizer>::clone(&tokenizer));
        for pattern in PATTERNS {
            for round in 0..6 {
                walk(&tokenizer, &grammars, pattern, round % 2 == 1, &mut rng);
            }
        }
    }
}

#[test]
fn control_tokens_come_where_a_grammar_names_them() {
    let tokenizer = tokenizer();
    let grammars = Grammars::new(Arc::<HfTokenizer>::clone(&tokenizer));
    let text = "start: \"x\" <|im_end|> \"y\"";
    let compiled = grammars.compile(&Grammar::Lark(text.to_owned())).unwrap();
    let mut guide = compiled.guide(&[]);
    let x = tokenizer.ids_from_text("x").unwrap()[0];
    let end = tokenizer.id_from_token("<|im_end|>").unwrap();
    guide.accept(x);
    let mut mask = TokenMask::from_tokenizer(&*tokenizer, tokenizer.ids_max());
    guide.mask(&mut mask).unwrap();
    assert!(mask.allows(end) && mask.count() == 1);
    let unknown = Grammar::Lark("start: <|nobody|>".to_owned());
    assert!(grammars.compile(&unknown).is_err());
}
