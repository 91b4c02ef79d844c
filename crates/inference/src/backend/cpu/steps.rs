//! Runs the steps of a plan over a batch: finds each step's inputs, output buffer, weights and memory, and calls its kernel.

use std::ops::Range;

use lattice_kernels::{
    self as kernels, Activation, AttendShape, ConvShape, DeltaInputs, Dense, DenseData, KvSpan,
    LayerNorm, PanelFormat, PanelInput, PanelOut, PoolKind, RopeTable, Sees, StateSpan,
    WholeInputs,
};

use super::super::profile::Clocks;
use super::super::table::Layout;
use super::super::{Limits, RunError};
use super::Device;
use super::memory::{FixedState, KvPool, Memory, Table};
use super::mixture::Mixture;
use super::panels::{Attended, RoundedRows};
use super::products::Quantised;
use crate::plan::{
    Act, Arena, HeadShape, Index, Mask, Op, Plan, Pooling, RopeShape, Rows, StateId, Step, Val,
    WeightId,
};

/// The angles of the rope steps that share them.
pub(super) struct Rope {
    inv_freq: Vec<f64>,
    factor: f64,
    table: RopeTable,
}

impl Rope {
    fn fits(&self, shape: &RopeShape) -> bool {
        self.inv_freq == shape.inv_freq && self.factor == shape.factor
    }
}

/// One table for each set of angles in the plan, for positions below `positions`.
pub(super) fn rope_tables(plan: &Plan, positions: usize) -> Vec<Rope> {
    let mut ropes: Vec<Rope> = Vec::new();
    for step in &plan.steps {
        if let Op::Rope { shape, .. } = &step.op
            && !ropes.iter().any(|rope| rope.fits(shape))
        {
            let table = RopeTable::scaled(&shape.inv_freq, positions, shape.factor);
            ropes.push(Rope {
                inv_freq: shape.inv_freq.clone(),
                factor: shape.factor,
                table,
            });
        }
    }
    ropes
}

/// The buffers of a batch and where each value lies in them.
pub(super) struct Work {
    arena: Arena,
    buffers: Vec<Vec<f32>>,
    /// The batch as rows.
    pub(super) layout: Layout,
    mixture: Mixture,
    quantised: Quantised,
    /// What products in panels read.
    pub(super) rounded: RoundedRows,
    /// What attention reads.
    pub(super) attended: Attended,
    /// The rows of each entry.
    whole_spans: Vec<Range<usize>>,
    kv_spans: Vec<KvSpan<'static>>,
    state_spans: Vec<StateSpan>,
    pub(super) clocks: Clocks,
}

/// Floats of a line of the caches: kernels read and write whole ones fastest.
const LINE: usize = 16;

/// Where in a buffer values begin: on a line.
fn line_start(buffer: &[f32]) -> usize {
    let offset = buffer.as_ptr().align_offset(LINE * size_of::<f32>());
    // It may say that it does not know.
    if offset < LINE { offset } else { 0 }
}

/// Rows that a value has in the largest batch.
fn rows_max(rows: Rows, limits: &Limits) -> usize {
    match rows {
        Rows::Tokens => limits.batch_tokens_max,
        Rows::Outputs => limits.output_rows_max,
    }
}

/// The values of a batch, to read.
pub(super) struct Values<'a> {
    plan: &'a Plan,
    arena: &'a Arena,
    buffers: &'a [Vec<f32>],
    tokens: usize,
    outputs: usize,
}

/// What is written beside the values while they are read.
pub(super) struct Written<'a> {
    mixture: &'a mut Mixture,
    pub(super) quantised: &'a mut Quantised,
    pub(super) clocks: &'a mut Clocks,
}

impl<'a> Values<'a> {
    /// Rows of a value.
    pub(super) fn rows(&self, val: Val) -> usize {
        match self.plan.value(val).rows {
            Rows::Tokens => self.tokens,
            Rows::Outputs => self.outputs,
        }
    }

    fn len(&self, val: Val) -> usize {
        self.rows(val) * self.plan.value(val).width
    }

    /// `[rows, width]` of a value.
    pub(super) fn get(&self, val: Val) -> &'a [f32] {
        let buffer = &self.buffers[self.arena.slot_of[val.index()]];
        &buffer[line_start(buffer)..][..self.len(val)]
    }
}

impl Work {
    /// Buffers for the largest batch.
    pub(super) fn for_limits(plan: &Plan, limits: &Limits, device: &Device) -> Self {
        let arena = Arena::of_groups(plan, &device.panels.fused.ends);
        let sizes = arena.widths.iter().zip(&arena.rows);
        Self {
            buffers: sizes
                .map(|(width, kind)| vec![0.0; width * rows_max(*kind, limits) + LINE - 1])
                .collect(),
            layout: Layout::for_limits(limits),
            mixture: Mixture::for_plan(plan, limits.batch_tokens_max, device),
            quantised: Quantised::for_limits(plan, limits, device),
            rounded: RoundedRows::default(),
            attended: Attended::default(),
            whole_spans: Vec::with_capacity(limits.sequences_max),
            kv_spans: Vec::with_capacity(limits.sequences_max),
            state_spans: Vec::with_capacity(limits.sequences_max),
            clocks: Clocks::default(),
            arena,
        }
    }

