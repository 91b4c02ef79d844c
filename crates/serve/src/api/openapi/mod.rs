//! `/openapi.json` and `/docs`: the interface, described by itself.
//!
//! In: the list of endpoints, and what the readers of their bodies ask for. Out: an OpenAPI 3.1 document, and a page made
//! of it. Names, types and ranges of fields are heard from the readers, so that they cannot say anything else.

mod fields;
mod page;
mod schemas;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Map, Value, json};

use super::routes::{Answer, AskBody, Route, routes};
use crate::app::App;
use crate::http::OPEN_PATHS;
use crate::wire::json_response;

/// The document.
pub(crate) async fn document(State(app): State<App>) -> Response<Body> {
    json_response(&described(app.options().choices_max))
}

/// The same as a page for people. It asks for nothing else, and runs nothing.
pub(crate) async fn page(State(app): State<App>) -> Response<Body> {
    let html = page::written(&described(app.options().choices_max));
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    let nothing_else = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    headers.insert(header::CONTENT_SECURITY_POLICY, nothing_else);
    response
}

fn described(choices_max: usize) -> Value {
    let mut paths = Map::new();
    for route in routes(choices_max) {
        // The router's sign for a name that may have slashes.
        let path = route.path.replace("{*", "{");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lattice",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A field that is null is as good as absent. Fields without effect are named in the header \
                            x-lattice-ignored. Every answer has an x-request-id.",
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "headers": headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        // Where the server was started with keys.
        "security": [{}, {"bearer": []}, {"key": []}],
    })
}

fn headers() -> Value {
    let header = |text: &str| json!({"description": text, "schema": {"type": "string"}});
    json!({
        "request-id": header("The id of the request: the client's own, if it brought one that can be printed."),
        "ignored": header("Fields of the request without effect, divided by commas."),
        "retry-after": {"description": "Seconds after which it is worth another try.", "schema": {"type": "integer", "minimum": 0}},
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.does,
        "operationId": format!("{} {}", route.method, route.path.replace("{*", "{")),
        "responses": responses(route),
    });
    if let Some(start) = route.path.find('{') {
        let name = route.path[start..]
            .trim_start_matches(['{', '*'])
            .split('}');
        operation["parameters"] = json!([{
            "name": name.clone().next(), "in": "path", "required": true, "schema": {"type": "string", "minLength": 1},
        }]);
    }
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": fields::schema(body), "example": body.example}},
        });
    }
    operation
}

/// Every status that may come, and its type of content.
fn responses(route: &Route) -> Value {
    let mut all = json!({"200": good(route)});
    let error = match route.path.starts_with("/v1/messages") {
        true => "AnthropicError",
        false => "Error",
    };
    let keyless = OPEN_PATHS.contains(&route.path);
    let named = route.path.contains('{');
    let statuses = [
        (
            "400",
            "The request, or a field of it, is wrong; `param` names it.",
            true,
        ),
        ("401", "A key is missing, or wrong.", !keyless),
        ("403", "The host or the origin is not allowed.", true),
        (
            "404",
            "There is no such model or response.",
            named || route.body.is_some(),
        ),
        (
            "408",
            "The body or the answer took too long.",
            route.body.is_some(),
        ),
        ("413", "The body is too large.", route.body.is_some()),
        (
            "415",
            "The body is no JSON by its own account.",
            route.body.is_some(),
        ),
        (
            "429",
            "As many requests wait as may wait.",
            route.body.is_some(),
        ),
        ("500", "A fault of the server's.", true),
        (
            "503",
            "It cannot be done now.",
            route.body.is_some() || route.path.starts_with("/v1/plan"),
        ),
    ];
    for (status, says, may_come) in statuses {
        if may_come {
            all[status] = failed(says, error, matches!(status, "429" | "503"));
        }
    }
    if matches!(route.path, "/readyz" | "/health") {
        all["503"] = json!({
            "description": "It does not take requests now.", "headers": common(), "content": content("Status"),
        });
    }
    all
}

fn good(route: &Route) -> Value {
    let mut headers = common();
    if route.body.is_some() {
        headers["x-lattice-ignored"] = json!({"$ref": "#/components/headers/ignored"});
    }
    let content = match route.answer {
        Answer::Json(schema) => content(schema),
        Answer::Streamed(schema) => {
            let mut content = content(schema);
            // Lines `data: {...}`, as the interfaces that it follows have them.
            content["text/event-stream"] = json!({});
            content
        }
        Answer::Plain(kind) => json!({kind: {"schema": {"type": "string"}}}),
    };
    json!({"description": "It went well.", "headers": headers, "content": content})
}

fn failed(says: &str, schema: &str, again: bool) -> Value {
    let mut headers = common();
    if again {
        headers["retry-after"] = json!({"$ref": "#/components/headers/retry-after"});
    }
    json!({"description": says, "headers": headers, "content": content(schema)})
}

fn common() -> Value {
    json!({"x-request-id": {"$ref": "#/components/headers/request-id"}})
}

fn content(schema: &str) -> Value {
    let place = format!("#/components/schemas/{schema}");
    json!({"application/json": {"schema": {"$ref": place}}})
}

/// What the reader of a body asks for, where it gets all that it can read.
fn heard(body: &AskBody) -> std::collections::BTreeMap<String, crate::wire::Asked> {
    let heard = crate::wire::Heard::default();
    let (Value::Object(mut map), Value::Object(more)) = (body.example.clone(), body.more.clone())
    else {
        return std::collections::BTreeMap::new();
    };
    map.extend(more);
    // An example that is refused has been heard as far as that; the tests say so.
    let _ = (body.take)(crate::wire::Fields::from_map(map, Some(heard.clone())));
    let heard = heard.lock();
    heard
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::Fields;

    fn bodies() -> Vec<(&'static str, AskBody)> {
        let routes = routes(64).into_iter();
        let bodies = routes.filter_map(|route| Some((route.path, route.body?)));
        bodies.collect()
    }

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_field_that_is_read_is_described_and_no_other() {
        let mut heard_of = BTreeSet::new();
        for (path, body) in bodies() {
            for field in heard(&body).keys() {
                let described = fields::said(field);
                assert!(described.is_some(), "{path}: {field}");
                heard_of.extend(described.map(|(name, _)| name));
            }
        }
        let described: BTreeSet<_> = fields::names().collect();
        assert_eq!(heard_of, described);
    }

    #[test]
    fn examples_are_understood_and_what_is_required_is_missed() {
        for (path, body) in bodies() {
            let mut whole = map(&body.example);
            let take = |map: &Map<String, Value>| (body.take)(Fields::from_map(map.clone(), None));
            assert_eq!(take(&whole), Ok(()), "{path}");
            whole.extend(map(&body.more));
            assert_eq!(take(&whole), Ok(()), "{path}");
            for name in body.required {
                let mut less = map(&body.example);
                less.remove(*name);
                assert_eq!(
                    take(&less).unwrap_err().param.as_deref(),
                    Some(*name),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = described(64);
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let page = page::written(&document);
        for (path, _) in document["paths"].as_object().unwrap() {
            assert!(page.contains(path), "{path}");
        }
        assert!(!page.contains("<script") && !page.contains("http"));
    }
}
