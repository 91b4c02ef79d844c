//! Products of matrices, and the steps that round what they read.
//!
//! In: a step and its role. Out: its rows, or their integers for the products to come.
//! It does not know: how a role was found; how a product is computed.

use lattice_kernels::{self as kernels, Packed};

use super::matrix::{Input, Integers, Matrix};
use super::roles::{Gate, Role};
use super::steps::{Running, activation};
use super::{Device, Limits};
use crate::plan::{Op, Plan, Rows, Step, Val, Value, WeightId};

/// The value that a packed matrix read last, as integers: the linears of one value mostly follow each other.
#[derive(Default)]
pub(super) struct Quantised {
    integers: Integers,
    of: Option<Val>,
    /// The next value's, while this one's are read.
    next: Integers,
}

impl Quantised {
    /// Room for what the plan's packed matrices read of the largest batch.
    pub(super) fn for_limits(plan: &Plan, limits: &Limits, device: &Device) -> Self {
        let rows_max = |rows: Rows| match rows {
            Rows::Tokens => limits.batch_tokens_max,
            Rows::Outputs => limits.output_rows_max,
        };
        let read = |step: &Step| {
            let Op::Linear { x, weight, .. } = step.op else {
                return None;
            };
            let Value { width, rows } = plan.value(x);
            let packed = device.weights.is_packed(weight) && !device.panels.has(weight);
            packed.then_some((rows_max(rows), width))
        };
        let mut all = Self::default();
        let sizes = plan.steps.iter().filter_map(read);
        if let Some((rows, width)) = sizes.max_by_key(|(rows, width)| rows * width) {
            all.integers.reserve(&device.cpu, rows, width);
        }
        all
    }

    /// Forgets what the values of the batch before were.
    pub(super) fn forget(&mut self) {
        self.of = None;
    }

    fn integers_of(&mut self, x: Val) -> &mut Integers {
        if self.of != Some(x) {
            self.integers.forget();
            self.of = Some(x);
        }
        &mut self.integers
    }
}

impl<'d> Running<'d> {
    /// Plays a step's role; false where what the step is defined as is to be computed.
    pub(super) fn play(&mut self, index: usize, step: &Step) -> bool {
        match self.device.roles[index] {
            Role::Plain => false,
            Role::Rounded => self.rounded(step),
            Role::GateInput(gate) => {
                let fused = self.fused(gate).is_some();
                if fused {
                    self.round(gate.x, gate.gate);
                }
                fused
            }
            Role::Gate(gate) => match self.fused(gate) {
                Some(weights) => self.gate(step, gate, weights),
                None => self.rounded(step),
            },
        }
    }

    /// The matrices of a gate, if it runs with its products in this batch.
    fn fused(&self, gate: Gate) -> Option<[Packed<'d>; 2]> {
        let Device { cpu, weights, .. }: &'d Device = self.device;
        let packed = |id| match weights.matrix(id) {
            Matrix::Packed(packed) => Some(packed),
            Matrix::Dense(_) => None,
        };
        let (first, up) = (packed(gate.gate)?, packed(gate.up)?);
        let rows = self.work.values(self.plan).rows(gate.x);
        kernels::fuses_gate(cpu, first, up, rows).then_some([first, up])
    }

    /// Makes the integers of `x` known to the products with `weight`.
    fn round(&mut self, x: Val, weight: WeightId) {
        let Device { cpu, weights, .. } = self.device;
        let (values, written) = self.work.parts(self.plan);
        let started = written.clocks.now();
        let mut input = Input {
            x: values.get(x),
            picked: None,
            integers: written.quantised.integers_of(x),
        };
        if weights.matrix(weight).round(cpu, &mut input) {
            written.clocks.rounded(started);
        }
    }

    /// A product, plus a bias.
    pub(super) fn linear(&mut self, op: &Op, out: &mut [f32]) {
        let Op::Linear { x, weight, bias } = op else {
            unreachable!("called for linears only")
        };
        self.round(*x, *weight);
        let Device { cpu, weights, .. } = self.device;
        let (values, written) = self.work.parts(self.plan);
        let mut input = Input {
            x: values.get(*x),
            picked: None,
            integers: written.quantised.integers_of(*x),
        };
        let bias = bias.map(|id| weights.vector(id));
        let weight = weights.matrix(*weight);
        weight.linear(cpu, bias, &mut input, out);
    }

    /// The rows of a norm or a gate, as integers alone.
    fn rounded(&mut self, step: &Step) -> bool {
        let Device { cpu, weights, .. } = self.device;
        let (values, written) = self.work.parts(self.plan);
        let width = self.plan.value(step.out).width;
        let out = written.quantised.integers_of(step.out);
        match &step.op {
            Op::RmsNorm { x, gain, eps } => {
                let (x, gain) = (values.get(*x), weights.vector(*gain));
                out.fill(|out| kernels::quantise_norm(cpu, x, gain, *eps, out));
            }
            Op::Glu { gate, up, act } => {
                let (gate, up) = (values.get(*gate), values.get(*up));
                let act = activation(*act);
                out.fill(|out| kernels::quantise_glu(cpu, act, gate, up, width, out));
            }
            Op::Embed { .. }
            | Op::LayerNorm { .. }
            | Op::Linear { .. }
            | Op::Rope { .. }
            | Op::Attention { .. }
            | Op::Conv1d { .. }
            | Op::GatedDelta { .. }
            | Op::Act { .. }
            | Op::Moe { .. }
            | Op::Add { .. }
            | Op::TakeRows { .. }
            | Op::Pool { .. } => unreachable!("only norms and gates have this role"),
        }
        true
    }

    /// A gate and both of its products, as integers alone.
    fn gate(&mut self, step: &Step, gate: Gate, [first, up]: [Packed<'_>; 2]) -> bool {
        let Op::Glu { act, .. } = step.op else {
            unreachable!("only gates have this role")
        };
        let cpu = &self.device.cpu;
        let (_, written) = self.work.parts(self.plan);
        let started = written.clocks.now();
        let Quantised {
            integers, of, next, ..
        } = written.quantised;
        debug_assert_eq!(*of, Some(gate.x), "its products rounded the value");
        let x = integers.rows();
        next.fill(|out| kernels::gate_packed(cpu, activation(act), first, up, x, out));
        std::mem::swap(integers, next);
        *of = Some(step.out);
        written.clocks.multiplied(gate.product, started);
        true
    }
}
