//! The threads that a solver works on.
//!
//! In: how many. Out: loops over parts of slices, the same results for any number. It does not know: what is computed.

use std::sync::{Mutex, PoisonError};

use lattice_kernels::{Cpu, CpuOptions, Isa};

use crate::TransportError;

/// Threads, the calling one included. Idle, they cost nothing; dropping it ends them.
#[derive(Debug)]
pub struct Workers(Cpu);

impl Workers {
    /// The calling thread alone.
    pub fn serial() -> Workers {
        let cpu = Cpu::new(options(1, None));
        Workers(cpu.expect("one thread is the caller's, and the fastest instruction set is there"))
    }

    /// `threads` of them; 0: one per core. It changes the speed, never a bit of a result.
    ///
    /// # Errors
    /// [`TransportError::Threads`] if the system would not start them.
    pub fn new(threads: usize) -> Result<Workers, TransportError> {
        Self::with_isa(threads, None)
    }

    /// The same on one instruction set: for tests and measurements. It changes no bit of a result either.
    ///
    /// # Errors
    /// [`TransportError::Threads`] if the system would not start them, or the machine lacks the instruction set.
    pub fn with_isa(threads: usize, isa: Option<Isa>) -> Result<Workers, TransportError> {
        let cpu = Cpu::new(options(threads, isa));
        cpu.map(Workers)
            .map_err(|error| TransportError::Threads(error.to_string()))
    }

    /// How many.
    pub fn threads(&self) -> usize {
        self.0.threads()
    }

    pub(crate) fn cpu(&self) -> &Cpu {
        &self.0
    }

    /// Calls `each` with the first index and the elements of every part of `step` elements. The error with the
    /// lowest index is the one that comes out, whoever met it first.
    pub(crate) fn parts<T: Send>(
        &self,
        out: &mut [T],
        step: usize,
        each: impl Fn(usize, &mut [T]) -> Result<(), TransportError> + Sync,
    ) -> Result<(), TransportError> {
        let step = step.max(1);
        let parts: Vec<Mutex<&mut [T]>> = out.chunks_mut(step).map(Mutex::new).collect();
        let failed: Mutex<Option<(usize, TransportError)>> = Mutex::new(None);
        self.0.run(parts.len(), &|i| {
            let mut part = parts[i].lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = each(i * step, &mut part) {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(first, _)| i < *first) {
                    *failed = Some((i, error));
                }
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

fn options(threads: usize, isa: Option<Isa>) -> CpuOptions {
    CpuOptions {
        isa,
        threads,
        ..CpuOptions::default()
    }
}

/// Rows of `columns` elements that are worth a task.
pub(crate) fn rows_per_task(columns: usize) -> usize {
    const TASK_ELEMENTS: usize = 16 * 1024;
    (TASK_ELEMENTS / columns.max(1)).max(1)
}
