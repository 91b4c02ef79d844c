//! The seam between a request's text so far and its next token.

use super::{SampleError, TokenMask};

/// Steers what comes next: a grammar, a thinking budget, a source of drafts.
///
/// A guide sees every token of its request exactly once and in order, through [`Guide::accept`]; the other
/// methods may be called any number of times between two tokens and must not depend on how often.
/// Proposed tokens that were not taken are never seen, so a guide needs no way back.
pub trait Guide: Send {
    /// The batch that makes the row for the next token is about to run: a mask that takes long may be begun
    /// beside it. Whether this is called changes nothing but the time.
    fn prepare(&mut self) {}
    /// Takes away what may not come next. Bits may only be cleared.
    ///
    /// # Errors
    /// The guide cannot say what may come next.
    fn mask(&mut self, _allowed: &mut TokenMask) -> Result<(), SampleError> {
        Ok(())
    }
    /// The one token that must come next whatever the model says, if there is one.
    fn forced(&mut self) -> Option<u32> {
        None
    }
    /// The token that came next.
    fn accept(&mut self, _id: u32) {}
    /// Whether the text is complete, so that nothing may follow.
    fn complete(&mut self) -> bool {
        false
    }
    /// Whether a text that ends here is cut off.
    fn cut_off(&mut self) -> bool {
        false
    }
    /// How many of these guesses, from the first, may come next one after the other. It need not be exact:
    /// a guess is compared with what is chosen all the same.
    fn usable(&mut self, proposed: &[u32]) -> usize {
        proposed.len()
    }
    /// Appends up to `max` guesses of what comes after `ids` (prompt and generated tokens) to `out`.
    /// Guesses never change the text; right ones make it come sooner.
    fn propose(&mut self, _ids: &[u32], _max: usize, _out: &mut Vec<u32>) {}
}
