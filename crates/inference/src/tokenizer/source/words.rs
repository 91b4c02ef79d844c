//! How text is cut into words before a byte-level BPE: by name.
//!
//! In: a tokenizer's class, or the `pre` of a GGUF file. Out: the expressions, applied one after the other. Where a GGUF
//! reader has to write an expression in its own way, the one of the model's tokenizer.json stands here.

use serde_json::{Value, json};

use super::super::split::GPT2_WORDS;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

/// How words are found, and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) regexes: &'static [&'static str],
    /// Texts are composed (NFC) first.
    pub(super) composes: bool,
    /// A word that is a token is taken whole, whatever the merges make of it.
    pub(super) ignore_merges: bool,
    /// A begin token stands before a text unless the file says otherwise.
    pub(super) begins: bool,
}

const fn words(regexes: &'static [&'static str]) -> Words {
    Words {
        regexes,
        composes: false,
        ignore_merges: false,
        begins: false,
    }
}

const fn whole(words: Words, begins: bool) -> Words {
    Words {
        ignore_merges: true,
        begins,
        ..words
    }
}

const fn composed(words: Words) -> Words {
    Words {
        composes: true,
        ..words
    }
}

pub(super) const BY_GPT2: Words = words(&[GPT2_WORDS]);
pub(super) const BY_LLAMA3: Words = whole(words(&[LLAMA3]), true);
pub(super) const BY_QWEN2: Words = composed(words(&[QWEN2]));
pub(super) const BY_QWEN3_5: Words = composed(words(&[QWEN3_5]));

/// GGUF's names for the ways that are known here.
const BY_PRE: [(&[&str], Words); 14] = [
    (
        &[
            "gpt-2",
            "phi-2",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
        BY_GPT2,
    ),
    (
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        BY_LLAMA3,
    ),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], words(&[LLAMA3])),
    (&["glm4", "glm5"], whole(words(&[LLAMA3]), false)),
    (&["qwen2", "deepseek-r1-qwen", "kormo", "megrez"], BY_QWEN2),
    (&["qwen35"], BY_QWEN3_5),
    (
        &["stablelm2", "hunyuan", "solar-open", "grok-2"],
        words(&[QWEN2]),
    ),
    (
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        words(&[DIGIT, GPT2_WORDS]),
    ),
    (&["tekken"], whole(words(&[TEKKEN]), true)),
    (&["gpt-4o", "llama4"], words(&[GPT4O])),
    (
        &["falcon"],
        words(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2_WORDS, "[0-9][0-9][0-9]"]),
    ),
    (
        &["deepseek-coder"],
        words(&[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[一-龥ࠀ-一가-퟿]+",
            DIGIT,
        ]),
    ),
    (
        &["deepseek-v3", "hunyuan-dense"],
        words(&[
            r"\p{N}{1,3}",
            "[一-龥぀-ゟ゠-ヿ]+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        ]),
    ),
    (
        &["default", ""],
        words(&[
            r"[\p{P}\$\+<=>\^~\|]+",
            GPT2_WORDS,
            r"\p{N}+",
            "[0-9][0-9][0-9]",
        ]),
    ),
];

/// The way that a GGUF file calls `pre`.
pub(super) fn by_pre(pre: &str) -> Option<Words> {
    let row = BY_PRE.iter().find(|(names, _)| names.contains(&pre));
    row.map(|(_, words)| *words)
}

impl Words {
    /// The `normalizer` and the `pre_tokenizer` that say so.
    pub(super) fn parts(&self, adds_prefix_space: bool) -> (Value, Value) {
        let normalizer = if self.composes {
            json!({"type": "NFC"})
        } else {
            Value::Null
        };
        let split = |regex: &&str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let bytes = |words: bool| json!({"type": "ByteLevel", "add_prefix_space": adds_prefix_space, "trim_offsets": true, "use_regex": words});
        if matches!(self.regexes, [GPT2_WORDS]) {
            return (normalizer, bytes(true));
        }
        let splits = self.regexes.iter().map(split);
        let stages: Vec<Value> = splits.chain([bytes(false)]).collect();
        (
            normalizer,
            json!({"type": "Sequence", "pretokenizers": stages}),
        )
    }
}
