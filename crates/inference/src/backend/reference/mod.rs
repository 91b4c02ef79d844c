//! The reference backend: the definition of every operation. Plain loops, f32, one thread, no unsafe.
//!
//! In: a plan and a checkpoint, all of which it keeps as f32. Out: what every other backend is measured against.
//! It is slow and allocates as it goes; it knows no formats and no instruction sets.

mod ops;

use std::sync::Arc;

use super::table::{Layout, SequenceTable};
use super::{
    Backend, Batch, Limits, LoadOptions, Outputs, PrefixId, RunError, Runner, SequenceId, Snapshot,
    weights,
};
use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::plan::{Act, Experts, Index, Mask, Op, Plan, Rows, State, Step, Val, WeightId};
use ops::{DeltaInput, Matrix};

/// The reference device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn load(
        &self,
        plan: Arc<Plan>,
        checkpoint: Arc<Checkpoint>,
        options: &LoadOptions,
    ) -> Result<Box<dyn Runner>, Error> {
        weights::check_forms(&plan, &checkpoint)?;
        let finite = weights::tensors(&plan, |_| !options.allow_non_finite);
        weights::check_values(&checkpoint, &finite, &|count, task| {
            (0..count).for_each(task);
        })?;
        let mut matrices = Vec::with_capacity(plan.weights.len());
        for weight in &plan.weights {
            let values = weights::f32_values(weight, &checkpoint)?;
            matrices.push(Matrix {
                columns: weight.columns(),
                values,
            });
        }
        // From here on all of it is in our own memory.
        checkpoint.unchanged()?;
        let limits = options.limits(&plan);
        Ok(Box::new(ReferenceRunner {
            weights: matrices,
            values: vec![Vec::new(); plan.values.len()],
            table: SequenceTable::new(limits),
            layout: Layout::for_limits(&limits),
            plan,
        }))
    }
}

/// Memory of one piece of state of one sequence.
#[derive(Debug, Clone)]
enum Memory {
    /// Keys and values, `[tokens][kv_heads * head_dim]` each.
    Kv {
        row: usize,
        keys: Vec<f32>,
        values: Vec<f32>,
    },
    /// Recurrent state.
    Fixed(Vec<f32>),
}

impl Memory {
    fn empty(state: &State) -> Self {
        match *state {
            State::Kv { kv_heads, head_dim } => Self::Kv {
                row: kv_heads * head_dim,
                keys: Vec::new(),
                values: Vec::new(),
            },
            State::Conv { .. } | State::Delta { .. } => Self::Fixed(vec![0.0; state.fixed_len()]),
        }
    }

    fn cut(&mut self, tokens: usize) {
        match self {
            Self::Kv { row, keys, values } => {
                keys.truncate(tokens * *row);
                values.truncate(tokens * *row);
            }
            Self::Fixed(state) if tokens == 0 => state.fill(0.0),
            Self::Fixed(_) => {}
        }
    }
}

struct ReferenceRunner {
    plan: Arc<Plan>,
    weights: Vec<Matrix>,
    values: Vec<Vec<f32>>,
    table: SequenceTable<Vec<Memory>, Vec<Memory>>,
    layout: Layout,
}

impl Runner for ReferenceRunner {
    fn limits(&self) -> Limits {
        self.table.limits()
    }

    fn open(&mut self) -> Result<SequenceId, RunError> {
        self.table.admit()?;
        Ok(self
            .table
            .insert(0, self.plan.states.iter().map(Memory::empty).collect()))
    }

    fn keep(&mut self, sequence: SequenceId, tokens: usize) -> Result<PrefixId, RunError> {
        self.table.check_keep(sequence, tokens)?;
        let mut memory = self.table.get(sequence)?.memory.clone();
        memory.iter_mut().for_each(|memory| memory.cut(tokens));
        Ok(self.table.keep(tokens, memory))
    }

    fn open_from(
        &mut self,
        prefix: PrefixId,
        tokens: usize,
        state: Option<&Snapshot>,
    ) -> Result<SequenceId, RunError> {
        let fixed = self.plan.states.iter().map(State::fixed_len).sum();
        self.table.check_open_from(prefix, tokens, state, fixed)?;
        let mut memory = self.table.kept(prefix)?.memory.clone();
        memory.iter_mut().for_each(|memory| memory.cut(tokens));
        let sequence = self.table.insert(tokens, memory);
        if let Some(state) = state {
            self.restore(sequence, state)?;
        }
        Ok(sequence)
    }

    fn release(&mut self, prefix: PrefixId) {
        self.table.release(prefix);
    }

    fn tokens(&self, sequence: SequenceId) -> Result<usize, RunError> {
        Ok(self.table.get(sequence)?.tokens)
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), RunError> {
        self.table.check_cut(sequence, tokens)?;
        let slot = self.table.get_mut(sequence)?;
        slot.memory.iter_mut().for_each(|memory| memory.cut(tokens));
        slot.tokens = tokens;
        Ok(())
    }

