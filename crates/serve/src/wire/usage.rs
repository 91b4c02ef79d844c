//! Figures of an answer.

use lattice_inference::generate::Usage;
use serde::Serialize;

/// OpenAI's `usage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct UsageJson {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct CompletionDetails {
    reasoning_tokens: usize,
}

impl UsageJson {
    /// The figures of one more choice. Choices of one prompt count it once.
    pub(crate) fn add(&mut self, usage: &Usage, reasoning_tokens: usize, prompt_counts: bool) {
        if prompt_counts {
            self.prompt_tokens += usage.prompt_tokens;
            self.prompt_tokens_details.cached_tokens += usage.cached_tokens;
        }
        self.completion_tokens += usage.generated_tokens;
        self.completion_tokens_details.reasoning_tokens += reasoning_tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }
}

/// Times of one choice, where a request asks for them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Timings {
    queue_ms: f64,
    prompt_ms: f64,
    ttft_ms: Option<f64>,
    total_ms: f64,
    tokens_per_second: Option<f64>,
    drafted_tokens: usize,
    accepted_tokens: usize,
}

impl From<&Usage> for Timings {
    fn from(usage: &Usage) -> Timings {
        Timings {
            queue_ms: usage.queue_ms,
            prompt_ms: usage.prompt_ms,
            ttft_ms: usage.ttft_ms,
            total_ms: usage.total_ms,
            tokens_per_second: usage.tokens_per_second(),
            drafted_tokens: usage.drafted_tokens,
            accepted_tokens: usage.accepted_tokens,
        }
    }
}
