//! The schema of a body: what its reader asks for, with words for people.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::heard;
use crate::api::routes::AskBody;
use crate::wire::Asked;

/// What fields mean, by their path or, where it is the same everywhere, by its last name.
const SAID: &[(&str, &str)] = &[
    (
        "add_generation_prompt",
        "The opposite of continue_final_message, and nothing else.",
    ),
    (
        "add_special_tokens",
        "Whether the model's special tokens stand around a text; true where nothing is said.",
    ),
    (
        "arguments",
        "The arguments of a call, an object of JSON as text.",
    ),
    ("background", "Not taken but as false."),
    ("best_of", "As many as n."),
    ("budget_tokens", "Tokens of thought."),
    (
        "cache_control",
        "Taken and not needed: what was read before is always used again.",
    ),
    ("call_id", "What a call and its output have in common."),
    ("chat_template", "Refused: the model's own is used."),
    (
        "chat_template_kwargs",
        "Further variables of the model's template; enable_thinking among them.",
    ),
    ("content", "What is said: a text, or parts that are texts."),
    (
        "context",
        "Tokens of each context; where nothing is said, as the model is served.",
    ),
    (
        "continue_final_message",
        "Goes on with the last message, the assistant's.",
    ),
    ("conversation", "Refused."),
    ("dimensions", "Columns that vectors are cut to."),
    (
        "disable_parallel_tool_use",
        "Whether there may be one call alone.",
    ),
    ("documents", "Texts, or objects with a text; 1 to 10,000."),
    ("echo", "Repeats the prompt in front of the answer."),
    ("effort", "How long the model thinks."),
    ("enable_thinking", "Whether the model thinks first."),
    (
        "encoding_format",
        "Vectors as numbers, or as base64 of f32 in little endian.",
    ),
    (
        "format",
        "What the answer is held to: {type: json_schema, schema}, or text.",
    ),
    (
        "frequency_penalty",
        "Taken off a token's logit for each time that it was generated.",
    ),
    (
        "grammar",
        "What the answer is held to: one of regex, lark, gbnf (texts) and json_schema.",
    ),
    ("id", "The item's or the call's id."),
    (
        "include",
        "message.output_text.logprobs adds log probabilities.",
    ),
    (
        "include_usage",
        "Whether the last event but one has the usage.",
    ),
    (
        "input",
        "A text, texts, token ids of the model's vocabulary, or lists of them; for responses a text or items.",
    ),
    ("input_schema", "The JSON schema of a tool's arguments."),
    (
        "input_type",
        "Which prompt the model wants before texts: plain, query, passage, or one of its own.",
    ),
    ("instructions", "The system prompt of this one response."),
    (
        "is_error",
        "Whether a tool failed; it has no place in a template.",
    ),
    (
        "logit_bias",
        "Added to the logits of token ids: numbers from -100 to 100, by id; at most 1,024.",
    ),
    (
        "logprobs",
        "Log probabilities of the tokens; for completions, with how many alternatives.",
    ),
    ("max_completion_tokens", "Tokens of the answer at most."),
    ("max_output_tokens", "Tokens of the answer at most."),
    ("max_tokens", "Tokens of the answer at most."),
    ("messages", "The conversation."),
    ("metadata", "Repeated in the response."),
    (
        "min_p",
        "Drops tokens less probable than this share of the best one's probability.",
    ),
    (
        "model",
        "The model's name or an alias; the first of its kind where there is none.",
    ),
    ("n", "Choices, each with a seed of its own."),
    ("name", "The name of a tool."),
    ("description", "What a tool is good for."),
    ("output", "What a tool answered."),
    ("output_config", "Effort and format."),
    ("output_format", "As output_config.format."),
    (
        "parallel",
        "Contexts at a time; where nothing is said, as the model is served.",
    ),
    ("parallel_tool_calls", "Whether there may be several calls."),
    ("parameters", "The JSON schema of a tool's arguments."),
    (
        "presence_penalty",
        "Taken off the logit of tokens that were generated.",
    ),
    (
        "previous_response_id",
        "The kept response that this one goes on from.",
    ),
    (
        "prompt",
        "A text, texts, token ids, or lists of them; to be made tokens: a text. Refused for responses.",
    ),
    ("query", "The question."),
    ("reasoning", "Effort."),
    (
        "reasoning_effort",
        "How long the model thinks: none, or up to 256, 1,024 and 4,096 tokens, or as long as it likes.",
    ),
    ("refusal", "What was said instead of an answer."),
    (
        "repetition_penalty",
        "Divides the logits of tokens that are there already.",
    ),
    (
        "response_format",
        "What the answer is held to: text, json_object, or json_schema.",
    ),
    (
        "return_documents",
        "Whether the documents come back with their scores.",
    ),
    ("return_token_strs", "Whether tokens are spelled."),
    ("role", "Who says it."),
    (
        "seed",
        "The same seed on the same machine gives the same answer.",
    ),
    ("signature", "Taken and not needed."),
    ("annotations", "Taken and not needed."),
    ("status", "Taken and not needed."),
    ("steps", "Whether the steps of the plan are listed."),
    (
        "stop",
        "A text or up to 16, none of them empty, before which the answer ends.",
    ),
    ("stop_sequences", "Texts before which the answer ends."),
    (
        "store",
        "Whether the response is kept; true where nothing is said.",
    ),
    ("stream", "Events instead of one object."),
    ("stream_options", "Only with stream."),
    (
        "strict",
        "Whether a tool's arguments are held to its schema.",
    ),
    ("summary", "What was told of a thought."),
    ("system", "The system prompt."),
    ("temperature", "Divides the logits; 0 takes the best token."),
    ("text", "A text; for responses, the format of the answer."),
    (
        "thinking",
        "Whether the model thinks first; in a message, what it thought.",
    ),
    ("thinking_budget", "Tokens of thought."),
    ("timings", "Adds how long it took."),
    ("tokens", "Ids of tokens."),
    ("tool_choice", "Whether and which tools are called."),
    ("tool_use_id", "Which call was answered."),
    ("tools", "What may be called."),
    ("top_k", "Keeps the k best tokens; 0 and -1 keep all."),
    (
        "top_logprobs",
        "Alternatives for each token; only with logprobs.",
    ),
    ("top_n", "So many of the best documents."),
    (
        "top_p",
        "Keeps the best tokens until they hold this share of the probability.",
    ),
    (
        "truncate",
        "Whether texts that are too long are cut, or an error.",
    ),
    ("truncation", "Taken as disabled."),
    ("type", "Which kind of message, part, tool or choice it is."),
];

