//! A stack deep enough for templates that nest as far as their size allows.
//!
//! In: work. Out: its result. A chain of operators becomes a tree as deep as the chain is long, and trees are walked
//! by recursion; the caller's own stack may be small.

use super::TextError;

/// The longest template. The longest in use are a third of it.
pub(super) const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// Every second byte may be an operator; a level takes some hundred bytes of stack, in unoptimised builds about 1,200.
const STACK_BYTES: usize = 64 << 20;

/// Runs `work` on a thread of its own and waits for it. The memory of the stack is taken as it is touched.
///
/// # Errors
/// The system has no room for the thread.
pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, TextError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| TextError::Template {
                file: "chat template".to_owned(),
                reason: format!("no stack of {STACK_BYTES} bytes to run it on: {error}"),
            })?;
        match thread.join() {
            Ok(result) => Ok(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
