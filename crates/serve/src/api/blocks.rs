//! An answer as a row of blocks: thoughts, texts, calls of tools, one after the other, as Anthropic's messages and
//! OpenAI's responses have it.
//!
//! In: what is heard of the one choice. Out: blocks that begin, grow and end, then how the answer ended. It does not
//! know how they are written.

use std::collections::VecDeque;

use lattice_inference::Piece;
use lattice_inference::sample::TokenLogprobs;
use lattice_inference::tools::ToolEvent;

use super::answers::{Answers, End, Heard};
use crate::wire::ApiError;

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was thought.
    Thinking,
    /// What was said.
    Text,
    /// The call of this tool; its text is an object of JSON.
    Call(String),
}

/// Something about the block that comes last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// It begins.
    Begin(Kind),
    /// Log probabilities of the tokens of the text that comes next, where they were asked for.
    Logprobs(Vec<TokenLogprobs>),
    /// More of its text.
    More(String),
    /// It ends. One that is not whole was cut; a call of that sort must not be made.
    End { whole: bool },
}

/// What happens next in an answer.
pub(crate) enum Step {
    /// To one of its blocks.
    Change(Change),
    /// It ended.
    End(Box<End>),
    /// It came to nothing.
    Failed(ApiError),
}

/// The answer of one choice, block by block.
pub(crate) struct Speech {
    answers: Answers,
    blocks: Blocks,
    waiting: VecDeque<Step>,
}

/// The blocks so far.
#[derive(Debug, Default)]
struct Blocks {
    open: Option<Kind>,
    thoughts: Thoughts,
    /// Blanks that only count if text follows.
    blanks: String,
    /// Log probabilities of tokens of a text that have not been told.
    logprobs: Vec<TokenLogprobs>,
}

impl Speech {
    pub(crate) fn new(answers: Answers) -> Speech {
        Speech {
            answers,
            blocks: Blocks::default(),
            waiting: VecDeque::new(),
        }
    }

    /// What happens next; `None` after the end. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.waiting.pop_front() {
                return Some(step);
            }
            let mut changes = Vec::new();
            match self.answers.next().await?.1 {
                Heard::Prompt(_) => {}
                Heard::Failed(error) => return Some(Step::Failed(error)),
                Heard::Piece(piece) => self.blocks.piece(&piece, &mut changes),
                Heard::End(end) => {
                    if let Some(piece) = &end.piece {
                        self.blocks.piece(piece, &mut changes);
                    }
                    self.blocks
                        .close(end.reason.word() != "length", &mut changes);
                    self.waiting.extend(changes.drain(..).map(Step::Change));
                    self.waiting.push_back(Step::End(end));
                }
            }
            self.waiting.extend(changes.into_iter().map(Step::Change));
        }
    }
}

impl Blocks {
    fn piece(&mut self, piece: &Piece, out: &mut Vec<Change>) {
        // Text that comes with the end of a call follows it.
        let calls_first = matches!(self.open, Some(Kind::Call(_)));
        if calls_first {
            piece.calls.iter().for_each(|call| self.call(call, out));
        }
        if piece.thinking {
            let text = self.thoughts.push(&piece.text);
            self.grow(Kind::Thinking, text, out);
        } else {
            self.logprobs.extend(piece.logprobs.clone());
            self.text(&piece.text, out);
        }
        if !calls_first {
            piece.calls.iter().for_each(|call| self.call(call, out));
        }
    }

    /// Blanks before, between and after calls are no block.
    fn text(&mut self, text: &str, out: &mut Vec<Change>) {
        self.blanks.push_str(text);
        if self.open == Some(Kind::Text) || !self.blanks.trim().is_empty() {
            let text = std::mem::take(&mut self.blanks);
            self.grow(Kind::Text, text, out);
        }
    }

    fn grow(&mut self, kind: Kind, text: String, out: &mut Vec<Change>) {
        if text.is_empty() {
            return;
        }
        if self.open.as_ref() != Some(&kind) {
            self.begin(kind.clone(), out);
        }
        if kind == Kind::Text {
            self.tell_logprobs(out);
        }
        out.push(Change::More(text));
    }

