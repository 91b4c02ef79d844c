//! What `lattice pull` shows: what will come, how far it is, what came; for people or for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use lattice_hub::{Event, Pull, Record, RemoteFile, Room};
use lattice_inference::facts::memory_available_bytes;
use serde_json::{Value, json};

use super::estimate::Estimate;
use crate::bar::Bar;
use crate::chat::events;
use crate::show::bytes;
use crate::visible::visible;

/// Between two `pull_progress` events, at least.
const TELL: Duration = Duration::from_millis(250);
/// Files left out that are named.
const NAMED_MAX: usize = 6;
/// A commit is known by so many digits.
const COMMIT_DIGITS: usize = 12;

/// Shows a download.
pub(crate) struct Screen {
    json: bool,
    bar: Bar,
    started: Instant,
    told: Instant,
    /// Bytes of each file that are there.
    have: BTreeMap<String, u64>,
    /// Bytes that were there when this run came to a file.
    found: BTreeMap<String, u64>,
    /// Files that were told of as whole: the small ones are come to twice.
    told_of: BTreeSet<String>,
    files: usize,
    total: u64,
    waiting: bool,
    unread: Option<io::Error>,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            bar: Bar::new(json),
            started: Instant::now(),
            told: Instant::now(),
            have: BTreeMap::new(),
            found: BTreeMap::new(),
            told_of: BTreeSet::new(),
            files: 0,
            total: 0,
            waiting: false,
            unread: None,
        }
    }

    /// A line of words on stderr.
    pub(crate) fn say(&mut self, words: &str) {
        self.bar.say(words);
    }

    /// The error of writing an event, if nobody reads them any more.
    pub(crate) fn unread(&mut self) -> Option<io::Error> {
        self.unread.take()
    }

    /// Whether events still have a reader.
    pub(crate) fn is_read(&self) -> bool {
        self.unread.is_none()
    }

    /// What is about to come.
    pub(crate) fn begin(&mut self, pull: &Pull<'_>) {
        let choice = pull.choice();
        self.files = choice.files().count();
        self.total = choice.bytes();
        for file in choice.files() {
            self.have.insert(file.path.clone(), 0);
        }
    }

    /// What it takes, and what there is.
    pub(crate) fn plan(
        &mut self,
        pull: &Pull<'_>,
        estimate: Option<&Estimate>,
        note: Option<&str>,
    ) {
        let (choice, room) = (pull.choice(), pull.room());
        let memory = memory_available_bytes();
        if self.json {
            let listing = pull.listing();
            self.send(&json!({
                "ev": "pull_plan",
                "model": listing.name.to_string(),
                "commit": listing.commit,
                "files": self.files,
                "bytes": self.total,
                "to_come": room.needed,
                "run_bytes": estimate.map(|estimate| estimate.bytes),
                "context_tokens": estimate.map(|estimate| estimate.context_tokens),
                "disk_free": room.available,
                "memory_available": memory,
                "left_out": choice.skipped.iter().map(|file| &file.path).collect::<Vec<_>>(),
                "note": note,
            }));
            return;
        }
        let listing = pull.listing();
        let commit = &listing.commit[..COMMIT_DIGITS];
        self.say(&format!("model       {} at {commit}", listing.name));
        self.say(&format!(
            "needs       {}",
            needs(self.total, room, estimate)
        ));
        let disk = room.available.map_or("unknown".to_owned(), bytes);
        let memory = memory.map_or("unknown".to_owned(), bytes);
        self.say(&format!("you have    {disk} on disk, {memory} of memory"));
        if !choice.skipped.is_empty() {
            self.say(&format!("left out    {}", left_out(pull)));
        }
        if let Some(note) = note {
            self.say(&format!("note        {note}"));
        }
    }

    /// Shows one step.
    pub(crate) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Waiting if !self.waiting => {
                self.waiting = true;
                self.warn("another process is getting this model; waiting for it");
            }
            Event::Waiting | Event::Tick => {}
            Event::Checking { file } => self.bar.note(&format!("checking {}", file.path)),
            Event::File { file, have, .. } => {
                self.found.entry(file.path.clone()).or_insert(*have);
                self.set(file, *have);
            }
            Event::Bytes { file, have, .. } => self.set(file, *have),
            Event::Again {
                file,
                reason,
                pause,
            } => {
                let after = match pause.is_zero() {
                    true => String::new(),
                    false => format!(" in {:.1} s", pause.as_secs_f64()),
                };
                self.warn(&format!("{}: {reason}; trying again{after}", file.path));
            }
            Event::Done { file, .. } => self.done(file),
        }
    }

    fn done(&mut self, file: &RemoteFile) {
        self.set(file, file.bytes);
        if !self.told_of.insert(file.path.clone()) {
            return;
        }
        if self.json {
            self.send(&json!({
                "ev": "pull_file",
                "i": self.told_of.len() - 1,
                "n": self.files,
                "file": file.path,
                "bytes": file.bytes,
                "had": self.found.get(&file.path),
            }));
        }
    }

    fn set(&mut self, file: &RemoteFile, have: u64) {
        self.have.insert(file.path.clone(), have);
        let sum: u64 = self.have.values().sum();
        if self.json {
            if self.told.elapsed() >= TELL {
                self.told = Instant::now();
                self.progress(sum);
            }
            return;
        }
        let note = format!("{} of {} files", self.told_of.len(), self.files);
        self.bar.set(sum, self.total, &note);
    }

    fn progress(&mut self, done: u64) {
        let had: u64 = self
            .found
            .values()
            .filter(|found| **found != u64::MAX)
            .sum();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = done.saturating_sub(had) as f64 / seconds;
        let left = self.total.saturating_sub(done) as f64 / rate;
        self.send(&json!({
            "ev": "pull_progress",
            "done": done,
            "total": self.total,
            "bytes_s": rate,
            "left_s": left.is_finite().then_some(left),
        }));
    }

    /// The end, well. `was_there`: nothing had to be done.
    pub(crate) fn end(&mut self, record: &Record, path: &str, was_there: bool) -> io::Result<()> {
        self.bar.close();
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            self.send(&json!({
                "ev": "pull_done",
                "model": record.name,
                "revision": record.revision,
                "commit": record.commit,
                "path": path,
                "files": record.files.len(),
                "bytes": record.bytes(),
                "seconds": seconds,
                "was_there": was_there,
            }));
            return self.unread().map_or(Ok(()), Err);
        }
        let mut out = io::stdout().lock();
        let commit = record.commit.get(..COMMIT_DIGITS).unwrap_or(&record.commit);
        let how = match was_there {
            true => "it was here already".to_owned(),
            false => format!(
                "{} files, every one checked, in {seconds:.1} s",
                record.files.len()
            ),
        };
        writeln!(out, "model       {} at {commit}", visible(&record.name))?;
        writeln!(out, "got         {}: {how}", bytes(record.bytes()))?;
        writeln!(out, "path        {}", visible(path))
    }

    /// The end, badly.
    pub(crate) fn error(&mut self, words: &str) -> io::Result<()> {
        self.bar.close();
        if self.json {
            self.send(&json!({"ev": "error", "msg": words}));
        }
        self.unread().map_or(Ok(()), Err)
    }

    /// Something to know that stops nothing.
    pub(crate) fn warn(&mut self, words: &str) {
        if self.json {
            self.send(&json!({"ev": "warning", "msg": words}));
        } else {
            self.say(words);
        }
    }

    fn send(&mut self, event: &Value) {
        let mut stdout = io::stdout().lock();
        let sent = stdout.write_all(events::line(event).as_bytes());
        if let Err(error) = sent.and_then(|()| stdout.flush()) {
            self.unread.get_or_insert(error);
        }
    }
}

fn needs(total: u64, room: Room, estimate: Option<&Estimate>) -> String {
    let mut words = format!("{} on disk", bytes(total));
    if room.needed < total {
        words.push_str(&format!(" ({} still to come)", bytes(room.needed)));
    }
    if let Some(estimate) = estimate {
        let (memory, context) = (bytes(estimate.bytes), estimate.context_tokens);
        words.push_str(&format!(", {memory} to run at {context} tokens"));
    }
    words
}

/// The largest files that do not come, by name.
fn left_out(pull: &Pull<'_>) -> String {
    let mut files: Vec<_> = pull.choice().skipped.iter().collect();
    files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.path.cmp(&b.path)));
    let named = files.iter().take(NAMED_MAX);
    let mut words: Vec<String> = named
        .map(|file| format!("{} ({})", file.path, bytes(file.bytes)))
        .collect();
    if files.len() > NAMED_MAX {
        words.push(format!("and {} more", files.len() - NAMED_MAX));
    }
    words.join(", ")
}
