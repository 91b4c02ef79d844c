//! The pieces of SentencePiece, whichever file they stood in.
//!
//! In: spellings with scores and kinds, and how text becomes spellings. Out: the canonical form. A BPE has no list of merges
//! here: two pieces may become one where that one is a piece, the one of the highest score first.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::file::{Merge, ModelFile, Prefix, TokenizerFile, VocabFile};
use super::{AddedToken, Fault};

/// The longest piece of a BPE, in bytes: each way to cut it is a merge. The longest known one has 96.
const PIECE_BYTES_MAX: usize = 512;

/// The mark that stands for a space.
pub(super) const MARK: &str = "\u{2581}";

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    /// SentencePiece and GGUF use the same numbers.
    pub(super) fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

impl Piece {
    pub(super) fn new(text: String, score: f32, kind: Kind) -> Self {
        Piece { text, score, kind }
    }

    /// Control pieces and those that people defined, as added tokens.
    pub(super) fn added(&self, id: u32) -> Option<AddedToken> {
        let special = match self.kind {
            Kind::Control | Kind::Unknown => true,
            Kind::UserDefined => false,
            Kind::Normal | Kind::Unused | Kind::Byte => return None,
        };
        Some(AddedToken {
            special,
            ..AddedToken::plain(id, self.text.clone())
        })
    }
}

/// A whole vocabulary.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) list: Vec<Piece>,
    pub(super) unigram: bool,
    pub(super) byte_fallback: bool,
    /// How characters are replaced before all else, as SentencePiece compiled it.
    pub(super) charsmap: Vec<u8>,
    /// Where a mark is put before text.
    pub(super) prefix: Option<Prefix>,
    /// Spaces at the ends are dropped and others made one.
    pub(super) squeezes: bool,
}

