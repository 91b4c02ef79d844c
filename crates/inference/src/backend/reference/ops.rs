//! What each operation means: plain loops over rows, f32, no blocking, no threads, no unsafe.

use crate::plan::{Act, DeltaShape, HeadShape, Pooling, RopeShape};

/// A matrix f32 `[rows, columns]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matrix {
    pub(super) columns: usize,
    pub(super) values: Vec<f32>,
}

impl Matrix {
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// The matrix of one expert out of a stack of matrices with `rows` rows each.
    pub(super) fn slice(&self, index: usize, rows: usize) -> Self {
        let len = rows * self.columns;
        Self {
            columns: self.columns,
            values: self.values[index * len..][..len].to_vec(),
        }
    }
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn act(kind: Act, x: f32) -> f32 {
    match kind {
        Act::Silu => x * sigmoid(x),
        Act::Sigmoid => sigmoid(x),
        Act::Gelu => {
            let half = f64::from(x) * std::f64::consts::FRAC_1_SQRT_2;
            (0.5 * f64::from(x) * (1.0 + libm::erf(half))) as f32
        }
        Act::GeluTanh => {
            let scale = (2.0 / std::f32::consts::PI).sqrt();
            0.5 * x * (1.0 + (scale * (x + 0.044_715 * x * x * x)).tanh())
        }
        Act::Relu => x.max(0.0),
        Act::Tanh => x.tanh(),
    }
}

/// `ln(1 + exp(x))`, linear above 20 as torch's softplus is.
pub(super) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

/// `x weight^T + bias` of one row.
pub(super) fn linear(x: &[f32], weight: &Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let rows = weight.values.len() / weight.columns;
    (0..rows)
        .map(|o| dot(x, weight.row(o)) + bias.map_or(0.0, |bias| bias[o]))
        .collect()
}

/// Norm of each stretch of `gain`'s length in one row.
pub(super) fn rms_norm(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for part in x.chunks(gain.len()) {
        let mean = dot(part, part) / part.len() as f32;
        let scale = 1.0 / (mean + eps).sqrt();
        out.extend(part.iter().zip(gain).map(|(x, g)| x * scale * g));
    }
    out
}

/// Norm of one row to mean 0 and variance 1, then gain and bias.
pub(super) fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    let len = x.len() as f32;
    let mean = x.iter().sum::<f32>() / len;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / len;
    let scale = 1.0 / (variance + eps).sqrt();
    let gains = gain.iter().zip(bias);
    let out = x.iter().zip(gains);
    out.map(|(x, (g, b))| (x - mean) * scale * g + b).collect()
}

/// One row out of rows of a text, at least one, the first of them at `position`.
pub(super) fn pool(rows: &[&[f32]], position: u32, pooling: Pooling) -> Vec<f32> {
    let weights = (position..).map(|position| (f64::from(position) + 1.0) as f32);
    let weights: Vec<f32> = weights.take(rows.len()).collect();
    let weighted = |c: usize| {
        let sum: f32 = rows.iter().zip(&weights).map(|(row, w)| w * row[c]).sum();
        sum / weights.iter().sum::<f32>()
    };
    let column = |c: usize| rows.iter().map(move |row| row[c]);
    let count = rows.len() as f32;
    let pooled = |c: usize| match pooling {
        Pooling::Cls => rows[0][c],
        Pooling::LastToken => rows[rows.len() - 1][c],
        Pooling::Mean => column(c).sum::<f32>() / count,
        Pooling::MeanSqrtLen => column(c).sum::<f32>() / count.sqrt(),
        Pooling::WeightedMean => weighted(c),
        Pooling::Max => column(c).fold(f32::NEG_INFINITY, f32::max),
    };
    (0..rows[0].len()).map(pooled).collect()
}

/// Turns each head of one row to `position`.
pub(super) fn rope(x: &[f32], shape: &RopeShape, position: usize) -> Vec<f32> {
    let mut out = x.to_vec();
    let half = shape.inv_freq.len();
    for head in out.chunks_mut(shape.head_dim) {
        for (i, freq) in shape.inv_freq.iter().enumerate() {
            let angle = position as f64 * freq;
            let sin = (libm::sin(angle) * shape.factor) as f32;
            let cos = (libm::cos(angle) * shape.factor) as f32;
            let (x, y) = (head[i], head[i + half]);
            head[i] = x * cos - y * sin;
            head[i + half] = y * cos + x * sin;
        }
    }
    out
}