/// All names that are described.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SAID.iter().map(|(name, _)| *name)
}

/// What is said of a field.
pub(super) fn said(path: &str) -> Option<(&'static str, &'static str)> {
    let last = path.rsplit('.').next().unwrap_or(path);
    SAID.iter().find(|(name, _)| *name == last).copied()
}

/// The schema of a body.
pub(super) fn schema(body: &AskBody) -> Value {
    let heard = heard(body);
    let mut schema = object(&heard, "");
    let required = body.required;
    if let Some(properties) = schema["properties"].as_object_mut() {
        for (name, property) in properties.iter_mut() {
            if !required.contains(&name.as_str()) {
                *property = or_null(property.take());
            }
        }
    }
    schema["required"] = json!(required);
    schema
}

/// The object whose fields have paths that begin with `prefix`.
fn object(heard: &BTreeMap<String, Asked>, prefix: &str) -> Value {
    let mut properties = Map::new();
    for (path, asked) in heard {
        let Some(name) = path.strip_prefix(prefix).filter(|name| !name.contains('.')) else {
            continue;
        };
        let mut property = field(heard, path, asked);
        if let Some((_, text)) = said(path) {
            property["description"] = json!(text);
        }
        properties.insert(name.to_owned(), property);
    }
    json!({"type": "object", "properties": properties})
}

