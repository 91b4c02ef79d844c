//! tokenizer.model: SentencePiece, BPE and Unigram.
//!
//! In: the protocol buffer of a trained model, and `tokenizer_class`, which may number its pieces anew. Out: the canonical
//! form. Texts have the pieces that SentencePiece itself gives them.

use serde_json::json;

use super::super::TextError;
use super::super::error::wrong_in;
use super::super::file::{Prefix, TokenizerFile};
use super::pieces::{Kind, Piece, Pieces};
use super::protobuf::{Message, Wire};
use super::{Fault, Known, Settings, around};

/// More pieces than any vocabulary has.
const PIECES_MAX: usize = 1 << 22;

/// What a tokenizer.model says. The defaults are those of the format.
struct Model<'a> {
    pieces: Vec<Piece>,
    kind: u64,
    byte_fallback: bool,
    suffix: bool,
    charsmap: &'a [u8],
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    unk: String,
    bos: String,
    eos: String,
    pad: String,
}

impl Default for Model<'_> {
    fn default() -> Self {
        Model {
            pieces: Vec::new(),
            kind: 1,
            byte_fallback: false,
            suffix: false,
            charsmap: &[],
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            unk: "<unk>".to_owned(),
            bos: "<s>".to_owned(),
            eos: "</s>".to_owned(),
            pad: "<pad>".to_owned(),
        }
    }
}

/// The classes whose pieces are the model's own, and those that number them as fairseq did.
const PLAIN: [&str; 4] = [
    "LlamaTokenizer",
    "PreTrainedTokenizer",
    "TokenizersBackend",
    "llama",
];
const FAIRSEQ: [&str; 2] = ["XLMRobertaTokenizer", "xlm-roberta"];

/// The canonical form of a tokenizer.model.
pub(super) fn file(
    bytes: &[u8],
    settings: &Settings,
    model_type: Option<&str>,
) -> Result<TokenizerFile, TextError> {
    if looks_like_tiktoken(bytes) {
        return Err(
            Fault::new("a tiktoken vocabulary, which is not supported; tokenizer.json is").into(),
        );
    }
    let model = Model::read(bytes)?;
    let class = settings.class().or(model_type);
    match class {
        Some(class) if FAIRSEQ.contains(&class) => fairseq(model, settings),
        Some(class) if !PLAIN.contains(&class) && settings.class().is_some() => {
            let reason = format!(
                "tokenizer_class: what {class} makes of a SentencePiece model is not known"
            );
            Err(wrong_in("tokenizer_config.json", reason))
        }
        // Llama begins each text with a token unless they are told not to.
        class => plain(
            model,
            settings,
            class.is_some_and(|class| PLAIN.contains(&class)),
        ),
    }
}

/// Pieces as they are numbered in the file.
fn plain(model: Model<'_>, settings: &Settings, begins: bool) -> Result<TokenizerFile, TextError> {
    let (unk, bos) = (model.unk.clone(), model.bos.clone());
    let (eos, pad) = (model.eos.clone(), model.pad.clone());
    let usual = [
        ("unk_token", unk.as_str()),
        ("bos_token", bos.as_str()),
        ("eos_token", eos.as_str()),
        ("pad_token", pad.as_str()),
    ];
    let prefixed = settings.flag("add_prefix_space", true)?;
    let after_tokens = settings.flag("legacy", false)?;
    let pieces = model.pieces(prefixed, after_tokens)?;
    let listed = pieces.added_tokens();
    let known = Known::new(settings, pieces.entries(), &usual)?;
    let (begins, ends) = (
        settings.flag("add_bos_token", begins)?,
        settings.flag("add_eos_token", false)?,
    );
    let begin = known.named("bos_token")?.filter(|_| begins);
    let eos = known.named("eos_token")?;
    let last = eos.iter().map(|eos| eos.id).collect();
    let end = eos.filter(|_| ends);
    let post_processor = around::each(begin.as_ref(), end.as_ref());
    let added_tokens = known.with(listed);
    Ok(TokenizerFile {
        post_processor,
        added_tokens,
        ends: last,
        ..pieces.file()?
    })
}

/// The numbers of XLM-R: four special tokens first, the model's own three left out, the mask last.
fn fairseq(mut model: Model<'_>, settings: &Settings) -> Result<TokenizerFile, TextError> {
    let usual = [
        ("bos_token", "<s>"),
        ("pad_token", "<pad>"),
        ("eos_token", "</s>"),
        ("unk_token", "<unk>"),
        ("sep_token", "</s>"),
        ("cls_token", "<s>"),
        ("mask_token", "<mask>"),
    ];
    let spelling = |name: &str| {
        let usual = usual.iter().find(|(known, _)| *known == name);
        let usual = usual.map_or("", |(_, usual)| usual).to_owned();
        settings.named(name).map_or(usual, |token| token.content)
    };
    let first = ["bos_token", "pad_token", "eos_token", "unk_token"].map(|name| {
        let kind = if name == "unk_token" {
            Kind::Unknown
        } else {
            Kind::Control
        };
        Piece::new(spelling(name), 0.0, kind)
    });
    if model.pieces.len() < 3 {
        return Err(Fault::new("fewer than three pieces").into());
    }
    model.pieces.splice(..3, first);
    model
        .pieces
        .push(Piece::new(spelling("mask_token"), 0.0, Kind::Control));
    let pieces = model.pieces(true, true)?;
    let listed = pieces.added_tokens();
    let known = Known::new(settings, pieces.entries(), &usual)?;
    let post_processor = match (known.named("bos_token")?, known.named("eos_token")?) {
        (Some(begin), Some(end)) => around::doubled(&begin, &end),
        _ => serde_json::Value::Null,
    };
    let added_tokens = known.with(listed);
    let file = pieces.file()?;
    // Words are cut at every white space, as the reference does.
    let mark = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true});
    let words = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, mark]});
    let charsmap = file.normalizer["normalizers"]
        .as_array()
        .and_then(|parts| parts.first());
    let charsmap = charsmap
        .filter(|part| part["type"] == "Precompiled")
        .cloned();
    Ok(TokenizerFile {
        normalizer: charsmap.unwrap_or_default(),
        pre_tokenizer: words,
        prefix: None,
        post_processor,
        added_tokens,
        ..file
    })
}

