//! The two signals that ask long work to stop, and what the program ends with then.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::chat::interrupt::{EXIT_CODE, Interrupt};

/// The exit code of a program that SIGTERM ended: 128 and the signal's number.
const TERM_EXIT_CODE: u8 = 143;

/// The two signals that ask to stop. Until the first [`Stop::hold`] they end the program.
pub(crate) struct Stop {
    interrupt: Interrupt,
    term: Interrupt,
}

impl Stop {
    /// Takes the signals over.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: Interrupt::on(SIGINT, EXIT_CODE)?,
            term: Interrupt::on(SIGTERM, TERM_EXIT_CODE)?,
        })
    }

    /// From here the first signal only asks.
    pub(crate) fn hold(&self) {
        self.interrupt.hold();
        self.term.hold();
    }

    pub(crate) fn asked(&self) -> bool {
        self.interrupt.pressed() || self.term.pressed()
    }

    /// From here a signal ends the program. Whether one came since [`Self::hold`].
    pub(crate) fn release(&self) -> bool {
        let interrupted = self.interrupt.release();
        self.term.release() || interrupted
    }

    /// What the program ends with, if it was asked to stop.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        if self.interrupt.pressed() {
            Some(EXIT_CODE)
        } else {
            self.term.pressed().then_some(TERM_EXIT_CODE)
        }
    }
}