fn field(heard: &BTreeMap<String, Asked>, path: &str, asked: &Asked) -> Value {
    let inner = || object(heard, &format!("{path}."));
    match asked {
        Asked::Number(None) => json!({"type": "number"}),
        Asked::Number(Some(range)) => {
            let end = |end: &f32| end.to_string().parse::<f64>().unwrap_or(f64::from(*end));
            json!({"type": "number", "minimum": end(range.start()), "maximum": end(range.end())})
        }
        Asked::Count(range) => {
            json!({"type": "integer", "minimum": range.start(), "maximum": range.end()})
        }
        Asked::Integer if path == "top_k" => {
            json!({"type": "integer", "minimum": -1, "maximum": u32::MAX})
        }
        Asked::Integer => json!({"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX}),
        Asked::Truth => json!({"type": "boolean"}),
        Asked::Text => json!({"type": "string"}),
        Asked::Word(words) => json!({"type": "string", "enum": words}),
        Asked::Texts => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
        }
        Asked::Objects => json!({"type": "array", "items": inner()}),
        Asked::Content => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": inner()}]})
        }
        Asked::Object => match path {
            "logit_bias" => {
                json!({"type": "object", "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}})
            }
            _ => inner(),
        },
        Asked::List | Asked::Any => elsewhere(path),
    }
}

/// What is looked at elsewhere than where it is read.
fn elsewhere(path: &str) -> Value {
    let ids =
        json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX}});
    match path {
        "messages" => json!({"type": "array", "minItems": 1, "items": message()}),
        "prompt" | "input" => json!({"anyOf": [
            {"type": "string"}, {"type": "array", "items": {"type": "string"}}, ids, {"type": "array", "items": ids},
        ]}),
        "tokens" => ids,
        "documents" => {
            let text = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
            json!({"type": "array", "minItems": 1, "maxItems": 10_000, "items": {"anyOf": [{"type": "string"}, text]}})
        }
        "response_format" => json!({"type": "object", "required": ["type"], "properties": {
            "type": {"type": "string", "enum": ["text", "json_object", "json_schema"]},
            "json_schema": {"type": "object", "properties": {
                "name": {"type": "string"}, "schema": {"type": ["object", "boolean"]}, "strict": {"type": "boolean"}}},
        }}),
        "grammar" => {
            json!({"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": {
                "regex": {"type": "string"}, "lark": {"type": "string"}, "gbnf": {"type": "string"},
                "json_schema": {"type": ["object", "boolean"]},
            }})
        }
        "tools" => {
            json!({"type": "array", "maxItems": 256, "items": {"type": "object", "required": ["function"], "properties": {
                "type": {"const": "function"},
                "function": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9_.:/-]{1,128}$"}, "description": {"type": "string"},
                    "parameters": {"type": "object"}, "strict": {"type": "boolean"}}},
            }}})
        }
        "tool_choice" => {
            json!({"anyOf": [{"type": "string", "enum": ["auto", "none", "required"]}, {"type": "object"}]})
        }
        "parallel_tool_calls" => json!({"type": "boolean"}),
        "chat_template" | "conversation" => json!({"type": "null"}),
        _ => json!({}),
    }
}

/// A message of the chat.
fn message() -> Value {
    let text = json!({"type": "object", "required": ["type", "text"], "properties": {
        "type": {"const": "text"}, "text": {"type": "string"}}});
    let call = json!({"type": "object", "required": ["function"], "properties": {
        "id": {"type": "string"}, "type": {"const": "function"},
        "function": {"type": "object", "required": ["name", "arguments"], "properties": {
            "name": {"type": "string"}, "arguments": {"type": "string"}}}}});
    json!({"type": "object", "required": ["role", "content"], "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": text}]},
        "reasoning_content": {"type": "string"},
        "tool_calls": {"type": "array", "items": call},
        "tool_call_id": {"type": "string"},
    }})
}

/// The same, or `null`.
fn or_null(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                words.push(Value::Null);
            }
            if let Some(Value::Array(forms)) = fields.get_mut("anyOf") {
                forms.push(json!({"type": "null"}));
            }
            match fields.get_mut("type") {
                Some(kind) if kind.is_string() && kind != "null" => {
                    *kind = json!([kind.take(), "null"])
                }
                _ => {}
            }
            schema
        }
        _ => schema,
    }
}
