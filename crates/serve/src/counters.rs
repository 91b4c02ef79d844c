//! What is counted over all requests, for monitors.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::event::{RequestReport, ServeEvent};

/// Upper ends of the times until the first token, in seconds.
pub(crate) const TTFT_S: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Paths that are told apart: those of requests that were no 404 are few, but for a client that plays with them.
const PATHS_MAX: usize = 256;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Counts>);

/// Sums over all requests that have ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// By path and status.
    pub(crate) requests: BTreeMap<(String, u16), u64>,
    /// Requests whose clients left before the end.
    pub(crate) left: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) generated_tokens: u64,
    /// Requests whose first token came within each of [`TTFT_S`].
    pub(crate) ttft: [u64; TTFT_S.len()],
    pub(crate) ttft_count: u64,
    pub(crate) ttft_sum_s: f64,
}

impl Counters {
    pub(crate) fn take(&self, event: &ServeEvent) {
        if let ServeEvent::Request(report) = event {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            counts.add(report);
        }
    }

    /// The counts of this moment.
    pub(crate) fn read(&self) -> Counts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Counts {
    fn add(&mut self, report: &RequestReport) {
        let known = report.status != 404 && self.requests.len() < PATHS_MAX;
        let path = if known { report.path.as_str() } else { "other" };
        *self
            .requests
            .entry((path.to_owned(), report.status))
            .or_default() += 1;
        self.left += u64::from(report.left);
        self.prompt_tokens += report.prompt_tokens as u64;
        self.cached_tokens += report.cached_tokens as u64;
        self.generated_tokens += report.generated_tokens as u64;
        if let Some(ttft_ms) = report.ttft_ms {
            let seconds = ttft_ms / 1e3;
            for (end, count) in TTFT_S.iter().zip(&mut self.ttft) {
                *count += u64::from(seconds <= *end);
            }
            self.ttft_count += 1;
            self.ttft_sum_s += seconds;
        }
    }
}
