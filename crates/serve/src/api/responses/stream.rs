//! A response from its first event to its last; at the end it is kept, if it may be.

use axum::body::Bytes;
use lattice_inference::tokenizer::ChatMessage;
use serde_json::Value;

use super::reply::Writer;
use crate::api::answers::End;
use crate::api::blocks::{Speech, Step};
use crate::app::App;
use crate::wire::ApiError;
use crate::wire::sse::{Source, named};

/// Keeps a response when it has ended.
pub(super) struct Keeper {
    app: App,
    /// What the request brought.
    input: Vec<Value>,
    /// What was said before it.
    said: Vec<ChatMessage>,
}

impl Keeper {
    pub(super) fn new(app: App, input: Vec<Value>, said: Vec<ChatMessage>) -> Keeper {
        Keeper { app, input, said }
    }

    fn keep(mut self, id: &str, response: Value, answer: ChatMessage) {
        self.said.push(answer);
        let kept = self.app.responses();
        kept.keep(id, response, self.input, self.said);
    }
}

/// Waits for the whole response.
pub(super) async fn collected(
    mut speech: Speech,
    mut writer: Writer,
    keeper: Option<Keeper>,
) -> Result<Value, ApiError> {
    loop {
        match speech.next().await {
            Some(Step::Change(change)) => drop(writer.change(change)),
            Some(Step::End(end)) => {
                let response = writer.ended(&end);
                if let Some(keeper) = keeper {
                    let id = writer.id().to_owned();
                    keeper.keep(&id, response.clone(), writer.into_said());
                }
                return Ok(response);
            }
            Some(Step::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal()),
        }
    }
}

/// The source of the events.
pub(super) struct ResponseStream {
    speech: Speech,
    /// Gone at the end.
    writer: Option<Writer>,
    keeper: Option<Keeper>,
    begun: bool,
}

impl ResponseStream {
    pub(super) fn new(speech: Speech, writer: Writer, keeper: Option<Keeper>) -> ResponseStream {
        ResponseStream {
            speech,
            writer: Some(writer),
            keeper,
            begun: false,
        }
    }

    fn end(&mut self, end: &End) -> Option<Vec<Value>> {
        let mut writer = self.writer.take()?;
        let response = writer.ended(end);
        let last = writer.end(&response);
        if let Some(keeper) = self.keeper.take() {
            let id = writer.id().to_owned();
            keeper.keep(&id, response, writer.into_said());
        }
        Some(vec![last])
    }

    async fn step(&mut self) -> Option<Vec<Value>> {
        let writer = self.writer.as_mut()?;
        if !self.begun {
            self.begun = true;
            return Some(writer.begin());
        }
        Some(match self.speech.next().await? {
            Step::Change(change) => writer.change(change),
            Step::End(end) => self.end(&end)?,
            Step::Failed(error) => {
                let last = writer.failed(&error);
                self.writer = None;
                vec![last]
            }
        })
    }
}

impl Source for ResponseStream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let events = self.step().await?;
            if !events.is_empty() {
                let bytes: Vec<_> = events.iter().map(named).collect();
                return Some(bytes.concat().into());
            }
        }
    }
}
