//! All endpoints: path, method, handler, and what the document of the interface says of each.
//!
//! The router and the document are made of this one list, so that neither has an endpoint that the other lacks.

use axum::routing::{MethodRouter, delete, get, post};
use serde_json::{Value, json};

use super::chat::ask::ChatAsk;
use super::completions::CompletionAsk;
use super::embeddings::EmbeddingsAsk;
use super::messages::MessagesAsk;
use super::models::ModelAsk;
use super::plan::PlanAsk;
use super::rerank::RerankAsk;
use super::responses::ResponsesAsk;
use super::tokens::TokensAsk;
use super::{
    chat, completions, embeddings, health, messages, metrics, models, openapi, plan, rerank,
    responses, shutdown, tokens,
};
use crate::app::App;
use crate::wire::{ApiError, Fields};

/// An endpoint.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// In lower case.
    pub(crate) method: &'static str,
    pub(crate) handler: MethodRouter<App>,
    /// What it does, in a line.
    pub(crate) does: &'static str,
    pub(crate) body: Option<AskBody>,
    pub(crate) answer: Answer,
}

/// The body of a request.
pub(crate) struct AskBody {
    pub(crate) example: Value,
    /// What more there may be in the example, so that its reader asks for all that it can read.
    pub(crate) more: Value,
    /// Fields without which there is no answer.
    pub(crate) required: &'static [&'static str],
    pub(crate) take: Take,
}

/// What reads the fields of a body.
pub(crate) type Take = Box<dyn Fn(Fields) -> Result<(), ApiError>>;

/// What comes back where all went well.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// JSON of this schema.
    Json(&'static str),
    /// The same, or events where a stream is asked for.
    Streamed(&'static str),
    /// Another type of content.
    Plain(&'static str),
}

fn read(
    path: &'static str,
    handler: MethodRouter<App>,
    answer: Answer,
    does: &'static str,
) -> Route {
    Route {
        path,
        method: "get",
        handler,
        does,
        body: None,
        answer,
    }
}

fn ask(
    path: &'static str,
    handler: MethodRouter<App>,
    answer: Answer,
    does: &'static str,
    body: AskBody,
) -> Route {
    Route {
        path,
        method: "post",
        handler,
        does,
        body: Some(body),
        answer,
    }
}

fn body<T: 'static>(
    take: impl Fn(Fields) -> Result<T, ApiError> + 'static,
    required: &'static [&'static str],
    example: Value,
    more: Value,
) -> AskBody {
    AskBody {
        example,
        more,
        required,
        take: Box::new(move |fields| take(fields).map(drop)),
    }
}

/// All of them. `choices_max`: choices that one request may ask for.
pub(crate) fn routes(choices_max: usize) -> Vec<Route> {
    let mut all = readers();
    all.extend(kept());
    all.extend(managing());
    all.extend(conversations(choices_max));
    all.extend(others());
    all
}

fn readers() -> Vec<Route> {
    let json = Answer::Json;
    vec![
        read(
            "/livez",
            get(health::live),
            json("Status"),
            "Whether the server is there. It needs no key.",
        ),
        read(
            "/readyz",
            get(health::ready),
            json("Status"),
            "Whether it takes requests. It needs no key.",
        ),
        read(
            "/health",
            get(health::ready),
            json("Status"),
            "The same as /readyz.",
        ),
        read(
            "/metrics",
            get(metrics::metrics),
            Answer::Plain("text/plain"),
            "Counts and gauges for Prometheus.",
        ),
        read(
            "/openapi.json",
            get(openapi::document),
            json("Document"),
            "This document. It needs no key.",
        ),
        read(
            "/docs",
            get(openapi::page),
            Answer::Plain("text/html"),
            "This document as a page. It needs no key.",
        ),
    ]
}

fn kept() -> Vec<Route> {
    let json = Answer::Json;
    vec![
        read(
            "/v1/models",
            get(models::list),
            json("ModelList"),
            "The models that are served: kind, state, context, memory.",
        ),
        read(
            "/v1/models/{*id}",
            get(models::one),
            json("Model"),
            "One of them, by its name or an alias.",
        ),
        read(
            "/v1/plan",
            get(plan::first),
            json("Plan"),
            "The first text model in figures, as it is served, with its steps.",
        ),
        read(
            "/v1/plan/{*id}",
            get(plan::one),
            json("Plan"),
            "A text model in figures, as it is served, with its steps.",
        ),
        read(
            "/v1/responses/{id}",
            get(responses::read),
            json("Response"),
            "A response that was kept.",
        ),
        Route {
            method: "delete",
            ..read(
                "/v1/responses/{id}",
                delete(responses::delete),
                json("Deleted"),
                "Forgets a response.",
            )
        },
        read(
            "/v1/responses/{id}/input_items",
            get(responses::items),
            json("ItemList"),
            "What the request of a kept response brought.",
        ),
    ]
}

