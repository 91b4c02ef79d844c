//! What `lattice quantize` shows while it works: a line that moves, plain lines, or events.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use lattice_inference::quantize::{Progress, Report, Target};
use serde_json::{Value, json};

use crate::chat::events;
use crate::visible::visible;

/// Milliseconds between two drawings of the line.
const DRAW_MS: u128 = 100;
/// Seconds between two plain lines, where there is no terminal.
const PLAIN_S: f64 = 5.0;

/// Shows how far the work is.
pub(crate) struct Screen {
    json: bool,
    terminal: bool,
    started: Instant,
    drawn: Option<Instant>,
    /// Bytes that were done when this run began to write.
    first: Option<u64>,
    /// A line stands there that the next one must overwrite.
    open: bool,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stderr().is_terminal(),
            started: Instant::now(),
            drawn: None,
            first: None,
            open: false,
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
            Progress::Bytes { done, total } => self.bytes(done, total),
            Progress::Tensor {
                index,
                count,
                target,
                resumed,
            } if self.json => self.send(&layer(index, count, target, resumed))?,
            Progress::Tensor { .. } => {}
            Progress::Finishing => {
                if self.terminal && self.open {
                    self.close();
                    self.say("finishing");
                }
            }
        }
        Ok(())
    }

    /// A line of words on stderr.
    pub(crate) fn say(&mut self, words: &str) {
        self.close();
        // A watcher who went away changes nothing about the work.
        let _ = writeln!(io::stderr(), "{}", visible(words));
    }

    /// The end, well.
    pub(crate) fn done(&mut self, report: &Report, measured: Option<&Value>) -> io::Result<()> {
        self.close();
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
        self.close();
        if self.json {
            self.send(&json!({"ev": "error", "msg": words}))?;
        }
        Ok(())
    }

    fn bytes(&mut self, done: u64, total: u64) {
        let first = *self.first.get_or_insert(done);
        let since = self.drawn.unwrap_or(self.started).elapsed();
        if self.terminal && !self.json {
            if self.drawn.is_none() || since.as_millis() >= DRAW_MS {
                self.draw(first, done, total);
            }
        } else if since.as_secs_f64() >= PLAIN_S {
            self.drawn = Some(Instant::now());
            self.say(&format!("{:.0} of {:.0} MB", mb(done), mb(total)));
        }
    }

    fn draw(&mut self, first: u64, done: u64, total: u64) {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = (done - first) as f64 / seconds;
        let left = match (total - done) as f64 / rate {
            left if left.is_finite() => format!("{left:.0} s left"),
            _ => String::new(),
        };
        let line = format!(
            "{:3.0} %  {:.0} of {:.0} MB  {:.0} MB/s  {left}",
            100.0 * done as f64 / total.max(1) as f64,
            mb(done),
            mb(total),
            rate / 1e6
        );
        let _ = write!(io::stderr(), "\r{line:<60}");
        self.drawn = Some(Instant::now());
        self.open = true;
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
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

/// Millions of bytes.
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
