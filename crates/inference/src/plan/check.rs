//! Checks a plan: every step finds its inputs defined before it, in the shapes it needs.

use super::{
    DeltaShape, Fold, Index, Mask, Op, Part, Plan, Rows, State, StateId, Step, Val, Weight,
    WeightId,
};

/// A plan that cannot be run: a fault of the family or pass that made it, or of a configuration it believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plan step {step} ({op} `{name}`): {reason}")]
pub struct PlanError {
    /// Place in the plan.
    pub step: usize,
    /// Kind of operation.
    pub op: &'static str,
    /// The step's checkpoint path.
    pub name: String,
    /// What does not fit.
    pub reason: String,
}

impl Plan {
    /// Checks order, shapes, weights and state of every step.
    pub fn check(&self) -> Result<(), PlanError> {
        let mut defined = vec![false; self.values.len()];
        let mut used = vec![false; self.states.len()];
        for (index, step) in self.steps.iter().enumerate() {
            Checker {
                plan: self,
                step,
                defined: &defined,
            }
            .step(&mut used)
            .map_err(|reason| PlanError::at(index, step, reason))?;
            defined[step.out.index()] = true;
        }
        let last = self.steps.last().filter(|step| step.out == self.output);
        match last {
            Some(step) if self.value(step.out).rows == Rows::Outputs => Ok(()),
            Some(step) => Err(PlanError::at(
                self.steps.len() - 1,
                step,
                "the output must have the rows that the batch asks for".to_owned(),
            )),
            None => Err(PlanError {
                step: self.steps.len(),
                op: "end",
                name: self.family.clone(),
                reason: "the last step must define the output".to_owned(),
            }),
        }
    }
}

impl PlanError {
    fn at(index: usize, step: &Step, reason: String) -> Self {
        Self {
            step: index,
            op: step.op.kind(),
            name: step.name.clone(),
            reason,
        }
    }
}

struct Checker<'a> {
    plan: &'a Plan,
    step: &'a Step,
    defined: &'a [bool],
}

/// Values of one weight, one row or one piece of state: more than any model has, and the sums over a plan still fit.
const VALUES_MAX: u64 = 1 << 44;

/// Refuses sizes whose product is beyond [`VALUES_MAX`], before anything multiplies them.
fn countable(what: &str, sizes: &[usize]) -> Result<(), String> {
    let max = VALUES_MAX.min(isize::MAX as u64 / 8);
    let values = sizes
        .iter()
        .try_fold(1u64, |values, size| values.checked_mul(*size as u64));
    if values.is_some_and(|values| values <= max) {
        return Ok(());
    }
    Err(format!("{what} {sizes:?} is more than {max} values"))
}

fn countable_state(state: State) -> Result<(), String> {
    let what = "sequence memory of";
    match state {
        State::Kv { kv_heads, head_dim } => countable(what, &[2, kv_heads, head_dim]),
        State::Conv { channels, taps } => countable(what, &[channels, taps]),
        State::Delta {
            heads,
            key_dim,
            value_dim,
        } => countable(what, &[heads, key_dim, value_dim]),
    }
}

fn same(what: &str, expected: usize, found: usize) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what} must be {expected}, is {found}"))
}

fn divides(what: &str, part: usize, whole: usize) -> Result<(), String> {
    if part > 0 && whole.is_multiple_of(part) {
        return Ok(());
    }
    Err(format!("{what}: {part} does not divide {whole}"))
}

