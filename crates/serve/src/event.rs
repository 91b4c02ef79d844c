//! What the server says about itself: one event for each request, when its last byte is made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lattice_inference::generate::Usage;

use crate::options::Sink;

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServeEvent {
    /// A request was answered, or its client left.
    Request(Box<RequestReport>),
    /// A model was loaded or unloaded.
    Model(ModelReport),
    /// So many beginnings of texts were written into the folders of their models while the server runs.
    Saved(usize),
    /// Something to know that stops nothing.
    Warning(String),
}

/// What became of a model.
#[derive(Debug, Clone)]
pub struct ModelReport {
    /// Its name.
    pub model: String,
    /// What it is now: loaded, unloaded, failed.
    pub state: &'static str,
    /// Why: a request asked for it, nobody did for long, another model needs the room.
    pub why: &'static str,
    /// How long it took.
    pub took_ms: f64,
    /// Memory that it takes at most while it is loaded; 0 where nobody knows.
    pub memory_bytes: u64,
}

/// One request, without a word of what was asked or answered.
#[derive(Debug, Clone, Default)]
pub struct RequestReport {
    /// Its id, as in the header `x-request-id`.
    pub id: String,
    /// GET, POST.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The status of the answer; 0 where the client left before there was one.
    pub status: u16,
    /// The code of the error, if it was one.
    pub error: Option<&'static str>,
    /// The model that answered.
    pub model: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, those taken over from an earlier request.
    pub cached_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Tokens a second after the first, of the last choice that ended.
    pub tokens_per_second: Option<f64>,
    /// Until the first token.
    pub ttft_ms: Option<f64>,
    /// From the first byte of the request to the last of the answer.
    pub total_ms: f64,
    /// Whether the client left before the end.
    pub left: bool,
}

/// A report that is being written. It is sent when the last of its copies is gone: that of the body.
#[derive(Clone)]
pub(crate) struct Record(Arc<Open>);

struct Open {
    report: Mutex<RequestReport>,
    began: Instant,
    sink: Sink,
}

impl Record {
    pub(crate) fn new(sink: &Sink, id: String, method: &str, path: &str) -> Record {
        let report = RequestReport {
            id,
            method: method.to_owned(),
            path: path.to_owned(),
            left: true,
            ..RequestReport::default()
        };
        Record(Arc::new(Open {
            report: Mutex::new(report),
            began: Instant::now(),
            sink: Arc::clone(sink),
        }))
    }

    /// Writes into the report.
    pub(crate) fn note<T>(&self, write: impl FnOnce(&mut RequestReport) -> T) -> T {
        write(&mut self.0.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The id of the request.
    pub(crate) fn id(&self) -> String {
        self.note(|report| report.id.clone())
    }

    /// A choice ended.
    pub(crate) fn choice(&self, usage: &Usage, prompt_counts: bool) {
        self.note(|report| {
            if prompt_counts {
                report.prompt_tokens += usage.prompt_tokens;
                report.cached_tokens += usage.cached_tokens;
            }
            report.generated_tokens += usage.generated_tokens;
            report.tokens_per_second = usage.tokens_per_second();
            report.ttft_ms = report.ttft_ms.or(usage.ttft_ms);
        });
    }

    /// The answer was made to its end.
    pub(crate) fn ended(&self) {
        self.note(|report| report.left = false);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let report = self
            .report
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        report.total_ms = self.began.elapsed().as_secs_f64() * 1e3;
        (self.sink)(ServeEvent::Request(Box::new(std::mem::take(report))));
    }
}
