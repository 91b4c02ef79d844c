//! `/v1/rerank`: documents by how well they answer a query.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use lattice_embed::{OnLong, RerankRequest};
use serde_json::{Value, json};

use super::{asked, on_long, with_ignored};
use crate::app::App;
use crate::event::Record;
use crate::id::fresh;
use crate::models::ModelKind;
use crate::wire::{ApiError, Fields, json_response};

/// Documents of one request.
const DOCUMENTS_MAX: usize = 10_000;

/// A request that was understood.
pub(crate) struct RerankAsk {
    model: Option<String>,
    query: String,
    documents: Vec<String>,
    top: Option<usize>,
    return_documents: bool,
    on_long: OnLong,
    ignored: Vec<String>,
}

impl RerankAsk {
    pub(crate) fn take(mut fields: Fields) -> Result<RerankAsk, ApiError> {
        let model = fields.text("model")?;
        let query = fields.text("query")?;
        let query = query.ok_or_else(|| fields.error("query", "missing"))?;
        let documents = documents(&mut fields)?;
        Ok(RerankAsk {
            model,
            query,
            documents,
            top: fields.count("top_n", 1..=DOCUMENTS_MAX as u64)?,
            return_documents: fields.truth("return_documents")?.unwrap_or(false),
            on_long: on_long(&mut fields, true)?,
            ignored: fields.ignored(),
        })
    }
}

/// Ranks documents, best first.
pub(crate) async fn rank(
    State(app): State<App>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let ask = asked(&app, request, RerankAsk::take).await?;
    let slot = app.slot(ask.model.as_deref(), "rerank")?;
    let ModelKind::Scores(service, model) = &slot.entry.kind else {
        return Err(ApiError::internal());
    };
    record.note(|report| report.model = Some(slot.entry.name.clone()));
    let _held = app.hold(slot).await?;
    let request = RerankRequest {
        query: ask.query,
        documents: ask.documents.clone(),
        model: model.clone(),
        on_long: ask.on_long,
    };
    let scores = app.embedded(service.score(request)).await?;
    let tokens = scores.tokens;
    record.note(|report| report.prompt_tokens = usize::try_from(tokens).unwrap_or(usize::MAX));
    let result = |ranked: lattice_embed::Ranked| {
        let mut result = json!({"index": ranked.document, "relevance_score": ranked.score});
        if let Some(text) = ask
            .documents
            .get(ranked.document)
            .filter(|_| ask.return_documents)
        {
            result["document"] = json!({"text": text});
        }
        result
    };
    let results: Vec<Value> = scores.ranked(ask.top)?.into_iter().map(result).collect();
    let reply = json!({
        "id": fresh("rerank-"), "object": "rerank", "model": slot.entry.name, "results": results,
        "usage": {"total_tokens": tokens},
    });
    Ok(with_ignored(json_response(&reply), &ask.ignored))
}

/// `documents`: texts, or objects with a `text`.
fn documents(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let values = fields.list("documents")?.unwrap_or_default();
    if values.is_empty() || values.len() > DOCUMENTS_MAX {
        let reason = format!(
            "{} documents, allowed is 1 to {DOCUMENTS_MAX}",
            values.len()
        );
        return Err(fields.error("documents", reason));
    }
    let text = |(index, value): (usize, &Value)| {
        let text = value.as_str().or_else(|| value["text"].as_str());
        let field = format!("documents[{index}]");
        let wrong = || ApiError::field(field, "expected a text, or an object with a text");
        text.map(str::to_owned).ok_or_else(wrong)
    };
    values.iter().enumerate().map(text).collect()
}
