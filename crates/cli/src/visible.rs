//! Text of others, made harmless for a terminal.
//!
//! In: what a model, a file or an error says. Out: the same, with control characters shown instead of sent.

use std::borrow::Cow;

/// Text with its control characters, but for line breaks and tabs, made harmless and visible.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(control) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match u32::from(c) {
        code @ 0..=0x1f if control(c) => char::from_u32(0x2400 + code).unwrap_or(' '),
        0x7f => '\u{2421}',
        0x80..=0x9f => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    Cow::Owned(text.chars().map(shown).collect())
}
