//! Where the time of a shape's runs went.
//!
//! In: what the runner's clocks say. Out: rows of a table, or of a JSON array, each a kind of work.

use std::io::{self, Write};

use lattice_inference::backend::Spent;
use serde_json::{Value, json};

use super::shapes::Shape;

/// The kinds of work of some runs, the longest first; none where there were no clocks.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    spent: Vec<Spent>,
    runs: usize,
    /// Of all kinds together.
    seconds: f64,
}

impl Profile {
    pub(super) fn new(spent: Vec<Spent>, runs: usize) -> Self {
        let seconds = spent.iter().map(|spent| spent.seconds).sum();
        Self {
            spent,
            runs,
            seconds,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spent.is_empty()
    }

    /// Milliseconds of a run.
    fn ms(&self, spent: &Spent) -> f64 {
        spent.seconds * 1e3 / self.runs.max(1) as f64
    }

    pub(super) fn print(&self, shape: Shape, out: &mut impl Write) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n{:<24}{:>10}{:>10}{:>9}{:>9}{:>10}",
            shape.to_string(),
            "ms a run",
            "share",
            "steps",
            "GB/s",
            "GFLOP/s"
        )?;
        for spent in &self.spent {
            let cell = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
            writeln!(
                out,
                "  {:<22}{:>10.2}{:>10}{:>9}{:>9}{:>10}",
                spent.work,
                self.ms(spent),
                format!("{:.1} %", 100.0 * spent.seconds / self.seconds),
                spent.steps / self.runs.max(1) as u64,
                cell(rate(spent.weight_bytes, spent)),
                cell(rate(spent.flops, spent)),
            )?;
        }
        Ok(())
    }

    pub(super) fn as_json(&self) -> Value {
        let row = |spent: &Spent| {
            json!({
                "work": spent.work,
                "ms": self.ms(spent),
                "share": spent.seconds / self.seconds,
                "steps": spent.steps / self.runs.max(1) as u64,
                "weight_gbps": rate(spent.weight_bytes, spent),
                "gflops": rate(spent.flops, spent),
            })
        };
        self.spent.iter().map(row).collect()
    }
}

/// Some of `amount` in 10^9 per second; none of nothing.
fn rate(amount: u64, spent: &Spent) -> Option<f64> {
    (amount > 0).then(|| amount as f64 / spent.seconds / 1e9)
}
