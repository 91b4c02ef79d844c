//! Ids to text, a token at a time.
//!
//! In: ids, in order. Out: deltas of complete UTF-8 that concatenate to the text of the whole answer.
//! A character may be spread over several tokens: its bytes wait here until it is complete, or until they can no
//! longer become one. It does not know stop strings or sampling.

use super::Tokenizer;

/// An incremental detokeniser for one sequence.
///
/// The deltas and the rest from [`TextStream::finish`] concatenate to `String::from_utf8_lossy` of all bytes, less one
/// leading space where the tokenizer's decoder drops it.
#[derive(Debug, Clone)]
pub struct TextStream {
    /// Bytes of a character that is not complete yet: at most 3.
    pending: Vec<u8>,
    strips_space: bool,
}

impl TextStream {
    /// A stream at the start of a text.
    pub fn new<T: Tokenizer + ?Sized>(tokenizer: &T) -> Self {
        TextStream {
            pending: Vec::new(),
            strips_space: tokenizer.strips_leading_space(),
        }
    }

    /// A stream in the middle of a text: no leading space is dropped.
    pub fn resumed() -> Self {
        TextStream {
            pending: Vec::new(),
            strips_space: false,
        }
    }

    /// The text that `id` completes; empty while a character is incomplete and for ids without text.
    pub fn push<T: Tokenizer + ?Sized>(&mut self, tokenizer: &T, id: u32) -> String {
        self.push_bytes(tokenizer.bytes_from_id(id).unwrap_or_default())
    }

    /// The text that `bytes` complete.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> String {
        let bytes = self.strip_first(bytes);
        if self.pending.is_empty() {
            return self.take_complete(bytes);
        }
        let joined = [std::mem::take(&mut self.pending).as_slice(), bytes].concat();
        self.take_complete(&joined)
    }

    /// What is left when no more ids come: U+FFFD for a character that was never completed.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn strip_first<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.strips_space || bytes.is_empty() {
            return bytes;
        }
        self.strips_space = false;
        bytes.strip_prefix(b" ").unwrap_or(bytes)
    }

    /// Text of `bytes` up to a last character that could still become complete; that one becomes `pending`.
    fn take_complete(&mut self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => error,
            };
            let (valid, tail) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(wrong) = error.error_len() else {
                self.pending = tail.to_vec();
                return text;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &tail[wrong..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn deltas_concatenate_to_the_lossy_text(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..40),
        ) {
            let mut stream = TextStream::resumed();
            let mut text: String = pieces.iter().map(|piece| stream.push_bytes(piece)).collect();
            text.push_str(&stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&pieces.concat()).into_owned());
        }

        #[test]
        fn valid_text_never_streams_a_replacement_character(
            text in "\\PC{0,30}", cuts in prop::collection::vec(1usize..4, 0..60),
        ) {
            prop_assume!(!text.contains(char::REPLACEMENT_CHARACTER));
            let (mut rest, mut stream, mut out) = (text.as_bytes(), TextStream::resumed(), String::new());
            for cut in cuts.into_iter().chain([text.len()]) {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                let delta = stream.push_bytes(piece);
                prop_assert!(!delta.contains(char::REPLACEMENT_CHARACTER));
                out.push_str(&delta);
                rest = tail;
            }
            prop_assert_eq!(&out, &text);
            prop_assert!(stream.finish().is_empty());
        }
    }
}
