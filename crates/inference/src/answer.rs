//! One answer as people read it: what is thought, what is said, and the calls of tools in it.
//!
//! In: the events of one request. Out: pieces, the tags of thinking blocks and calls taken out of them.
//! It does not know: terminals, HTTP, what becomes of the pieces.

use crate::generate::{Event, Part};
use crate::sample::TokenLogprobs;
use crate::tools::{ToolEvent, ToolStream};

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Piece {
    /// The token it came with; `None` for text that was held back until the end.
    pub id: Option<u32>,
    /// Complete characters; often empty.
    pub text: String,
    /// Whether it is thought and not said.
    pub thinking: bool,
    /// What it brings of calls of tools, which are no part of the text. No [`ToolEvent::Text`].
    pub calls: Vec<ToolEvent>,
    /// Log probabilities of its token, if asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// Reads the events of one request.
#[derive(Debug, Default)]
pub struct AnswerReader {
    tools: Option<ToolStream>,
    said: bool,
    /// A thinking block was closed, and the answer has not begun.
    after_block: bool,
}

impl AnswerReader {
    /// A reader of an answer; `tools` reads the calls, where there may be some.
    #[must_use]
    pub fn new(tools: Option<ToolStream>) -> AnswerReader {
        AnswerReader {
            tools,
            ..AnswerReader::default()
        }
    }

    /// What an event brings; `None` where it brings nothing.
    pub fn read(&mut self, event: &Event) -> Option<Piece> {
        let (id, text, part, logprobs) = match event {
            Event::Token {
                id,
                text,
                part,
                logprobs,
                ..
            } => (Some(*id), text.as_str(), *part, logprobs.clone()),
            Event::Done { text, part, .. } => (None, text.as_str(), *part, None),
            _ => return None,
        };
        let text = match part {
            Part::Answer => self.answer_text(text).to_owned(),
            Part::Thinking => text.to_owned(),
            // How a block is marked is the model's business.
            Part::Mark => String::new(),
        };
        let (text, calls) = self.take_calls(id, text, part);
        match part {
            Part::Answer => self.said |= !text.is_empty(),
            Part::Thinking => {}
            Part::Mark => self.after_block = !self.said,
        }
        let empty = id.is_none() && text.is_empty() && calls.is_empty();
        (!empty).then_some(Piece {
            id,
            text,
            thinking: part != Part::Answer,
            calls,
            logprobs,
        })
    }

    fn take_calls(
        &mut self,
        id: Option<u32>,
        text: String,
        part: Part,
    ) -> (String, Vec<ToolEvent>) {
        let tools = self.tools.as_mut();
        let Some(tools) = tools.filter(|_| part == Part::Answer || id.is_none()) else {
            return (text, Vec::new());
        };
        let mut events = Vec::new();
        match id {
            Some(id) => tools.push_token(id, &text, &mut events),
            None => {
                tools.push(if part == Part::Answer { &text } else { "" }, &mut events);
                tools.finish(&mut events);
            }
        }
        if part != Part::Answer {
            events.retain(|event| !matches!(event, ToolEvent::Text(_)));
            return (text, events);
        }
        let mut beside = String::new();
        events.retain(|event| match event {
            ToolEvent::Text(piece) => {
                beside.push_str(piece);
                false
            }
            _ => true,
        });
        (beside, events)
    }

    /// The blank lines that divide a block from the answer belong to neither.
    fn answer_text<'a>(&mut self, text: &'a str) -> &'a str {
        let text = if self.after_block {
            text.trim_start_matches('\n')
        } else {
            text
        };
        self.after_block &= text.is_empty();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::RequestId;

    fn token(text: &str, part: Part) -> Event {
        Event::Token {
            request: RequestId(0),
            id: 7,
            text: text.to_owned(),
            part,
            logprobs: None,
        }
    }

    #[test]
    fn blank_lines_after_a_block_belong_to_nobody() {
        let mut reader = AnswerReader::default();
        let (mut said, mut thought) = (String::new(), String::new());
        for event in [
            token("why", Part::Thinking),
            token("</think>", Part::Mark),
            token("\n", Part::Answer),
            token("\n\nSo", Part::Answer),
            token("\n\n.", Part::Answer),
        ] {
            let piece = reader.read(&event).unwrap();
            let to = if piece.thinking {
                &mut thought
            } else {
                &mut said
            };
            to.push_str(&piece.text);
        }
        assert_eq!((said.as_str(), thought.as_str()), ("So\n\n.", "why"));
    }

    #[test]
    fn an_answer_without_thoughts_keeps_its_first_lines() {
        let piece = AnswerReader::default().read(&token("\n\nx", Part::Answer));
        assert_eq!(piece.unwrap().text, "\n\nx");
    }
}
