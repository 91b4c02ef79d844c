//! Mixture of experts: tokens grouped by expert, each expert's weights applied once to all of its tokens.

use std::ops::Range;

use lattice_kernels::{self as kernels, Activation, Cpu};

use super::Device;
use super::matrix::{Input, Integers};
use crate::plan::{Experts, Op, Plan};

/// Buffers for the tokens of one expert at a time. Empty where the plan has no experts.
#[derive(Default)]
pub(super) struct Mixture {
    /// `(expert, row, weight)` of every visit of the batch, sorted.
    visits: Vec<(u32, u32, f32)>,
    probabilities: Vec<f32>,
    order: Vec<u32>,
    rows: Vec<u32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Vec<f32>,
    down: Vec<f32>,
    /// Of an expert's rows, and of what its second matrix reads.
    picked: Integers,
    squeezed: Integers,
}

impl Mixture {
    /// Buffers for the plan's mixture steps and batches of up to `tokens` tokens.
    pub(super) fn for_plan(plan: &Plan, tokens: usize, device: &Device) -> Self {
        let mut packed = false;
        let mut all = Self::default();
        let (mut most_experts, mut most_ffn, mut hidden, mut top_k) = (0, 0, 0, 0);
        for step in &plan.steps {
            if let Op::Moe { experts, .. } = step.op {
                let [count, ffn, columns] = plan.weight(experts.gate).shape[..] else {
                    continue;
                };
                most_experts = most_experts.max(count);
                most_ffn = most_ffn.max(ffn);
                hidden = hidden.max(columns);
                top_k = top_k.max(experts.top_k);
                let all = [experts.gate, experts.up, experts.down];
                packed |= all.iter().any(|id| device.weights.is_packed(*id));
            }
        }
        all.visits.reserve(tokens * top_k);
        all.probabilities = vec![0.0; most_experts];
        all.order.reserve(most_experts);
        all.rows.reserve(if most_experts == 0 { 0 } else { tokens });
        for buffer in [&mut all.gate, &mut all.up, &mut all.inner] {
            *buffer = vec![0.0; tokens * most_ffn];
        }
        all.down = vec![0.0; tokens * hidden];
        if packed {
            all.picked.reserve(&device.cpu, tokens, hidden);
            all.squeezed.reserve(&device.cpu, tokens, most_ffn);
        }
        all
    }

    /// `sizes`: experts, ffn, hidden. `x`, `out`: `[rows, hidden]`; `router`: `[rows, experts]`. A row's terms are added in the order of the
    /// experts' numbers, so that the other rows of the batch do not matter.
    pub(super) fn run(
        &mut self,
        device: &Device,
        experts: &Experts,
        sizes: (usize, usize, usize),
        (x, router): (&[f32], &[f32]),
        out: &mut [f32],
    ) {
        let (count, ffn, hidden) = sizes;
        self.route(&device.cpu, router, count, experts);
        out.fill(0.0);
        let mut start = 0;
        while start < self.visits.len() {
            let expert = self.visits[start].0;
            let same = self.visits[start..]
                .iter()
                .take_while(|visit| visit.0 == expert)
                .count();
            self.visit(device, experts, ffn, x, start..start + same);
            let down = self.down.chunks_exact(hidden);
            for ((_, row, weight), down) in self.visits[start..start + same].iter().zip(down) {
                let out = &mut out[*row as usize * hidden..][..hidden];
                out.iter_mut()
                    .zip(down)
                    .for_each(|(out, down)| *out = weight.mul_add(*down, *out));
            }
            start += same;
        }
    }

    /// Applies one expert to the rows of `visits`; the results stand in `self.down`, one row after the other.
    fn visit(
        &mut self,
        device: &Device,
        experts: &Experts,
        ffn: usize,
        x: &[f32],
        visits: Range<usize>,
    ) {
        let Device { cpu, weights, .. } = device;
        let expert = self.visits[visits.start].0 as usize;
        self.rows.clear();
        self.rows
            .extend(self.visits[visits.clone()].iter().map(|visit| visit.1));
        let gate = weights.stacked(experts.gate, expert, ffn);
        let up = weights.stacked(experts.up, expert, ffn);
        let down = weights.stacked(experts.down, expert, gate.columns());
        let inner = visits.len() * ffn;
        self.picked.forget();
        let mut rows = Input {
            x,
            picked: Some(&self.rows),
            integers: &mut self.picked,
        };
        gate.linear(cpu, None, &mut rows, &mut self.gate[..inner]);
        up.linear(cpu, None, &mut rows, &mut self.up[..inner]);
        let (gate, up) = (&self.gate[..inner], &self.up[..inner]);
        kernels::glu(
            cpu,
            Activation::Silu,
            gate,
            ffn,
            up,
            ffn,
            &mut self.inner[..inner],
        );
        let out = &mut self.down[..visits.len() * down.rows()];
        self.squeezed.forget();
        let mut rows = Input {
            x: &self.inner[..inner],
            picked: None,
            integers: &mut self.squeezed,
        };
        down.linear(cpu, None, &mut rows, out);
    }

    /// Fills `self.visits`: softmax over each row's experts, the best `top_k`, ties to the lower number.
    fn route(&mut self, cpu: &Cpu, router: &[f32], count: usize, experts: &Experts) {
        self.visits.clear();
        for (row, logits) in router.chunks_exact(count).enumerate() {
            let probabilities = &mut self.probabilities[..count];
            kernels::softmax(cpu, logits, probabilities);
            self.order.clear();
            self.order.extend(0..count as u32);
            let key = |expert: &u32| probabilities[*expert as usize];
            self.order
                .sort_unstable_by(|a, b| key(b).total_cmp(&key(a)).then(a.cmp(b)));
            let chosen = &self.order[..experts.top_k];
            let sum: f32 = chosen.iter().map(key).sum();
            let scale = if experts.renormalise { 1.0 / sum } else { 1.0 };
            let visits = chosen
                .iter()
                .map(|expert| (*expert, row as u32, key(expert) * scale));
            self.visits.extend(visits);
        }
        self.visits
            .sort_unstable_by_key(|(expert, row, _)| (*expert, *row));
    }
}
