//! A deep stack for work whose recursion goes as deep as its input is long: the caller's own may be small.

use std::io;

/// Runs `work` on a thread of its own and waits for it. The memory of the stack is taken as it is touched.
///
/// # Errors
/// The system has no room for the thread.
pub(crate) fn on_deep_stack<T: Send>(
    name: &str,
    stack_bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(stack_bytes)
            .spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(result) => Ok(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
