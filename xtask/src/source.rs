//! A Rust file, split into what is code, what is comment and what is the inside of a literal.
//!
//! In: a path and its text. Out: [`Source`], whose `code` and `comments` have the length and lines of
//! the text with everything else blank, so that rules can search them without a parser.
//! It does not know: any rule.

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// A Rust file as the rules see it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// Comments and the insides of literals are blank.
    pub(crate) code: String,
    /// Everything but comments is blank.
    pub(crate) comments: String,
    /// Bytes of modules under `#[cfg(test)]`.
    tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let parts = parts(text.as_bytes());
        let code = only(Part::Code, &text, &parts);
        let comments = only(Part::Comment, &text, &parts);
        let tests = test_modules(&code);
        Self {
            path: path.into(),
            text,
            code,
            comments,
            tests,
        }
    }

    /// The line of a byte, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
    }

    /// Whether the whole file is a test, a bench or an example.
    pub(crate) fn is_test_file(&self) -> bool {
        let inside = ["/tests/", "/benches/", "/examples/"];
        inside.iter().any(|folder| self.path.contains(folder)) || self.path.ends_with("/tests.rs")
    }

    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.is_test_file() || self.tests.iter().any(|range| range.contains(&at))
    }

    /// Files written by programs say so near the top.
    pub(crate) fn is_generated(&self) -> bool {
        self.comments
            .lines()
            .take(5)
            .any(|line| line.contains("@generated"))
    }
}

fn only(kept: Part, text: &str, parts: &[Part]) -> String {
    let bytes = text.bytes().zip(parts);
    let masked = bytes.map(|(byte, &part)| {
        if part == kept || byte == b'\n' {
            byte
        } else {
            b' '
        }
    });
    String::from_utf8(masked.collect()).expect("parts begin and end at whole characters")
}

fn parts(text: &[u8]) -> Vec<Part> {
    let mut parts = vec![Part::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let (part, range) = next_part(text, at);
        let range = range.start.min(text.len())..range.end.min(text.len());
        parts[range.clone()].fill(part);
        // The closing quotes of a literal are code of one or more bytes; comments have none.
        at = if part == Part::Literal {
            range.end + 1
        } else {
            range.end
        };
    }
    parts
}

/// What begins at `at`: its part, and the bytes that belong to it (for literals, between the quotes).
fn next_part(text: &[u8], at: usize) -> (Part, Range<usize>) {
    let rest = &text[at..];
    if rest.starts_with(b"//") {
        let length = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(rest.len());
        return (Part::Comment, at..at + length);
    }
    if rest.starts_with(b"/*") {
        return (Part::Comment, at..at + block_comment_length(rest));
    }
    if rest[0] == b'"' {
        return (
            Part::Literal,
            at + 1..at + 1 + text_length(&rest[1..], b'"'),
        );
    }
    if let Some(hashes) = raw_text_hashes(text, at) {
        let start = at + hashes + 2;
        return (
            Part::Literal,
            start..start + raw_text_length(&text[start..], hashes),
        );
    }
    if rest[0] == b'\'' && is_character(&rest[1..]) {
        return (
            Part::Literal,
            at + 1..at + 1 + text_length(&rest[1..], b'\''),
        );
    }
    (Part::Code, at..at + 1)
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Bytes up to the closing quote; a backslash takes the next byte with it.
fn text_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at.min(rest.len())
}

/// The number of `#` when `r"`, `br#"`, ... has its `r` here; an identifier may end in `r` too.
fn raw_text_hashes(text: &[u8], at: usize) -> Option<usize> {
    let before = text[..at]
        .strip_suffix(b"b")
        .or(text[..at].strip_suffix(b"c"));
    let before = before.unwrap_or(&text[..at]);
    let in_name = before
        .last()
        .is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_');
    if text[at] != b'r' || in_name {
        return None;
    }
    let hashes = text[at + 1..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    (text.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_text_length(rest: &[u8], hashes: usize) -> usize {
    let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    rest.windows(end.len())
        .position(|window| window == end)
        .unwrap_or(rest.len())
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn is_character(rest: &[u8]) -> bool {
    let length = match rest.first() {
        Some(b'\\') => return true,
        Some(0..=0x7f) => 1,
        Some(0x80..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(_) => 4,
        None => return false,
    };
    rest.get(length) == Some(&b'\'')
}

fn test_modules(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(at, _)| at);
    let ends = starts.filter_map(|at| {
        let open = at + code[at..].find(['{', ';'])?;
        (code.as_bytes()[open] == b'{').then(|| at..block_end(code, open))
    });
    ends.collect()
}

/// The byte after the brace that closes the one at `open`.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/x/src/y.rs", text.into())
    }

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn code_and_comments_are_told_apart() {
        let cases = [
            ("a // b\nc", "a c", "// b"),
            ("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */"),
            ("f(\"// no\"); // yes", "f(\" \");", "// yes"),
            ("f(\"\\\"// no\"); g", "f(\" \"); g", ""),
            ("r#\"a \"// no\"#; g", "r#\" \"#; g", ""),
            ("br\"// no\"; g // é", "br\" \"; g", "// é"),
            ("'\"'; '\\''; 'é'; g // y", "' '; ' '; ' '; g", "// y"),
            (
                "fn f<'a>(x: &'a str) {} // y",
                "fn f<'a>(x: &'a str) {}",
                "// y",
            ),
            ("for\"a\" /// d", "for\" \"", "/// d"),
        ];
        for (text, code, comments) in cases {
            let source = source(text);
            assert_eq!(squeezed(&source.code), code, "{text}");
            assert_eq!(squeezed(&source.comments), comments, "{text}");
            assert_eq!(source.code.len(), text.len());
        }
    }

    #[test]
    fn unfinished_text_ends_with_the_file() {
        for text in ["\"a", "/* a", "r##\"a\"#", "'\\", "// a", "'", "\"a\\"] {
            assert_eq!(source(text).code.len(), text.len());
        }
    }

    #[test]
    fn test_modules_are_known() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n";
        let source = source(text);
        let at = |name: &str| text.find(name).unwrap();
        assert!(!source.is_test(at("fn a")) && !source.is_test(at("fn c")));
        assert!(source.is_test(at("fn b")));
        assert_eq!(source.line(at("fn c")), 4);
    }
}
