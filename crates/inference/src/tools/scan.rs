//! Where a JSON value ends, found as its text arrives.

use std::ops::Range;

/// Brackets and strings of JSON, byte by byte, nothing more.
#[derive(Debug, Clone, Default)]
struct Nesting {
    /// Bytes that were read.
    read: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Reads on in `text`, which has grown since, to the next byte that is no part of a string: its place, and how deep it
    /// stands, brackets counted outside of themselves.
    fn next(&mut self, text: &str) -> Option<(usize, u8, usize)> {
        while let Some(&byte) = text.as_bytes().get(self.read) {
            let at = self.read;
            self.read += 1;
            if self.in_string {
                self.in_string = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                continue;
            }
            let outside = self.depth;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    return Some((at, byte, self.depth));
                }
                _ => {}
            }
            return Some((at, byte, outside));
        }
        None
    }
}

/// Follows one JSON object.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectScan(Nesting);

impl ObjectScan {
    /// Reads on in `text`, which begins with the object's `{` and has grown since; the length of the object, once it
    /// is whole.
    pub(super) fn read(&mut self, text: &str) -> Option<usize> {
        while let Some((at, byte, depth)) = self.0.next(text) {
            if depth == 0 && matches!(byte, b'}' | b']') {
                return Some(at + 1);
            }
        }
        None
    }
}

/// Follows the members of one JSON object.
#[derive(Debug, Clone, Default)]
pub(super) struct MemberScan {
    nesting: Nesting,
    /// Where the member under way begins.
    start: usize,
}

impl MemberScan {
    /// The next member in `text`, which begins with the object's `{` and has grown since, once what ends it is there;
    /// whether that is the object's bracket.
    pub(super) fn next(&mut self, text: &str) -> Option<(Range<usize>, bool)> {
        while let Some((at, byte, depth)) = self.nesting.next(text) {
            let last = depth == 0 && matches!(byte, b'}' | b']');
            if last || depth == 1 && byte == b',' {
                let member = self.start.max(1)..at;
                self.start = at + 1;
                return Some((member, last));
            }
        }
        None
    }
}

/// Finds one tag in a text that arrives in pieces, reading nothing twice.
#[derive(Debug, Clone, Default)]
pub(super) struct TagScan {
    read: usize,
}

impl TagScan {
    /// Where `tag` begins in `text`, which has grown since.
    pub(super) fn find(&mut self, text: &str, tag: &str) -> Option<usize> {
        let mut from = self.read.min(text.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        let found = text[from..].find(tag).map(|at| from + at);
        // The tag may have begun in the last bytes.
        self.read = text.len().saturating_sub(tag.len() - 1);
        found
    }
}

/// Bytes at the end of `text` that `tag` begins with, and that might become it.
pub(super) fn forming(text: &str, tag: &str) -> usize {
    let most = text.len().min(tag.len() - 1);
    let ends = |bytes: &usize| text.as_bytes().ends_with(&tag.as_bytes()[..*bytes]);
    (1..=most).rev().find(ends).unwrap_or(0)
}
