//! Messages of several lines, typed or pasted.
//!
//! In: lines, as the editor returns them; a pasted one may hold line breaks. Out: whole messages.
//! A line that ends in `\` goes on in the next one. `"""` at the start of a message opens a block, which ends
//! with a line that ends in `"""`; nothing inside of it is a command or a continuation.

const FENCE: &str = "\"\"\"";

/// A message whose lines are not all there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Draft {
    lines: Vec<String>,
    block: bool,
}

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) text: String,
    /// It stood between fences: never a command.
    pub(crate) block: bool,
}

impl Draft {
    /// Whether nothing was typed yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.block
    }

    /// Adds a line; returns the message when it is whole, and is empty again.
    pub(crate) fn push(&mut self, line: &str) -> Option<Message> {
        let mut line = line;
        if self.is_empty()
            && let Some(rest) = line.trim_start().strip_prefix(FENCE)
        {
            self.block = true;
            line = rest;
            // The line that opens a block is only part of it if something stands on it.
            if line.trim().is_empty() {
                return None;
            }
        }
        if self.block {
            let Some(last) = line.trim_end().strip_suffix(FENCE) else {
                self.lines.push(line.to_owned());
                return None;
            };
            if !last.is_empty() {
                self.lines.push(last.to_owned());
            }
            return Some(self.finish());
        }
        if let Some(begun) = line.strip_suffix('\\') {
            self.lines.push(begun.to_owned());
            return None;
        }
        self.lines.push(line.to_owned());
        Some(self.finish())
    }

    fn finish(&mut self) -> Message {
        let Draft { lines, block } = std::mem::take(self);
        let text = lines.join("\n");
        // A pasted block brings the line breaks beside its fences along.
        let text = if block {
            text.trim_matches('\n').to_owned()
        } else {
            text
        };
        Message { text, block }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages that lines make, and whether the last one is unfinished.
    fn messages(lines: &[&str]) -> (Vec<(String, bool)>, bool) {
        let mut draft = Draft::default();
        let whole = lines.iter().filter_map(|line| draft.push(line));
        let whole = whole.map(|m| (m.text, m.block)).collect();
        (whole, !draft.is_empty())
    }

    fn one(text: &str, block: bool) -> (Vec<(String, bool)>, bool) {
        (vec![(text.to_owned(), block)], false)
    }

    #[test]
    fn a_backslash_goes_on_in_the_next_line() {
        assert_eq!(messages(&["one"]), one("one", false));
        assert_eq!(
            messages(&["one\\", "two \\", "three"]),
            one("one\ntwo \nthree", false)
        );
        assert_eq!(messages(&["one\\"]), (vec![], true));
        assert_eq!(messages(&["\\", ""]), one("\n", false));
    }

    #[test]
    fn a_block_keeps_its_lines() {
        let lines = ["\"\"\"", "one\\", "/quit", "", "two", "\"\"\""];
        assert_eq!(messages(&lines), one("one\\\n/quit\n\ntwo", true));
        assert_eq!(
            messages(&["\"\"\"one", "two\"\"\" "]),
            one("one\ntwo", true)
        );
        assert_eq!(messages(&["\"\"\"one\"\"\""]), one("one", true));
        assert_eq!(messages(&["\"\"\"", "\"\"\""]), one("", true));
        assert_eq!(messages(&["\"\"\"", "one"]), (vec![], true));
    }

    #[test]
    fn what_is_pasted_is_one_message() {
        assert_eq!(
            messages(&["a \\\n\"\"\"b\n\nc"]),
            one("a \\\n\"\"\"b\n\nc", false)
        );
        assert_eq!(
            messages(&["\"\"\"\none\ntwo\n\"\"\""]),
            one("one\ntwo", true)
        );
        assert_eq!(
            messages(&["\"\"\"\none", "two\n\"\"\""]),
            one("one\ntwo", true)
        );
    }
}
