//! `/v1/messages` and `/v1/messages/count_tokens`: Anthropic's interface to the same conversations.

mod ask;
mod blocks;
mod reply;
mod stream;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde_json::json;

use super::answers::Answers;
use super::head::Head;
use super::with_ignored;
use crate::app::App;
use crate::event::Record;
use crate::http::read_body;
use crate::wire::{ApiError, json_response, sse};
use ask::MessagesAsk;
use reply::collected;
use stream::MessageStream;

/// Answers a conversation.
pub(crate) async fn answer(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let bytes = read_body(request, app.options()).await?;
    let ask = app
        .prepare(move || MessagesAsk::from_body(&bytes, true))
        .await?;
    let model = app.model(ask.model.as_deref()).await?;
    record.note(|report| report.model = Some(model.name.clone()));
    let MessagesAsk {
        conversation,
        stream,
        mut ignored,
        ..
    } = ask;
    let stops = conversation.sampling.stop.clone();
    let front = Arc::clone(&model.front);
    let prepared = app.prepare(move || conversation.prepare(&front)).await?;
    ignored.extend(prepared.ignored);
    let prompt_tokens = prepared
        .requests
        .iter()
        .map(|request| request.prompt.len())
        .sum();
    let tickets = app.submit(&model, prepared.requests).await?;
    let answers = Answers::new(&app, record.clone(), tickets, prepared.readers, 1);
    let head = Head::new("msg_", &model);
    let response = if stream {
        let source = MessageStream::new(answers, head, stops, prompt_tokens, record.id());
        sse::response(source, app.options().keep_alive)
    } else {
        json_response(&collected(answers, &head, &stops).await?)
    };
    Ok(with_ignored(response, &ignored))
}

/// How many tokens a conversation has.
pub(crate) async fn count(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let bytes = read_body(request, app.options()).await?;
    let ask = app
        .prepare(move || MessagesAsk::from_body(&bytes, false))
        .await?;
    let model = app.model(ask.model.as_deref()).await?;
    let MessagesAsk {
        conversation,
        ignored,
        ..
    } = ask;
    let counted = app.prepare(move || {
        let options = conversation.options()?;
        let chat = model.front.chat(&conversation.messages, &options)?;
        Ok(chat.request.prompt.len())
    });
    let response = json_response(&json!({"input_tokens": counted.await?}));
    Ok(with_ignored(response, &ignored))
}
