//! `/tokenize`, `/detokenize`, `/apply-template`: what a model makes of a text, without running it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use lattice_inference::Front;
use lattice_inference::tokenizer::Tokenizer as _;
use serde_json::{Value, json};

use super::chat::ask::{continues, messages, template_values};
use super::logprobs::spelling;
use super::prepare::{Conversation, ThinkingAsked};
use super::with_ignored;
use crate::app::App;
use crate::http::read_body;
use crate::models::Loaded;
use crate::wire::form::form;
use crate::wire::{ApiError, Fields, json_response};

/// What an endpoint makes of its fields; and the fields that it did not take.
type Made = Result<(Value, Vec<String>), ApiError>;

/// Texts or conversations to tokens.
pub(crate) async fn tokenize(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    answer(&app, request, tokens).await
}

/// Tokens to text.
pub(crate) async fn detokenize(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    answer(&app, request, |fields, model| text(fields, &model.front)).await
}

/// A conversation as its template writes it.
pub(crate) async fn apply_template(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    answer(&app, request, |mut fields, model| {
        let (conversation, mut ignored) = conversation(&mut fields)?;
        ignored.extend(fields.ignored());
        let rendered = model
            .front
            .render(&conversation.messages, &conversation.options()?)?;
        let prompt = rendered.prompt.display();
        Ok((json!({"prompt": prompt, "notes": rendered.notes}), ignored))
    })
    .await
}

async fn answer(
    app: &App,
    request: Request,
    make: impl FnOnce(Fields, &Loaded) -> Made + Send + 'static,
) -> Result<Response<Body>, ApiError> {
    let bytes = read_body(request, app.options()).await?;
    let read = move || {
        let mut fields = Fields::from_body(&bytes)?;
        Ok((fields.text("model")?, fields))
    };
    let (model, fields) = app.prepare(read).await?;
    let model = app.model(model.as_deref()).await?;
    let (value, ignored) = app.prepare(move || make(fields, &model)).await?;
    Ok(with_ignored(json_response(&value), &ignored))
}

/// The conversation of a request that is not answered.
fn conversation(fields: &mut Fields) -> Result<(Conversation, Vec<String>), ApiError> {
    let (messages, ignored) = messages(fields)?;
    let conversation = Conversation {
        messages,
        form: form(fields)?,
        thinking: ThinkingAsked::take(fields)?,
        template_values: template_values(fields)?,
        continue_final_message: continues(fields)?,
        ..Conversation::default()
    };
    Ok((conversation, ignored))
}

fn tokens(mut fields: Fields, model: &Loaded) -> Made {
    let front: &Arc<Front> = &model.front;
    let spelled = fields.truth("return_token_strs")?.unwrap_or(false);
    let specials = fields.truth("add_special_tokens")?.unwrap_or(true);
    let text = match fields.text("prompt")? {
        Some(text) => Some(text),
        None => fields.text("content")?,
    };
    let (ids, mut ignored) = match text {
        Some(text) if specials => {
            let ids = front.tokenizer.ids_with_specials_from_text(&text)?;
            (ids, Vec::new())
        }
        Some(text) => (front.tokenizer.ids_from_text(&text)?, Vec::new()),
        None => {
            let (conversation, ignored) = conversation(&mut fields)?;
            let options = conversation.options()?;
            let chat = front.chat(&conversation.messages, &options)?;
            (chat.request.prompt, ignored)
        }
    };
    ignored.extend(fields.ignored());
    let mut value = json!({
        "count": ids.len(),
        "max_model_len": model.worker.limits().context_tokens_max,
        "tokens": ids,
    });
    if spelled {
        let words = ids.iter().map(|&id| spelling(&front.tokenizer, id));
        value["token_strs"] = words.collect();
    }
    Ok((value, ignored))
}

fn text(mut fields: Fields, front: &Front) -> Made {
    let Some(values) = fields.list("tokens")? else {
        return Err(fields.error("tokens", "missing"));
    };
    let id = |value: &Value| {
        let id = u32::try_from(value.as_u64()?).ok()?;
        front.tokenizer.bytes_from_id(id).map(|_| id)
    };
    let mut ids = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let known = id(value);
        let known = known.ok_or_else(|| {
            fields.error(
                &format!("tokens[{index}]"),
                format!("no token has the id {value}"),
            )
        });
        ids.push(known?);
    }
    let text = front.tokenizer.text_from_ids(&ids);
    Ok((json!({"prompt": text, "content": text}), fields.ignored()))
}
