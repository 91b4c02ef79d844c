//! `/v1/messages` and `/v1/messages/count_tokens`: Anthropic's interface, over the same path as the chat.

mod ask;
mod reply;
mod turns;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde_json::json;

use super::answers::Answers;
use super::blocks::Speech;
use super::head::Head;
use super::{asked, with_ignored};
use crate::app::App;
use crate::event::Record;
use crate::wire::{ApiError, json_response, sse};
pub(crate) use ask::MessagesAsk;
use reply::{MessageStream, Writer};

/// Answers a conversation, at once or piece by piece.
pub(crate) async fn create(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let ask = asked(&app, request, MessagesAsk::take).await?;
    let model = app.model(ask.model.as_deref()).await?;
    let MessagesAsk {
        conversation,
        stream,
        mut ignored,
        ..
    } = ask;
    let stop = conversation.sampling.stop.clone();
    let answers = Answers::ask(&app, record, &model, conversation, &mut ignored);
    let answers = answers.await.map_err(ask::renamed)?;
    let writer = Writer::new(Head::new("msg_", &model), &answers, stop);
    let speech = Speech::new(answers);
    let response = if stream {
        sse::response(MessageStream::new(speech, writer), app.options().keep_alive)
    } else {
        json_response(&writer.collected(speech).await?)
    };
    Ok(with_ignored(response, &ignored))
}

/// Tokens of the prompt that a conversation becomes, without an answer.
pub(crate) async fn count(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let ask = asked(&app, request, MessagesAsk::take).await?;
    let model = app.model(ask.model.as_deref()).await?;
    let front = Arc::clone(&model.front);
    let MessagesAsk {
        conversation,
        ignored,
        ..
    } = ask;
    let count = app.prepare(move || conversation.prompt_tokens(&front));
    let count = count.await.map_err(ask::renamed)?;
    let response = json_response(&json!({"input_tokens": count}));
    Ok(with_ignored(response, &ignored))
}
