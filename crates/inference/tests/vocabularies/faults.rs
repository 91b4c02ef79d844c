//! Vocabularies with faults are refused, with the file and the fault named, and without a panic.

use lattice_inference::tokenizer::{GgufVocabulary, HfTokenizer, TokenizerFiles, Vocabulary};

use super::{alone, dir, goldens, metadata};

fn refusal(files: &TokenizerFiles<'_>, file: &str, fault: &str) {
    let message = match HfTokenizer::from_files(files) {
        Ok(_) => panic!("{file} with {fault} was taken"),
        Err(error) => error.to_string(),
    };
    assert!(
        message.starts_with(&format!("{file}: ")) && message.contains(fault),
        "{fault}: {message}"
    );
}

#[test]
fn vocab_txt() {
    for (text, fault) in [
        ("", "[UNK]"),
        ("a\nb\n", "no id for unk_token \"[UNK]\""),
        ("[UNK]\na\na\n", "1 spellings are given twice"),
    ] {
        refusal(&alone(Vocabulary::Words(text)), "vocab.txt", fault);
    }
    let files = TokenizerFiles {
        tokenizer_config: Some(r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#),
        ..alone(Vocabulary::Words("[UNK]\n"))
    };
    refusal(
        &files,
        "tokenizer_config.json",
        "tokenizer_class: what BertJapaneseTokenizer makes of a vocab.txt is not known",
    );
    let huge = "a\n".repeat(150 << 20);
    refusal(
        &alone(Vocabulary::Words(&huge)),
        "vocab.txt",
        "314572800 bytes",
    );
}

#[test]
fn vocab_json_and_merges() {
    let both = "vocab.json and merges.txt";
    for (vocab, merges, file, fault) in [
        ("{", "", "vocab.json", "EOF"),
        ("[]", "", both, "only a Unigram has scores"),
        (r#"{"a": 0, "b": 2}"#, "", both, "id 2"),
        (r#"{"a": 0, "b": 0}"#, "", both, "both have id 0"),
        (r#"{"a": 0, "b": -1}"#, "", "vocab.json", "-1"),
        (r#"{"a": 0, "a": 1}"#, "", both, "twice"),
        (
            r#"{"a": 0, "b": 1}"#,
            "#version: 0.2\na b\n",
            both,
            "merge of \"a\" and \"b\"",
        ),
        (r#"{"a": 0, "b": 1}"#, "a x\n", both, "\"x\""),
        (
            r#"{"a": 0, "b": 1}"#,
            "a b c\n",
            "merges.txt",
            "line 1: \"a b c\" is not two tokens",
        ),
        (r#"{"a": 0, "b": 1}"#, "\nab\n", "merges.txt", "line 2"),
    ] {
        let vocab = vocab.as_bytes();
        let files = TokenizerFiles {
            model_type: Some("gpt2"),
            ..alone(Vocabulary::Merges { vocab, merges })
        };
        refusal(&files, file, fault);
    }
}

#[test]
fn settings() {
    let vocabulary = Vocabulary::Merges {
        vocab: br#"{"a": 0}"#,
        merges: "",
    };
    let plain = TokenizerFiles {
        model_type: Some("gpt2"),
        ..alone(vocabulary)
    };
    let config = "tokenizer_config.json";
    for (text, fault) in [
        ("[]", "expected a map"),
        (
            r#"{"eos_token": "</s>"}"#,
            "eos_token: \"</s>\" is not in the vocabulary",
        ),
        (
            r#"{"unk_token": {"content": "<unk>"}}"#,
            "unk_token: \"<unk>\" is not in the vocabulary",
        ),
        (
            r#"{"add_bos_token": "yes"}"#,
            "add_bos_token: \"yes\" is not a switch",
        ),
        (
            r#"{"tokenizer_class": "CLIPTokenizer"}"#,
            "tokenizer_class: CLIPTokenizer does not say",
        ),
        (
            r#"{"added_tokens_decoder": {"x": {"content": "<x>"}}}"#,
            "added_tokens_decoder.x",
        ),
        (
            r#"{"added_tokens_decoder": {"1": "<x>"}}"#,
            "added_tokens_decoder.1",
        ),
    ] {
        let files = TokenizerFiles {
            tokenizer_config: Some(text),
            ..plain
        };
        refusal(&files, config, fault);
    }
    for (text, file, fault) in [
        (
            r#"{"<x>": -1}"#,
            "added_tokens.json",
            "\"<x>\": -1 is not an id",
        ),
        (r#"{"<x>": 7}"#, "vocab.json and merges.txt", "id 7"),
        (
            r#"{"<x>": 0}"#,
            "vocab.json and merges.txt",
            "both have id 0",
        ),
    ] {
        let files = TokenizerFiles {
            added_tokens: Some(text),
            ..plain
        };
        refusal(&files, file, fault);
    }
    let files = TokenizerFiles {
        special_tokens_map: Some("{]"),
        ..plain
    };
    refusal(&files, "special_tokens_map.json", "line 1");
    refusal(&alone(vocabulary), config, "nothing does not say");
}

fn sentence_piece(bytes: &[u8]) -> TokenizerFiles<'_> {
    alone(Vocabulary::SentencePiece {
        name: "tokenizer.model",
        bytes,
    })
}

/// A field with bytes, as protocol buffers write it; lengths up to 127.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    [&[number << 3 | 2, length][..], bytes].concat()
}

fn piece(text: &[u8], score: f32, kind: u8) -> Vec<u8> {
    let score = [&[0x15][..], &score.to_le_bytes()].concat();
    field(1, &[field(1, text), score, vec![0x18, kind]].concat())
}

#[test]
fn tokenizer_model() {
    let unk = || piece(b"<unk>", 0.0, 2);
    let trainer = |kind: u8| field(2, &[0x18, kind]);
    for (bytes, fault) in [
        (vec![], "no pieces"),
        (vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f], "a field of"),
        (b"IQ== 0\nIg== 1\n".to_vec(), "a tiktoken vocabulary"),
        (piece(b"a", 0.0, 1), "no piece stands for what is unknown"),
        ([unk(), unk()].concat(), "piece 1 is a second one"),
        (
            [unk(), piece(b"a", f32::NAN, 1)].concat(),
            "the score of \"a\" is NaN",
        ),
        ([unk(), piece(b"", 0.0, 1)].concat(), "piece 1 is empty"),
        ([unk(), piece(b"a", 0.0, 9)].concat(), "pieces[1].type: 9"),
        (
            [unk(), piece(b"\xff", 0.0, 1)].concat(),
            "pieces[1]: invalid utf-8",
        ),
        ([unk(), trainer(4)].concat(), "model_type: 4"),
        (
            [unk(), piece(b"a", 0.0, 1), piece(b"a", 0.0, 1), trainer(2)].concat(),
            "1 spellings are given twice",
        ),
        (
            [unk(), field(2, &[0xc0, 1, 1])].concat(),
            "treat_whitespace_as_suffix",
        ),
        ([unk(), field(3, &[0x28, 0])].concat(), "escape_whitespaces"),
        (
            [unk(), field(3, &field(2, b"charsmap"))].concat(),
            "normalizer",
        ),
    ] {
        refusal(&sentence_piece(&bytes), "tokenizer.model", fault);
    }
    let only_unk = unk();
    let files = TokenizerFiles {
        tokenizer_config: Some(r#"{"tokenizer_class": "CamembertTokenizer"}"#),
        ..sentence_piece(&only_unk)
    };
    refusal(
        &files,
        "tokenizer_config.json",
        "tokenizer_class: what CamembertTokenizer makes",
    );
}

#[test]
fn a_tokenizer_model_cut_or_changed_anywhere_does_not_panic() {
    let sound = std::fs::read(dir().join("spm_bpe/tokenizer.model")).unwrap();
    for cut in (1..sound.len()).step_by(7) {
        let _ = HfTokenizer::from_files(&sentence_piece(&sound[..cut]));
        let mut changed = sound.clone();
        changed[cut] ^= 0xff;
        let _ = HfTokenizer::from_files(&sentence_piece(&changed));
    }
}

#[test]
fn gguf_metadata() {
    let goldens = goldens();
    let with = |name: &str, change: fn(&mut GgufVocabulary), fault: &str| {
        let mut vocabulary = metadata(&goldens["gguf"][name]);
        change(&mut vocabulary);
        refusal(
            &alone(Vocabulary::Gguf(&vocabulary)),
            "GGUF metadata",
            fault,
        );
    };
    with(
        "llama",
        |v| v.model = "rwkv".to_owned(),
        "model: \"rwkv\" is a kind of tokenizer that is not supported",
    );
    with(
        "smollm",
        |v| v.pre = Some("nobody".to_owned()),
        "pre: \"nobody\" is a way to cut text that is not known",
    );
    with("smollm", |v| v.merges = None, "merges: are missing");
    with(
        "smollm",
        |v| v.merges.as_mut().unwrap()[3] = "ab".to_owned(),
        "merges[3]: \"ab\" is not two tokens",
    );
    with(
        "smollm",
        |v| v.merges.as_mut().unwrap()[3] = "ab zz".to_owned(),
        "zz",
    );
    with("smollm", |v| v.tokens[300] = v.tokens[301].clone(), "twice");
    with(
        "smollm",
        |v| v.bos = Some(9_999),
        "bos_token_id: 9999, but there are only 703 tokens",
    );
    with("smollm", |v| v.eot = Some(9_999), "eot_token_id: 9999");
    with(
        "llama",
        |v| v.scores.as_mut().unwrap().truncate(5),
        "scores: 5 entries for 700 tokens",
    );
    with(
        "llama",
        |v| v.types.as_mut().unwrap().truncate(5),
        "token_type: 5 entries for 700 tokens",
    );
    with(
        "llama",
        |v| v.types.as_mut().unwrap()[5] = -1,
        "token_type[5]: -1 is not known",
    );
    with(
        "llama",
        |v| v.scores.as_mut().unwrap()[5] = f32::INFINITY,
        "is inf",
    );
    with(
        "llama",
        |v| v.tokens[400] = "x".repeat(600),
        "a piece of 600 bytes",
    );
    with(
        "llama",
        |v| v.tokens.clear(),
        "scores: 700 entries for 0 tokens",
    );
    with("bert", |v| v.unk = Some(9_999), "unknown_token_id: 9999");
    with("t5", |v| v.charsmap = Some(vec![1, 2, 3]), "normalizer");
}
