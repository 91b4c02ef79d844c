//! The answer to a chat request piece by piece: a chunk with the role of each choice, chunks of what is said, one with
//! the reason of its end, the usage if asked for, `[DONE]`.

use axum::body::Bytes;
use lattice_inference::Piece;
use lattice_inference::tools::ToolEvent;
use serde::Serialize;

use super::ask::Style;
use super::reply::CallJson;
use crate::api::answers::{Answers, End, Heard};
use crate::api::blocks::Thoughts;
use crate::api::head::{FINGERPRINT, Head};
use crate::api::logprobs::{LogprobsJson, TokenJson};
use crate::wire::sse::{DONE, Source, data};
use crate::wire::usage::{Timings, UsageJson};

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [ChoiceJson],
    /// `null` in all chunks but the last, where usage is asked for; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<&'a UsageJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Default, Serialize)]
struct ChoiceJson {
    index: usize,
    delta: Delta,
    logprobs: Option<LogprobsJson>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

#[derive(Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallDelta>,
}

#[derive(Serialize)]
struct CallDelta {
    index: usize,
    #[serde(flatten)]
    begin: Option<CallJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<ArgumentsDelta>,
}

#[derive(Serialize)]
struct ArgumentsDelta {
    arguments: String,
}

/// The source of the events.
pub(super) struct ChatStream {
    answers: Answers,
    head: Head,
    style: Style,
    usage: UsageJson,
    at: At,
    /// For each choice, line breaks of its thoughts that only count if more thoughts follow.
    held: Vec<Thoughts>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Middle,
    End,
}

impl ChatStream {
    pub(super) fn new(answers: Answers, head: Head, style: Style) -> ChatStream {
        let held = (0..answers.len()).map(|_| Thoughts::default()).collect();
        ChatStream {
            answers,
            head,
            style,
            usage: UsageJson::default(),
            at: At::Begin,
            held,
        }
    }

    fn chunk(&self, choices: &[ChoiceJson], timings: Option<Timings>) -> Vec<u8> {
        self.chunk_with(choices, self.style.include_usage.then_some(None), timings)
    }

    fn chunk_with(
        &self,
        choices: &[ChoiceJson],
        usage: Option<Option<&UsageJson>>,
        timings: Option<Timings>,
    ) -> Vec<u8> {
        data(&Chunk {
            id: &self.head.id,
            object: "chat.completion.chunk",
            created: self.head.created,
            model: &self.head.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
            timings,
        })
    }

    fn begin(&self) -> Vec<u8> {
        let choice = |index| ChoiceJson {
            index,
            delta: Delta {
                role: Some("assistant"),
                content: Some(String::new()),
                ..Delta::default()
            },
            ..ChoiceJson::default()
        };
        let chunks = (0..self.answers.len()).map(|index| self.chunk(&[choice(index)], None));
        chunks.collect::<Vec<_>>().concat()
    }

    /// The chunk of a piece; empty where it says nothing.
    fn piece(&mut self, index: usize, piece: &Piece) -> Vec<u8> {
        let mut delta = Delta::default();
        if piece.thinking {
            let thoughts = self.held[index].push(&piece.text);
            delta.reasoning_content = (!thoughts.is_empty()).then_some(thoughts);
        } else if !piece.text.is_empty() {
            delta.content = Some(piece.text.clone());
        }
        delta.tool_calls = piece.calls.iter().filter_map(call).collect();
        let logprobs = piece.logprobs.as_ref().filter(|_| !piece.thinking);
        let logprobs = logprobs.map(|logprobs| {
            let mut json = LogprobsJson::default();
            json.content
                .push(TokenJson::new(&self.head.front.tokenizer, logprobs));
            json
        });
        let says = delta.content.is_some() || delta.reasoning_content.is_some();
        if !says && delta.tool_calls.is_empty() && logprobs.is_none() {
            return Vec::new();
        }
        let choice = ChoiceJson {
            index,
            delta,
            logprobs,
            ..ChoiceJson::default()
        };
        self.chunk(&[choice], None)
    }

    fn choice_end(&mut self, index: usize, end: &End) -> Vec<u8> {
        let mut bytes = match &end.piece {
            Some(piece) => self.piece(index, piece),
            None => Vec::new(),
        };
        self.usage
            .add(&end.usage, end.reasoning_tokens, end.prompt_counts);
        let timings = self.style.timings.then(|| Timings::from(&end.usage));
        let choice = ChoiceJson {
            index,
            finish_reason: Some(end.finish_reason()),
            incomplete: end.incomplete,
            ..ChoiceJson::default()
        };
        bytes.extend(self.chunk(&[choice], timings));
        bytes
    }

    fn end(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.style.include_usage {
            bytes = self.chunk_with(&[], Some(Some(&self.usage)), None);
        }
        bytes.extend_from_slice(DONE);
        bytes
    }
}

fn call(event: &ToolEvent) -> Option<CallDelta> {
    match event {
        ToolEvent::Begin { index, name } => Some(CallDelta {
            index: *index,
            begin: Some(CallJson::new(name)),
            function: None,
        }),
        ToolEvent::Arguments { index, json } => Some(CallDelta {
            index: *index,
            begin: None,
            function: Some(ArgumentsDelta {
                arguments: json.clone(),
            }),
        }),
        ToolEvent::Text(_)
        | ToolEvent::End { .. }
        | ToolEvent::Broken { .. }
        | ToolEvent::Note(_) => None,
    }
}

impl Source for ChatStream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let bytes = match self.at {
                At::End => return None,
                At::Begin => {
                    self.at = At::Middle;
                    self.begin()
                }
                At::Middle => match self.answers.next().await {
                    Some((index, Heard::Piece(piece))) => self.piece(index, &piece),
                    Some((index, Heard::End(end))) => self.choice_end(index, &end),
                    Some((_, Heard::Prompt(_))) => Vec::new(),
                    Some((_, Heard::Failed(error))) => {
                        self.at = At::End;
                        data(&error.to_openai())
                    }
                    None => {
                        self.at = At::End;
                        self.end()
                    }
                },
            };
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
        }
    }
}