    fn tell_logprobs(&mut self, out: &mut Vec<Change>) {
        if !self.logprobs.is_empty() {
            out.push(Change::Logprobs(std::mem::take(&mut self.logprobs)));
        }
    }

    fn begin(&mut self, kind: Kind, out: &mut Vec<Change>) {
        self.close(true, out);
        self.open = Some(kind.clone());
        out.push(Change::Begin(kind));
    }

    fn close(&mut self, whole: bool, out: &mut Vec<Change>) {
        if self.open == Some(Kind::Text) {
            self.tell_logprobs(out);
        }
        if self.open.take().is_some() {
            out.push(Change::End { whole });
        }
    }

    fn call(&mut self, event: &ToolEvent, out: &mut Vec<Change>) {
        match event {
            ToolEvent::Begin { name, .. } => {
                self.blanks.clear();
                self.begin(Kind::Call(name.clone()), out);
            }
            ToolEvent::Arguments { json, .. } => out.push(Change::More(json.clone())),
            ToolEvent::End { .. } => self.close(true, out),
            ToolEvent::Broken { .. } => self.close(false, out),
            ToolEvent::Text(_) | ToolEvent::Note(_) => {}
        }
    }
}

/// Thoughts lose the lines around them, in pieces as in one.
#[derive(Debug, Default)]
pub(crate) struct Thoughts {
    thought: bool,
    lines: String,
}

impl Thoughts {
    /// What more of them can be told: line breaks at their end only when more follows.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let text = if self.thought {
            text
        } else {
            text.trim_start_matches('\n')
        };
        let kept = text.trim_end_matches('\n');
        let after = &text[kept.len()..];
        if kept.is_empty() {
            self.lines.push_str(after);
            return String::new();
        }
        self.thought = true;
        let before = std::mem::replace(&mut self.lines, after.to_owned());
        before + kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, thinking: bool, calls: Vec<ToolEvent>) -> Piece {
        Piece {
            id: Some(1),
            text: text.to_owned(),
            thinking,
            calls,
            logprobs: None,
        }
    }

    fn written(pieces: &[Piece]) -> String {
        let (mut blocks, mut changes) = (Blocks::default(), Vec::new());
        for piece in pieces {
            blocks.piece(piece, &mut changes);
        }
        blocks.close(true, &mut changes);
        let word = |change: &Change| match change {
            Change::Begin(Kind::Thinking) => "(".to_owned(),
            Change::Begin(Kind::Text) => "[".to_owned(),
            Change::Begin(Kind::Call(name)) => format!("{name}<"),
            Change::Logprobs(tokens) => "~".repeat(tokens.len()),
            Change::More(text) => text.clone(),
            Change::End { whole } => if *whole { "|" } else { "!" }.to_owned(),
        };
        changes.iter().map(word).collect()
    }

    #[test]
    fn blocks_follow_each_other_without_blanks_between() {
        let begin = |index| ToolEvent::Begin {
            index,
            name: "f".to_owned(),
        };
        let arguments = |index, json: &str| ToolEvent::Arguments {
            index,
            json: json.to_owned(),
        };
        let pieces = [
            piece("\n", true, vec![]),
            piece("hm\n", true, vec![]),
            piece("\n", false, vec![]),
            piece("I look.\n", false, vec![begin(0)]),
            piece("", false, vec![arguments(0, "{}")]),
            piece("\n", false, vec![ToolEvent::End { index: 0 }]),
            piece("", false, vec![begin(1), arguments(1, "{}")]),
            piece("<f>", false, vec![ToolEvent::Broken { index: 1 }]),
            piece("\n", false, vec![]),
        ];
        assert_eq!(written(&pieces), "(hm|[\nI look.\n|f<{}|f<{}![<f>\n|");
        assert_eq!(written(&[piece("\n", false, vec![])]), "");
    }
}
