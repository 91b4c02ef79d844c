//! The answer to a completion request, as one object and piece by piece.

use axum::body::Bytes;
use serde::Serialize;

use super::ask::Style;
use super::choice::{ChoiceWriter, Increment, LogprobLists};
use crate::api::answers::{Answers, End, Heard};
use crate::api::head::{FINGERPRINT, Head};
use crate::wire::ApiError;
use crate::wire::sse::{DONE, Source, data};
use crate::wire::usage::{Timings, UsageJson};

/// An answer, or a part of one.
#[derive(Serialize)]
pub(crate) struct Reply<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<ChoiceJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<&'a UsageJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Serialize)]
struct ChoiceJson {
    index: usize,
    text: String,
    logprobs: Option<LogprobLists>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

/// All choices, written as they are heard.
struct Writer {
    answers: Answers,
    head: Head,
    style: Style,
    prompts: Vec<Vec<u32>>,
    choices: Vec<ChoiceWriter>,
    usage: UsageJson,
    timings: Option<Timings>,
}

/// News of one choice.
enum Written {
    More(usize, Increment),
    End(usize, Increment, Box<End>),
    Failed(ApiError),
}

impl Writer {
    fn new(answers: Answers, head: Head, style: Style, prompts: Vec<Vec<u32>>) -> Writer {
        let writer = |_| ChoiceWriter::new(&head.front.tokenizer);
        Writer {
            choices: (0..answers.len()).map(writer).collect(),
            answers,
            head,
            style,
            prompts,
            usage: UsageJson::default(),
            timings: None,
        }
    }

    /// What stands before the answer of a choice.
    fn begin(&mut self, index: usize) -> Increment {
        let tokenizer = &self.head.front.tokenizer;
        let (choice, prompt) = (&mut self.choices[index], &self.prompts[index]);
        let Some(&first) = prompt.first().filter(|_| self.style.echo) else {
            return Increment::default();
        };
        if !self.style.logprobs {
            return choice.echo(tokenizer, prompt);
        }
        let mut first = choice.echo_first(tokenizer, first);
        if prompt.len() == 1 {
            first.add(choice.echo_end());
        }
        first
    }

    async fn next(&mut self) -> Option<Written> {
        let (index, heard) = self.answers.next().await?;
        let tokenizer = &self.head.front.tokenizer;
        let choice = &mut self.choices[index];
        Some(match heard {
            Heard::Failed(error) => Written::Failed(error),
            Heard::Prompt(logprobs) => {
                let mut more = choice.echo_more(tokenizer, &logprobs);
                let prompt = &mut self.prompts[index];
                // The first token had none: it was written before.
                prompt.truncate(prompt.len().saturating_sub(logprobs.len()));
                if prompt.len() <= 1 {
                    more.add(choice.echo_end());
                }
                Written::More(index, more)
            }
            Heard::Piece(piece) => Written::More(index, choice.piece(tokenizer, &piece)),
            Heard::End(end) => {
                let mut last = Increment::default();
                if let Some(piece) = &end.piece {
                    last = choice.piece(tokenizer, piece);
                }
                if let Some(logprobs) = &end.logprobs {
                    choice.token(tokenizer, logprobs, &mut last);
                }
                self.usage.add(&end.usage, 0, end.prompt_counts);
                self.timings = self.style.timings.then(|| Timings::from(&end.usage));
                Written::End(index, last, end)
            }
        })
    }

    fn choice(&self, index: usize, increment: Increment, end: Option<&End>) -> ChoiceJson {
        ChoiceJson {
            index,
            text: increment.text,
            logprobs: self.style.logprobs.then_some(increment.logprobs),
            finish_reason: end.map(End::finish_reason),
            incomplete: end.is_some_and(|end| end.incomplete),
        }
    }

    fn reply<'a>(
        &'a self,
        choices: Vec<ChoiceJson>,
        usage: Option<Option<&'a UsageJson>>,
        timings: Option<Timings>,
    ) -> Reply<'a> {
        Reply {
            id: &self.head.id,
            object: "text_completion",
            created: self.head.created,
            model: &self.head.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
            timings,
        }
    }
}

/// Waits for all choices.
pub(super) async fn collected(
    answers: Answers,
    head: Head,
    style: Style,
    prompts: Vec<Vec<u32>>,
) -> Result<serde_json::Value, ApiError> {
    let mut writer = Writer::new(answers, head, style, prompts);
    let count = writer.answers.len();
    let mut said: Vec<Increment> = (0..count).map(|index| writer.begin(index)).collect();
    let mut choices: Vec<Option<ChoiceJson>> = (0..count).map(|_| None).collect();
    while let Some(written) = writer.next().await {
        match written {
            Written::Failed(error) => return Err(error),
            Written::More(index, more) => said[index].add(more),
            Written::End(index, last, end) => {
                said[index].add(last);
                let whole = std::mem::take(&mut said[index]);
                choices[index] = Some(writer.choice(index, whole, Some(&end)));
            }
        }
    }
    let choices = choices.into_iter().flatten().collect();
    let timings = writer.timings.clone();
    let reply = writer.reply(choices, Some(Some(&writer.usage)), timings);
    serde_json::to_value(reply).map_err(|_unwritable| ApiError::internal())
}

/// The source of events.
pub(super) struct CompletionStream {
    writer: Writer,
    /// Choices whose beginning was written.
    begun: usize,
    ended: bool,
}

impl CompletionStream {
    pub(super) fn new(
        answers: Answers,
        head: Head,
        style: Style,
        prompts: Vec<Vec<u32>>,
    ) -> CompletionStream {
        CompletionStream {
            writer: Writer::new(answers, head, style, prompts),
            begun: 0,
            ended: false,
        }
    }

    fn chunk(&self, index: usize, increment: Increment, end: Option<&End>) -> Vec<u8> {
        if increment.is_empty() && end.is_none() {
            return Vec::new();
        }
        let writer = &self.writer;
        let choice = writer.choice(index, increment, end);
        let usage = writer.style.include_usage.then_some(None);
        let timings = end.and(writer.timings.clone());
        data(&writer.reply(vec![choice], usage, timings))
    }

    fn end(&self) -> Vec<u8> {
        let writer = &self.writer;
        let mut bytes = Vec::new();
        if writer.style.include_usage {
            bytes = data(&writer.reply(Vec::new(), Some(Some(&writer.usage)), None));
        }
        bytes.extend_from_slice(DONE);
        bytes
    }

    async fn step(&mut self) -> Vec<u8> {
        if self.begun < self.writer.answers.len() {
            let index = self.begun;
            self.begun += 1;
            let beginning = self.writer.begin(index);
            return self.chunk(index, beginning, None);
        }
        match self.writer.next().await {
            Some(Written::More(index, more)) => self.chunk(index, more, None),
            Some(Written::End(index, last, end)) => self.chunk(index, last, Some(&end)),
            Some(Written::Failed(error)) => {
                self.ended = true;
                data(&error.to_openai())
            }
            None => {
                self.ended = true;
                self.end()
            }
        }
    }
}

impl Source for CompletionStream {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let bytes = self.step().await;
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
        }
        None
    }
}
