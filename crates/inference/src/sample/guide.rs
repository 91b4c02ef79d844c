//! The seam between a request's text so far and its next token.

use super::TokenMask;

/// Steers what comes next: a grammar, a thinking budget, a source of drafts.
///
/// A guide sees every token of its request exactly once and in order, through [`Guide::accept`]; the other
/// methods may be called any number of times between two tokens and must not depend on how often.
/// Proposed tokens that were not taken are never seen, so a guide needs no way back.
pub trait Guide: Send {
    /// Takes away what may not come next. Bits may only be cleared.
    fn mask(&mut self, _allowed: &mut TokenMask) {}
    /// The one token that must come next whatever the model says, if there is one.
    fn forced(&mut self) -> Option<u32> {
        None
    }
    /// The token that came next.
    fn accept(&mut self, _id: u32) {}
    /// Appends up to `max` guesses of what comes after `ids` (prompt and generated tokens) to `out`.
    /// Guesses never change the text; right ones make it come sooner.
    fn propose(&mut self, _ids: &[u32], _max: usize, _out: &mut Vec<u32>) {}
}
