//! `/metrics`: counts and gauges in the text form of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};

use crate::app::App;
use crate::counters::{Counts, TTFT_S};
use crate::models::ModelState;

/// All of them.
pub(crate) async fn metrics(State(app): State<App>) -> Response<Body> {
    let mut out = String::new();
    counters(&app.counters().read(), &mut out);
    gauges(&app, &mut out);
    let mut response = Response::new(Body::from(out));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP lattice_{name} {help}\n# TYPE lattice_{name} {kind}"
    );
}

fn counters(counts: &Counts, out: &mut String) {
    head(
        out,
        "requests_total",
        "counter",
        "Requests answered, by path and status.",
    );
    for ((path, status), count) in &counts.requests {
        let path = escaped(path);
        let _ = writeln!(
            out,
            "lattice_requests_total{{path=\"{path}\",status=\"{status}\"}} {count}"
        );
    }
    for (name, count, help) in [
        (
            "clients_left_total",
            counts.left,
            "Requests whose client left before the end.",
        ),
        (
            "prompt_tokens_total",
            counts.prompt_tokens,
            "Tokens of prompts.",
        ),
        (
            "cached_tokens_total",
            counts.cached_tokens,
            "Tokens of prompts taken over from earlier requests.",
        ),
        (
            "generated_tokens_total",
            counts.generated_tokens,
            "Tokens generated.",
        ),
    ] {
        head(out, name, "counter", help);
        let _ = writeln!(out, "lattice_{name} {count}");
    }
    head(
        out,
        "ttft_seconds",
        "histogram",
        "Time until the first token.",
    );
    for (end, count) in TTFT_S.iter().zip(&counts.ttft) {
        let _ = writeln!(out, "lattice_ttft_seconds_bucket{{le=\"{end}\"}} {count}");
    }
    let (count, sum) = (counts.ttft_count, counts.ttft_sum_s);
    let _ = writeln!(out, "lattice_ttft_seconds_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(
        out,
        "lattice_ttft_seconds_sum {sum}\nlattice_ttft_seconds_count {count}"
    );
}

fn gauges(app: &App, out: &mut String) {
    let mut rows: [(&str, &str, Vec<String>); 10] = [
        ("model_ready", "Whether a model is loaded.", Vec::new()),
        ("model_at_work", "Requests that hold a model.", Vec::new()),
        ("model_loads", "How often a model was loaded.", Vec::new()),
        ("running", "Requests that hold a place.", Vec::new()),
        ("waiting", "Requests that wait for one.", Vec::new()),
        (
            "cached_prefixes",
            "Beginnings kept for prompts that start alike.",
            Vec::new(),
        ),
        (
            "snapshot_bytes",
            "Bytes of recurrent states kept for reuse.",
            Vec::new(),
        ),
        ("steps", "Batches run so far.", Vec::new()),
        ("grammars", "Compiled grammars kept for reuse.", Vec::new()),
        (
            "grammar_bytes",
            "Bytes of compiled grammars, as far as they can be told.",
            Vec::new(),
        ),
    ];
    for slot in app.models().slots() {
        let name = escaped(&slot.entry.name);
        let figures = slot.figures();
        let ready = u8::from(figures.state == ModelState::Loaded);
        let mut values = vec![
            ready.to_string(),
            figures.at_work.to_string(),
            figures.loads.to_string(),
        ];
        if let Some(loaded) = slot.peek() {
            let gauges = loaded.worker.gauges();
            let read = [
                &gauges.running,
                &gauges.waiting,
                &gauges.prefixes,
                &gauges.snapshot_bytes,
            ];
            values.extend(read.map(|gauge| gauge.load(Ordering::Relaxed).to_string()));
            values.push(gauges.steps.load(Ordering::Relaxed).to_string());
            let (grammars, bytes) = loaded.front.grammars.cached();
            values.extend([grammars.to_string(), bytes.to_string()]);
        }
        for ((row, _, lines), value) in rows.iter_mut().zip(values) {
            lines.push(format!("lattice_{row}{{model=\"{name}\"}} {value}\n"));
        }
    }
    for (name, help, lines) in rows {
        head(out, name, "gauge", help);
        out.push_str(&lines.concat());
    }
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
