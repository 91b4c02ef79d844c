//! vocab.json and merges.txt: BPE over bytes, as GPT-2 began it.
//!
//! In: the two files; `tokenizer_class`, or else the model's type, says how text is cut into words. Out: the canonical
//! form.

use super::super::TextError;
use super::super::error::wrong_in;
use super::super::file::{Merge, ModelFile, TokenizerFile, VocabFile};
use super::words::{BY_GPT2, BY_LLAMA3, BY_QWEN2, BY_QWEN3_5, Words};
use super::{Known, Settings, around};

/// The token that Llama 3's own tokenizer begins with: its class says nothing.
const LLAMA3_BEGIN: &str = "<|begin_of_text|>";

/// What a class of tokenizers does.
struct Class {
    words: Words,
    /// Its names for special tokens.
    usual: &'static [(&'static str, &'static str)],
    /// Pairs are `<s> a </s></s> b </s>`.
    doubled: bool,
}

const GPT2: Class = Class {
    words: BY_GPT2,
    usual: &[
        ("unk_token", "<|endoftext|>"),
        ("bos_token", "<|endoftext|>"),
        ("eos_token", "<|endoftext|>"),
    ],
    doubled: false,
};
const ROBERTA: Class = Class {
    words: BY_GPT2,
    usual: &[
        ("bos_token", "<s>"),
        ("eos_token", "</s>"),
        ("sep_token", "</s>"),
        ("cls_token", "<s>"),
        ("unk_token", "<unk>"),
        ("pad_token", "<pad>"),
        ("mask_token", "<mask>"),
    ],
    doubled: true,
};
const QWEN_USUAL: &[(&str, &str)] = &[
    ("unk_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("pad_token", "<|endoftext|>"),
];
const QWEN2: Class = Class {
    words: BY_QWEN2,
    usual: QWEN_USUAL,
    doubled: false,
};
const QWEN3_5: Class = Class {
    words: BY_QWEN3_5,
    usual: QWEN_USUAL,
    doubled: false,
};
const LLAMA3: Class = Class {
    words: BY_LLAMA3,
    usual: &[("bos_token", LLAMA3_BEGIN)],
    doubled: false,
};

/// The canonical form of a vocab.json and a merges.txt.
pub(super) fn file(
    vocab: &[u8],
    merges: &str,
    settings: &Settings,
    model_type: Option<&str>,
) -> Result<TokenizerFile, TextError> {
    let vocab: VocabFile =
        serde_json::from_slice(vocab).map_err(|error| wrong_in("vocab.json", error))?;
    let merges = merges_from_text(merges)?;
    let class = class(settings, model_type, &vocab)?;
    let known = Known::new(settings, vocab.iter(), class.usual)?;
    let find = |name| known.named(name);
    let (bos, eos) = (find("bos_token")?, find("eos_token")?);
    let post_processor = match (find("cls_token")?, find("sep_token")?) {
        (Some(cls), Some(sep)) if class.doubled => around::doubled(&cls, &sep),
        _ => {
            let begins = settings.flag("add_bos_token", class.words.begins)?;
            let ends = settings.flag("add_eos_token", false)?;
            around::each(
                bos.as_ref().filter(|_| begins),
                eos.as_ref().filter(|_| ends),
            )
        }
    };
    let added_tokens = known.added;
    let prefix = settings.flag("add_prefix_space", false)?;
    Ok(TokenizerFile {
        added_tokens,
        ends: eos.iter().map(|eos| eos.id).collect(),
        post_processor,
        ..byte_level(vocab, merges, class.words, prefix)
    })
}

/// A byte-level BPE without added tokens.
pub(super) fn byte_level(
    vocab: VocabFile,
    merges: Vec<Merge>,
    words: Words,
    adds_prefix_space: bool,
) -> TokenizerFile {
    let (normalizer, pre_tokenizer) = words.parts(adds_prefix_space);
    TokenizerFile {
        normalizer,
        pre_tokenizer,
        decoder: serde_json::json!({"type": "ByteLevel"}),
        model: ModelFile {
            kind: Some("BPE".to_owned()),
            vocab,
            merges: Some(merges),
            ignore_merges: Some(words.ignore_merges),
            ..ModelFile::default()
        },
        ..TokenizerFile::default()
    }
}

fn class(
    settings: &Settings,
    model_type: Option<&str>,
    vocab: &VocabFile,
) -> Result<Class, TextError> {
    let open = [None, Some("PreTrainedTokenizer"), Some("TokenizersBackend")];
    let class = settings.class();
    let said = if open.contains(&class) {
        model_type
    } else {
        class
    };
    let known = vocab.iter().map(|(token, _)| token);
    let mut known = known.chain(settings.added.iter().map(|token| token.content.as_str()));
    match said {
        // Its models name the class of the family before.
        Some("Qwen2Tokenizer") if model_type.is_some_and(|kind| kind.starts_with("qwen3_5")) => {
            Ok(QWEN3_5)
        }
        Some("GPT2Tokenizer" | "gpt2") => Ok(GPT2),
        Some("RobertaTokenizer" | "BartTokenizer" | "roberta") => Ok(ROBERTA),
        Some("Qwen2Tokenizer" | "qwen2" | "qwen3" | "qwen3_moe") => Ok(QWEN2),
        Some("Qwen3_5Tokenizer" | "qwen3_5" | "qwen3_5_moe") => Ok(QWEN3_5),
        None | Some("LlamaTokenizer" | "llama") if known.any(|token| token == LLAMA3_BEGIN) => {
            Ok(LLAMA3)
        }
        other => {
            let reason = format!(
                "tokenizer_class: {} does not say how vocab.json's text is cut into words; a tokenizer.json would",
                other.unwrap_or("nothing")
            );
            Err(wrong_in("tokenizer_config.json", reason))
        }
    }
}

/// merges.txt: a line for its version, then two tokens a line.
fn merges_from_text(text: &str) -> Result<Vec<Merge>, TextError> {
    let mut merges = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let merge = Merge::from_text(line).ok_or_else(|| {
            let line: String = line.chars().take(80).collect();
            wrong_in(
                "merges.txt",
                format!("line {number}: {line:?} is not two tokens"),
            )
        })?;
        merges.push(merge);
    }
    Ok(merges)
}

/// The merges of a GGUF file.
pub(super) fn merges_from_list(list: &[String]) -> Result<Vec<Merge>, super::Fault> {
    let merge = |(text, index): (&String, usize)| {
        let wrong = || super::Fault::new(format!("merges[{index}]: {text:?} is not two tokens"));
        Merge::from_text(text).ok_or_else(wrong)
    };
    list.iter().zip(0..).map(merge).collect()
}
