//! A processor to compute on: an instruction set and the threads.
//!
//! In: what the caller wants of both. Out: a [`Cpu`], the first argument of every operation.
//! It does not know: any operation.

use std::ops::Range;

use crate::pool::Pool;
use crate::{Bf16Isa, IntIsa, Isa};

/// Elements that make a task worth handing to another thread.
const TASK_ELEMENTS: usize = 16 * 1024;

/// What to compute with.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuOptions {
    /// None: the fastest the machine has. It changes the speed, and no bit of a result but those of
    /// bf16 weights, see [`Bf16Isa`].
    pub isa: Option<Isa>,
    /// For integer products. None: the fastest beside `isa`. It changes the speed, never a bit of a
    /// result.
    pub int_isa: Option<IntIsa>,
    /// For products of bf16 weights. None: the fastest beside `isa`. It changes the speed, and how
    /// inputs of bf16 weights are rounded.
    pub bf16_isa: Option<Bf16Isa>,
    /// 0: one per physical core that this process may use. It changes the speed, never a bit of a
    /// result.
    pub threads: usize,
}

/// Why there is no [`Cpu`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The machine lacks the instruction set asked for.
    #[error("this machine has no {wanted}, it has {}", list(available))]
    IsaMissing {
        /// What was asked for.
        wanted: Isa,
        /// What there is.
        available: Vec<Isa>,
    },
    /// The machine lacks the instruction set asked for integer products.
    #[error(
        "this machine has no {wanted} for integers, it has {}",
        list(available)
    )]
    IntIsaMissing {
        /// What was asked for.
        wanted: IntIsa,
        /// What there is.
        available: Vec<IntIsa>,
    },
    /// The machine lacks the instruction set asked for bf16 products.
    #[error("this machine has no {wanted} for bf16, it has {}", list(available))]
    Bf16IsaMissing {
        /// What was asked for.
        wanted: Bf16Isa,
        /// What there is.
        available: Vec<Bf16Isa>,
    },
    /// The system would not start the threads.
    #[error("could not start {threads} threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        source: std::io::Error,
    },
}

