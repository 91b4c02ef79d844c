//! The schemas of answers. Fields that only some answers have are described, and not required.

use serde_json::{Map, Value, json};

/// All of them, by name.
pub(super) fn all() -> Value {
    let parts = [
        errors(),
        chat(),
        responses(),
        messages(),
        vectors(),
        models(),
        tokens(),
    ];
    let mut all = Map::new();
    for part in parts {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

/// An object with these fields, all of which are there.
fn object(fields: Value) -> Value {
    let names: Vec<_> = fields.as_object().into_iter().flat_map(Map::keys).collect();
    json!({"type": "object", "required": names, "properties": fields})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn text_or_null() -> Value {
    json!({"type": ["string", "null"]})
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn to(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn errors() -> Value {
    let error = object(json!({
        "message": text(), "type": text(), "param": text_or_null(), "code": text_or_null(),
    }));
    let anthropic = object(json!({"type": text(), "message": text()}));
    json!({
        "Error": object(json!({"error": error})),
        "AnthropicError": object(json!({"type": {"const": "error"}, "error": anthropic, "request_id": text()})),
    })
}

fn usage() -> Value {
    object(json!({"prompt_tokens": count(), "completion_tokens": count(), "total_tokens": count()}))
}

fn chat() -> Value {
    let function = object(json!({"name": text(), "arguments": text()}));
    let call = object(json!({"id": text(), "type": {"const": "function"}, "function": function}));
    let mut message = object(json!({"role": {"const": "assistant"}, "content": text_or_null()}));
    message["properties"]["reasoning_content"] = text();
    message["properties"]["tool_calls"] = list(call);
    let reason = json!({"enum": ["stop", "length", "tool_calls"]});
    let mut choice = object(json!({
        "index": count(), "message": message, "finish_reason": reason, "logprobs": {"type": ["object", "null"]},
    }));
    choice["properties"]["incomplete"] = json!({"type": "boolean"});
    let mut completed = object(json!({
        "index": count(), "text": text(), "finish_reason": reason, "logprobs": {"type": ["object", "null"]},
    }));
    completed["properties"]["incomplete"] = json!({"type": "boolean"});
    let answer = |kind: &str, choice: Value| {
        let mut answer = object(json!({
            "id": text(), "object": {"const": kind}, "created": count(), "model": text(),
            "choices": list(choice), "usage": usage(), "system_fingerprint": text(),
        }));
        answer["properties"]["timings"] = json!({"type": "object"});
        answer
    };
    json!({
        "ChatCompletion": answer("chat.completion", choice),
        "Completion": answer("text_completion", completed),
    })
}

fn responses() -> Value {
    let item = object(json!({"type": text(), "id": text()}));
    json!({
        "Response": object(json!({
            "id": text(), "object": {"const": "response"}, "created_at": count(), "model": text(),
            "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
            "output": list(item), "error": {"type": ["object", "null"]}, "usage": {"type": ["object", "null"]},
        })),
        "Deleted": object(json!({"id": text(), "object": {"const": "response"}, "deleted": {"const": true}})),
        "ItemList": object(json!({
            "object": {"const": "list"}, "data": list(json!({"type": "object"})),
            "first_id": text_or_null(), "last_id": text_or_null(), "has_more": {"type": "boolean"},
        })),
    })
}

fn messages() -> Value {
    let usage = object(json!({
        "input_tokens": count(), "output_tokens": count(),
        "cache_creation_input_tokens": count(), "cache_read_input_tokens": count(),
    }));
    json!({
        "Message": object(json!({
            "id": text(), "type": {"const": "message"}, "role": {"const": "assistant"}, "model": text(),
            "content": list(object(json!({"type": {"enum": ["text", "thinking", "tool_use"]}}))),
            "stop_reason": text_or_null(), "stop_sequence": text_or_null(), "usage": usage,
        })),
        "Count": object(json!({"input_tokens": count()})),
    })
}

fn vectors() -> Value {
    let numbers = json!({"anyOf": [list(json!({"type": "number"})), text()]});
    let vector =
        object(json!({"object": {"const": "embedding"}, "index": count(), "embedding": numbers}));
    let result = object(json!({"index": count(), "relevance_score": {"type": "number"}}));
    let usage = object(json!({"total_tokens": count()}));
    json!({
        "Embeddings": object(json!({"object": {"const": "list"}, "data": list(vector), "model": text(), "usage": usage})),
        "Ranking": object(json!({"id": text(), "object": {"const": "rerank"}, "model": text(), "results": list(result), "usage": usage})),
    })
}

fn models() -> Value {
    let bytes = json!({"type": ["integer", "null"], "minimum": 0});
    let truth = json!({"type": ["boolean", "null"]});
    let memory = object(json!({
        "context_tokens": count(), "sequences": count(), "weights_bytes": count(), "kv_format": text(),
        "kv_bytes_per_token": count(), "state_bytes": count(), "scratch_bytes": count(), "total_bytes": count(),
    }));
    let device =
        object(json!({"isa": text(), "int_isa": text(), "bf16_isa": text(), "threads": count()}));
    let mut plan = object(json!({
        "object": {"const": "plan"}, "model": text(), "family": text(), "model_type": text(), "parameters": count(),
        "weights_bytes": count(), "bits_per_weight": {"type": "number"}, "forms": list(text()), "vocab": count(),
        "context_tokens_max": count(), "weight_values_per_token": count(), "flops_per_token": count(),
        "flops_per_key": count(), "notes": list(text()), "memory": memory, "device": device, "available_bytes": bytes,
        "fits_context": {"type": "boolean"}, "fits_memory": truth, "tool_format": text_or_null(), "step_count": count(),
    }));
    plan["properties"]["steps"] = list(object(
        json!({"name": text(), "op": text(), "width": count()}),
    ));
    json!({
        "Status": object(json!({"status": text()})),
        "Document": object(json!({"openapi": text(), "info": {"type": "object"}, "paths": {"type": "object"}})),
        "Model": object(json!({
            "id": text(), "object": {"const": "model"}, "created": count(), "owned_by": text(), "aliases": list(text()),
            "state": {"enum": ["unloaded", "loading", "loaded", "unloading", "failed"]},
            "kind": {"enum": ["text", "embedding", "rerank"]}, "requests": count(), "loads": count(),
            "last_used": or_null(count()), "idle_s": or_null(count()),
            "memory_bytes": count(), "model_bytes": count(), "cache_bytes": count(),
        })),
        "ModelList": object(json!({"object": {"const": "list"}, "data": list(to("Model"))})),
        "Plan": plan,
    })
}

fn tokens() -> Value {
    let mut tokens =
        object(json!({"count": count(), "max_model_len": count(), "tokens": list(count())}));
    tokens["properties"]["token_strs"] = list(text());
    json!({
        "Tokens": tokens,
        "Text": object(json!({"prompt": text(), "content": text()})),
        "Prompt": object(json!({"prompt": text(), "notes": list(text())})),
    })
}
