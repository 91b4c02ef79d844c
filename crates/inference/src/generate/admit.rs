//! The one check of a request: what passes here needs no further check.

use super::{Request, Thinking};
use crate::backend::Limits;
use crate::sample::FieldError;

/// Stop strings of one request.
const STOPS_MAX: usize = 16;
/// Bytes of one stop string: so much text may have to be held back.
const STOP_BYTES_MAX: usize = 1024;
/// Marks of one request: each may split a batch.
const MARKS_MAX: usize = 1024;

/// A request that fits the engine. Only [`admit`] makes one.
pub struct Admitted {
    pub(super) request: Request,
    /// Tokens it may generate: what it asked for, or the room in the context.
    pub(super) tokens_max: usize,
    /// Whether the room in the context is the nearer limit.
    pub(super) context_limits: bool,
}

impl Admitted {
    /// The request as it was asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Tokens it may generate within the context.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.tokens_max
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A field outside of its range.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A prompt without tokens.
    #[error("prompt is empty")]
    EmptyPrompt,
    /// An id that the model does not have.
    #[error("prompt token {position} has id {id}, the vocabulary has {vocab}")]
    UnknownToken {
        /// Place in the prompt, from 0.
        position: usize,
        /// The id.
        id: u32,
        /// Ids of the model.
        vocab: usize,
    },
    /// The prompt leaves no room for one more token.
    #[error(
        "prompt has {prompt_tokens} tokens, the context holds {context_tokens} with at least one generated"
    )]
    ContextLength {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens of the context.
        context_tokens: usize,
    },
    /// As many requests wait as may wait.
    #[error("{waiting} requests are waiting, no more may")]
    QueueFull {
        /// Requests waiting.
        waiting: usize,
    },
}

/// Checks a request against the limits of the runner that it is meant for.
///
/// # Errors
/// The first thing that does not fit, by name.
pub fn admit(request: Request, limits: &Limits) -> Result<Admitted, RequestError> {
    let prompt_tokens = request.prompt.len();
    if prompt_tokens == 0 {
        return Err(RequestError::EmptyPrompt);
    }
    let context_tokens = limits.context_tokens_max;
    if prompt_tokens >= context_tokens {
        return Err(RequestError::ContextLength {
            prompt_tokens,
            context_tokens,
        });
    }
    let vocab = limits.vocab;
    let unknown = request.prompt.iter().position(|&id| id as usize >= vocab);
    if let Some(position) = unknown {
        return Err(RequestError::UnknownToken {
            position,
            id: request.prompt[position],
            vocab,
        });
    }
    request.sampler.validate(limits.output_width)?;
    check_stops(&request.stop)?;
    check_marks(&request.keep_marks, prompt_tokens)?;
    if let Some(thinking) = &request.thinking {
        check_thinking(thinking, vocab)?;
    }
    let room = context_tokens - prompt_tokens;
    let tokens_max = request.max_tokens.map_or(room, |asked| asked.min(room));
    let context_limits = request.max_tokens.is_none_or(|asked| asked > room);
    Ok(Admitted {
        request,
        tokens_max,
        context_limits,
    })
}

fn check_stops(stops: &[String]) -> Result<(), FieldError> {
    let error = |value: String, allowed: String| Err(FieldError::new("stop", value, allowed));
    if stops.len() > STOPS_MAX {
        return error(
            format!("{} texts", stops.len()),
            format!("at most {STOPS_MAX}"),
        );
    }
    for stop in stops {
        if stop.is_empty() || stop.len() > STOP_BYTES_MAX {
            let value = format!("a text of {} bytes", stop.len());
            return error(value, format!("1 to {STOP_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

fn check_marks(marks: &[usize], prompt_tokens: usize) -> Result<(), FieldError> {
    let error = |value: String, allowed: String| Err(FieldError::new("keep_marks", value, allowed));
    if marks.len() > MARKS_MAX {
        return error(
            format!("{} marks", marks.len()),
            format!("at most {MARKS_MAX}"),
        );
    }
    match marks
        .iter()
        .find(|&&mark| mark == 0 || mark > prompt_tokens)
    {
        Some(mark) => error(mark.to_string(), format!("1 to {prompt_tokens}")),
        None => Ok(()),
    }
}

fn check_thinking(thinking: &Thinking, vocab: usize) -> Result<(), FieldError> {
    if thinking.close.is_empty() {
        return Err(FieldError::new(
            "thinking.close",
            "empty",
            "at least one id",
        ));
    }
    let mut ids = thinking.close.iter().chain(&thinking.begin);
    match ids.find(|&&id| id as usize >= vocab) {
        Some(id) => Err(FieldError::new(
            "thinking",
            format!("token id {id}"),
            format!("below {vocab}"),
        )),
        None => Ok(()),
    }
}
