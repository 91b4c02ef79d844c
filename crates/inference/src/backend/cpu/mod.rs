//! The cpu backend: threads and vector instructions through `lattice_kernels`, weights where the file has them.
//!
//! In: a plan and a checkpoint. Out: rows that depend on their own sequence alone, to the bit: not on the batch's other
//! sequences, the pieces a prompt came in, the number of threads or the instruction set.
//! It does not know: how a product is computed; what the steps mean together.

mod fused;
mod matrix;
mod memory;
mod mixture;
mod panels;
mod products;
mod roles;
mod steps;
mod weights;

use std::sync::Arc;

use lattice_kernels::CpuOptions;

use super::profile::Clocks;
use super::{
    Backend, Batch, Compute, KvFormat, Limits, LoadOptions, Outputs, PrefixId, RunError, Runner,
    SequenceId, Snapshot, Spent,
};
use crate::Error;
use crate::checkpoint::{Checkpoint, LoadError};
use crate::plan::Plan;
use memory::Memory;
use panels::InPanels;
use steps::Work;
use weights::Weights;

/// The processor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn load(
        &self,
        plan: Arc<Plan>,
        checkpoint: Arc<Checkpoint>,
        options: &LoadOptions,
    ) -> Result<Box<dyn Runner>, Error> {
        let cpu = processor(options)?;
        super::weights::check_forms(&plan, &checkpoint)?;
        let allow = options.allow_non_finite;
        let run = |count: usize, task: &(dyn Fn(usize) + Sync)| cpu.run(count, task);
        // Blocks are looked at when they are repacked, so that a file is read once.
        let finite = super::weights::tensors(&plan, |weight| {
            !allow && checkpoint.blocks(&weight.tensor).is_none()
        });
        super::weights::check_values(&checkpoint, &finite, &run)?;
        let limits = options.limits(&plan);
        let weights = Weights::load(&plan, &checkpoint, allow, &run)?;
        let panels = InPanels::load(&plan, &cpu, &weights, options);
        let in_blocks = |id| weights.is_packed(id) && !panels.has(id);
        let device = Device {
            roles: roles::roles(&plan, in_blocks),
            panels,
            weights,
            ropes: steps::rope_tables(&plan, limits.context_tokens_max),
            cpu,
        };
        let format = options
            .kv
            .unwrap_or_else(|| KvFormat::for_checkpoint(&plan, &checkpoint));
        let kv_tokens = limits
            .sequences_max
            .saturating_mul(limits.context_tokens_max);
        let memory = Memory::new(
            &plan,
            &limits,
            format,
            options.kv_tokens_max.unwrap_or(kv_tokens),
        )
        .map_err(|error| RunError::Device(format!("key/value memory: {error}")))?;
        let mut work = Work::for_limits(&plan, &limits, &device);
        if options.profile {
            work.clocks = Clocks::new(&plan, &checkpoint);
        }
        Ok(Box::new(CpuRunner {
            plan,
            checkpoint,
            device,
            memory,
            work,
            compute: options.compute,
        }))
    }
}

/// The instruction sets and threads that the options ask for.
fn processor(options: &LoadOptions) -> Result<lattice_kernels::Cpu, RunError> {
    let cpu = lattice_kernels::Cpu::new(CpuOptions {
        isa: options.isa,
        int_isa: options.int_isa,
        bf16_isa: options.bf16_isa,
        threads: options.threads,
    });
    cpu.map_err(|error| RunError::Device(error.to_string()))
}

/// What computes: read, never written, while a batch runs.
struct Device {
    cpu: lattice_kernels::Cpu,
    weights: Weights,
    panels: InPanels,
    ropes: Vec<steps::Rope>,
    /// Of each step.
    roles: Vec<roles::Role>,
}

struct CpuRunner {
    plan: Arc<Plan>,
    checkpoint: Arc<Checkpoint>,
    device: Device,
    memory: Memory,
    work: Work,
    compute: Compute,
}

impl CpuRunner {
    /// The weights lie in files, which other programs can change.
    fn look_at_files(&self) -> Result<(), RunError> {
        let changed = |error: LoadError| RunError::FileChanged(error.to_string());
        self.checkpoint.unchanged().map_err(changed)
    }
}

impl Runner for CpuRunner {
    fn limits(&self) -> Limits {
        self.memory.table.limits()
    }

    fn open(&mut self) -> Result<SequenceId, RunError> {
        self.memory.open()
    }

    fn keep(&mut self, sequence: SequenceId, tokens: usize) -> Result<PrefixId, RunError> {
        self.memory.keep(sequence, tokens)
    }

    fn open_from(
        &mut self,
        prefix: PrefixId,
        tokens: usize,
        state: Option<&Snapshot>,
    ) -> Result<SequenceId, RunError> {
        self.memory.open_from(prefix, tokens, state)
    }

    fn release(&mut self, prefix: PrefixId) {
        self.memory.release(prefix);
    }

    fn memory_form(&self) -> Option<String> {
        let (cpu, kv) = (&self.device.cpu, self.memory.kv.form());
        let (isa, bf16) = (cpu.isa(), cpu.bf16_isa());
        let compute = self.compute.name();
        // The bits of bf16 products depend on the instruction set.
        Some(format!("cpu, {kv}, {compute}, {isa:?}, {bf16:?}"))
    }

    fn export(&self, prefix: PrefixId) -> Result<Vec<u8>, RunError> {
        self.memory.export(prefix)
    }

    fn import(&mut self, tokens: usize, bytes: &[u8]) -> Result<PrefixId, RunError> {
        self.memory.import(tokens, bytes)
    }

    fn tokens(&self, sequence: SequenceId) -> Result<usize, RunError> {
        Ok(self.memory.table.get(sequence)?.tokens)
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), RunError> {
        self.memory.truncate(sequence, tokens)
    }

    fn snapshot(&mut self, sequence: SequenceId) -> Result<Snapshot, RunError> {
        self.memory.snapshot(sequence)
    }

    fn restore(&mut self, sequence: SequenceId, snapshot: &Snapshot) -> Result<(), RunError> {
        self.memory.restore(sequence, snapshot)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.memory.close(sequence);
    }

    fn run(&mut self, batch: &Batch<'_>) -> Result<Outputs<'_>, RunError> {
        let started = self.work.clocks.now();
        self.memory.table.lay_out(batch, &mut self.work.layout)?;
        self.look_at_files()?;
        self.memory.reserve(&self.work.layout.spans)?;
        self.work.run(&self.plan, &self.device, &mut self.memory)?;
        // Of weights that changed meanwhile no row may come out.
        self.look_at_files()?;
        self.memory.table.commit(&self.work.layout.spans);
        self.work.clocks.ran(started);
        let width = self.plan.value(self.plan.output).width;
        Ok(Outputs {
            rows: self.work.values(&self.plan).get(self.plan.output),
            width,
        })
    }

    fn take_profile(&mut self) -> Vec<Spent> {
        self.work.clocks.take()
    }
}