/// Llama 3's first files have this name, too: a line for each token, in base64, and its rank.
fn looks_like_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let token = words
        .next()
        .is_some_and(|word| !word.is_empty() && word.iter().all(base64));
    let rank = words
        .next()
        .is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_digit));
    token && rank && words.next().is_none()
}

impl<'a> Model<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut model = Model::default();
        let mut message = Message::new(bytes);
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Wire::Bytes(piece)) => {
                    if model.pieces.len() == PIECES_MAX {
                        return Err(Fault::new(format!("more than {PIECES_MAX} pieces")));
                    }
                    let index = model.pieces.len();
                    model.pieces.push(read_piece(message.inner(piece), index)?);
                }
                (2, Wire::Bytes(trainer)) => model.read_trainer(message.inner(trainer))?,
                (3, Wire::Bytes(normalizer)) => model.read_normalizer(message.inner(normalizer))?,
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err(Fault::new("no pieces: not a SentencePiece model"));
        }
        Ok(model)
    }

    fn read_trainer(&mut self, mut message: Message<'a>) -> Result<(), Fault> {
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (3, Wire::Varint(kind)) => self.kind = kind,
                (24, Wire::Varint(flag)) => self.suffix = flag != 0,
                (35, Wire::Varint(flag)) => self.byte_fallback = flag != 0,
                (45, Wire::Bytes(piece)) => self.unk = text(piece, "unk_piece")?,
                (46, Wire::Bytes(piece)) => self.bos = text(piece, "bos_piece")?,
                (47, Wire::Bytes(piece)) => self.eos = text(piece, "eos_piece")?,
                (48, Wire::Bytes(piece)) => self.pad = text(piece, "pad_piece")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, mut message: Message<'a>) -> Result<(), Fault> {
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (2, Wire::Bytes(charsmap)) => self.charsmap = charsmap,
                (3, Wire::Varint(flag)) => self.add_dummy_prefix = flag != 0,
                (4, Wire::Varint(flag)) => self.remove_extra_whitespaces = flag != 0,
                (5, Wire::Varint(flag)) => self.escape_whitespaces = flag != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn pieces(self, prefixed: bool, after_tokens: bool) -> Result<Pieces, Fault> {
        let unigram = match self.kind {
            1 => true,
            2 => false,
            other => {
                return Err(Fault::new(format!(
                    "trainer_spec.model_type: {other} is neither Unigram nor BPE"
                )));
            }
        };
        if self.suffix {
            return Err(Fault::new(
                "trainer_spec.treat_whitespace_as_suffix is not supported",
            ));
        }
        if !self.escape_whitespaces {
            return Err(Fault::new(
                "normalizer_spec.escape_whitespaces: false is not supported",
            ));
        }
        let prefix = if after_tokens {
            Prefix::Parts
        } else {
            Prefix::First
        };
        Ok(Pieces {
            list: self.pieces,
            unigram,
            byte_fallback: self.byte_fallback,
            charsmap: self.charsmap.to_vec(),
            prefix: Some(prefix).filter(|_| prefixed && self.add_dummy_prefix),
            squeezes: self.remove_extra_whitespaces,
        })
    }
}

fn read_piece(mut message: Message<'_>, index: usize) -> Result<Piece, Fault> {
    let mut piece = Piece::new(String::new(), 0.0, Kind::Normal);
    while let Some((number, value)) = message.next()? {
        match (number, value) {
            (1, Wire::Bytes(spelling)) => piece.text = text(spelling, &format!("pieces[{index}]"))?,
            (2, Wire::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Wire::Varint(kind)) => {
                let wrong = || Fault::new(format!("pieces[{index}].type: {kind} is not known"));
                piece.kind = Kind::from_number(kind).ok_or_else(wrong)?;
            }
            _ => {}
        }
    }
    Ok(piece)
}

fn text(bytes: &[u8], field: &str) -> Result<String, Fault> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned)
        .map_err(|error| Fault::new(format!("{field}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::looks_like_tiktoken;

    #[test]
    fn a_tiktoken_vocabulary_is_told_from_a_model() {
        assert!(looks_like_tiktoken(b"IQ== 0\nIg== 1\n"));
        assert!(!looks_like_tiktoken(
            b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"
        ));
        assert!(!looks_like_tiktoken(b""));
    }
}
