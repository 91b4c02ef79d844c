//! Prints a plan as a table: one line per step, with the values it reads and defines.

use std::fmt;

use super::{Act, Mask, Op, Part, Plan, Rows, Step, Val, WeightId};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cost = self.cost_per_token();
        writeln!(
            f,
            "{}: {} steps, {} parameters, vocabulary {}, context {}",
            self.family,
            self.steps.len(),
            self.parameters(),
            self.vocab,
            self.context_tokens_max,
        )?;
        writeln!(
            f,
            "per token: {} weight values read, {} FLOP + {} FLOP per key; state: {} values + {} per token",
            cost.weight_values,
            cost.flops,
            cost.flops_per_key,
            self.states.iter().map(|s| s.fixed_len()).sum::<usize>(),
            self.states.iter().map(|s| s.len_per_token()).sum::<usize>(),
        )?;
        let lines: Vec<[String; 3]> = self.steps.iter().map(|step| self.line(step)).collect();
        let wide = |column: usize| lines.iter().map(|l| l[column].len()).max().unwrap_or(0);
        let (left, middle) = (wide(0), wide(1));
        for (line, step) in lines.iter().zip(&self.steps) {
            let [what, how, cost] = line;
            writeln!(f, "{what:left$}  {how:middle$}  {cost:>12}  {}", step.name)?;
        }
        Ok(())
    }
}

fn val(val: Val) -> String {
    format!("v{}", val.0)
}

fn act_name(act: Act) -> &'static str {
    match act {
        Act::Silu => "silu",
        Act::Sigmoid => "sigmoid",
    }
}

impl Plan {
    /// `v7 = linear(v6)`, the details, the FLOPs.
    fn line(&self, step: &Step) -> [String; 3] {
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
        [
            what,
            how.trim_end().to_owned(),
            self.cost(step).flops.to_string(),
        ]
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
            Op::Embed { table } => self.weight_shape(*table),
            Op::RmsNorm { gain, eps, .. } => {
                format!(
                    "{} eps {eps:e} {:?}",
                    self.weight_shape(*gain),
                    self.weight(*gain).fold
                )
            }
            Op::Linear { weight, bias, .. } => {
                let bias = if bias.is_some() { " + bias" } else { "" };
                format!("{}{bias}", self.weight_shape(*weight))
            }
            Op::Rope { shape, .. } => {
                let turned = 2 * shape.inv_freq.len();
                format!("heads {} dims {turned} of {}", shape.heads, shape.head_dim)
            }
            Op::Attention {
                shape, scale, mask, ..
            } => {
                let mask = if *mask == Mask::Causal {
                    "causal"
                } else {
                    "bidirectional"
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
            Op::Glu { act, .. } => act_name(*act).to_owned(),
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