/// `q` `[heads * head_dim]` over `keys` and `values`, each `[seen][kv_heads * head_dim]`.
pub(super) fn attend(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    shape: HeadShape,
    scale: f32,
) -> Vec<f32> {
    let HeadShape {
        heads,
        kv_heads,
        head_dim,
    } = shape;
    let row = kv_heads * head_dim;
    let mut out = vec![0.0; heads * head_dim];
    for (h, out) in out.chunks_mut(head_dim).enumerate() {
        let offset = h / (heads / kv_heads) * head_dim;
        let q = &q[h * head_dim..][..head_dim];
        let scores: Vec<f32> = keys
            .chunks(row)
            .map(|key| dot(q, &key[offset..][..head_dim]) * scale)
            .collect();
        for (weight, value) in softmax(&scores).into_iter().zip(values.chunks(row)) {
            for (out, value) in out.iter_mut().zip(&value[offset..]) {
                *out += weight * value;
            }
        }
    }
    out
}

pub(super) fn softmax(x: &[f32]) -> Vec<f32> {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f32> = x.iter().map(|x| (x - max).exp()).collect();
    let sum: f32 = exp.iter().sum();
    exp.into_iter().map(|x| x / sum).collect()
}

/// One step of a causal depthwise convolution. `state` holds the last inputs `[taps][channels]`, oldest first.
pub(super) fn conv1d(x: &[f32], weight: &Matrix, state: &mut [f32], kind: Option<Act>) -> Vec<f32> {
    let channels = x.len();
    let taps = weight.columns - 1;
    let mut out = Vec::with_capacity(channels);
    for (c, x) in x.iter().enumerate() {
        let kernel = weight.row(c);
        let past: f32 = (0..taps)
            .map(|tap| kernel[tap] * state[tap * channels + c])
            .sum();
        let sum = past + kernel[taps] * x;
        out.push(kind.map_or(sum, |kind| act(kind, sum)));
    }
    if taps > 0 {
        state.copy_within(channels.., 0);
        state[(taps - 1) * channels..].copy_from_slice(x);
    }
    out
}

/// Inputs of one token to the delta rule.
pub(super) struct DeltaInput<'a> {
    pub(super) qkv: &'a [f32],
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    pub(super) a_log: &'a [f32],
    pub(super) dt_bias: &'a [f32],
}

/// One token of the gated delta rule. `state`: `[value_heads][key_dim][value_dim]`.
pub(super) fn gated_delta(x: &DeltaInput<'_>, state: &mut [f32], shape: DeltaShape) -> Vec<f32> {
    let DeltaShape {
        key_heads,
        value_heads,
        key_dim,
        value_dim,
    } = shape;
    let (queries, rest) = x.qkv.split_at(key_heads * key_dim);
    let (keys, values) = rest.split_at(key_heads * key_dim);
    let mut out = Vec::with_capacity(value_heads * value_dim);
    for (h, state) in state.chunks_mut(key_dim * value_dim).enumerate() {
        let key_head = h / (value_heads / key_heads) * key_dim;
        let q = l2_normalised(&queries[key_head..][..key_dim]);
        let k = l2_normalised(&keys[key_head..][..key_dim]);
        let v = &values[h * value_dim..][..value_dim];
        let beta = sigmoid(x.b[h]);
        let decay = (-x.a_log[h].exp() * softplus(x.a[h] + x.dt_bias[h])).exp();
        state.iter_mut().for_each(|s| *s *= decay);
        for j in 0..value_dim {
            let read: f32 = (0..key_dim).map(|i| state[i * value_dim + j] * k[i]).sum();
            let write = (v[j] - read) * beta;
            (0..key_dim).for_each(|i| state[i * value_dim + j] += k[i] * write);
            let sum: f32 = (0..key_dim).map(|i| state[i * value_dim + j] * q[i]).sum();
            out.push(sum / (key_dim as f32).sqrt());
        }
    }
    out
}

fn l2_normalised(x: &[f32]) -> Vec<f32> {
    let scale = 1.0 / (dot(x, x) + 1e-6).sqrt();
    x.iter().map(|x| x * scale).collect()
}

/// The `top_k` experts of one row in order of their number, with their weights. Ties go to the lower number.
pub(super) fn route(logits: &[f32], top_k: usize, renormalise: bool) -> Vec<(usize, f32)> {
    let probabilities = softmax(logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| {
        probabilities[*b]
            .total_cmp(&probabilities[*a])
            .then(a.cmp(b))
    });
    let mut chosen: Vec<usize> = order.into_iter().take(top_k).collect();
    let sum: f32 = chosen.iter().map(|expert| probabilities[*expert]).sum();
    chosen.sort_unstable();
    let scale = if renormalise { 1.0 / sum } else { 1.0 };
    chosen
        .into_iter()
        .map(|expert| (expert, probabilities[expert] * scale))
        .collect()
}
