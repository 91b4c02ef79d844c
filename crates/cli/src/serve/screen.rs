//! What the server says at the terminal, or to programs: when it is ready, each request, why it stops.
//!
//! In: events of any thread. Out: lines, written by a thread of their own, so that a terminal that is stopped stops no
//! answer. Nothing of what is asked or answered is printed.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use lattice_serve::{ModelMemory, ModelReport, RequestReport, ServeEvent, Sink};
use serde_json::{Value, json};

use crate::chat::events::line;
use crate::show::bytes;
use crate::visible::visible;

/// Lines that may wait to be written; more are left out and counted.
const WAITING_MAX: usize = 4096;

/// Writes lines.
pub(super) struct Screen {
    lines: SyncSender<String>,
    thread: JoinHandle<()>,
    unheard: Arc<AtomicBool>,
    json: bool,
}

impl Screen {
    pub(super) fn start(json: bool) -> io::Result<Screen> {
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let unheard = Arc::<AtomicBool>::default();
        let told = Arc::clone(&unheard);
        let thread = std::thread::Builder::new().name("screen".to_owned());
        let thread = thread.spawn(move || write(&waiting, json, &told))?;
        Ok(Screen {
            lines,
            thread,
            unheard,
            json,
        })
    }

    /// Whether nobody reads the lines any more.
    pub(super) fn is_unheard(&self) -> bool {
        self.unheard.load(Ordering::Relaxed)
    }

    fn say(&self, words: &str, event: &Value) {
        say(&self.lines, self.json, words, event);
    }

    /// The server takes requests.
    pub(super) fn ready(&self, url: &str, models: &[String], memory: ModelMemory) {
        let models_named = models.join(", ");
        let taken = match memory.model_bytes {
            0 => "nothing loaded yet".to_owned(),
            model => format!(
                "in {} and for texts up to {} more",
                bytes(model),
                bytes(memory.cache_bytes)
            ),
        };
        let words = format!("lattice: {url}/v1 serves {models_named}, {taken}; Ctrl-C stops it");
        let version = env!("CARGO_PKG_VERSION");
        let event = json!({
            "ev": "serve_ready", "url": url, "models": models, "memory_bytes": memory.most_bytes(),
            "model_bytes": memory.model_bytes, "cache_bytes": memory.cache_bytes, "version": version,
        });
        self.say(&words, &event);
    }

    /// The server takes no requests any more.
    pub(super) fn stopping(&self) {
        let words =
            "lattice: stopping; answers under way are finished (Ctrl-C once more ends them)";
        self.say(words, &json!({"ev": "serve_stopping"}));
    }

    /// What was read was written for the next start.
    pub(super) fn saved(&self, prefixes: usize) {
        let (words, event) = saved(prefixes);
        self.say(&words, &event);
    }

    /// It came to nothing. For people, `main` says so.
    pub(super) fn error(&self, words: &str) {
        if self.json {
            self.say("", &json!({"ev": "error", "msg": words}));
        }
    }

    /// What hears of requests.
    pub(super) fn sink(&self) -> Sink {
        let (lines, json) = (self.lines.clone(), self.json);
        Arc::new(move |event| match event {
            ServeEvent::Request(report) => {
                say(&lines, json, &words(&report), &request(&report));
            }
            ServeEvent::Model(report) => {
                let ModelReport {
                    model, state, why, ..
                } = &report;
                let seconds = report.took_ms / 1e3;
                let words = format!("lattice: {model} {state} ({why}) in {seconds:.1} s");
                let event = json!({
                    "ev": "serve_model", "model": model, "state": state, "why": why,
                    "took_ms": report.took_ms, "memory_bytes": report.memory_bytes,
                });
                say(&lines, json, &words, &event);
            }
            ServeEvent::Saved(prefixes) => {
                let (words, event) = saved(prefixes);
                say(&lines, json, &words, &event);
            }
            ServeEvent::Warning(warning) => {
                let words = format!("lattice: {warning}");
                say(
                    &lines,
                    json,
                    &words,
                    &json!({"ev": "warning", "msg": warning}),
                );
            }
            _ => {}
        })
    }

    /// Writes what waits. Whether all was heard.
    pub(super) fn end(self) -> bool {
        let Screen {
            lines,
            thread,
            unheard,
            ..
        } = self;
        // An empty line is the end: copies of the sender may live on in threads that compute.
        let _ = lines.send(String::new());
        let _ = thread.join();
        !unheard.load(Ordering::Relaxed)
    }
}

fn saved(prefixes: usize) -> (String, Value) {
    let words =
        format!("lattice: kept for the next start: {prefixes} more of the texts that were read");
    (words, json!({"ev": "serve_saved", "prefixes": prefixes}))
}

fn say(lines: &SyncSender<String>, json: bool, words: &str, event: &Value) {
    let text = if json {
        line(event)
    } else {
        format!("{}\n", visible(words))
    };
    let _ = lines.try_send(text);
}

fn write(lines: &Receiver<String>, json: bool, unheard: &AtomicBool) {
    while let Ok(line) = lines.recv() {
        if line.is_empty() {
            return;
        }
        let bytes = line.as_bytes();
        let written = if json {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        } else {
            io::stderr().write_all(bytes)
        };
        // Words for people may get lost with their terminal; a program that asked for events wants them.
        if json && written.is_err() {
            unheard.store(true, Ordering::Relaxed);
        }
    }
}

/// A request in one line for people.
fn words(report: &RequestReport) -> String {
    let mut words = format!("{} {} {}", report.status, report.method, report.path);
    if let Some(model) = &report.model {
        words += &format!("  {model}");
    }
    if report.prompt_tokens > 0 {
        words += &format!("  {} prompt", report.prompt_tokens);
        if report.cached_tokens > 0 {
            words += &format!(" ({} cached)", report.cached_tokens);
        }
        words += &format!(", {} generated", report.generated_tokens);
    }
    if let Some(rate) = report.tokens_per_second {
        words += &format!(", {rate:.1} tok/s");
    }
    words += &format!("  {:.0} ms", report.total_ms);
    if let Some(error) = report.error {
        words += &format!("  {error}");
    }
    if report.left {
        words += "  client left";
    }
    words + &format!("  {}", report.id)
}

fn request(report: &RequestReport) -> Value {
    json!({
        "ev": "serve_request",
        "id": report.id,
        "method": report.method,
        "path": report.path,
        "status": report.status,
        "error": report.error,
        "model": report.model,
        "prompt_tokens": report.prompt_tokens,
        "cached_tokens": report.cached_tokens,
        "gen_tokens": report.generated_tokens,
        "tok_s": report.tokens_per_second,
        "ttft_ms": report.ttft_ms,
        "total_ms": report.total_ms,
        "left": report.left,
    })
}
