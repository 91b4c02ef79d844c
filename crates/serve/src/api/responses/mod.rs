//! `/v1/responses`: OpenAI's newer interface to the same conversations.

mod ask;
mod items;
mod stream;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;

use super::answers::{Answers, Heard};
use super::head::Head;
use super::with_ignored;
use crate::app::App;
use crate::event::Record;
use crate::http::read_body;
use crate::wire::{ApiError, json_response, sse};
use ask::ResponsesAsk;
use items::Answer;
use stream::ResponseStream;

/// Answers a conversation, which may begin with one that was answered before.
pub(crate) async fn respond(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let bytes = read_body(request, app.options()).await?;
    let parsing = app.clone();
    let ask = app
        .prepare(move || ResponsesAsk::from_body(&bytes, parsing.past()))
        .await?;
    let model = app.model(ask.model.as_deref()).await?;
    record.note(|report| report.model = Some(model.name.clone()));
    let ResponsesAsk {
        conversation,
        echo,
        past,
        stream,
        mut ignored,
        ..
    } = ask;
    let front = Arc::clone(&model.front);
    let prepared = app.prepare(move || conversation.prepare(&front)).await?;
    ignored.extend(prepared.ignored);
    let tickets = app.submit(&model, prepared.requests).await?;
    let answers = Answers::new(&app, record, tickets, prepared.readers, 1);
    let answer = Answer::new(Head::new("resp_", &model), echo);
    let response = if stream {
        let keep_alive = app.options().keep_alive;
        sse::response(ResponseStream::new(app, answers, answer, past), keep_alive)
    } else {
        json_response(&collected(&app, answers, answer, past).await?)
    };
    Ok(with_ignored(response, &ignored))
}

/// What an answer leaves behind, where it is to be kept.
type PastMessages = Option<Vec<lattice_inference::tokenizer::ChatMessage>>;

async fn collected(
    app: &App,
    mut answers: Answers,
    mut answer: Answer,
    past: PastMessages,
) -> Result<serde_json::Value, ApiError> {
    let mut events = Vec::new();
    while let Some((_, heard)) = answers.next().await {
        match heard {
            Heard::Failed(error) => return Err(error),
            Heard::Prompt(_) => {}
            Heard::Piece(piece) => answer.piece(&piece, &mut events),
            Heard::End(end) => answer.end(&end, &mut events),
        }
        events.clear();
    }
    keep(app, &answer, past);
    Ok(answer.response())
}

/// Keeps the conversation, with the answer at its end.
fn keep(app: &App, answer: &Answer, past: PastMessages) {
    if let Some(mut messages) = past {
        messages.push(answer.message());
        app.past().keep(answer.id().to_owned(), messages);
    }
}
