//! What `lattice embed` shows: how far it is, what was cut, what came; for people or for programs.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use lattice_embed::{Done, EmbedError, Embedder, Embeddings};
use serde_json::{Value, json};

use super::args::EmbedArgs;
use crate::bar::Bar;
use crate::chat::events;
use crate::visible::visible;

/// Between two `embed_progress` events, at least.
const TELL: Duration = Duration::from_millis(250);
/// Texts that were cut and are named.
const NAMED_MAX: usize = 5;

/// Shows a run.
pub(crate) struct Screen {
    json: bool,
    /// Whether stdout has the vectors or the cosines, so that words go to stderr.
    bare: bool,
    shows: bool,
    bar: Bar,
    started: Instant,
    told: Instant,
    run: Run,
    unread: Option<io::Error>,
}

/// What there is to say in the end.
#[derive(Default)]
struct Run {
    model: String,
    dims: usize,
    dtype: &'static str,
    out: Option<String>,
    total: Option<u64>,
    /// Texts that an earlier run left.
    found: u64,
    texts: u64,
    tokens: u64,
    cut: u64,
    /// The first few that were cut.
    named: Vec<String>,
}

impl Screen {
    pub(crate) fn new(args: &EmbedArgs) -> Self {
        let out = args.output.as_ref().map(|path| path.display().to_string());
        Self {
            json: args.json,
            bare: out.is_none(),
            shows: out.is_some() || args.progress,
            bar: Bar::of_texts(args.json, args.progress),
            started: Instant::now(),
            told: Instant::now(),
            run: Run {
                dtype: args.dtype.name(),
                out,
                ..Run::default()
            },
            unread: None,
        }
    }

    /// Something about the model's files: for people.
    pub(crate) fn note(&self, words: &str) {
        self.bar.say(&format!("note: {words}"));
    }

    /// Something to know that stops nothing.
    pub(crate) fn warn(&mut self, words: &str) {
        if self.json {
            self.send(&json!({"ev": "warning", "msg": words}));
        } else {
            self.bar.say(words);
        }
    }

    /// Whether events still have a reader.
    pub(crate) fn is_read(&self) -> bool {
        self.unread.is_none()
    }

    /// The model is loaded, and what an earlier run left is found.
    pub(crate) fn begin(
        &mut self,
        embedder: &Embedder,
        dims: usize,
        found: u64,
        total: Option<u64>,
    ) {
        let run = &mut self.run;
        (run.model, run.dims, run.found, run.total) =
            (embedder.name().to_owned(), dims, found, total);
        self.started = Instant::now();
        if found > 0 && !self.json {
            self.bar.say(&format!(
                "an earlier run left {found} vectors; it goes on from there"
            ));
        }
    }

    /// How far a piece is.
    pub(crate) fn progress(&mut self, done: Done) {
        let now = self.run.found + self.run.texts + done.texts as u64;
        if !self.shows {
            return;
        }
        if !self.json {
            self.bar.set(now, self.run.total.unwrap_or(0), "");
            return;
        }
        if self.told.elapsed() < TELL {
            return;
        }
        self.told = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = (self.run.texts + done.texts as u64) as f64 / seconds;
        let left = self
            .run
            .total
            .map(|total| total.saturating_sub(now) as f64 / rate);
        self.send(&json!({
            "ev": "embed_progress",
            "done": now,
            "total": self.run.total,
            "texts_s": rate,
            "left_s": left.filter(|left| left.is_finite()),
        }));
    }

    /// A piece is computed.
    pub(crate) fn count(&mut self, answer: &Embeddings) {
        let first = self.run.found + self.run.texts;
        for one in &answer.truncated {
            self.run.cut += 1;
            if self.run.named.len() < NAMED_MAX {
                let text = first + one.text as u64;
                let words = format!("text {text} ({} of {} tokens read)", one.kept, one.tokens);
                self.run.named.push(words);
            }
        }
        self.run.texts += answer.len() as u64;
        self.run.tokens += answer.tokens();
    }

    /// An error with the number that the text has among all.
    pub(crate) fn renumbered(&self, error: EmbedError) -> EmbedError {
        match error {
            EmbedError::TooLong {
                model,
                text,
                tokens,
                tokens_max,
            } => EmbedError::TooLong {
                model,
                text: text + (self.run.found + self.run.texts) as usize,
                tokens,
                tokens_max,
            },
            other => other,
        }
    }

    /// Takes the bar away.
    pub(crate) fn close(&mut self) {
        self.bar.close();
    }

    /// The end, well.
    pub(crate) fn done(&mut self) -> io::Result<()> {
        self.bar.close();
        if self.run.cut > 0 {
            let words = self.cut_words();
            self.warn(&words);
        }
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            let event = self.done_event(seconds);
            self.send(&event);
            return self.unread.take().map_or(Ok(()), Err);
        }
        let lines = self.lines(seconds);
        match self.bare {
            true => Ok(()),
            false => {
                let mut out = io::stdout().lock();
                lines
                    .iter()
                    .try_for_each(|line| writeln!(out, "{}", visible(line)))
            }
        }
    }

    fn cut_words(&self) -> String {
        let named = self.run.named.join(", ");
        let more = self.run.cut as usize - self.run.named.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!(
            "longer than {} reads, and cut: {named}{more}",
            self.run.model
        )
    }

    fn done_event(&self, seconds: f64) -> Value {
        let run = &self.run;
        json!({
            "ev": "embed_done",
            "model": run.model,
            "dims": run.dims,
            "dtype": run.dtype,
            "count": run.found + run.texts,
            "resumed": run.found,
            "tokens": run.tokens,
            "truncated": run.cut,
            "ms": seconds * 1e3,
            "texts_s": run.texts as f64 / seconds,
            "tok_s": run.tokens as f64 / seconds,
            "out": run.out,
        })
    }

    fn lines(&self, seconds: f64) -> [String; 4] {
        let run = &self.run;
        let found = match run.found {
            0 => String::new(),
            found => format!(", {found} of them by an earlier run"),
        };
        let rate = |count: u64| count as f64 / seconds;
        [
            format!(
                "model       {}, {} dimensions in {}",
                run.model, run.dims, run.dtype
            ),
            format!("vectors     {}{found}", run.found + run.texts),
            format!(
                "took        {seconds:.1} s: {:.0} texts and {:.0} tokens a second",
                rate(run.texts),
                rate(run.tokens)
            ),
            format!("out         {}", run.out.as_deref().unwrap_or("")),
        ]
    }

    /// The end, badly.
    pub(crate) fn error(&mut self, words: &str) -> io::Result<()> {
        self.bar.close();
        if self.json {
            self.send(&json!({"ev": "error", "msg": words}));
        }
        self.unread.take().map_or(Ok(()), Err)
    }

    /// The end by a signal.
    pub(crate) fn stopped(&self) {
        let words = match self.run.out {
            Some(_) => "stopped; the same command goes on from there",
            None => "stopped",
        };
        self.bar.say(words);
    }

    fn send(&mut self, event: &Value) {
        let mut stdout = io::stdout().lock();
        let sent = stdout.write_all(events::line(event).as_bytes());
        if let Err(error) = sent.and_then(|()| stdout.flush()) {
            self.unread.get_or_insert(error);
        }
    }
}
