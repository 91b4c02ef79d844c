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
use super::{asked, with_ignored};
use crate::app::App;
use crate::models::Loaded;
use crate::wire::form::form;
use crate::wire::{ApiError, Fields, json_response};

/// What is to be made tokens, or text; for which model; the fields without effect.
#[derive(Debug)]
pub(crate) struct TokensAsk {
    model: Option<String>,
    what: What,
    ignored: Vec<String>,
}

#[derive(Debug)]
enum What {
    /// A text, with the special tokens around it or without.
    Text {
        text: String,
        specials: bool,
    },
    Conversation(Box<Conversation>),
    /// Ids of tokens.
    Ids(Vec<Value>),
    /// What is to be made tokens, and each of them spelled.
    Spelled(Box<What>),
}

impl TokensAsk {
    /// The fields of `/tokenize`.
    pub(crate) fn tokenize(mut fields: Fields) -> Result<TokensAsk, ApiError> {
        let model = fields.text("model")?;
        let spelled = fields.truth("return_token_strs")?.unwrap_or(false);
        let specials = fields.truth("add_special_tokens")?.unwrap_or(true);
        let (text, content) = (fields.text("prompt")?, fields.text("content")?);
        let (what, mut ignored) = match text.or(content) {
            Some(text) => (What::Text { text, specials }, Vec::new()),
            None => conversation(&mut fields)?,
        };
        let what = match spelled {
            true => What::Spelled(Box::new(what)),
            false => what,
        };
        ignored.extend(fields.ignored());
        Ok(TokensAsk {
            model,
            what,
            ignored,
        })
    }

    /// The fields of `/detokenize`.
    pub(crate) fn detokenize(mut fields: Fields) -> Result<TokensAsk, ApiError> {
        let model = fields.text("model")?;
        let tokens = fields.list("tokens")?;
        Ok(TokensAsk {
            model,
            what: What::Ids(fields.needed("tokens", tokens)?),
            ignored: fields.ignored(),
        })
    }

    /// The fields of `/apply-template`.
    pub(crate) fn template(mut fields: Fields) -> Result<TokensAsk, ApiError> {
        let model = fields.text("model")?;
        let (what, mut ignored) = conversation(&mut fields)?;
        ignored.extend(fields.ignored());
        Ok(TokensAsk {
            model,
            what,
            ignored,
        })
    }
}

/// Texts or conversations to tokens.
pub(crate) async fn tokenize(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    answer(
        &app,
        asked(&app, request, TokensAsk::tokenize).await?,
        tokens,
    )
    .await
}

/// Tokens to text.
pub(crate) async fn detokenize(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    answer(
        &app,
        asked(&app, request, TokensAsk::detokenize).await?,
        text,
    )
    .await
}

/// A conversation as its template writes it.
pub(crate) async fn apply_template(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    answer(
        &app,
        asked(&app, request, TokensAsk::template).await?,
        prompt,
    )
    .await
}

async fn answer(
    app: &App,
    ask: TokensAsk,
    make: fn(What, &Loaded) -> Result<Value, ApiError>,
) -> Result<Response<Body>, ApiError> {
    let model = app.model(ask.model.as_deref()).await?;
    let value = app.prepare(move || make(ask.what, &model)).await?;
    Ok(with_ignored(json_response(&value), &ask.ignored))
}

/// The conversation of a request that is not answered.
fn conversation(fields: &mut Fields) -> Result<(What, Vec<String>), ApiError> {
    let (messages, ignored) = messages(fields)?;
    let conversation = Conversation {
        messages,
        form: form(fields)?,
        thinking: ThinkingAsked::take(fields)?,
        template_values: template_values(fields)?,
        continue_final_message: continues(fields)?,
        ..Conversation::default()
    };
    Ok((What::Conversation(Box::new(conversation)), ignored))
}

fn tokens(what: What, model: &Loaded) -> Result<Value, ApiError> {
    let front: &Arc<Front> = &model.front;
    let (what, spelled) = match what {
        What::Spelled(what) => (*what, true),
        what => (what, false),
    };
    let prompt = |error: ApiError| error.renamed("messages", "prompt");
    let ids = match what {
        What::Text { text, specials } => {
            let ids = match specials {
                true => front.tokenizer.ids_with_specials_from_text(&text),
                false => front.tokenizer.ids_from_text(&text),
            };
            ids.map_err(|error| prompt(error.into()))?
        }
        What::Conversation(conversation) => {
            let options = conversation.options()?;
            front.chat(&conversation.messages, &options)?.request.prompt
        }
        What::Ids(_) | What::Spelled(_) => return Err(ApiError::internal()),
    };
    let mut value = json!({
        "count": ids.len(),
        "max_model_len": model.worker.limits().context_tokens_max,
        "tokens": ids,
    });
    if spelled {
        let words = ids.iter().map(|&id| spelling(&front.tokenizer, id));
        value["token_strs"] = words.collect();
    }
    Ok(value)
}

fn text(what: What, model: &Loaded) -> Result<Value, ApiError> {
    let What::Ids(values) = what else {
        return Err(ApiError::internal());
    };
    let tokenizer = &model.front.tokenizer;
    let id = |(index, value): (usize, &Value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        let known = id.filter(|id| tokenizer.bytes_from_id(*id).is_some());
        let unknown = || format!("no token has the id {value}");
        known.ok_or_else(|| ApiError::field(format!("tokens[{index}]"), unknown()))
    };
    let ids: Vec<u32> = values
        .iter()
        .enumerate()
        .map(id)
        .collect::<Result<_, _>>()?;
    let text = tokenizer.text_from_ids(&ids);
    Ok(json!({"prompt": text, "content": text}))
}

fn prompt(what: What, model: &Loaded) -> Result<Value, ApiError> {
    let What::Conversation(conversation) = what else {
        return Err(ApiError::internal());
    };
    let options = conversation.options()?;
    let rendered = model.front.render(&conversation.messages, &options)?;
    Ok(json!({"prompt": rendered.prompt.display(), "notes": rendered.notes}))
}