    /// The values as they lie after the last step that wrote each buffer.
    pub(super) fn values<'a>(&'a self, plan: &'a Plan) -> Values<'a> {
        let (tokens, outputs) = (self.layout.ids.len(), self.layout.outputs.len());
        Values {
            plan,
            arena: &self.arena,
            buffers: &self.buffers,
            tokens,
            outputs,
        }
    }

    /// The values to read, and what is written while they are.
    pub(super) fn parts<'a>(&'a mut self, plan: &'a Plan) -> (Values<'a>, Written<'a>) {
        let (tokens, outputs) = (self.layout.ids.len(), self.layout.outputs.len());
        let values = Values {
            plan,
            arena: &self.arena,
            buffers: &self.buffers,
            tokens,
            outputs,
        };
        let written = Written {
            mixture: &mut self.mixture,
            quantised: &mut self.quantised,
            clocks: &mut self.clocks,
        };
        (values, written)
    }

    /// Takes the buffer of `val`.
    pub(super) fn take(&mut self, plan: &Plan, val: Val) -> Taken {
        let slot = self.arena.slot_of[val.index()];
        let len = self.values(plan).len(val);
        let buffer = std::mem::take(&mut self.buffers[slot]);
        Taken { slot, buffer, len }
    }

    /// Puts a buffer where it was.
    pub(super) fn put_back(&mut self, taken: Taken) {
        self.buffers[taken.slot] = taken.buffer;
    }

    /// Runs all steps over the batch in `self.layout`, for which `memory` has room.
    pub(super) fn run(
        &mut self,
        plan: &Plan,
        device: &Device,
        memory: &mut Memory,
    ) -> Result<(), RunError> {
        // The values of this batch are others.
        self.quantised.forget();
        self.rounded.forget();
        self.attended.forget();
        self.whole_spans.clear();
        let rows = self.layout.spans.iter().map(|span| span.rows.clone());
        self.whole_spans.extend(rows);
        let Memory { table, kv, fixed } = memory;
        let mut kv_spans = recycled(std::mem::take(&mut self.kv_spans));
        fill_kv_spans(&self.layout, table, &mut kv_spans)?;
        let mut batch = Running {
            work: self,
            plan,
            device,
            table,
            kv,
            fixed,
            spans: &kv_spans,
        };
        let mut steps = plan.steps.iter().enumerate();
        let result = steps.try_for_each(|(index, step)| batch.step(index, step));
        self.kv_spans = recycled(kv_spans);
        result
    }
}

/// The buffer of a value, taken out to be written while others are read.
pub(super) struct Taken {
    slot: usize,
    buffer: Vec<f32>,
    len: usize,
}

impl Taken {
    /// `[rows, width]` of the value.
    pub(super) fn values(&mut self) -> &mut [f32] {
        let start = line_start(&self.buffer);
        &mut self.buffer[start..][..self.len]
    }
}

/// The same memory for spans of another lifetime: an empty vector keeps what it had reserved.
fn recycled<'b>(mut spans: Vec<KvSpan<'_>>) -> Vec<KvSpan<'b>> {
    spans.clear();
    spans
        .into_iter()
        .map(|_| unreachable!("it was cleared"))
        .collect()
}

fn fill_kv_spans<'a>(
    layout: &Layout,
    table: &'a Table,
    spans: &mut Vec<KvSpan<'a>>,
) -> Result<(), RunError> {
    for span in &layout.spans {
        let page_table = &table.get(span.sequence)?.memory.pages;
        let (rows, first_position) = (span.rows.clone(), span.first_position);
        spans.push(KvSpan {
            rows,
            first_position,
            page_table,
        });
    }
    Ok(())
}

/// A batch on its way through the plan.
pub(super) struct Running<'a> {
    pub(super) work: &'a mut Work,
    pub(super) plan: &'a Plan,
    pub(super) device: &'a Device,
    table: &'a Table,
    kv: &'a mut KvPool,
    fixed: &'a mut FixedState,
    /// Where the batch's rows go in the sequences' keys and values.
    spans: &'a [KvSpan<'a>],
}

