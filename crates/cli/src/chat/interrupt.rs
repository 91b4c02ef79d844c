//! Ctrl-C: the first one asks, the second one ends.
//!
//! In: SIGINT. Out: one flag that whoever works looks at between two steps.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// The exit code of a program that Ctrl-C ended: 128 and the signal's number.
pub(crate) const EXIT_CODE: u8 = 130;

/// While the flag is up, a Ctrl-C ends the program at once; while it is down, a Ctrl-C raises it.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over SIGINT. Until the first [`Self::hold`], Ctrl-C ends the program at once.
    pub(crate) fn install() -> io::Result<Self> {
        Self::on(SIGINT, EXIT_CODE)
    }

    /// The same for any signal, and the exit code where it ends the program.
    pub(crate) fn on(signal: c_int, exit_code: u8) -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(true));
        // The order matters: the signal that raises the flag must not be the one that ends the program.
        flag::register_conditional_shutdown(signal, exit_code.into(), Arc::clone(&flag))?;
        flag::register(signal, Arc::clone(&flag))?;
        Ok(Self(flag))
    }

    /// From here the next Ctrl-C only raises the flag.
    pub(crate) fn hold(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// From here a Ctrl-C ends the program. Whether one came since [`Self::hold`]: none falls in between.
    pub(crate) fn release(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether Ctrl-C was pressed since [`Self::hold`].
    pub(crate) fn pressed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
