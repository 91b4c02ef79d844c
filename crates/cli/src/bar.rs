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
const BYTES: &str = "{percent:>3} %  {bar:24}  {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {msg}";
const TEXTS: &str =
    "{percent:>3} %  {bar:24}  {human_pos} of {human_len} texts  {per_sec}  {eta} left  {msg}";
/// Where nobody knows how many there will be.
const SOME_TEXTS: &str = "{human_pos} texts  {per_sec}  {msg}";

/// Shows bytes or texts that are done, on stderr.
pub(crate) struct Bar {
    /// On a terminal.
    drawn: Option<ProgressBar>,
    /// Whether plain lines are wanted where there is none.
    plain: bool,
    texts: bool,
    told: Instant,
}

impl Bar {
    /// Of bytes. With `json` only what [`Self::say`] says is shown.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stderr().is_terminal() && args::escape_codes_wanted();
        Self {
            drawn: (terminal && !json).then(|| hidden(BYTES)),
            plain: !json,
            texts: false,
            told: Instant::now(),
        }
    }

    /// Of texts; plain lines where there is no terminal only if they are asked for.
    pub(crate) fn of_texts(json: bool, plain: bool) -> Self {
        let bar = Self::new(json);
        Self {
            drawn: bar.drawn.is_some().then(|| hidden(TEXTS)),
            plain: plain && !json,
            texts: true,
            ..bar
        }
    }

    /// So many of so many are done; 0 where it is not known of how many.
    pub(crate) fn set(&mut self, done: u64, total: u64, note: &str) {
        let Some(bar) = &self.drawn else {
            if self.plain && self.told.elapsed().as_secs_f64() >= PLAIN_S {
                self.told = Instant::now();
                let words = match (self.texts, total) {
                    (false, _) => format!("{:.0} of {:.0} MB", mb(done), mb(total)),
                    (true, 0) => format!("{done} texts"),
                    (true, _) => format!("{done} of {total} texts"),
                };
                self.say(&words);
            }
            return;
        };
        if bar.is_hidden() {
            if total == 0 {
                dress(bar, SOME_TEXTS);
            }
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
            *bar = hidden(if self.texts { TEXTS } else { BYTES });
        }
    }
}

/// A bar that is not drawn yet.
fn hidden(style: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    dress(&bar, style);
    bar
}

fn dress(bar: &ProgressBar, style: &str) {
    let style = ProgressStyle::with_template(style).map(|style| style.progress_chars("=> "));
    if let Ok(style) = style {
        bar.set_style(style);
    }
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
        for style in [BYTES, TEXTS, SOME_TEXTS] {
            assert!(ProgressStyle::with_template(style).is_ok());
        }
        let mut bar = Bar {
            drawn: Some(hidden(BYTES)),
            plain: true,
            texts: false,
            told: Instant::now(),
        };
        bar.close();
        assert!(bar.drawn.is_some_and(|bar| bar.is_hidden()));
    }
}
