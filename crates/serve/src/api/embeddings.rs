//! `/v1/embeddings`: vectors of texts.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lattice_embed::{Embeddings, Input, ModelConfig, OnLong, Role};
use serde_json::{Value, json};

use super::{asked, on_long, token_ids, with_ignored};
use crate::app::App;
use crate::event::Record;
use crate::models::ModelKind;
use crate::wire::{ApiError, Fields, json_response};

/// Texts of one request.
const TEXTS_MAX: usize = 2048;
/// Columns that may be asked for; a model has fewer.
const DIMENSIONS_MAX: u64 = 65_536;

/// A request that was understood.
pub(crate) struct EmbeddingsAsk {
    model: Option<String>,
    texts: Vec<Input>,
    dimensions: Option<usize>,
    base64: bool,
    role: Role,
    on_long: OnLong,
    ignored: Vec<String>,
}

impl EmbeddingsAsk {
    pub(crate) fn take(mut fields: Fields) -> Result<EmbeddingsAsk, ApiError> {
        let model = fields.text("model")?;
        let texts = texts(&mut fields)?;
        let base64 = fields.word("encoding_format", &["float", "base64"])? == Some("base64");
        Ok(EmbeddingsAsk {
            model,
            texts,
            dimensions: fields.count("dimensions", 1..=DIMENSIONS_MAX)?,
            base64,
            role: role(&mut fields)?,
            on_long: on_long(&mut fields, false)?,
            ignored: fields.ignored(),
        })
    }
}

/// Makes vectors.
pub(crate) async fn embed(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let ask = asked(&app, request, EmbeddingsAsk::take).await?;
    let slot = app.slot(ask.model.as_deref(), "embedding")?;
    let ModelKind::Vectors(service, model) = &slot.entry.kind else {
        return Err(ApiError::internal());
    };
    record.note(|report| report.model = Some(slot.entry.name.clone()));
    let _held = app.hold(slot).await?;
    let config = ModelConfig::try_new(model.clone(), ask.dimensions)?;
    let request = lattice_embed::Request::new(ask.texts, config);
    let request = request.role(ask.role).on_long(ask.on_long);
    let vectors = app.embedded(service.answer(request)).await?;
    let tokens = vectors.tokens();
    record.note(|report| report.prompt_tokens = usize::try_from(tokens).unwrap_or(usize::MAX));
    let reply = json!({
        "object": "list",
        "data": rows(&vectors, ask.base64)?,
        "model": slot.entry.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Ok(with_ignored(json_response(&reply), &ask.ignored))
}

fn rows(vectors: &Embeddings, base64: bool) -> Result<Vec<Value>, ApiError> {
    let rows = vectors.f32_rows().ok_or_else(ApiError::internal)?;
    let row = |(index, row): (usize, &[f32])| {
        let embedding = if base64 {
            let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            Value::String(STANDARD.encode(bytes))
        } else {
            row.iter().map(|value| json!(value)).collect()
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    Ok(rows.enumerate().map(row).collect())
}

/// `input`: a text, a list of texts, a list of token ids, or a list of such lists. Ids are the model's own, as
/// its tokenizer gives them, with its special tokens or without.
fn texts(fields: &mut Fields) -> Result<Vec<Input>, ApiError> {
    let Some(value) = fields.value("input") else {
        return Err(fields.error("input", "missing"));
    };
    let texts = match value {
        Value::String(text) => Some(vec![Input::Text(text)]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            ids(&items).map(|ids| vec![ids])
        }
        Value::Array(items) => items.into_iter().map(input).collect(),
        _ => None,
    };
    let reason = "expected a text, a list of texts, a list of token ids, or a list of such lists";
    let texts = texts.ok_or_else(|| fields.error("input", reason))?;
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        let reason = format!("{} texts, allowed is 1 to {TEXTS_MAX}", texts.len());
        return Err(fields.error("input", reason));
    }
    if let Some(at) = texts
        .iter()
        .position(|text| *text == Input::Ids(Vec::new()))
    {
        return Err(fields.error("input", format!("text {at} has no tokens")));
    }
    Ok(texts)
}

fn input(item: Value) -> Option<Input> {
    match item {
        Value::String(text) => Some(Input::Text(text)),
        Value::Array(items) => ids(&items),
        _ => None,
    }
}

fn ids(items: &[Value]) -> Option<Input> {
    token_ids(items).map(Input::Ids)
}

/// `input_type`: which prompt the model wants before the texts.
fn role(fields: &mut Fields) -> Result<Role, ApiError> {
    let word = fields.text("input_type")?;
    Ok(match word.as_deref() {
        None | Some("plain") => Role::Plain,
        Some("query" | "search_query") => Role::Query,
        Some("passage" | "document" | "search_document") => Role::Passage,
        Some(name) => Role::Named(name.to_owned()),
    })
}
