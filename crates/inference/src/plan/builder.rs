//! Builds a plan step by step. Shapes follow from the inputs; [`Builder::finish`] checks the whole.

use std::collections::BTreeMap;

use super::{
    Act, DeltaShape, Experts, Fold, HeadShape, Index, Mask, Op, Part, Plan, PlanError, Pooling,
    RopeShape, Rows, State, StateId, Step, Val, Value, Weight, WeightId,
};

/// Collects the steps of a family. Every method names its step by the checkpoint path it belongs to.
pub struct Builder {
    plan: Plan,
    /// Places in the plan's weights, by tensor.
    of_tensor: BTreeMap<String, Vec<usize>>,
}

impl Builder {
    /// An empty plan of `family`, for ids below `vocab` and sequences up to `context_tokens_max`.
    pub fn new(family: &str, vocab: usize, context_tokens_max: usize) -> Self {
        let plan = Plan {
            family: family.to_owned(),
            steps: Vec::new(),
            values: Vec::new(),
            weights: Vec::new(),
            states: Vec::new(),
            output: Val(0),
            vocab,
            context_tokens_max,
        };
        Self {
            plan,
            of_tensor: BTreeMap::new(),
        }
    }

    /// A weight that is one stored tensor as it stands.
    pub fn weight(&mut self, tensor: &str, shape: &[usize]) -> WeightId {
        self.declare(Weight {
            tensor: tensor.to_owned(),
            stored: shape.to_vec(),
            part: Part::Whole,
            fold: Fold::None,
            shape: shape.to_vec(),
        })
    }

    /// Any weight. The same tensor and part declared twice is one weight (tied heads).
    pub fn declare(&mut self, weight: Weight) -> WeightId {
        let weights = &mut self.plan.weights;
        let places = self.of_tensor.entry(weight.tensor.clone()).or_default();
        let known = places.iter().find(|place| weights[**place] == weight);
        let index = known.copied().unwrap_or_else(|| {
            places.push(weights.len());
            weights.push(weight);
            weights.len() - 1
        });
        WeightId(index as u32)
    }

    /// Columns of a value.
    pub fn width(&self, x: Val) -> usize {
        self.plan.value(x).width
    }

    fn state(&mut self, state: State) -> StateId {
        self.plan.states.push(state);
        StateId(self.plan.states.len() as u32 - 1)
    }

    fn push(&mut self, name: &str, op: Op, value: Value) -> Val {
        let out = Val(self.plan.values.len() as u32);
        self.plan.values.push(value);
        self.plan.steps.push(Step {
            op,
            out,
            name: name.to_owned(),
        });
        out
    }

    fn like(&self, x: Val, width: usize) -> Value {
        Value {
            width,
            ..self.plan.value(x)
        }
    }

    /// Token ids to rows of `table`.
    pub fn embed(&mut self, table: WeightId) -> Val {
        self.embed_by(table, Index::Token)
    }

    /// Rows of `table` for each token, by id, position or type.
    pub fn embed_by(&mut self, table: WeightId, by: Index) -> Val {
        let weight = self.plan.weight(table);
        let (name, width) = (weight.tensor.clone(), weight.columns());
        self.push(
            &name,
            Op::Embed { table, by },
            Value {
                width,
                rows: Rows::Tokens,
            },
        )
    }

    /// RMS norm with a gain of `len` values, folded as the checkpoint needs.
    pub fn rms_norm(&mut self, x: Val, tensor: &str, len: usize, fold: Fold, eps: f32) -> Val {
        let gain = self.declare(Weight {
            tensor: tensor.to_owned(),
            stored: vec![len],
            part: Part::Whole,
            fold,
            shape: vec![len],
        });
        let value = self.plan.value(x);
        self.push(tensor, Op::RmsNorm { x, gain, eps }, value)
    }

    /// Norm of each row to mean 0 and variance 1, then the gain and the bias at `path`.
    pub fn layer_norm(&mut self, x: Val, path: &str, eps: f32) -> Val {
        let value = self.plan.value(x);
        let gain = self.weight(&format!("{path}.weight"), &[value.width]);
        let bias = self.weight(&format!("{path}.bias"), &[value.width]);
        let op = Op::LayerNorm { x, gain, bias, eps };
        self.push(path, op, value)
    }

    /// `x weight^T` with the whole tensor `[out, width of x]`, and its bias where the model has one.
    pub fn linear(&mut self, x: Val, tensor: &str, out: usize, bias: Option<&str>) -> Val {
        let columns = self.plan.value(x).width;
        let weight = self.weight(tensor, &[out, columns]);
        let bias = bias.map(|tensor| self.weight(tensor, &[out]));
        self.linear_of(x, weight, bias)
    }

    /// `x weight^T + bias` with weights already declared.
    pub fn linear_of(&mut self, x: Val, weight: WeightId, bias: Option<WeightId>) -> Val {
        let declared = self.plan.weight(weight);
        let (out, mut name) = (declared.shape[0], declared.tensor.clone());
        if let Part::Rows {
            period,
            start,
            take,
        } = declared.part
        {
            name = format!("{name}[{start}..{} of {period}]", start + take);
        }
        let value = self.like(x, out);
        self.push(&name, Op::Linear { x, weight, bias }, value)
    }

