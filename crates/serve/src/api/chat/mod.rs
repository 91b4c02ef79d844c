//! `/v1/chat/completions`.

pub(crate) mod ask;
mod reply;
mod stream;

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
use ask::ChatAsk;
use reply::collected;
use stream::ChatStream;

/// Answers a conversation, at once or piece by piece.
pub(crate) async fn complete(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let choices_max = app.options().choices_max;
    let take = move |fields| ChatAsk::take(fields, choices_max);
    let ask = asked(&app, request, take).await?;
    let model = app.model(ask.model.as_deref()).await?;
    let ChatAsk {
        conversation,
        style,
        mut ignored,
        ..
    } = ask;
    let answers = Answers::ask(&app, record, &model, conversation, &mut ignored).await?;
    let head = Head::new("chatcmpl-", &model);
    let response = if style.stream {
        let source = ChatStream::new(answers, head, style);
        sse::response(source, app.options().keep_alive)
    } else {
        json_response(&collected(answers, head, style).await?)
    };
    Ok(with_ignored(response, &ignored))
}
