//! `/v1/responses`: OpenAI's newer interface, over the same path as the chat. Responses are kept in memory, as far as
//! they fit, to be read again and to be gone on from.

mod ask;
mod items;
mod reply;
mod store;
mod stream;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use serde_json::{Value, json};

use super::answers::Answers;
use super::blocks::Speech;
use super::head::Head;
use super::{asked, with_ignored};
use crate::app::App;
use crate::event::Record;
use crate::wire::{ApiError, json_response, sse};
pub(crate) use ask::ResponsesAsk;
use ask::renamed;
use reply::Writer;
pub(crate) use store::Store;
use stream::{Keeper, ResponseStream, collected};

/// Answers, at once or piece by piece.
pub(crate) async fn create(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let mut ask = asked(&app, request, ResponsesAsk::take).await?;
    let before = match &ask.previous {
        None => None,
        Some(id) => {
            let before = app.responses().conversation(id);
            Some(before.ok_or_else(|| ApiError::unknown_previous(id))?)
        }
    };
    let model = app.model(ask.model.as_deref()).await?;
    let said = ask.follow(before.as_deref().unwrap_or_default())?;
    let answers = Answers::ask(&app, record, &model, ask.conversation, &mut ask.ignored);
    let answers = answers.await.map_err(renamed)?;
    let writer = Writer::new(Head::new("resp_", &model), ask.echo);
    let keeper = ask.store.then(|| Keeper::new(app.clone(), ask.items, said));
    let speech = Speech::new(answers);
    let response = if ask.stream {
        let source = ResponseStream::new(speech, writer, keeper);
        sse::response(source, app.options().keep_alive)
    } else {
        json_response(&collected(speech, writer, keeper).await?)
    };
    Ok(with_ignored(response, &ask.ignored))
}

/// A response that was kept.
pub(crate) async fn read(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    let response = app.responses().response(&id);
    let response = response.ok_or_else(|| ApiError::unknown_response(&id))?;
    Ok(json_response(&*response))
}

/// What the request of a kept response brought.
pub(crate) async fn items(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    let items = app.responses().input(&id);
    let items = items.ok_or_else(|| ApiError::unknown_response(&id))?;
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    Ok(json_response(&json!({
        "object": "list",
        "data": &*items,
        "first_id": id(items.first()),
        "last_id": id(items.last()),
        "has_more": false,
    })))
}

/// Forgets a response.
pub(crate) async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    if !app.responses().remove(&id) {
        return Err(ApiError::unknown_response(&id));
    }
    Ok(json_response(
        &json!({"id": id, "object": "response", "deleted": true}),
    ))
}
