//! How far long work is: a bar on a terminal, a plain line now and then elsewhere, nothing beside events.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args;
use crate::visible::visible;

/// Drawings of the bar in a second.
const DRAW_HZ: u8 = 10;
/// Seconds between two plain lines, where there is no terminal.
const PLAIN_S: f64 = 5.0;
const STYLE: &str = "{percent:>3} %  {bar:24}  {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {msg}";

/// Shows bytes that are done, on stderr.
pub(crate) struct Bar {
    /// On a terminal.
    drawn: Option<ProgressBar>,
    /// Whether plain lines are wanted where there is none.
    plain: bool,
    told: Instant,
}

impl Bar {
    /// With `json` only what [`Self::say`] says is shown.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stderr().is_terminal() && args::escape_codes_wanted();
        Self {
            drawn: (terminal && !json).then(hidden),
            plain: !json,
            told: Instant::now(),
        }
    }

    /// So many bytes of so many are done.
    pub(crate) fn set(&mut self, done: u64, total: u64, note: &str) {
        let Some(bar) = &self.drawn else {
            if self.plain && self.told.elapsed().as_secs_f64() >= PLAIN_S {
                self.told = Instant::now();
                self.say(&format!("{:.0} of {:.0} MB", mb(done), mb(total)));
            }
            return;
        };
        if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAW_HZ));
        }
        if bar.length() != Some(total) {
            bar.set_length(total);
            // What an earlier run did says nothing about the speed of this one.
            bar.set_position(done);
            bar.reset_eta();
        }
        if bar.message() != note {
            bar.set_message(note.to_owned());
        }
        bar.set_position(done);
    }

    /// A word beside a bar that is there.
    pub(crate) fn note(&self, note: &str) {
        if let Some(bar) = &self.drawn {
            bar.set_message(note.to_owned());
        }
    }

    /// A line of words, above the bar.
    pub(crate) fn say(&self, words: &str) {
        // A watcher who went away changes nothing about the work.
        let say = || drop(writeln!(io::stderr(), "{}", visible(words)));
        match &self.drawn {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn close(&mut self) {
        if let Some(bar) = &mut self.drawn {
            bar.finish_and_clear();
            *bar = hidden();
        }
    }
}

/// A bar that is not drawn yet.
fn hidden() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template(STYLE).map(|style| style.progress_chars("=> "));
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Millions of bytes.
pub(crate) fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_is_one() {
        assert!(ProgressStyle::with_template(STYLE).is_ok());
        let mut bar = Bar {
            drawn: Some(hidden()),
            plain: true,
            told: Instant::now(),
        };
        bar.close();
        assert!(bar.drawn.is_some_and(|bar| bar.is_hidden()));
    }
}