impl Running<'_> {
    fn step(&mut self, index: usize, step: &Step) -> Result<(), RunError> {
        let started = self.work.clocks.now();
        let result = match self.play_panels(index, step) || self.play(index, step) {
            true => Ok(()),
            false => {
                let mut out = self.work.take(self.plan, step.out);
                let result = self.compute(&step.op, out.values());
                self.work.put_back(out);
                result
            }
        };
        let Work { clocks, layout, .. } = &mut *self.work;
        clocks.stepped(index, started, layout);
        result
    }

    fn compute(&mut self, op: &Op, out: &mut [f32]) -> Result<(), RunError> {
        let values = self.work.values(self.plan);
        let Device {
            cpu,
            weights,
            ropes,
            ..
        } = self.device;
        let layout = &self.work.layout;
        match op {
            Op::Embed { table, by } => self.embed(*table, *by, out),
            Op::RmsNorm { x, gain, eps } => {
                kernels::rms_norm(cpu, values.get(*x), weights.vector(*gain), *eps, out);
            }
            Op::LayerNorm { x, gain, bias, eps } => {
                let (gain, bias) = (weights.vector(*gain), weights.vector(*bias));
                let norm = LayerNorm {
                    gain,
                    bias,
                    eps: *eps,
                };
                kernels::layer_norm(cpu, values.get(*x), norm, out);
            }
            Op::Linear { .. } => self.linear(op, out),
            Op::Rope { x, shape } => {
                let rope = ropes.iter().find(|rope| rope.fits(shape));
                let table = &rope.expect("a table was made for every rope step").table;
                let (heads, head_dim) = (shape.heads, shape.head_dim);
                let rotary_dim = 2 * shape.inv_freq.len();
                let shape = kernels::RopeShape {
                    heads,
                    head_dim,
                    rotary_dim,
                };
                kernels::rope(cpu, shape, table, &layout.positions, values.get(*x), out);
            }
            Op::Act { x, act } => kernels::act(cpu, activation(*act), values.get(*x), out),
            Op::Glu { gate, up, act } => {
                let widths = (self.plan.value(*gate).width, self.plan.value(*up).width);
                let (gate, up) = (values.get(*gate), values.get(*up));
                kernels::glu(cpu, activation(*act), gate, widths.0, up, widths.1, out);
            }
            Op::Add { a, b } => kernels::add(cpu, values.get(*a), values.get(*b), out),
            Op::TakeRows { x } => {
                let width = self.plan.value(*x).width;
                for (out, row) in out.chunks_exact_mut(width).zip(&layout.outputs) {
                    out.copy_from_slice(&values.get(*x)[*row as usize * width..][..width]);
                }
            }
            Op::Pool { x, pooling } => {
                let width = self.plan.value(*x).width;
                let kind = pool_kind(*pooling);
                let texts = (&layout.pooled[..], &layout.positions[..]);
                kernels::pool_rows(cpu, kind, texts, values.get(*x), width, out);
            }
            Op::Moe { .. } => self.mixture(op, out),
            Op::Attention { .. } => self.attention(op, out),
            Op::Conv1d { .. } => self.conv1d(op, out)?,
            Op::GatedDelta { .. } => self.gated_delta(op, out)?,
        }
        Ok(())
    }

    fn embed(&self, table: WeightId, by: Index, out: &mut [f32]) {
        let Device { cpu, weights, .. } = self.device;
        let layout = &self.work.layout;
        let (ids, first) = match by {
            Index::Token => return weights.matrix(table).embed(cpu, &layout.ids, out),
            Index::Position { first } => (&layout.positions, first),
            Index::Type => (&layout.types, 0),
        };
        let [rows, columns] = self.plan.weight(table).shape[..] else {
            unreachable!("the plan checker saw two dimensions")
        };
        let values = &weights.vector(table)[first * columns..];
        let table = Dense::new(DenseData::F32(values), rows - first, columns);
        kernels::embed(cpu, table, ids, out);
    }

    fn mixture(&mut self, op: &Op, out: &mut [f32]) {
        let Op::Moe { x, router, experts } = op else {
            unreachable!("called for mixtures only")
        };
        let [count, ffn, hidden] = self.plan.weight(experts.gate).shape[..] else {
            unreachable!("the plan checker saw three dimensions")
        };
        let (values, Written { mixture, .. }) = self.work.parts(self.plan);
        let inputs = (values.get(*x), values.get(*router));
        mixture.run(self.device, experts, (count, ffn, hidden), inputs, out);
    }

    fn attention(&mut self, op: &Op, out: &mut [f32]) {
        let Op::Attention {
            q,
            k,
            v,
            state,
            shape,
            scale,
            mask,
        } = op
        else {
            unreachable!("called for attention only")
        };
        let shape = attend_shape(*shape, *scale, *mask);
        let Some(state) = state else {
            return self.whole_attention(op, PanelOut::Plain(out));
        };
        let (cpu, layout) = (&self.device.cpu, shape.layout());
        let values = self.work.values(self.plan);
        let (q, k, v) = (values.get(*q), values.get(*k), values.get(*v));
        let (place, spans) = (self.kv.place(*state), self.spans);
        kernels::kv_store(cpu, layout, place, self.kv.slice(), spans, k, v);
        kernels::attend(cpu, shape, place, self.kv.view(), spans, q, out);
    }

    /// Attention that remembers nothing.
    pub(super) fn whole_attention(&mut self, op: &Op, out: PanelOut<'_>) {
        let Op::Attention {
            q,
            k,
            v,
            shape,
            scale,
            mask,
            ..
        } = op
        else {
            unreachable!("called for attention only")
        };
        let shape = attend_shape(*shape, *scale, *mask);
        let Device { cpu, panels, .. } = self.device;
        let mut attended = std::mem::take(&mut self.work.attended);
        let values = self.work.values(self.plan);
        let vals = [*q, *k, *v];
        let [q, k, v] = match panels.attends_in(cpu, shape.head_dim) {
            PanelFormat::F32 => vals.map(|val| PanelInput::Plain(values.get(val))),
            PanelFormat::Bf16 | PanelFormat::Int8 => attended.inputs(cpu, vals, |val| {
                (values.get(val), self.plan.value(val).width)
            }),
        };
        let inputs = WholeInputs { q, k, v };
        kernels::attend_whole(cpu, shape, &self.work.whole_spans, inputs, out);
        self.work.attended = attended;
    }

    fn conv1d(&mut self, op: &Op, out: &mut [f32]) -> Result<(), RunError> {
        let Op::Conv1d {
            x,
            weight,
            state,
            act,
        } = op
        else {
            unreachable!("called for convolutions only")
        };
        self.fill_state_spans(*state)?;
        let taps = self.device.weights.vector(*weight);
        let channels = self.plan.value(*x).width;
        let kernel = taps.len() / channels;
        let shape = ConvShape {
            channels,
            kernel,
            activation: act.map(activation),
        };
        let (x, spans) = (self.work.values(self.plan).get(*x), &self.work.state_spans);
        kernels::conv1d_causal(
            &self.device.cpu,
            shape,
            spans,
            taps,
            x,
            self.fixed.values(),
            out,
        );
        Ok(())
    }

    fn gated_delta(&mut self, op: &Op, out: &mut [f32]) -> Result<(), RunError> {
        let Op::GatedDelta {
            qkv,
            a,
            b,
            a_log,
            dt_bias,
            state,
            shape,
        } = op
        else {
            unreachable!("called for the delta rule only")
        };
        self.fill_state_spans(*state)?;
        let shape = kernels::DeltaShape {
            key_heads: shape.key_heads,
            value_heads: shape.value_heads,
            key_dim: shape.key_dim,
            value_dim: shape.value_dim,
        };
        let Device { cpu, weights, .. } = self.device;
        let values = self.work.values(self.plan);
        let inputs = DeltaInputs {
            qkv: values.get(*qkv),
            a: values.get(*a),
            b: values.get(*b),
            a_log: weights.vector(*a_log),
            dt_bias: weights.vector(*dt_bias),
        };
        let spans = &self.work.state_spans;
        kernels::gated_delta(cpu, shape, spans, inputs, self.fixed.values(), out);
        Ok(())
    }

    /// Where each span's recurrent state lies.
    fn fill_state_spans(&mut self, state: StateId) -> Result<(), RunError> {
        let Work {
            layout,
            state_spans,
            ..
        } = &mut *self.work;
        state_spans.clear();
        for span in &layout.spans {
            let place = self.table.get(span.sequence)?.memory.place;
            let state = self.fixed.offset(place, state);
            state_spans.push(StateSpan {
                rows: span.rows.clone(),
                state,
            });
        }
        Ok(())
    }
}

fn attend_shape(shape: HeadShape, scale: f32, mask: Mask) -> AttendShape {
    AttendShape {
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        scale,
        sees: match mask {
            Mask::Causal => Sees::Past,
            Mask::Window(keys) => Sees::Last(keys),
            Mask::Bidirectional => Sees::All,
        },
    }
}

/// The kernel of an activation.
pub(super) fn activation(act: Act) -> Activation {
    match act {
        Act::Silu => Activation::Silu,
        Act::Sigmoid => Activation::Sigmoid,
        Act::Gelu => Activation::Gelu,
        Act::GeluTanh => Activation::GeluTanh,
        Act::Relu => Activation::Relu,
        Act::Tanh => Activation::Tanh,
    }
}

fn pool_kind(pooling: Pooling) -> PoolKind {
    match pooling {
        Pooling::Cls => PoolKind::First,
        Pooling::LastToken => PoolKind::Last,
        Pooling::Mean => PoolKind::Mean,
        Pooling::Max => PoolKind::Max,
        Pooling::MeanSqrtLen => PoolKind::MeanSqrtLen,
        Pooling::WeightedMean => PoolKind::WeightedMean,
    }
}
