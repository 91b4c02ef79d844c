//! `/v1/plan`: a model in figures, its steps, and whether a number of contexts fits into memory.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use lattice_inference::backend::LoadOptions;
use lattice_inference::facts::{Device, memory_available_bytes};
use serde_json::{Value, json};

use super::{asked, with_ignored};
use crate::app::App;
use crate::models::Loaded;
use crate::wire::{ApiError, Fields, json_response};

/// Contexts at a time that may be asked about.
const PARALLEL_MAX: u64 = 65_536;
/// Tokens of a context that may be asked about; a model has fewer.
const CONTEXT_MAX: u64 = 1 << 32;

/// A request that was understood.
#[derive(Debug, Default)]
pub(crate) struct PlanAsk {
    model: Option<String>,
    /// Tokens of each context.
    context: Option<usize>,
    /// Contexts at a time.
    parallel: Option<usize>,
    /// Whether the steps are listed.
    steps: bool,
    ignored: Vec<String>,
}

impl PlanAsk {
    pub(crate) fn take(mut fields: Fields) -> Result<PlanAsk, ApiError> {
        Ok(PlanAsk {
            model: fields.text("model")?,
            context: fields.count("context", 1..=CONTEXT_MAX)?,
            parallel: fields.count("parallel", 1..=PARALLEL_MAX)?,
            steps: fields.truth("steps")?.unwrap_or(false),
            ignored: fields.ignored(),
        })
    }

    fn whole(model: Option<String>) -> PlanAsk {
        PlanAsk {
            model,
            steps: true,
            ..PlanAsk::default()
        }
    }
}

/// The plan of a model and contexts that a body names.
pub(crate) async fn plan(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let ask = asked(&app, request, PlanAsk::take).await?;
    answer(&app, ask).await
}

/// The plan of the first model as it is served, with its steps.
pub(crate) async fn first(State(app): State<App>) -> Result<Response<Body>, ApiError> {
    answer(&app, PlanAsk::whole(None)).await
}

/// The plan of a model as it is served, with its steps.
pub(crate) async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    answer(&app, PlanAsk::whole(Some(id))).await
}

async fn answer(app: &App, ask: PlanAsk) -> Result<Response<Body>, ApiError> {
    let model = app.model(ask.model.as_deref()).await?;
    let ignored = ask.ignored.clone();
    let plan = app.prepare(move || Ok(described(&model, &ask))).await?;
    Ok(with_ignored(json_response(&plan), &ignored))
}

fn described(loaded: &Loaded, ask: &PlanAsk) -> Value {
    let (model, load) = (&loaded.front.model, &loaded.front.load);
    let made_for = model.plan.context_tokens_max;
    let context = ask.context.unwrap_or(load.context_tokens_max);
    let parallel = ask.parallel.unwrap_or(load.sequences_max);
    let wanted = LoadOptions {
        context_tokens_max: context,
        sequences_max: parallel,
        batch_tokens_max: load.batch_tokens_max.max(parallel),
        output_rows_max: load.output_rows_max.max(parallel),
        ..load.clone()
    };
    let memory = model.memory(&wanted, parallel);
    let available = memory_available_bytes();
    // What the weights take, this model has taken already.
    let more = memory.total_bytes.saturating_sub(memory.weights_bytes);
    let in_context = context <= made_for;
    let mut plan = json!({
        "object": "plan",
        "model": loaded.name,
        "memory": memory,
        "available_bytes": available,
        "fits_context": in_context,
        "fits_memory": available.map(|available| more <= available),
        "device": Device::of(load),
        "tool_format": loaded.front.tool_format().map(|format| format.name()),
        "step_count": model.plan.steps.len(),
    });
    if let (Value::Object(plan), Value::Object(facts)) = (&mut plan, json!(model.facts())) {
        plan.extend(facts);
    }
    if ask.steps {
        plan["steps"] = json!(model.step_facts());
    }
    plan
}
