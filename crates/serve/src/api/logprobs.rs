//! Log probabilities as the chat interface writes them, and the spelling of tokens.

use lattice_inference::sample::TokenLogprobs;
use lattice_inference::tokenizer::{HfTokenizer, Tokenizer as _};
use serde::Serialize;

/// What stands for the logarithm of zero, which JSON cannot write.
const NEVER: f32 = -9999.0;

/// One token of an answer with those that might have been in its place.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TokenJson {
    #[serde(flatten)]
    token: Spelled,
    top_logprobs: Vec<Spelled>,
}

#[derive(Debug, Clone, Serialize)]
struct Spelled {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
}

/// OpenAI's `logprobs` of a choice.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct LogprobsJson {
    pub(crate) content: Vec<TokenJson>,
    refusal: Option<()>,
}

impl TokenJson {
    pub(crate) fn new(tokenizer: &HfTokenizer, logprobs: &TokenLogprobs) -> TokenJson {
        let spelled = |id: u32, logprob: f32| Spelled {
            token: spelling(tokenizer, id),
            logprob: finite(logprob),
            bytes: tokenizer.bytes_from_id(id).map(<[u8]>::to_vec),
        };
        let top = logprobs.top.iter();
        TokenJson {
            token: spelled(logprobs.id, logprobs.logprob),
            top_logprobs: top.map(|&(id, logprob)| spelled(id, logprob)).collect(),
        }
    }
}

/// A logarithm that JSON can write: -0.1 as -0.1, and not as the f64 nearest to the f32.
pub(crate) fn finite(logprob: f32) -> f64 {
    let written = logprob.max(NEVER).to_string();
    written.parse().unwrap_or(f64::from(NEVER))
}

/// The text of a token by itself. Bytes that are no text are written as OpenAI writes them; tokens without a text by
/// their name.
pub(crate) fn spelling(tokenizer: &HfTokenizer, id: u32) -> String {
    let bytes = tokenizer.bytes_from_id(id).unwrap_or_default();
    if bytes.is_empty() {
        let control = tokenizer.control_ids();
        let name = control.iter().find(|(_, control)| *control == id);
        return name.map_or_else(|| format!("<|{id}|>"), |(name, _)| (*name).to_owned());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{escaped}")
        }
    }
}
