//! What one completion has said, with the log probabilities of its tokens.
//!
//! In: what is heard of a choice. Out: increments, which add up to the whole: one code writes both forms.

use lattice_inference::Piece;
use lattice_inference::sample::TokenLogprobs;
use lattice_inference::tokenizer::{HfTokenizer, TextStream, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::logprobs::{finite, spelling};

/// OpenAI's `logprobs` of a completion: four lists, one entry a token.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct LogprobLists {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
    text_offset: Vec<usize>,
}

/// A text with its log probabilities.
#[derive(Debug, Clone, Default)]
pub(crate) struct Increment {
    pub(crate) text: String,
    pub(crate) logprobs: LogprobLists,
}

/// Writes one choice.
pub(crate) struct ChoiceWriter {
    /// Characters so far.
    characters: usize,
    /// The text of the prompt as far as its log probabilities have come.
    prompt: TextStream,
}

impl ChoiceWriter {
    pub(crate) fn new(tokenizer: &HfTokenizer) -> ChoiceWriter {
        ChoiceWriter {
            characters: 0,
            prompt: TextStream::new(tokenizer),
        }
    }

    /// The prompt in front of its answer, all at once.
    pub(crate) fn echo(&mut self, tokenizer: &HfTokenizer, prompt: &[u32]) -> Increment {
        let text = tokenizer.text_from_ids(prompt);
        self.characters += text.chars().count();
        Increment {
            text,
            ..Increment::default()
        }
    }

    /// The first token of a prompt, which has no log probability.
    pub(crate) fn echo_first(&mut self, tokenizer: &HfTokenizer, id: u32) -> Increment {
        let mut increment = Increment::default();
        self.echo_token(tokenizer, id, None, &mut increment);
        increment
    }

    /// Further tokens of a prompt.
    pub(crate) fn echo_more(
        &mut self,
        tokenizer: &HfTokenizer,
        logprobs: &[TokenLogprobs],
    ) -> Increment {
        let mut increment = Increment::default();
        for token in logprobs {
            self.echo_token(tokenizer, token.id, Some(token), &mut increment);
        }
        increment
    }

    fn echo_token(
        &mut self,
        tokenizer: &HfTokenizer,
        id: u32,
        logprobs: Option<&TokenLogprobs>,
        to: &mut Increment,
    ) {
        to.logprobs.push(tokenizer, id, logprobs, self.characters);
        let text = self.prompt.push(tokenizer, id);
        self.characters += text.chars().count();
        to.text.push_str(&text);
    }

    /// What the prompt's last bytes were, where they were no whole character.
    pub(crate) fn echo_end(&mut self) -> Increment {
        let text = self.prompt.finish();
        self.characters += text.chars().count();
        Increment {
            text,
            ..Increment::default()
        }
    }

    /// A piece of the answer.
    pub(crate) fn piece(&mut self, tokenizer: &HfTokenizer, piece: &Piece) -> Increment {
        let mut increment = Increment {
            text: piece.text.clone(),
            ..Increment::default()
        };
        if let Some(logprobs) = &piece.logprobs {
            self.token(tokenizer, logprobs, &mut increment);
        }
        self.characters += piece.text.chars().count();
        increment
    }

    /// A token that adds no text: the one that ended the answer.
    pub(crate) fn token(
        &mut self,
        tokenizer: &HfTokenizer,
        logprobs: &TokenLogprobs,
        to: &mut Increment,
    ) {
        to.logprobs
            .push(tokenizer, logprobs.id, Some(logprobs), self.characters);
    }
}

impl Increment {
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.logprobs.tokens.is_empty()
    }

    pub(crate) fn add(&mut self, more: Increment) {
        self.text.push_str(&more.text);
        let (to, from) = (&mut self.logprobs, more.logprobs);
        to.tokens.extend(from.tokens);
        to.token_logprobs.extend(from.token_logprobs);
        to.top_logprobs.extend(from.top_logprobs);
        to.text_offset.extend(from.text_offset);
    }
}

impl LogprobLists {
    fn push(
        &mut self,
        tokenizer: &HfTokenizer,
        id: u32,
        logprobs: Option<&TokenLogprobs>,
        offset: usize,
    ) {
        self.tokens.push(spelling(tokenizer, id));
        self.token_logprobs
            .push(logprobs.map(|token| finite(token.logprob)));
        self.top_logprobs.push(logprobs.map(|token| {
            // The token itself is always among them.
            let own = std::iter::once((token.id, token.logprob));
            let mut top = Map::new();
            for (id, logprob) in token.top.iter().copied().chain(own) {
                top.entry(spelling(tokenizer, id))
                    .or_insert(finite(logprob).into());
            }
            top
        }));
        self.text_offset.push(offset);
    }
}
