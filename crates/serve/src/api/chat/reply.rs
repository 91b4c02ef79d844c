//! The answer to a chat request as one JSON object.

use lattice_inference::Piece;
use lattice_inference::tools::ToolEvent;
use serde::Serialize;

use super::ask::Style;
use crate::api::answers::{Answers, End, Heard};
use crate::api::head::{FINGERPRINT, Head};
use crate::api::logprobs::{LogprobsJson, TokenJson};
use crate::id::fresh;
use crate::wire::ApiError;
use crate::wire::usage::{Timings, UsageJson};

#[derive(Serialize)]
pub(crate) struct Reply {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<ChoiceJson>,
    usage: UsageJson,
    system_fingerprint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Serialize)]
struct ChoiceJson {
    index: usize,
    message: MessageJson,
    logprobs: Option<LogprobsJson>,
    finish_reason: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

#[derive(Default, Serialize)]
struct MessageJson {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallJson>,
}

/// A call of a tool.
#[derive(Clone, Serialize)]
pub(crate) struct CallJson {
    pub(crate) id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    pub(crate) function: FunctionJson,
}

#[derive(Clone, Serialize)]
pub(crate) struct FunctionJson {
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// What one choice has said so far.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) calls: Vec<CallJson>,
    /// Calls that must not be made, by their place.
    broken: Vec<usize>,
    logprobs: LogprobsJson,
}

impl Said {
    pub(crate) fn take(&mut self, piece: &Piece, head: &Head) {
        let to = if piece.thinking {
            &mut self.thinking
        } else {
            &mut self.text
        };
        to.push_str(&piece.text);
        if let Some(logprobs) = piece.logprobs.as_ref().filter(|_| !piece.thinking) {
            let token = TokenJson::new(&head.front.tokenizer, logprobs);
            self.logprobs.content.push(token);
        }
        for call in &piece.calls {
            match call {
                ToolEvent::Begin { name, .. } => self.calls.push(CallJson::new(name)),
                ToolEvent::Arguments { index, json } => {
                    if let Some(call) = self.calls.get_mut(*index) {
                        call.function.arguments.push_str(json);
                    }
                }
                ToolEvent::Broken { index } => self.broken.push(*index),
                ToolEvent::Text(_) | ToolEvent::End { .. } | ToolEvent::Note(_) => {}
            }
        }
    }

    /// The calls that may be made.
    pub(crate) fn whole_calls(&mut self) -> Vec<CallJson> {
        let calls = std::mem::take(&mut self.calls).into_iter().enumerate();
        let whole = calls.filter(|(index, _)| !self.broken.contains(index));
        whole.map(|(_, call)| call).collect()
    }

    /// The thoughts, without the lines around them.
    pub(crate) fn thoughts(&self) -> Option<String> {
        let thoughts = self.thinking.trim_matches('\n');
        (!thoughts.is_empty()).then(|| thoughts.to_owned())
    }

    fn into_choice(mut self, index: usize, end: &End, logprobs: bool) -> ChoiceJson {
        let tool_calls = self.whole_calls();
        let reasoning_content = self.thoughts();
        let silent = self.text.is_empty() && !tool_calls.is_empty();
        ChoiceJson {
            index,
            message: MessageJson {
                role: "assistant",
                content: (!silent).then_some(self.text),
                reasoning_content,
                refusal: None,
                tool_calls,
            },
            logprobs: logprobs.then_some(self.logprobs),
            finish_reason: end.finish_reason(),
            incomplete: end.incomplete,
        }
    }
}

impl CallJson {
    pub(crate) fn new(name: &str) -> CallJson {
        CallJson {
            id: fresh("call_"),
            kind: "function",
            function: FunctionJson {
                name: name.to_owned(),
                arguments: String::new(),
            },
        }
    }
}

/// Waits for all choices.
pub(crate) async fn collected(
    mut answers: Answers,
    head: Head,
    style: Style,
) -> Result<Reply, ApiError> {
    let mut said: Vec<Said> = (0..answers.len()).map(|_| Said::default()).collect();
    let mut choices: Vec<Option<ChoiceJson>> = (0..answers.len()).map(|_| None).collect();
    let (mut usage, mut timings) = (UsageJson::default(), None);
    while let Some((index, heard)) = answers.next().await {
        match heard {
            Heard::Failed(error) => return Err(error),
            Heard::Prompt(_) => {}
            Heard::Piece(piece) => said[index].take(&piece, &head),
            Heard::End(end) => {
                let mut said = std::mem::take(&mut said[index]);
                if let Some(piece) = &end.piece {
                    said.take(piece, &head);
                }
                usage.add(&end.usage, end.reasoning_tokens, end.prompt_counts);
                timings = style.timings.then(|| Timings::from(&end.usage));
                choices[index] = Some(said.into_choice(index, &end, style.logprobs));
            }
        }
    }
    Ok(Reply {
        id: head.id,
        object: "chat.completion",
        created: head.created,
        model: head.model,
        choices: choices.into_iter().flatten().collect(),
        usage,
        system_fingerprint: FINGERPRINT,
        timings,
    })
}