    fn snapshot(&mut self, sequence: SequenceId) -> Result<Snapshot, RunError> {
        let slot = self.table.get(sequence)?;
        let mut state = Vec::new();
        for memory in &slot.memory {
            if let Memory::Fixed(values) = memory {
                state.extend_from_slice(values);
            }
        }
        Ok(Snapshot {
            tokens: slot.tokens,
            state: state.into(),
        })
    }

    fn restore(&mut self, sequence: SequenceId, snapshot: &Snapshot) -> Result<(), RunError> {
        let fixed: usize = self.plan.states.iter().map(State::fixed_len).sum();
        let slot = self.table.get_mut(sequence)?;
        if snapshot.tokens > slot.tokens || snapshot.state.len() != fixed {
            return Err(RunError::BadRestore {
                tokens: slot.tokens,
                wanted: snapshot.tokens,
            });
        }
        let mut rest = &snapshot.state[..];
        for memory in &mut slot.memory {
            memory.cut(snapshot.tokens);
            if let Memory::Fixed(values) = memory {
                let (state, after) = rest.split_at(values.len());
                values.copy_from_slice(state);
                rest = after;
            }
        }
        slot.tokens = snapshot.tokens;
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.table.remove(sequence);
    }

    fn run(&mut self, batch: &Batch<'_>) -> Result<Outputs<'_>, RunError> {
        self.table.lay_out(batch, &mut self.layout)?;
        let plan = Arc::clone(&self.plan);
        for step in &plan.steps {
            let out = self.step(step)?;
            self.values[step.out.index()] = out;
        }
        self.table.commit(&self.layout.spans);
        let width = plan.value(plan.output).width;
        Ok(Outputs {
            rows: &self.values[plan.output.index()],
            width,
        })
    }
}

impl ReferenceRunner {
    fn weight(&self, id: WeightId) -> &Matrix {
        &self.weights[id.index()]
    }

    fn vector(&self, id: WeightId) -> &[f32] {
        &self.weights[id.index()].values
    }

    fn row(&self, val: Val, row: usize) -> &[f32] {
        let width = self.plan.value(val).width;
        &self.values[val.index()][row * width..][..width]
    }

    /// The step's value, one row after the other.
    fn step(&mut self, step: &Step) -> Result<Vec<f32>, RunError> {
        if step.op.state().is_some() {
            return self.stateful(&step.op);
        }
        let rows = match self.plan.value(step.out).rows {
            Rows::Tokens => self.layout.ids.len(),
            Rows::Outputs => self.layout.outputs.len(),
        };
        if let Op::Attention { .. } = step.op {
            return Ok(self.attend_within(&step.op));
        }
        Ok((0..rows)
            .flat_map(|row| self.row_of(&step.op, row))
            .collect())
    }

    /// Row `row` of an operation that looks at no other row.
    fn row_of(&self, op: &Op, row: usize) -> Vec<f32> {
        match op {
            Op::Embed { table, by } => {
                let of_row = match by {
                    Index::Token => self.layout.ids[row] as usize,
                    Index::Position { first } => first + self.layout.positions[row] as usize,
                    Index::Type => self.layout.types[row] as usize,
                };
                self.weight(*table).row(of_row).to_vec()
            }
            Op::RmsNorm { x, gain, eps } => {
                ops::rms_norm(self.row(*x, row), self.vector(*gain), *eps)
            }
            Op::LayerNorm { x, gain, bias, eps } => {
                let (gain, bias) = (self.vector(*gain), self.vector(*bias));
                ops::layer_norm(self.row(*x, row), gain, bias, *eps)
            }
            Op::Linear { x, weight, bias } => {
                let bias = bias.map(|id| self.vector(id));
                ops::linear(self.row(*x, row), self.weight(*weight), bias)
            }
            Op::Rope { x, shape } => ops::rope(
                self.row(*x, row),
                shape,
                self.layout.positions[row] as usize,
            ),
            Op::Act { x, act } => {
                let x = self.row(*x, row).iter();
                x.map(|x| ops::act(*act, *x)).collect()
            }
            Op::Glu { gate, up, act } => {
                let gate = self.row(*gate, row);
                let gate_at = |i: usize| if gate.len() == 1 { gate[0] } else { gate[i] };
                let up = self.row(*up, row).iter().enumerate();
                up.map(|(i, up)| ops::act(*act, gate_at(i)) * up).collect()
            }
            Op::Moe { x, router, experts } => self.mixture(*x, *router, experts, row),
            Op::Add { a, b } => {
                let pairs = self.row(*a, row).iter().zip(self.row(*b, row));
                pairs.map(|(a, b)| a + b).collect()
            }
            Op::TakeRows { x } => self.row(*x, self.layout.outputs[row] as usize).to_vec(),
            Op::Pool { x, pooling } => {
                let rows = self.layout.pooled[row].clone();
                let rows: Vec<&[f32]> = rows.map(|row| self.row(*x, row)).collect();
                ops::pool(&rows, *pooling)
            }
            Op::Attention { .. } | Op::Conv1d { .. } | Op::GatedDelta { .. } => {
                unreachable!(
                    "steps that look at other rows are run by `stateful` and `attend_within`"
                )
            }
        }
    }

