//! The answer event by event, each with its number.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::items::Answer;
use super::{PastMessages, keep};
use crate::api::answers::{Answers, Heard};
use crate::app::App;
use crate::wire::ApiError;
use crate::wire::sse::{Source, named};

/// The source of the events.
pub(super) struct ResponseStream {
    app: App,
    answers: Answers,
    answer: Answer,
    past: PastMessages,
    at: At,
    /// Events so far.
    count: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Middle,
    End,
}

impl ResponseStream {
    pub(super) fn new(
        app: App,
        answers: Answers,
        answer: Answer,
        past: PastMessages,
    ) -> ResponseStream {
        ResponseStream {
            app,
            answers,
            answer,
            past,
            at: At::Begin,
            count: 0,
        }
    }

    fn write(&mut self, events: Vec<Value>) -> Vec<u8> {
        let mut out = Vec::new();
        for mut event in events {
            event["sequence_number"] = json!(self.count);
            self.count += 1;
            out.extend(named(event["type"].as_str().unwrap_or_default(), &event));
        }
        out
    }

    fn whole(&self, kind: &str) -> Value {
        json!({"type": kind, "response": self.answer.response()})
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Value> {
        self.answer.fail();
        let mut event = self.whole("response.failed");
        event["response"]["error"] = json!({"code": error.code, "message": error.message});
        vec![event]
    }

    fn end(&mut self) -> Vec<Value> {
        keep(&self.app, &self.answer, self.past.take());
        let response = self.answer.response();
        let kind = format!(
            "response.{}",
            response["status"].as_str().unwrap_or_default()
        );
        vec![json!({"type": kind, "response": response})]
    }
}

impl Source for ResponseStream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut events = Vec::new();
            match self.at {
                At::End => return None,
                At::Begin => {
                    self.at = At::Middle;
                    events.push(self.whole("response.created"));
                    events.push(self.whole("response.in_progress"));
                }
                At::Middle => match self.answers.next().await {
                    Some((_, Heard::Piece(piece))) => self.answer.piece(&piece, &mut events),
                    Some((_, Heard::End(end))) => self.answer.end(&end, &mut events),
                    Some((_, Heard::Prompt(_))) => {}
                    Some((_, Heard::Failed(error))) => {
                        self.at = At::End;
                        events = self.failed(&error);
                    }
                    None => {
                        self.at = At::End;
                        events = self.end();
                    }
                },
            }
            if !events.is_empty() {
                return Some(self.write(events).into());
            }
        }
    }
}