impl Pieces {
    /// Spelling and id of each piece.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.list.iter().map(|piece| piece.text.as_str()).zip(0..)
    }

    pub(super) fn added_tokens(&self) -> Vec<AddedToken> {
        let pieces = self.list.iter().zip(0..);
        pieces.filter_map(|(piece, id)| piece.added(id)).collect()
    }

    /// The canonical form, without added tokens.
    pub(super) fn file(self) -> Result<TokenizerFile, Fault> {
        if let Some(index) = self.list.iter().position(|piece| piece.text.is_empty()) {
            return Err(Fault::new(format!("piece {index} is empty")));
        }
        if let Some(piece) = self.list.iter().find(|piece| !piece.score.is_finite()) {
            return Err(Fault::new(format!(
                "the score of {:?} is {}",
                piece.text, piece.score
            )));
        }
        let (normalizer, decoder) = (self.normalizer(), self.decoder());
        let prefix = self.prefix;
        let model = if self.unigram {
            self.unigram()?
        } else {
            self.bpe()?
        };
        Ok(TokenizerFile {
            normalizer,
            decoder,
            model,
            prefix,
            ..TokenizerFile::default()
        })
    }

    fn normalizer(&self) -> Value {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let mut parts = Vec::new();
        if !self.charsmap.is_empty() {
            parts.push(
                json!({"type": "Precompiled", "precompiled_charsmap": base64(&self.charsmap)}),
            );
        }
        if self.squeezes {
            parts.push(replace(json!({"Regex": "^ +| +$"}), ""));
            parts.push(replace(json!({"Regex": " {2,}"}), " "));
        }
        parts.push(replace(json!({"String": " "}), MARK));
        json!({"type": "Sequence", "normalizers": parts})
    }

    fn decoder(&self) -> Value {
        let mut parts =
            vec![json!({"type": "Replace", "pattern": {"String": MARK}, "content": " "})];
        if self.byte_fallback {
            parts.push(json!({"type": "ByteFallback"}));
        }
        parts.push(json!({"type": "Fuse"}));
        if self.prefix.is_some() {
            parts.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": parts})
    }

    fn unknown(&self) -> Result<usize, Fault> {
        let mut unknown = (0..self.list.len()).filter(|id| self.list[*id].kind == Kind::Unknown);
        match (unknown.next(), unknown.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(Fault::new("no piece stands for what is unknown")),
            (Some(_), Some(other)) => Err(Fault::new(format!(
                "piece {other} is a second one for what is unknown"
            ))),
        }
    }

    fn unigram(self) -> Result<ModelFile, Fault> {
        let unk_id = Some(self.unknown()?);
        let pieces = self.list.iter().zip(0..);
        let unwritten = pieces.filter(|(piece, _)| {
            matches!(piece.kind, Kind::Control | Kind::Unknown | Kind::Unused)
        });
        let unwritten = unwritten.map(|(_, id)| id).collect();
        let scores = self
            .list
            .into_iter()
            .map(|piece| (piece.text, f64::from(piece.score)));
        Ok(ModelFile {
            kind: Some("Unigram".to_owned()),
            vocab: VocabFile::Scores(scores.collect()),
            unk_id,
            byte_fallback: Some(self.byte_fallback),
            unwritten,
            ..ModelFile::default()
        })
    }

    fn bpe(self) -> Result<ModelFile, Fault> {
        let unk_token = match self.unknown() {
            Ok(id) => Some(self.list[id].text.clone()),
            // Every byte has a piece.
            Err(_) if self.byte_fallback => None,
            Err(fault) => return Err(fault),
        };
        let merges = self.merges()?;
        // What is not cut out before is no word of the model: no text makes it.
        let words = self.list.into_iter().zip(0..);
        let words =
            words.filter(|(piece, _)| !matches!(piece.kind, Kind::Control | Kind::UserDefined));
        Ok(ModelFile {
            kind: Some("BPE".to_owned()),
            vocab: VocabFile::Ids(words.map(|(piece, id)| (piece.text, id)).collect()),
            merges: Some(merges),
            unk_token,
            fuse_unk: Some(true),
            byte_fallback: Some(self.byte_fallback),
            ..ModelFile::default()
        })
    }

    /// Every way in which two pieces become one, in the order of the one's score. Of the ways to make the same piece those
    /// with the longer left part come first, as the reference has them.
    fn merges(&self) -> Result<Vec<Merge>, Fault> {
        let normal = |piece: &&Piece| piece.kind == Kind::Normal;
        let known: HashMap<&str, usize> = self
            .list
            .iter()
            .filter(normal)
            .map(|piece| piece.text.as_str())
            .zip(0..)
            .collect();
        let mut ways: Vec<(f32, usize, &str, &str)> = Vec::new();
        for piece in self.list.iter().filter(normal) {
            if piece.text.len() > PIECE_BYTES_MAX {
                let bytes = piece.text.len();
                return Err(Fault::new(format!(
                    "a piece of {bytes} bytes, the most is {PIECE_BYTES_MAX}"
                )));
            }
            let cuts = piece
                .text
                .char_indices()
                .map(|(at, _)| at)
                .enumerate()
                .skip(1);
            let halves = cuts.map(|(chars, at)| (chars, piece.text.split_at(at)));
            let known = halves
                .filter(|(_, (left, right))| known.contains_key(left) && known.contains_key(right));
            ways.extend(known.map(|(chars, (left, right))| (piece.score, chars, left, right)));
        }
        ways.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        let merge = |(_, _, left, right): (f32, usize, &str, &str)| {
            Merge(left.to_owned(), right.to_owned())
        };
        Ok(ways.into_iter().map(merge).collect())
    }
}

/// Bytes as JSON takes them.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_base64() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn merges_follow_scores_and_then_lengths() {
        let piece = |(text, score): (&str, f32)| Piece::new(text.to_owned(), score, Kind::Normal);
        let list = [("a", -9.0), ("aa", -2.0), ("aaa", -1.0), ("b", -9.0)];
        let pieces = Pieces {
            list: list.map(piece).to_vec(),
            unigram: false,
            byte_fallback: true,
            charsmap: Vec::new(),
            prefix: None,
            squeezes: false,
        };
        let merges = pieces.merges().unwrap();
        let merges: Vec<(&str, &str)> = merges
            .iter()
            .map(|Merge(l, r)| (l.as_str(), r.as_str()))
            .collect();
        assert_eq!(merges, [("aa", "a"), ("a", "aa"), ("a", "a")]);
    }
}
