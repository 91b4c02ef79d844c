//! Where the system lets nobody cut a mapped file short, or tells of it in another way than SIGBUS.
//!
//! In: mappings. Out: nothing of them is ever known to be lost. It does not know: the files.

/// A mapping that nobody watches.
#[derive(Debug)]
pub(super) struct Watched;

impl Watched {
    pub(super) fn new(_mapping: &[u8]) -> Self {
        Self
    }

    pub(super) fn is_lost(&self) -> bool {
        false
    }
}

pub(super) fn install() -> std::io::Result<()> {
    Ok(())
}