fn list(isas: &[impl ToString]) -> String {
    isas.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// An instruction set and a pool of threads. Idle, it costs nothing; dropping it ends the threads.
pub struct Cpu {
    isa: Isa,
    int_isa: IntIsa,
    bf16_isa: Bf16Isa,
    pool: Pool,
}

impl Cpu {
    /// Checks the instruction sets and starts the threads.
    ///
    /// # Errors
    /// [`CpuError::IsaMissing`], [`CpuError::IntIsaMissing`] and [`CpuError::Bf16IsaMissing`] for an
    /// instruction set this machine lacks; [`CpuError::Threads`].
    pub fn new(options: CpuOptions) -> Result<Cpu, CpuError> {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        if !isa.is_available() {
            return Err(CpuError::IsaMissing {
                wanted: isa,
                available: Isa::available(),
            });
        }
        let threads = if options.threads == 0 {
            cores()
        } else {
            options.threads
        };
        let pool = Pool::new(threads).map_err(|source| CpuError::Threads { threads, source })?;
        let (int_isa, bf16_isa) = (IntIsa::beside(isa), Bf16Isa::beside(isa));
        let cpu = Cpu {
            isa,
            int_isa,
            bf16_isa,
            pool,
        };
        cpu.with_int_isa(options.int_isa.unwrap_or(int_isa))?
            .with_bf16_isa(options.bf16_isa.unwrap_or(bf16_isa))
    }

    /// The same with another instruction set for integer products than [`IntIsa::beside`] chose. It
    /// changes the speed, never a bit of a result.
    ///
    /// # Errors
    /// [`CpuError::IntIsaMissing`] for an instruction set this machine lacks.
    pub fn with_int_isa(self, int_isa: IntIsa) -> Result<Cpu, CpuError> {
        if int_isa.is_available() {
            return Ok(Cpu { int_isa, ..self });
        }
        Err(CpuError::IntIsaMissing {
            wanted: int_isa,
            available: IntIsa::available(),
        })
    }

    /// The same with another instruction set for bf16 products than [`Bf16Isa::beside`] chose. It
    /// changes the speed, and how inputs of bf16 weights are rounded.
    ///
    /// # Errors
    /// [`CpuError::Bf16IsaMissing`] for an instruction set this machine lacks.
    pub fn with_bf16_isa(self, bf16_isa: Bf16Isa) -> Result<Cpu, CpuError> {
        if bf16_isa.is_available() {
            return Ok(Cpu { bf16_isa, ..self });
        }
        Err(CpuError::Bf16IsaMissing {
            wanted: bf16_isa,
            available: Bf16Isa::available(),
        })
    }

    /// The instruction set everything in f32 runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The instruction set that products of packed weights run on.
    pub fn int_isa(&self) -> IntIsa {
        self.int_isa
    }

    /// The instruction set that products of bf16 weights run on.
    pub fn bf16_isa(&self) -> Bf16Isa {
        self.bf16_isa
    }

    /// Threads that work on an operation, the calling one included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Runs `task(0)` .. `task(tasks - 1)`, each once, on all threads; returns when all are done. A
    /// run from inside a task is serial. A panic in a task is raised again here.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.pool.run(tasks, task);
    }

    /// Cuts `items` of `elements` each into ranges that are worth a task and runs them.
    pub(crate) fn run_ranges(
        &self,
        items: usize,
        elements: usize,
        task: impl Fn(Range<usize>) + Sync,
    ) {
        let step = (TASK_ELEMENTS / elements.max(1)).max(1);
        self.run_steps(items, step, task);
    }

    /// Cuts `items` into ranges of `step` (the last may be shorter) and runs them.
    pub(crate) fn run_steps(&self, items: usize, step: usize, task: impl Fn(Range<usize>) + Sync) {
        self.run(items.div_ceil(step), &|i| {
            task(i * step..((i + 1) * step).min(items))
        });
    }
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu")
            .field("isa", &self.isa)
            .field("int_isa", &self.int_isa)
            .field("bf16_isa", &self.bf16_isa)
            .field("threads", &self.threads())
            .finish()
    }
}

/// Physical cores this process may use: two threads of one core only get in each other's way here.
fn cores() -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    physical_cores()
        .map_or(available, |cores| cores.min(available))
        .max(1)
}

/// Distinct groups of sibling threads, where the system lists them (Linux).
fn physical_cores() -> Option<usize> {
    let mut groups = Vec::new();
    for entry in std::fs::read_dir("/sys/devices/system/cpu").ok()? {
        let siblings = entry.ok()?.path().join("topology/thread_siblings_list");
        if let Ok(group) = std::fs::read_to_string(siblings) {
            groups.push(group);
        }
    }
    groups.sort_unstable();
    groups.dedup();
    (!groups.is_empty()).then_some(groups.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_set_of_another_architecture_is_refused() {
        let wanted = if cfg!(target_arch = "aarch64") {
            Isa::Avx2
        } else {
            Isa::Neon
        };
        let error = Cpu::new(CpuOptions {
            isa: Some(wanted),
            threads: 1,
            ..CpuOptions::default()
        })
        .map(drop);
        let text = error.expect_err("the machine lacks it").to_string();
        assert!(text.starts_with("this machine has no"), "{text}");
    }

    #[test]
    fn an_integer_set_of_another_architecture_is_refused() {
        let wanted = if cfg!(target_arch = "aarch64") {
            IntIsa::Avx2
        } else {
            IntIsa::NeonDot
        };
        let cpu = Cpu::new(CpuOptions::default()).expect("the default fits every machine");
        let text = cpu
            .with_int_isa(wanted)
            .map(drop)
            .expect_err("the machine lacks it");
        assert!(
            text.to_string().starts_with("this machine has no"),
            "{text}"
        );
    }

    #[test]
    fn zero_threads_means_the_cores() {
        let cpu = Cpu::new(CpuOptions::default()).expect("the default fits every machine");
        assert_eq!(cpu.threads(), cores());
    }
}
