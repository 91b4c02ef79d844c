//! A tokenizer's vocabulary as llguidance wants it: a tree of the bytes of all tokens.
//!
//! In: a [`Tokenizer`]. Out: the tree, and forced bytes as tokens. Control tokens stand in it behind a byte that no text
//! has, so that only a grammar that names one allows it; ids without a token are not in it.

use std::sync::Arc;

use toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use super::GrammarError;
use crate::tokenizer::Tokenizer;

/// The longest token that a grammar uses: the tree holds 1,024.
const TOKEN_BYTES_MAX: usize = 512;
/// Bytes of all tokens, each at worst a node of the tree, which holds 2^22.
const VOCABULARY_BYTES_MAX: usize = (1 << 22) - 2;

struct Vocabulary {
    tokenizer: Arc<dyn Tokenizer>,
    trie: TokTrie,
}

/// The vocabulary of a tokenizer.
///
/// # Errors
/// It is larger than the tree may be.
pub(super) fn vocabulary(tokenizer: Arc<dyn Tokenizer>) -> Result<TokEnv, GrammarError> {
    let words = words(&*tokenizer);
    let bytes: usize = words.iter().map(Vec::len).sum();
    if bytes > VOCABULARY_BYTES_MAX {
        return Err(GrammarError::Vocabulary(format!(
            "{bytes} bytes of tokens, grammars take {VOCABULARY_BYTES_MAX}"
        )));
    }
    let size = u32::try_from(words.len()).ok().filter(|&size| size > 0);
    let size = size.ok_or_else(|| GrammarError::Vocabulary("no tokens".to_owned()))?;
    // Ids that end a text are the request's, not the vocabulary's.
    let info = TokRxInfo::new(size, INVALID_TOKEN);
    let trie = TokTrie::from(&info, &words);
    Ok(Arc::new(Vocabulary { tokenizer, trie }))
}

/// The bytes of each id; none for ids that no grammar may choose.
fn words(tokenizer: &dyn Tokenizer) -> Vec<Vec<u8>> {
    let ids = u32::try_from(tokenizer.ids_max()).unwrap_or(u32::MAX);
    let word = |id| {
        let bytes = tokenizer.bytes_from_id(id).unwrap_or_default();
        // No text has these bytes, and one of them marks control tokens.
        let textless = bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER);
        let usable = bytes.len() <= TOKEN_BYTES_MAX && !textless;
        if usable { bytes.to_vec() } else { Vec::new() }
    };
    let mut words: Vec<Vec<u8>> = (0..ids).map(word).collect();
    for (spelling, id) in tokenizer.control_ids() {
        if let Some(word) = words.get_mut(id as usize) {
            word.clear();
            if spelling.len() < TOKEN_BYTES_MAX {
                word.push(TokTrie::SPECIAL_TOKEN_MARKER);
                word.extend_from_slice(spelling.as_bytes());
            }
        }
    }
    words
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// The tokenizer's own ids where their bytes are those asked for, as models know them; else the longest tokens
    /// that fit: a tokenizer may begin a text with a space, or change how it is written.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let text = std::str::from_utf8(bytes).ok();
        let ids = text.and_then(|text| self.tokenizer.ids_from_text(text).ok());
        ids.filter(|ids| self.trie.decode_raw(ids) == bytes)
            .unwrap_or_else(|| self.trie.greedy_tokenize(bytes))
    }
}
