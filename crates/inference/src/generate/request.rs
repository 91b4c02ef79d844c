//! What a caller asks for.

use crate::sample::{Guide, SamplerOptions};

/// One text to generate. [`Default`] gives plain sampling without limits but the context's.
#[derive(Default)]
pub struct Request {
    /// The prompt's token ids, at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// Tokens to generate at most, a stop id included. The context is a limit of its own; 0 only reads the
    /// prompt.
    pub max_tokens: Option<usize>,
    /// Texts that end the answer and are not part of it: at most 16, none empty, 1,024 bytes each. They are
    /// looked for in the answer, not inside a thinking block.
    pub stop: Vec<String>,
    /// Ids that end the text and are not part of it.
    pub stop_ids: Vec<u32>,
    /// The model's thinking block, if it has one.
    pub thinking: Option<Thinking>,
    /// Log probabilities of the prompt's tokens; the prompt is then read from its start, without reuse.
    pub prompt_logprobs: bool,
    /// Lengths of the prompt up to which a later request may share it, for example before the part that the
    /// template adds for the answer. At most 1,024. Matters only where the model has a recurrent state.
    pub keep_marks: Vec<usize>,
    /// What steers the text: grammars, drafts. The first that forces a token wins, masks add up, the first
    /// that proposes something is heard.
    pub guides: Vec<Box<dyn Guide>>,
    /// What the answer is held to, from its first token on: thoughts are free.
    pub constraint: Option<Constraint>,
}

/// A grammar that the answer is held to.
pub struct Constraint {
    /// Sees the tokens of the answer, and no others.
    pub guide: Box<dyn Guide>,
    /// Whether the model may open a thinking block before the answer, where the prompt has not.
    pub may_think: bool,
}

/// How a model marks what it thinks before it answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thinking {
    /// Whether the prompt ends inside of a thinking block.
    pub open: bool,
    /// The ids, one after the other, that open a block: mostly one. Empty where the model cannot open one.
    pub begin: Vec<u32>,
    /// The ids, one after the other, that close a block, for example `</think>`: at least one.
    pub close: Vec<u32>,
    /// Tokens that may be spent inside of blocks before `close` is forced.
    pub budget: Option<usize>,
}
