//! The document as a page: HTML with a style, and nothing that runs or is fetched.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h2{margin-top:2.5rem;border-top:1px solid #8884;padding-top:1rem}code,pre{font:13px/1.45 ui-monospace,monospace}\
pre{background:#8881;padding:.7rem;overflow:auto}td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0}\
:root{color-scheme:light dark}";

/// The page of a document.
pub(super) fn written(document: &Value) -> String {
    let title = document["info"]["title"].as_str().unwrap_or_default();
    let about = document["info"]["description"].as_str().unwrap_or_default();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
         <h1>{title} {}</h1><p>{}</p><ul>",
        plain(&document["info"]["version"]),
        escaped(about),
    );
    let mut sections = String::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let name = escaped(&format!("{} {path}", method.to_uppercase()));
            let anchor = escaped(&format!("{method}{path}"));
            let does = escaped(&plain(&operation["summary"]));
            let _ = write!(
                html,
                "<li><a href=\"#{anchor}\"><code>{name}</code></a> {does}"
            );
            let _ = write!(
                sections,
                "<h2 id=\"{anchor}\"><code>{name}</code></h2><p>{does}</p>"
            );
            request(&mut sections, path, operation);
            answers(&mut sections, operation);
        }
    }
    html + "</ul>" + &sections + "</html>\n"
}

fn request(html: &mut String, path: &str, operation: &Value) {
    let body = &operation["requestBody"]["content"]["application/json"];
    let Some(properties) = body["schema"]["properties"].as_object() else {
        return;
    };
    let _ = write!(
        html,
        "<pre>curl localhost:8080{} --json '{}'</pre><table>",
        escaped(path),
        escaped(&body["example"].to_string()),
    );
    let required = body["schema"]["required"].as_array();
    for (name, field) in properties {
        let needed = required.is_some_and(|names| names.iter().any(|other| other == name));
        let sign = if needed { " (needed)" } else { "" };
        let (name, kind) = (escaped(name), escaped(&kind(field)));
        let says = escaped(&plain(&field["description"]));
        let _ = write!(
            html,
            "<tr><td><code>{name}</code>{sign}<td>{kind}<td>{says}"
        );
    }
    html.push_str("</table>");
}

fn answers(html: &mut String, operation: &Value) {
    html.push_str("<table>");
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let kinds = answer["content"].as_object().into_iter().flatten();
        let kinds: Vec<_> = kinds.map(|(kind, _)| escaped(kind)).collect();
        let says = escaped(&plain(&answer["description"]));
        let _ = write!(html, "<tr><td>{status}<td>{}<td>{says}", kinds.join(", "));
    }
    html.push_str("</table>");
}

/// The type and range of a field, in a few words.
fn kind(field: &Value) -> String {
    if let Some(words) = field["enum"].as_array() {
        let words = words.iter().filter(|word| !word.is_null());
        return words.map(plain).collect::<Vec<_>>().join(", ");
    }
    if let Some(forms) = field["anyOf"].as_array() {
        let forms = forms.iter().map(kind).filter(|form| form != "null");
        return forms.collect::<Vec<_>>().join(" or ");
    }
    let word = match &field["type"] {
        Value::Array(kinds) => kinds
            .iter()
            .find(|kind| *kind != "null")
            .map(plain)
            .unwrap_or_default(),
        kind => plain(kind),
    };
    match (&field["minimum"], &field["items"]) {
        (Value::Null, Value::Null) => word,
        (Value::Null, items) => format!("{word} of {}", kind(items)),
        (least, _) => format!("{word} {least} to {}", field["maximum"]),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
