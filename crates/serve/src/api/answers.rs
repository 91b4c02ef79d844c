//! The answers to one request as they come: some choices, side by side.
//!
//! In: tickets. Out: pieces, each with the number of its choice, and one end for each. Figures go to the report.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use lattice_inference::generate::{Event, StopReason, Usage};
use lattice_inference::sample::TokenLogprobs;
use lattice_inference::tools::ToolEvent;
use lattice_inference::{AnswerReader, Piece};
use tokio::sync::watch;

use super::prepare::Conversation;
use crate::app::App;
use crate::event::Record;
use crate::models::Loaded;
use crate::wire::ApiError;
use crate::worker::{News, Ticket};

/// All choices of one request.
pub(crate) struct Answers {
    choices: Vec<Choice>,
    /// Choices of one prompt: the first of each tells of its prompt.
    per_prompt: usize,
    /// Tokens of the prompt, where there is one for all choices.
    prompt_tokens: usize,
    record: Record,
    over: watch::Receiver<bool>,
    /// The choice that is listened to first, so that none is heard more than others.
    turn: usize,
}

struct Choice {
    ticket: Ticket,
    reader: AnswerReader,
    reasoning_tokens: usize,
    /// Calls of tools that are whole.
    calls: usize,
    ended: bool,
}

/// Something about a choice.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Log probabilities of the prompt, in order.
    Prompt(Vec<TokenLogprobs>),
    /// More of it.
    Piece(Piece),
    /// It ended.
    End(Box<End>),
    /// It, and with it the request, came to nothing.
    Failed(ApiError),
}

/// How a choice ended.
#[derive(Debug)]
pub(crate) struct End {
    /// The last piece, if there is one.
    pub(crate) piece: Option<Piece>,
    pub(crate) reason: StopReason,
    /// It is the beginning of what its grammar has.
    pub(crate) incomplete: bool,
    pub(crate) usage: Usage,
    pub(crate) reasoning_tokens: usize,
    /// Calls of tools that are whole.
    pub(crate) calls: usize,
    /// Log probabilities of the token that ended it.
    pub(crate) logprobs: Option<TokenLogprobs>,
    /// Whether it is the one of its prompt that counts the prompt's tokens.
    pub(crate) prompt_counts: bool,
}

impl End {
    /// OpenAI's `finish_reason`.
    pub(crate) fn finish_reason(&self) -> &'static str {
        match self.reason.word() {
            "stop" if self.calls > 0 => "tool_calls",
            word => word,
        }
    }
}

impl Answers {
    /// Listens to these. `per_prompt` choices after each other belong to one prompt.
    pub(crate) fn new(
        app: &App,
        record: Record,
        tickets: Vec<Ticket>,
        readers: Vec<AnswerReader>,
        per_prompt: usize,
    ) -> Answers {
        let choice = |(ticket, reader)| Choice {
            ticket,
            reader,
            reasoning_tokens: 0,
            calls: 0,
            ended: false,
        };
        Answers {
            choices: tickets.into_iter().zip(readers).map(choice).collect(),
            per_prompt: per_prompt.max(1),
            prompt_tokens: 0,
            record,
            over: app.over(),
            turn: 0,
        }
    }

    /// Makes requests of a conversation and hands them over. Fields that turn out to have no effect are added to
    /// `ignored`.
    ///
    /// # Errors
    /// The conversation cannot be answered, or not now.
    pub(crate) async fn ask(
        app: &App,
        record: Record,
        model: &Loaded,
        conversation: Conversation,
        ignored: &mut Vec<String>,
    ) -> Result<Answers, ApiError> {
        record.note(|report| report.model = Some(model.name.clone()));
        let front = Arc::clone(&model.front);
        let prepared = app.prepare(move || conversation.prepare(&front)).await?;
        ignored.extend(prepared.ignored);
        let prompt_tokens = prepared.requests.first().map_or(0, |one| one.prompt.len());
        let tickets = app.submit(model, prepared.requests).await?;
        let choices = tickets.len();
        let answers = Answers::new(app, record, tickets, prepared.readers, choices);
        Ok(Answers {
            prompt_tokens,
            ..answers
        })
    }

    /// Tokens of the prompt of a conversation.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// The id of the request that they answer.
    pub(crate) fn request_id(&self) -> String {
        self.record.id()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.choices.len()
    }

    /// What happens next, and to which choice; `None` when all have ended. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<(usize, Heard)> {
        loop {
            if self.choices.iter().all(|choice| choice.ended) {
                return None;
            }
            let mut over = self.over.clone();
            let (index, news) = tokio::select! {
                biased;
                news = poll_fn(|context| self.poll(context)) => news,
                _ = over.wait_for(|over| *over) => {
                    let error = ApiError::unavailable("stopping", "the server was stopped before the end");
                    return Some(self.failed(0, error));
                }
            };
            let heard = match news {
                Some(News::Event(event)) => self.take(index, *event),
                Some(News::TimeUp) => {
                    let error = ApiError::too_slow("the request took longer than it may");
                    Some(self.failed(index, error).1)
                }
                Some(News::Queued) => None,
                Some(News::Refused(_)) | None => Some(self.failed(index, ApiError::internal()).1),
            };
            if let Some(heard) = heard {
                return Some((index, heard));
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, Option<News>)> {
        let count = self.choices.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let choice = &mut self.choices[index];
            if choice.ended {
                continue;
            }
            if let Poll::Ready(news) = choice.ticket.poll_next(context) {
                self.turn = index + 1;
                return Poll::Ready((index, news));
            }
        }
        Poll::Pending
    }

    fn failed(&mut self, index: usize, error: ApiError) -> (usize, Heard) {
        self.choices
            .iter_mut()
            .for_each(|choice| choice.ended = true);
        self.record.note(|report| report.error = error.code);
        let error = error.with_request_id(&self.record.id());
        (index, Heard::Failed(error))
    }

    fn take(&mut self, index: usize, event: Event) -> Option<Heard> {
        let choice = &mut self.choices[index];
        let piece = choice.reader.read(&event);
        if let Some(piece) = &piece {
            choice.reasoning_tokens += usize::from(piece.thinking && piece.id.is_some());
            for call in &piece.calls {
                choice.calls += usize::from(matches!(call, ToolEvent::End { .. }));
            }
        }
        match event {
            Event::PromptLogprobs { logprobs, .. } => Some(Heard::Prompt(logprobs)),
            Event::Done {
                reason,
                incomplete,
                usage,
                logprobs,
                ..
            } => {
                let prompt_counts = index.is_multiple_of(self.per_prompt);
                self.record.choice(&usage, prompt_counts);
                choice.ended = true;
                let end = End {
                    piece,
                    incomplete,
                    usage,
                    reasoning_tokens: choice.reasoning_tokens,
                    calls: choice.calls,
                    logprobs,
                    prompt_counts,
                    reason,
                };
                Some(match end.reason {
                    StopReason::Failed(failure) => self.failed(index, failure.into()).1,
                    StopReason::Cancelled => self.failed(index, ApiError::internal()).1,
                    _ => Heard::End(Box::new(end)),
                })
            }
            _ => piece.map(Heard::Piece),
        }
    }
}