    /// Rotary embedding of every head of `x`.
    pub fn rope(&mut self, name: &str, x: Val, shape: RopeShape) -> Val {
        let value = self.plan.value(x);
        self.push(name, Op::Rope { x, shape }, value)
    }

    /// Causal attention over the sequence's past and `k`, `v`.
    pub fn attention(
        &mut self,
        name: &str,
        qkv: (Val, Val, Val),
        shape: HeadShape,
        scale: f32,
    ) -> Val {
        self.attention_masked(name, qkv, shape, scale, Mask::Causal)
    }

    /// [`Self::attention`] of each row to the last `window` keys, its own included. All keys are kept.
    pub fn attention_window(
        &mut self,
        name: &str,
        qkv: (Val, Val, Val),
        shape: HeadShape,
        scale: f32,
        window: usize,
    ) -> Val {
        self.attention_masked(name, qkv, shape, scale, Mask::Window(window))
    }

    fn attention_masked(
        &mut self,
        name: &str,
        (q, k, v): (Val, Val, Val),
        shape: HeadShape,
        scale: f32,
        mask: Mask,
    ) -> Val {
        let HeadShape {
            kv_heads, head_dim, ..
        } = shape;
        let state = Some(self.state(State::Kv { kv_heads, head_dim }));
        let value = self.plan.value(q);
        let op = Op::Attention {
            q,
            k,
            v,
            state,
            shape,
            scale,
            mask,
        };
        self.push(name, op, value)
    }

    /// Attention of every row over all rows of its sequence in the batch; nothing is kept.
    pub fn attention_bidirectional(
        &mut self,
        name: &str,
        (q, k, v): (Val, Val, Val),
        shape: HeadShape,
        scale: f32,
    ) -> Val {
        let value = self.plan.value(q);
        let op = Op::Attention {
            q,
            k,
            v,
            state: None,
            shape,
            scale,
            mask: Mask::Bidirectional,
        };
        self.push(name, op, value)
    }

    /// Causal depthwise convolution; `tensor` is stored `[channels, 1, kernel]`.
    pub fn conv1d(&mut self, x: Val, tensor: &str, kernel: usize, act: Option<Act>) -> Val {
        let channels = self.plan.value(x).width;
        let weight = self.declare(Weight {
            tensor: tensor.to_owned(),
            stored: vec![channels, 1, kernel],
            part: Part::Whole,
            fold: Fold::None,
            shape: vec![channels, kernel],
        });
        let state = self.state(State::Conv {
            channels,
            taps: kernel.saturating_sub(1),
        });
        let value = self.plan.value(x);
        self.push(
            tensor,
            Op::Conv1d {
                x,
                weight,
                state,
                act,
            },
            value,
        )
    }

    /// Gated delta rule; `path` is the module that holds `A_log` and `dt_bias`.
    pub fn gated_delta(
        &mut self,
        path: &str,
        (qkv, a, b): (Val, Val, Val),
        shape: DeltaShape,
    ) -> Val {
        let DeltaShape {
            value_heads: heads,
            key_dim,
            value_dim,
            ..
        } = shape;
        let a_log = self.weight(&format!("{path}.A_log"), &[heads]);
        let dt_bias = self.weight(&format!("{path}.dt_bias"), &[heads]);
        let state = self.state(State::Delta {
            heads,
            key_dim,
            value_dim,
        });
        let value = self.like(qkv, heads * value_dim);
        let op = Op::GatedDelta {
            qkv,
            a,
            b,
            a_log,
            dt_bias,
            state,
            shape,
        };
        self.push(path, op, value)
    }

    /// `act(x)`
    pub fn act(&mut self, name: &str, act: Act, x: Val) -> Val {
        let value = self.plan.value(x);
        self.push(name, Op::Act { x, act }, value)
    }

    /// `act(gate) * up`
    pub fn glu(&mut self, name: &str, act: Act, gate: Val, up: Val) -> Val {
        let value = self.plan.value(up);
        self.push(name, Op::Glu { gate, up, act }, value)
    }

    /// Mixture of experts.
    pub fn moe(&mut self, name: &str, x: Val, router: Val, experts: Experts) -> Val {
        let value = self.plan.value(x);
        self.push(name, Op::Moe { x, router, experts }, value)
    }

    /// `a + b`
    pub fn add(&mut self, name: &str, a: Val, b: Val) -> Val {
        let value = self.plan.value(a);
        self.push(name, Op::Add { a, b }, value)
    }

    /// The rows the batch wants an output for; what follows is computed for these only.
    pub fn take_rows(&mut self, name: &str, x: Val) -> Val {
        let value = Value {
            rows: Rows::Outputs,
            ..self.plan.value(x)
        };
        self.push(name, Op::TakeRows { x }, value)
    }

    /// One row for each text that the batch wants an output for; what follows is computed for these only.
    pub fn pool(&mut self, name: &str, x: Val, pooling: Pooling) -> Val {
        let value = Value {
            rows: Rows::Outputs,
            ..self.plan.value(x)
        };
        self.push(name, Op::Pool { x, pooling }, value)
    }

    /// Checks the plan and hands it over, with `output` as what callers get.
    pub fn finish(mut self, output: Val) -> Result<Plan, PlanError> {
        self.plan.output = output;
        self.plan.check()?;
        Ok(self.plan)
    }
}
