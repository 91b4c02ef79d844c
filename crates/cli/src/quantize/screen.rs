//! What `lattice quantize` shows while it works: a bar, plain lines, or events.

use std::io::{self, Write as _};
use std::time::Instant;

use lattice_inference::quantize::{Progress, Report, Target};
use serde_json::{Value, json};

use crate::bar::{Bar, mb};
use crate::chat::events;
use crate::visible::visible;

/// Shows how far the work is.
pub(crate) struct Screen {
    json: bool,
    bar: Bar,
    started: Instant,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            bar: Bar::new(json),
            started: Instant::now(),
        }
    }

    /// Shows one step. An error means that nobody reads the events any more.
    pub(crate) fn show(&mut self, progress: Progress<'_>) -> io::Result<()> {
        match progress {
            Progress::GoesOn { tensors } => {
                self.say(&format!(
                    "an earlier run finished {tensors} tensors; they are checked"
                ));
            }
            Progress::StartsAnew => {
                self.say("an earlier run left other work (another model or recipe): starting anew");
            }
            Progress::Bytes { done, total } => self.bar.set(done, total, ""),
            Progress::Tensor {
                index,
                count,
                target,
                resumed,
            } if self.json => self.send(&layer(index, count, target, resumed))?,
            Progress::Tensor { .. } => {}
            Progress::Finishing => self.bar.note("finishing"),
        }
        Ok(())
    }

    /// A line of words on stderr.
    pub(crate) fn say(&mut self, words: &str) {
        self.bar.say(words);
    }

    /// The end, well.
    pub(crate) fn done(&mut self, report: &Report, measured: Option<&Value>) -> io::Result<()> {
        self.bar.close();
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            return self.send(&json!({
                "ev": "quant_done",
                "before_mb": mb(report.before_bytes),
                "after_mb": mb(report.after_bytes),
                "ratio": report.before_bytes as f64 / report.after_bytes.max(1) as f64,
                "bits_per_weight": report.bits_per_weight,
                "seconds": seconds,
                "out": report.out.display().to_string(),
                "resumed": report.resumed,
                "left_out": report.left_out,
                "left_out_mb": mb(report.left_out_bytes),
                "measured": measured,
            }));
        }
        let out = report.out.display().to_string();
        let mut lines = vec![
            format!("out         {}", visible(&out)),
            format!(
                "size        {:.1} MB, before {:.1} MB ({:.2} times as many)",
                mb(report.after_bytes),
                mb(report.before_bytes),
                report.before_bytes as f64 / report.after_bytes.max(1) as f64
            ),
            format!("a weight    {:.2} bits", report.bits_per_weight),
            format!("took        {seconds:.1} s"),
        ];
        if report.left_out > 0 {
            lines.push(format!(
                "left out    {} tensors, {:.1} MB, that the model does not read; --keep-unused takes them along",
                report.left_out,
                mb(report.left_out_bytes)
            ));
        }
        let mut stdout = io::stdout().lock();
        lines.iter().try_for_each(|line| writeln!(stdout, "{line}"))
    }

    /// The end, badly.
    pub(crate) fn error(&mut self, words: &str) -> io::Result<()> {
        self.bar.close();
        if self.json {
            self.send(&json!({"ev": "error", "msg": words}))?;
        }
        Ok(())
    }

    fn send(&self, event: &Value) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(events::line(event).as_bytes())?;
        stdout.flush()
    }
}

fn layer(index: usize, count: usize, target: &Target, resumed: bool) -> Value {
    let mut event = json!({
        "ev": "quant_layer",
        "i": index,
        "n": count,
        "name": target.name,
        "scheme": target.scheme(),
        "before_mb": mb(target.before_bytes),
        "after_mb": mb(target.stored_bytes()),
    });
    if resumed {
        event["resumed"] = Value::Bool(true);
    }
    event
}
