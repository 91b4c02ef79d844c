//! Tokenizers that are not written as tokenizer.json give the ids of the reference implementations.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "vocabularies/faults.rs"]
mod faults;
#[path = "vocabularies/real.rs"]
mod real;

use std::path::{Path, PathBuf};

use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::tokenizer::{
    GgufVocabulary, HfTokenizer, Prompt, TokenRow, Tokenizer as _, TokenizerFiles, Vocabulary,
};
use lattice_inference::{Model, open_tokenizer, tokenizer_source};
use lattice_testkit::ScratchDir;
use serde_json::Value;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/goldens/vocabularies")
}

fn goldens() -> Value {
    serde_json::from_slice(&std::fs::read(dir().join("ids.json")).unwrap()).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// The tokenizer of a case, from the files of its vocabulary and the settings that the golden names.
fn tokenizer(case: &Value) -> HfTokenizer {
    from_folder(
        &dir().join(case["vocabulary"].as_str().unwrap()),
        case,
        None,
    )
}

fn from_folder(folder: &Path, case: &Value, model_type: Option<&str>) -> HfTokenizer {
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let words = read("vocab.txt").map(|bytes| String::from_utf8(bytes).unwrap());
    let merges = read("merges.txt").map(|bytes| String::from_utf8(bytes).unwrap());
    let (vocab, model) = (read("vocab.json"), read("tokenizer.model"));
    let vocabulary = match (&words, &vocab, &merges, &model) {
        (Some(words), ..) => Vocabulary::Words(words),
        (_, Some(vocab), Some(merges), _) => Vocabulary::Merges { vocab, merges },
        (.., Some(bytes)) => Vocabulary::SentencePiece {
            name: "tokenizer.model",
            bytes,
        },
        _ => panic!("{} has no vocabulary", folder.display()),
    };
    let (config, special, added) = (
        text(&case["config"]),
        text(&case["special"]),
        text(&case["added"]),
    );
    HfTokenizer::from_files(&TokenizerFiles {
        tokenizer_config: config.as_deref(),
        special_tokens_map: special.as_deref(),
        added_tokens: added.as_deref(),
        model_type,
        ..alone(vocabulary)
    })
    .unwrap()
}

/// A vocabulary with nothing beside it.
fn alone(vocabulary: Vocabulary<'_>) -> TokenizerFiles<'_> {
    TokenizerFiles {
        vocabulary,
        tokenizer_config: None,
        special_tokens_map: None,
        added_tokens: None,
        model_type: None,
    }
}

/// What differs from the reference, collected over all cases.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, want: &T) {
        if found != want {
            self.0
                .push(format!("{what}:\n  found {found:?}\n  want  {want:?}"));
        }
    }
}