/// What comes and goes: models, and the server.
fn managing() -> Vec<Route> {
    let json = Answer::Json;
    let name = || {
        let example = json!({"model": "qwen3.5-0.8b"});
        body(ModelAsk::take, &["model"], example, json!({}))
    };
    vec![
        ask(
            "/v1/models/load",
            post(models::load),
            json("Model"),
            "Loads a model before anybody asks for it.",
            name(),
        ),
        ask(
            "/v1/models/unload",
            post(models::unload),
            json("Model"),
            "Gives the memory of a model back, once its requests are answered.",
            name(),
        ),
        Route {
            method: "post",
            ..read(
                "/v1/shutdown",
                post(shutdown::shutdown),
                json("Status"),
                "Ends the server, for programs on the same machine that send x-lattice-shutdown: now.",
            )
        },
    ]
}

fn conversations(choices_max: usize) -> Vec<Route> {
    let user = json!([{"role": "user", "content": "Hello!"}]);
    let chat_body = body(
        move |fields| ChatAsk::take(fields, choices_max),
        &["messages"],
        json!({"messages": user, "max_tokens": 16}),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let completion_body = body(
        move |fields| CompletionAsk::take(fields, choices_max),
        &["prompt"],
        json!({"prompt": "Once upon a time", "max_tokens": 16}),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    vec![
        ask(
            "/v1/chat/completions",
            post(chat::complete),
            Answer::Streamed("ChatCompletion"),
            "Answers a conversation, whole or as server-sent events.",
            chat_body,
        ),
        ask(
            "/v1/completions",
            post(completions::complete),
            Answer::Streamed("Completion"),
            "Goes on with a text, texts, tokens, or lists of tokens.",
            completion_body,
        ),
        ask(
            "/v1/responses",
            post(responses::create),
            Answer::Streamed("Response"),
            "Answers in OpenAI's newer form; responses are kept in memory as far as they fit.",
            responses_body(),
        ),
        ask(
            "/v1/messages",
            post(messages::create),
            Answer::Streamed("Message"),
            "Answers in Anthropic's form.",
            messages_body(),
        ),
        ask(
            "/v1/messages/count_tokens",
            post(messages::count),
            Answer::Json("Count"),
            "Tokens of the prompt that such a conversation becomes.",
            messages_body(),
        ),
    ]
}

/// The body of a conversation in Anthropic's form.
fn messages_body() -> AskBody {
    let user = json!([{"role": "user", "content": "Hello!"}]);
    let tool = json!({"type": "object", "properties": {}});
    body(
        MessagesAsk::take,
        &["messages"],
        json!({"messages": user, "max_tokens": 16}),
        json!({
            "system": [{"type": "text", "text": "Be kind."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hello!"}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."},
                    {"type": "tool_use", "id": "1", "name": "clock", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1",
                    "content": [{"type": "text", "text": "noon"}]}]},
            ],
            "tools": [{"name": "clock", "input_schema": tool}],
            "tool_choice": {"type": "tool", "name": "clock"},
            "thinking": {"type": "enabled"},
            "output_config": {},
        }),
    )
}

/// The body of a request for a response.
fn responses_body() -> AskBody {
    let tool = json!({"type": "object", "properties": {}});
    body(
        ResponsesAsk::take,
        &[],
        json!({"input": "Hello!", "max_output_tokens": 16}),
        json!({
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]},
                {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}],
                    "summary": [{"type": "summary_text", "text": "Hm."}]},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                {"type": "function_call", "call_id": "1", "name": "clock", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "noon"}]},
            ],
            "tools": [{"type": "function", "name": "clock", "parameters": tool}],
            "text": {}, "reasoning": {}, "stream": true,
        }),
    )
}

fn others() -> Vec<Route> {
    let user = json!([{"role": "user", "content": "Hello!"}]);
    let json = Answer::Json;
    let none = || json!({});
    vec![
        ask(
            "/v1/embeddings",
            post(embeddings::embed),
            json("Embeddings"),
            "Vectors of texts.",
            body(
                EmbeddingsAsk::take,
                &["input"],
                json!({"input": "a text"}),
                none(),
            ),
        ),
        ask(
            "/v1/rerank",
            post(rerank::rank),
            json("Ranking"),
            "Documents by how well they answer a query.",
            body(
                RerankAsk::take,
                &["query", "documents"],
                json!({"query": "a question", "documents": ["a text", "another text"]}),
                none(),
            ),
        ),
        ask(
            "/v1/plan",
            post(plan::plan),
            json("Plan"),
            "A text model in figures, and whether a number of contexts fits into memory.",
            body(
                PlanAsk::take,
                &[],
                json!({"context": 4096, "parallel": 2}),
                none(),
            ),
        ),
        ask(
            "/tokenize",
            post(tokens::tokenize),
            json("Tokens"),
            "The tokens of a text or a conversation.",
            body(
                TokensAsk::tokenize,
                &[],
                json!({"prompt": "a text"}),
                json!({"prompt": null, "messages": user}),
            ),
        ),
        ask(
            "/detokenize",
            post(tokens::detokenize),
            json("Text"),
            "The text of tokens.",
            body(
                TokensAsk::detokenize,
                &["tokens"],
                json!({"tokens": [5, 6]}),
                none(),
            ),
        ),
        ask(
            "/apply-template",
            post(tokens::apply_template),
            json("Prompt"),
            "A conversation as the model's template writes it.",
            body(
                TokensAsk::template,
                &["messages"],
                json!({"messages": user}),
                none(),
            ),
        ),
    ]
}