impl Checker<'_> {
    fn width(&self, val: Val) -> usize {
        self.plan.value(val).width
    }

    fn shape(&self, id: WeightId) -> &[usize] {
        &self.plan.weight(id).shape
    }

    fn step(&self, used: &mut [bool]) -> Result<(), String> {
        let out = self.plan.value(self.step.out);
        countable("a row of", &[out.width])?;
        if self.defined[self.step.out.index()] {
            return Err("its value is defined twice".to_owned());
        }
        for input in self.step.op.inputs() {
            if !self.defined[input.index()] {
                return Err(format!("value {} is read before it is defined", input.0));
            }
            let takes = matches!(self.step.op, Op::TakeRows { .. } | Op::Pool { .. });
            if self.plan.value(input).rows != if takes { Rows::Tokens } else { out.rows } {
                return Err(format!("value {} has rows of another kind", input.0));
            }
        }
        for id in self.step.op.weights() {
            check_weight(self.plan.weight(id))?;
        }
        if let Some(state) = self.step.op.state() {
            countable_state(self.plan.state(state))?;
            self.token_rows(out.rows)?;
            if std::mem::replace(&mut used[state.index()], true) {
                return Err("its sequence memory belongs to another step".to_owned());
            }
        }
        same("width", self.width_out()?, out.width)
    }

    fn token_rows(&self, rows: Rows) -> Result<(), String> {
        if rows == Rows::Tokens {
            return Ok(());
        }
        Err("sequence memory needs every token's row".to_owned())
    }

    /// The width the operation gives, after checking its inputs against it.
    fn width_out(&self) -> Result<usize, String> {
        match &self.step.op {
            Op::Embed { table, by } => self.embed(*table, *by),
            Op::RmsNorm { x, gain, .. } => {
                divides("gain", self.plan.weight(*gain).len(), self.width(*x))?;
                Ok(self.width(*x))
            }
            Op::LayerNorm { x, gain, bias, .. } => {
                let width = self.width(*x);
                same("length of the gain", width, self.plan.weight(*gain).len())?;
                same("length of the bias", width, self.plan.weight(*bias).len())?;
                Ok(width)
            }
            Op::Linear { x, weight, bias } => self.linear(*x, *weight, *bias),
            Op::Rope { x, shape } => {
                same("width of x", shape.heads * shape.head_dim, self.width(*x))?;
                if shape.inv_freq.is_empty() || 2 * shape.inv_freq.len() > shape.head_dim {
                    return Err(format!("{} angles per head", shape.inv_freq.len()));
                }
                Ok(self.width(*x))
            }
            Op::Attention { .. } => self.attention(),
            Op::Conv1d {
                x, weight, state, ..
            } => {
                let [channels, kernel] = *self.shape(*weight) else {
                    return Err("weight must be [channels, kernel]".to_owned());
                };
                same("width of x", channels, self.width(*x))?;
                self.state(
                    *state,
                    State::Conv {
                        channels,
                        taps: kernel - 1,
                    },
                )?;
                Ok(channels)
            }
            Op::GatedDelta { .. } => self.gated_delta(),
            Op::Glu { gate, up, .. } => {
                if self.width(*gate) != 1 {
                    same("width of the gate", self.width(*up), self.width(*gate))?;
                }
                Ok(self.width(*up))
            }
            Op::Moe { .. } => self.moe(),
            Op::Add { a, b } => {
                same("width of b", self.width(*a), self.width(*b))?;
                Ok(self.width(*a))
            }
            Op::Act { x, .. } | Op::TakeRows { x } | Op::Pool { x, .. } => Ok(self.width(*x)),
        }
    }

    fn embed(&self, table: WeightId, by: Index) -> Result<usize, String> {
        let [rows, columns] = *self.shape(table) else {
            return Err("the table must be [rows, columns]".to_owned());
        };
        let tokens = self.plan.context_tokens_max;
        match by {
            Index::Token => same("rows of the table", self.plan.vocab, rows)?,
            Index::Position { first } if first.checked_add(tokens).is_none_or(|end| end > rows) => {
                let place = format!("positions {first} and on of {rows} rows");
                return Err(format!("{place} are fewer than {tokens} tokens"));
            }
            Index::Position { .. } | Index::Type => {}
        }
        Ok(columns)
    }

    fn linear(&self, x: Val, weight: WeightId, bias: Option<WeightId>) -> Result<usize, String> {
        let [out, columns] = *self.shape(weight) else {
            return Err("weight must be [out, in]".to_owned());
        };
        same("width of x", columns, self.width(x))?;
        if let Some(bias) = bias {
            same("length of the bias", out, self.plan.weight(bias).len())?;
        }
        Ok(out)
    }

    fn attention(&self) -> Result<usize, String> {
        let Op::Attention {
            q,
            k,
            v,
            state,
            shape,
            mask,
            ..
        } = self.step.op
        else {
            return Err("not an attention step".to_owned());
        };
        divides("key/value heads", shape.kv_heads, shape.heads)?;
        same("width of q", shape.heads * shape.head_dim, self.width(q))?;
        same("width of k", shape.kv_heads * shape.head_dim, self.width(k))?;
        same("width of v", shape.kv_heads * shape.head_dim, self.width(v))?;
        if mask == Mask::Window(0) {
            return Err("a window of no keys".to_owned());
        }
        if state.is_some() && mask == Mask::Bidirectional {
            return Err("a row cannot see keys that are still to come".to_owned());
        }
        if state.is_none() && mask != Mask::Bidirectional {
            return Err("rows that remember nothing see all of their sequence".to_owned());
        }
        if let Some(state) = state {
            let (kv_heads, head_dim) = (shape.kv_heads, shape.head_dim);
            self.state(state, State::Kv { kv_heads, head_dim })?;
        }
        Ok(self.width(q))
    }

    fn gated_delta(&self) -> Result<usize, String> {
        let Op::GatedDelta {
            qkv,
            a,
            b,
            a_log,
            dt_bias,
            state,
            shape,
        } = self.step.op
        else {
            return Err("not a delta step".to_owned());
        };
        let DeltaShape {
            key_heads,
            value_heads: heads,
            key_dim,
            value_dim,
        } = shape;
        divides("key heads", key_heads, heads)?;
        same(
            "width of qkv",
            2 * key_heads * key_dim + heads * value_dim,
            self.width(qkv),
        )?;
        same("width of a", heads, self.width(a))?;
        same("width of b", heads, self.width(b))?;
        same("length of A_log", heads, self.plan.weight(a_log).len())?;
        same("length of dt_bias", heads, self.plan.weight(dt_bias).len())?;
        self.state(
            state,
            State::Delta {
                heads,
                key_dim,
                value_dim,
            },
        )?;
        Ok(heads * value_dim)
    }

    fn moe(&self) -> Result<usize, String> {
        let Op::Moe { x, router, experts } = self.step.op else {
            return Err("not a mixture step".to_owned());
        };
        let [count, ffn, hidden] = *self.shape(experts.gate) else {
            return Err("gate must be [experts, ffn, hidden]".to_owned());
        };
        if self.shape(experts.up) != [count, ffn, hidden] {
            return Err("up must have the shape of gate".to_owned());
        }
        if self.shape(experts.down) != [count, hidden, ffn] {
            return Err("down must be [experts, hidden, ffn]".to_owned());
        }
        if experts.top_k == 0 || experts.top_k > count {
            return Err(format!("{} of {count} experts per token", experts.top_k));
        }
        same("width of x", hidden, self.width(x))?;
        same("width of the router", count, self.width(router))?;
        Ok(hidden)
    }

    fn state(&self, id: StateId, expected: State) -> Result<(), String> {
        let found = self.plan.state(id);
        if found == expected {
            return Ok(());
        }
        Err(format!(
            "sequence memory must be {expected:?}, is {found:?}"
        ))
    }
}

fn check_weight(weight: &Weight) -> Result<(), String> {
    for shape in [&weight.stored, &weight.shape] {
        countable(&format!("`{}`: shape", weight.tensor), shape)?;
    }
    if weight.is_empty() || weight.stored.is_empty() {
        return Err(format!("`{}` is empty", weight.tensor));
    }
    let columns = weight.columns();
    let stored: usize = weight.stored.iter().product();
    match weight.part {
        Part::Whole => same("values of the tensor", weight.len(), stored),
        Part::Rows {
            period,
            start,
            take,
        } => {
            if weight.fold != Fold::None {
                return Err(format!(
                    "`{}`: a part of a tensor is not folded",
                    weight.tensor
                ));
            }
            if weight.stored.len() > 1 {
                same(
                    "columns of the tensor",
                    columns,
                    weight.stored[weight.stored.len() - 1],
                )?;
            }
            divides("row period", period, stored / columns)?;
            if start + take > period || take == 0 {
                return Err(format!("rows {start}..{} of every {period}", start + take));
            }
            same(
                "rows taken",
                weight.len() / columns,
                stored / columns / period * take,
            )
        }
    }
}
