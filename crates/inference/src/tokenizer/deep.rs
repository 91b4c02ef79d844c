//! A stack deep enough for templates that nest as far as their size allows.
//!
//! In: work. Out: its result. A chain of operators becomes a tree as deep as the chain is long, and trees are walked
//! by recursion.

use super::TextError;
use crate::deep;

/// The longest template. The longest in use are a third of it.
pub(super) const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// Every second byte may be an operator; a level takes some hundred bytes of stack, in unoptimised builds about 1,200.
const STACK_BYTES: usize = 64 << 20;

/// Runs `work` on a deep stack.
///
/// # Errors
/// The system has no room for it.
pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, TextError> {
    deep::on_deep_stack("template", STACK_BYTES, work).map_err(|error| TextError::Template {
        file: "chat template".to_owned(),
        reason: format!("no stack of {STACK_BYTES} bytes to run it on: {error}"),
    })
}