    fn mixture(&self, x: Val, router: Val, experts: &Experts, row: usize) -> Vec<f32> {
        let x = self.row(x, row);
        let ffn = self.plan.weight(experts.gate).shape[1];
        let mut out = vec![0.0; x.len()];
        let chosen = ops::route(self.row(router, row), experts.top_k, experts.renormalise);
        for (expert, weight) in chosen {
            let gate = ops::linear(x, &self.weight(experts.gate).slice(expert, ffn), None);
            let up = ops::linear(x, &self.weight(experts.up).slice(expert, ffn), None);
            let inner: Vec<f32> = gate
                .iter()
                .zip(&up)
                .map(|(g, u)| ops::act(Act::Silu, *g) * u)
                .collect();
            let down = ops::linear(
                &inner,
                &self.weight(experts.down).slice(expert, x.len()),
                None,
            );
            out.iter_mut()
                .zip(&down)
                .for_each(|(out, down)| *out += weight * down);
        }
        out
    }

    /// Attention without memory: each row over the rows of its own entry.
    fn attend_within(&self, op: &Op) -> Vec<f32> {
        let Op::Attention {
            q,
            k,
            v,
            shape,
            scale,
            mask,
            ..
        } = *op
        else {
            unreachable!("called for attention only")
        };
        let mut out = Vec::new();
        for span in &self.layout.spans {
            for row in span.rows.clone() {
                let start = span.rows.start;
                let keys = match mask {
                    Mask::Causal => start..row + 1,
                    Mask::Window(keys) => start.max((row + 1).saturating_sub(keys))..row + 1,
                    Mask::Bidirectional => span.rows.clone(),
                };
                let seen = |val: Val| {
                    let width = self.plan.value(val).width;
                    &self.values[val.index()][keys.start * width..keys.end * width]
                };
                out.extend(ops::attend(
                    self.row(q, row),
                    seen(k),
                    seen(v),
                    shape,
                    scale,
                ));
            }
        }
        out
    }

    /// A step with sequence memory: token by token, sequence by sequence.
    fn stateful(&mut self, op: &Op) -> Result<Vec<f32>, RunError> {
        let mut out = Vec::new();
        for span in self.layout.spans.clone() {
            let state = op.state().expect("only steps with state come here");
            let slot = self.table.get_mut(span.sequence)?;
            let mut memory =
                std::mem::replace(&mut slot.memory[state.index()], Memory::Fixed(Vec::new()));
            for row in span.rows.clone() {
                out.extend(self.stateful_row(op, row, &mut memory));
            }
            self.table.get_mut(span.sequence)?.memory[state.index()] = memory;
        }
        Ok(out)
    }

    fn stateful_row(&self, op: &Op, row: usize, memory: &mut Memory) -> Vec<f32> {
        match (op, memory) {
            (
                Op::Attention {
                    q,
                    k,
                    v,
                    shape,
                    scale,
                    mask,
                    ..
                },
                Memory::Kv {
                    keys,
                    values,
                    row: width,
                },
            ) => {
                keys.extend_from_slice(self.row(*k, row));
                values.extend_from_slice(self.row(*v, row));
                let hidden = match mask {
                    Mask::Window(seen) => (keys.len() / *width).saturating_sub(*seen) * *width,
                    Mask::Causal | Mask::Bidirectional => 0,
                };
                let (keys, values) = (&keys[hidden..], &values[hidden..]);
                ops::attend(self.row(*q, row), keys, values, *shape, *scale)
            }
            (Op::Conv1d { x, weight, act, .. }, Memory::Fixed(state)) => {
                ops::conv1d(self.row(*x, row), self.weight(*weight), state, *act)
            }
            (
                Op::GatedDelta {
                    qkv,
                    a,
                    b,
                    a_log,
                    dt_bias,
                    shape,
                    ..
                },
                Memory::Fixed(state),
            ) => {
                let input = DeltaInput {
                    qkv: self.row(*qkv, row),
                    a: self.row(*a, row),
                    b: self.row(*b, row),
                    a_log: self.vector(*a_log),
                    dt_bias: self.vector(*dt_bias),
                };
                ops::gated_delta(&input, state, *shape)
            }
            _ => unreachable!("the plan checker matched each step with its kind of memory"),
        }
    }
}
