//! `/v1/completions`: texts, or tokens, that are gone on with.

mod ask;
mod choice;
mod reply;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;

use super::answers::Answers;
use super::head::Head;
use super::{asked, with_ignored};
use crate::app::App;
use crate::event::Record;
use crate::wire::{ApiError, json_response, sse};
pub(crate) use ask::CompletionAsk;
use ask::renamed;
use reply::{CompletionStream, collected};

/// Goes on with texts.
pub(crate) async fn complete(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let choices_max = app.options().choices_max;
    let take = move |fields| CompletionAsk::take(fields, choices_max);
    let ask = asked(&app, request, take).await?;
    let model = app.model(ask.model.as_deref()).await?;
    record.note(|report| report.model = Some(model.name.clone()));
    let front = std::sync::Arc::clone(&model.front);
    let (style, ignored, per_prompt) = (ask.style, ask.ignored.clone(), ask.per_prompt);
    let prepared = app.prepare(move || ask.prepare(&front)).await;
    let prepared = prepared.map_err(renamed)?;
    let tickets = app.submit(&model, prepared.requests).await;
    let tickets = tickets.map_err(renamed)?;
    let answers = Answers::new(&app, record, tickets, prepared.readers, per_prompt);
    let head = Head::new("cmpl-", &model);
    let response = if style.stream {
        let source = CompletionStream::new(answers, head, style, prepared.prompts);
        sse::response(source, app.options().keep_alive)
    } else {
        json_response(&collected(answers, head, style, prepared.prompts).await?)
    };
    Ok(with_ignored(response, &ignored))
}
