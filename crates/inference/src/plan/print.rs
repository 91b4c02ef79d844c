//! Prints a plan as a table: one line per step, with the values it reads and defines.

use super::{Act, Index, Mask, Op, Part, Plan, Pooling, Rows, State, Step, Val, Weight, WeightId};

impl Plan {
    /// The plan as a table, with the bytes each step reads for one token and its operations; `weight_bytes` says how
    /// many bytes a weight takes as stored.
    pub fn table(&self, weight_bytes: impl Fn(&Weight) -> u64) -> String {
        let bytes: Vec<u64> = self
            .steps
            .iter()
            .map(|s| self.bytes_read(s, &weight_bytes))
            .collect();
        let cost = self.cost_per_token();
        let fixed: usize = self.states.iter().map(State::fixed_len).sum();
        let per_token: usize = self.states.iter().map(State::len_per_token).sum();
        let mut text = format!(
            "{}: {} steps, {} parameters, vocabulary {}, context {}\n\
             per token: {} bytes of weights read, {} FLOP + {} FLOP per key\n\
             a sequence keeps {fixed} values, and {per_token} for each token\n\n",
            self.family,
            self.steps.len(),
            self.parameters(),
            self.vocab,
            self.context_tokens_max,
            bytes.iter().sum::<u64>(),
            cost.flops,
            cost.flops_per_key,
        );
        let lines: Vec<[String; 2]> = self.steps.iter().map(|step| self.line(step)).collect();
        let wide = |column: usize| lines.iter().map(|l| l[column].len()).max().unwrap_or(0);
        let (left, middle) = (wide(0), wide(1));
        let (what, how) = ("step", "[rows, width] details");
        text += &format!(
            "{what:left$}  {how:middle$}  {:>11}  {:>11}  of\n",
            "bytes", "FLOP"
        );
        for ((line, step), bytes) in lines.iter().zip(&self.steps).zip(bytes) {
            let ([what, how], flops) = (line, self.cost(step).flops);
            text += &format!(
                "{what:left$}  {how:middle$}  {bytes:>11}  {flops:>11}  {}\n",
                step.name
            );
        }
        text
    }

    /// Bytes of weights that all steps read for one token that wants an output row.
    pub fn weight_bytes_per_token(&self, weight_bytes: impl Fn(&Weight) -> u64) -> u64 {
        let steps = self.steps.iter();
        steps.map(|step| self.bytes_read(step, &weight_bytes)).sum()
    }

    /// Bytes of weights that a step reads for one token.
    pub(crate) fn bytes_read(&self, step: &Step, weight_bytes: &impl Fn(&Weight) -> u64) -> u64 {
        let ids = step.op.weights();
        let Some(widest) = ids.iter().max_by_key(|id| self.weight(**id).len()) else {
            return 0;
        };
        // A step's weights share a format, but for small vectors beside a matrix.
        let widest = self.weight(*widest);
        let read = u128::from(self.cost(step).weight_values) * u128::from(weight_bytes(widest));
        u64::try_from(read / widest.len().max(1) as u128).unwrap_or(u64::MAX)
    }
}

fn val(val: Val) -> String {
    format!("v{}", val.0)
}

fn act_name(act: Act) -> &'static str {
    match act {
        Act::Silu => "silu",
        Act::Sigmoid => "sigmoid",
        Act::Gelu => "gelu",
        Act::GeluTanh => "gelu_tanh",
        Act::Relu => "relu",
        Act::Tanh => "tanh",
    }
}

impl Pooling {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cls,
        Self::Mean,
        Self::LastToken,
        Self::Max,
        Self::MeanSqrtLen,
        Self::WeightedMean,
    ];

    /// Its name, as sentence-transformers calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
            Self::LastToken => "lasttoken",
            Self::Max => "max",
            Self::MeanSqrtLen => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
        }
    }
}

impl Plan {
    /// `v7 = linear(v6)`, and the details.
    fn line(&self, step: &Step) -> [String; 2] {
        let out = self.value(step.out);
        let rows = if out.rows == Rows::Outputs {
            "out"
        } else {
            "tok"
        };
        let inputs: Vec<String> = step.op.inputs().into_iter().map(val).collect();
        let what = format!(
            "{:4} = {}({})",
            val(step.out),
            step.op.kind(),
            inputs.join(", ")
        );
        let how = format!("[{rows}, {}] {}", out.width, self.details(&step.op));
        [what, how.trim_end().to_owned()]
    }

    fn weight_shape(&self, id: WeightId) -> String {
        let weight = self.weight(id);
        let part = match weight.part {
            Part::Whole => "",
            Part::Rows { .. } => " part",
        };
        format!("{:?}{part}", weight.shape)
    }

    fn details(&self, op: &Op) -> String {
        match op {
            Op::Embed { table, by } => {
                let by = match by {
                    Index::Token => String::new(),
                    Index::Position { first: 0 } => " by position".to_owned(),
                    Index::Position { first } => format!(" by position from row {first}"),
                    Index::Type => " by type".to_owned(),
                };
                format!("{}{by}", self.weight_shape(*table))
            }
            Op::RmsNorm { gain, eps, .. } => {
                format!(
                    "{} eps {eps:e} {:?}",
                    self.weight_shape(*gain),
                    self.weight(*gain).fold
                )
            }
            Op::LayerNorm { gain, eps, .. } => {
                format!("{} + bias eps {eps:e}", self.weight_shape(*gain))
            }
            Op::Linear { weight, bias, .. } => {
                let bias = if bias.is_some() { " + bias" } else { "" };
                format!("{}{bias}", self.weight_shape(*weight))
            }
            Op::Rope { shape, .. } => {
                let turned = 2 * shape.inv_freq.len();
                let factor = match shape.factor {
                    1.0 => String::new(),
                    factor => format!(" times {factor}"),
                };
                let (heads, head_dim) = (shape.heads, shape.head_dim);
                format!("heads {heads} dims {turned} of {head_dim}{factor}")
            }
            Op::Attention {
                shape, scale, mask, ..
            } => {
                let mask = match mask {
                    Mask::Causal => "causal".to_owned(),
                    Mask::Window(tokens) => format!("causal in {tokens}"),
                    Mask::Bidirectional => "bidirectional".to_owned(),
                };
                let (heads, kv, dim) = (shape.heads, shape.kv_heads, shape.head_dim);
                format!("{mask} heads {heads}/{kv} x {dim} scale {scale}")
            }
            Op::Conv1d { weight, act, .. } => {
                format!(
                    "{} {}",
                    self.weight_shape(*weight),
                    act.map_or("", act_name)
                )
            }
            Op::GatedDelta { shape, .. } => format!(
                "heads {}/{} x {} x {}",
                shape.value_heads, shape.key_heads, shape.key_dim, shape.value_dim
            ),
            Op::Act { act, .. } | Op::Glu { act, .. } => act_name(*act).to_owned(),
            Op::Pool { pooling, .. } => pooling.name().to_owned(),
            Op::Moe { experts, .. } => {
                let renormalised = if experts.renormalise {
                    " renormalised"
                } else {
                    ""
                };
                let gate = self.weight_shape(experts.gate);
                format!("{gate} best {}{renormalised}", experts.top_k)
            }
            Op::Add { .. } | Op::TakeRows { .. } => String::new(),
        }
    }
}