fn for_each_case(check: impl Fn(&str, &HfTokenizer, &Value, &Value, &mut Differences)) {
    let goldens = goldens();
    let cases = goldens["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 13);
    let mut differences = Differences::default();
    for (name, case) in cases {
        check(name, &tokenizer(case), case, &goldens, &mut differences);
    }
    let Differences(all) = differences;
    assert!(all.is_empty(), "{} differ\n{}", all.len(), all.join("\n"));
}

#[test]
fn plain_text_has_the_ids_of_the_reference() {
    for_each_case(|name, tokenizer, case, goldens, differences| {
        for (index, text) in strings(&goldens["texts"]).iter().enumerate() {
            if case["texts"][index].is_null() {
                continue;
            }
            let found = tokenizer.ids_from_text(text).unwrap();
            differences.compare(
                &format!("{name}: {text:?}"),
                &found,
                &ids(&case["texts"][index]),
            );
        }
    });
}

#[test]
fn prompts_have_the_ids_of_the_reference() {
    for_each_case(|name, tokenizer, case, _, differences| {
        let prompts = case.get("prompts").map(strings).unwrap_or_default();
        for (index, prompt) in prompts.iter().enumerate() {
            let found = tokenizer.ids_from_prompt(&Prompt::trusted(prompt)).unwrap();
            differences.compare(
                &format!("{name}: {prompt:?}"),
                &found,
                &ids(&case["prompt_ids"][index]),
            );
        }
    });
}

#[test]
fn pairs_have_the_ids_and_types_of_the_reference() {
    for_each_case(|name, tokenizer, case, goldens, differences| {
        if case["pairs"].is_null() {
            return;
        }
        let pairs = goldens["pairs"].as_array().unwrap();
        for (index, pair) in pairs.iter().map(strings).enumerate() {
            let found = tokenizer.row_from_pair(&pair[0], &pair[1]).unwrap();
            let want = &case["pairs"][index];
            let want = TokenRow {
                ids: ids(&want[0]),
                type_ids: ids(&want[1]),
            };
            differences.compare(&format!("{name}: {pair:?}"), &found, &want);
        }
        let found = tokenizer
            .ids_with_specials_from_text("Hello there")
            .unwrap();
        differences.compare(name, &found, &ids(&case["one"]));
    });
}

#[test]
fn ids_have_the_text_of_the_reference() {
    for_each_case(|name, tokenizer, case, goldens, differences| {
        for (index, text) in strings(&goldens["texts"]).iter().enumerate() {
            let (Some(want), false) = (
                case["decoded"][index].as_str(),
                case["texts"][index].is_null(),
            ) else {
                continue;
            };
            let found = tokenizer.text_from_ids(&ids(&case["texts"][index]));
            differences.compare(&format!("{name}: {text:?}"), &found.as_str(), &want);
        }
    });
}

/// The fields of the metadata that are no lists.
fn fields_of(fields: &Value) -> GgufVocabulary {
    let number = |name: &str| fields[name].as_u64().map(|id| u32::try_from(id).unwrap());
    GgufVocabulary {
        model: fields["model"].as_str().unwrap().to_owned(),
        pre: fields["pre"].as_str().map(str::to_owned),
        bos: number("bos"),
        eos: number("eos"),
        unk: number("unk"),
        sep: number("sep"),
        add_bos: fields["add_bos"].as_bool(),
        add_eos: fields["add_eos"].as_bool(),
        add_space_prefix: fields["add_space_prefix"].as_bool(),
        remove_extra_whitespaces: fields["remove_extra_whitespaces"].as_bool(),
        ..GgufVocabulary::default()
    }
}

/// The metadata of a GGUF file with a vocabulary of the goldens, as llama.cpp's converter writes it.
fn metadata(case: &Value) -> GgufVocabulary {
    let base = case["vocabulary"].as_str().unwrap();
    let read = |name: &str| std::fs::read(dir().join(base).join(name)).unwrap();
    let json = |name: &str| serde_json::from_slice::<Value>(&read(name)).unwrap();
    let mut vocabulary = fields_of(&case["fields"]);
    match base {
        "word_piece" => {
            let words = String::from_utf8(read("vocab.txt")).unwrap();
            let is_control =
                |word: &str| word.len() > 1 && word.starts_with('[') && word.ends_with(']');
            let phantom = |word: &str| match word.strip_prefix("##") {
                _ if is_control(word) => word.to_owned(),
                Some(rest) => rest.to_owned(),
                None => format!("\u{2581}{word}"),
            };
            vocabulary.tokens = words.lines().map(phantom).collect();
            let kind = |word| if is_control(word) { 3 } else { 1 };
            vocabulary.types = Some(words.lines().map(kind).collect());
        }
        "byte_level" => {
            let vocab = json("vocab.json");
            let mut tokens: Vec<(&String, u64)> = vocab
                .as_object()
                .unwrap()
                .iter()
                .map(|(token, id)| (token, id.as_u64().unwrap()))
                .collect();
            tokens.sort_by_key(|(_, id)| *id);
            let tokens = tokens.into_iter().map(|(token, _)| token.clone());
            let more = ["<|im_start|>", "<|im_end|>", "<think>", "[PAD703]"].map(str::to_owned);
            vocabulary.tokens = tokens.chain(more).collect();
            let kind = |token: &String| if token == "<|endoftext|>" { 3 } else { 1 };
            let mut types: Vec<i32> = vocabulary.tokens.iter().map(kind).collect();
            types.splice(700.., [3, 3, 4, 5]);
            vocabulary.types = Some(types);
            let merges = String::from_utf8(read("merges.txt")).unwrap();
            vocabulary.merges = Some(merges.lines().skip(1).map(str::to_owned).collect());
        }
        _ => {
            let pieces = json("pieces.json");
            vocabulary.tokens = strings(&pieces["tokens"]);
            vocabulary.scores = serde_json::from_value(pieces["scores"].clone()).unwrap();
            vocabulary.types = serde_json::from_value(pieces["types"].clone()).unwrap();
            if let Some(range) = case.get("charsmap").filter(|range| range.is_array()) {
                let range: Vec<usize> = serde_json::from_value(range.clone()).unwrap();
                let bytes = read("tokenizer.model");
                vocabulary.charsmap = Some(bytes[range[0]..range[0] + range[1]].to_vec());
            }
        }
    }
    vocabulary
}

fn from_metadata(vocabulary: &GgufVocabulary) -> HfTokenizer {
    HfTokenizer::from_files(&alone(Vocabulary::Gguf(vocabulary))).unwrap()
}

#[test]
fn gguf_metadata_gives_the_ids_of_llama_cpp() {
    let goldens = goldens();
    let mut differences = Differences::default();
    for (name, case) in goldens["gguf"].as_object().unwrap() {
        let tokenizer = from_metadata(&metadata(case));
        for (index, text) in strings(&goldens["texts"]).iter().enumerate() {
            let want = &case["texts"][index];
            if want.is_array() {
                let found = tokenizer.ids_from_text(text).unwrap();
                differences.compare(&format!("{name}: {text:?}"), &found, &ids(want));
            }
        }
        let around = tokenizer.ids_with_specials_from_text("").unwrap();
        let (begin, end) = around.split_at(around.len().min(1));
        for (index, prompt) in strings(&case["prompts"]).iter().enumerate() {
            let inner = tokenizer.ids_from_prompt(&Prompt::trusted(prompt)).unwrap();
            let want = &case["prompt_ids"][index];
            if want.is_array() {
                let found = [begin, &inner, end].concat();
                differences.compare(&format!("{name}: prompt {prompt:?}"), &found, &ids(want));
            }
        }
    }
    let Differences(all) = differences;
    assert!(all.is_empty(), "{} differ\n{}", all.len(), all.join("\n"));
}

#[test]
fn a_directory_is_searched_in_order() {
    let scratch = ScratchDir::new().unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny");
    for entry in std::fs::read_dir(&base).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), scratch.path().join(entry.file_name())).unwrap();
    }
    let files = ModelFiles::open(scratch.path()).unwrap();
    let model = Model::open(&files, &OpenOptions::default()).unwrap();
    let text = "Two of them: “naïve” e\u{301} नमस्ते\n\n  <|im_end|> 1234";
    let ids = || {
        open_tokenizer(&files, &model)
            .unwrap()
            .ids_from_text(text)
            .unwrap()
    };
    let whole = ids();

    let write = |name: &str, text: &str| std::fs::write(scratch.path().join(name), text).unwrap();
    let remove = |name: &str| std::fs::remove_file(scratch.path().join(name)).unwrap();
    let source = || tokenizer_source(&files).map_err(|error| error.to_string());
    write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n");
    write("tokenizer.model", "");
    assert_eq!(source().unwrap(), "tokenizer.json");
    remove("tokenizer.json");
    assert_eq!(source().unwrap(), "vocab.json and merges.txt");
    assert_eq!(ids(), whole);
    remove("merges.txt");
    assert_eq!(source().unwrap(), "vocab.txt");
    remove("vocab.txt");
    assert_eq!(source().unwrap(), "tokenizer.model");
    remove("tokenizer.model");
    let refused = "vocab.json: a vocabulary without merges.txt beside it, which is not supported; tokenizer.json is";
    assert_eq!(source().unwrap_err(), refused);
    remove("vocab.json");
    write("tekken.json", "{}");
    assert!(
        source()
            .unwrap_err()
            .starts_with("tekken.json: a tekken vocabulary")
    );
    remove("tekken.json");
    assert!(
        source()
            .unwrap_err()
            .contains("vocab.txt or tokenizer.model")
    );
}

#[test]
fn one_megabyte_of_one_character_is_taken() {
    let goldens = goldens();
    for name in ["llama", "unigram", "xlm_roberta", "bert", "gpt2"] {
        let tokenizer = tokenizer(&goldens["cases"][name]);
        for character in ["a", " ", "\n", "中", "\u{301}", "1", "-", "\u{2581}"] {
            let text = character.repeat(1_000_000 / character.len());
            let ids = tokenizer.ids_from_text(&text).unwrap();
            if (name == "llama" || name == "gpt2") && character != "\u{2581}" {
                assert_eq!(
                    tokenizer.text_from_ids(&ids).len(),
                    text.len(),
                    "{name}: {character:?}"
                );
            }
        }
    }
}
