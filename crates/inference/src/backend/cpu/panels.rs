//! Matrices in panels, and the steps that run on them.
//!
//! In: the weights as loaded, what products compute in. Out: panels of every matrix that a product reads, the factors of
//! what is rounded for them, and the products themselves.
//! It does not know: how a product is computed; what the steps mean together.

use lattice_kernels::{
    self as kernels, Cpu, LayerNorm, PanelFormat, PanelInput, PanelOut, PanelProduct, PanelRows,
    PanelWeight, Panels, Rounding,
};

use super::super::LoadOptions;
use super::fused::{Fused, Part, Product};
use super::matrix::Matrix;
use super::steps::{Running, activation};
use super::weights::Weights;
use crate::plan::{Op, Plan, Step, Val, WeightId};

/// Rows that are looked at together while factors are found.
const STRETCH: usize = 64;

/// Where the panels of a matrix are.
enum Held {
    /// In memory.
    Here(Panels),
    /// In the packed weight, which tasks expand.
    Packed,
}

/// The matrices of a plan that are in panels.
pub(super) struct InPanels {
    pub(super) fused: Fused,
    panels: Vec<Option<Held>>,
    /// Of each value that attention alone reads, rounded: whether as queries, keys or values.
    attended: Vec<Option<usize>>,
    /// Of each value that is rounded to bytes: what its columns are multiplied by first.
    factors: Vec<Option<Vec<f32>>>,
}

impl InPanels {
    /// Rearranges the matrices that `options` ask for, and gives the memory of the file's own back.
    pub(super) fn load(plan: &Plan, cpu: &Cpu, weights: &Weights, options: &LoadOptions) -> Self {
        let mut formats: Vec<Option<PanelFormat>> = vec![None; plan.weights.len()];
        for step in &plan.steps {
            if let Op::Linear { weight, .. } = step.op {
                formats[weight.index()] = weights.panel_format(weight, cpu, options, plan);
            }
        }
        let fused = Fused::of(plan, |id| formats[id.index()]);
        let mut loaded = Self {
            fused,
            panels: formats.iter().map(|_| None).collect(),
            attended: vec![None; plan.values.len()],
            factors: plan.values.iter().map(|_| None).collect(),
        };
        for part in &loaded.fused.parts {
            let Part::Products { x, products } = part else {
                continue;
            };
            let scales = loaded.factors[x.index()].take();
            let scales = scales.or_else(|| scales_of(plan, cpu, weights, (*x, &formats)));
            for product in products {
                let id = product.weight;
                let (matrix, format) = (weights.matrix(id), formats[id.index()]);
                let format = format.expect("products are those of matrices in panels");
                let stays = weights.stays_packed(id, options.compute, plan);
                loaded.panels[id.index()].get_or_insert_with(|| match stays {
                    true => Held::Packed,
                    false => {
                        let here = packed(cpu, matrix, format, scales.as_deref());
                        weights.release(id);
                        Held::Here(here)
                    }
                });
            }
            loaded.factors[x.index()] = scales;
        }
        // From here on they are what values are multiplied by.
        for factor in loaded.factors.iter_mut().flatten().flatten() {
            *factor = 1.0 / *factor;
        }
        loaded.find_attended(plan, cpu);
        loaded
    }

    /// Finds the values that products round for attention.
    fn find_attended(&mut self, plan: &Plan, cpu: &Cpu) {
        for step in &plan.steps {
            let Op::Attention {
                state: None, shape, ..
            } = &step.op
            else {
                continue;
            };
            if self.attends_in(cpu, shape.head_dim) == PanelFormat::F32 {
                continue;
            }
            for (i, val) in step.op.inputs().iter().enumerate() {
                let place = self.fused.place(*val);
                if !place.plain && place.rounded.is_none() {
                    self.attended[val.index()] = Some(i);
                }
            }
        }
    }

    /// What attention with heads of so many columns reads: rounded where products round their inputs too.
    pub(super) fn attends_in(&self, cpu: &Cpu, head_dim: usize) -> PanelFormat {
        match self.any_rounds() {
            true => kernels::whole_format(cpu, head_dim),
            false => PanelFormat::F32,
        }
    }

    /// Whether a matrix is in panels.
    pub(super) fn has(&self, id: WeightId) -> bool {
        self.panels[id.index()].is_some()
    }

    /// Whether any product rounds its inputs.
    fn any_rounds(&self) -> bool {
        let mut panels = self.panels.iter().flatten();
        panels.any(|held| matches!(held, Held::Here(panels) if panels.format() != PanelFormat::F32))
    }

    /// What products with a matrix read.
    fn weight<'a>(&'a self, id: WeightId, weights: &'a Weights) -> PanelWeight<'a> {
        let held = self.panels[id.index()].as_ref();
        match held.expect("every matrix of a fused product was packed") {
            Held::Here(panels) => PanelWeight::Kept(panels),
            Held::Packed => match weights.matrix(id) {
                Matrix::Packed(weight) => PanelWeight::Packed(weight),
                Matrix::Dense(_) => unreachable!("only packed matrices stay packed"),
            },
        }
    }

    /// How `val` is rounded, if products ask for that.
    fn rounding(&self, val: Val) -> Option<Rounding<'_>> {
        let format = self.fused.place(val).rounded?;
        let factors = self.factors[val.index()].as_deref();
        Some(Rounding { format, factors })
    }

    /// As [`InPanels::rounding`] for steps that round as they write, which know no factors.
    fn plain_rounding(&self, val: Val) -> Option<PanelFormat> {
        let place = self.fused.place(val);
        let rounding = self.rounding(val).filter(|r| r.factors.is_none())?;
        (!place.plain && !place.attended).then_some(rounding.format)
    }
}

fn packed(cpu: &Cpu, matrix: Matrix<'_>, format: PanelFormat, scales: Option<&[f32]>) -> Panels {
    let columns = matrix.columns();
    Panels::pack(cpu, format, [matrix.rows(), columns], |ids, out| {
        matrix.embed(cpu, ids, out);
        if let Some(scales) = scales {
            for row in out.chunks_exact_mut(columns) {
                row.iter_mut()
                    .zip(scales)
                    .for_each(|(w, scale)| *w *= scale);
            }
        }
    })
}

/// What the columns of the matrices that read `x` are multiplied by, and `x` divided by, before both are rounded to bytes:
/// a few large columns would take the resolution of all others. `x` comes out of a norm, whose gain and bias tell how large
/// a column is: the root of that over the weights' size in the column levels both (Xiao et al. 2022, "SmoothQuant", has the
/// largest weight; the root of their mean square keeps more of the cosine).
fn scales_of(
    plan: &Plan,
    cpu: &Cpu,
    weights: &Weights,
    (x, formats): (Val, &[Option<PanelFormat>]),
) -> Option<Vec<f32>> {
    let made = plan.steps.iter().find(|step| step.out == x)?;
    let Op::LayerNorm { gain, bias, .. } = made.op else {
        return None;
    };
    let (gain, bias) = (weights.vector(gain), weights.vector(bias));
    let mut squares = vec![0f32; gain.len()];
    for step in &plan.steps {
        let Op::Linear {
            x: read, weight, ..
        } = step.op
        else {
            continue;
        };
        if read != x {
            continue;
        }
        let reads = |step: &Step| {
            let Op::Linear { x, weight: w, .. } = step.op else {
                return false;
            };
            w == weight && x != read
        };
        let others = plan.steps.iter().any(reads);
        if formats[weight.index()] != Some(PanelFormat::Int8) || others {
            return None;
        }
        if !only_scores(plan, step.out) {
            let mut of_this = vec![0f32; gain.len()];
            column_squares(cpu, weights.matrix(weight), &mut of_this);
            let pairs = squares.iter_mut().zip(of_this);
            pairs.for_each(|(most, x)| *most = most.max(x));
        }
    }
    let size = gain.iter().zip(bias).map(|(g, b)| g.hypot(*b));
    let ratio = size
        .zip(&squares)
        .map(|(size, squares)| f64::from(size) / f64::from(*squares).sqrt());
    let ratio: Vec<f64> = ratio
        .map(|r| {
            if r.is_normal() {
                r.clamp(1e-9, 1e9)
            } else {
                1.0
            }
        })
        .collect();
    let mean = ratio.iter().map(|r| r.ln()).sum::<f64>() / ratio.len().max(1) as f64;
    let scales = ratio.iter().map(|r| ((r.ln() - mean) / 2.0).exp() as f32);
    Some(scales.map(|scale| scale.clamp(1e-3, 1e3)).collect())
}

/// Whether a value only decides which keys count: attention levels much of its error.
fn only_scores(plan: &Plan, val: Val) -> bool {
    let mut readers = plan
        .steps
        .iter()
        .filter(|step| step.op.inputs().contains(&val));
    readers.all(|step| {
        let Op::Attention { v, .. } = step.op else {
            return false;
        };
        v != val
    })
}

/// Adds the mean of w * w of each column to `squares`.
fn column_squares(cpu: &Cpu, matrix: Matrix<'_>, squares: &mut [f32]) {
    let columns = matrix.columns();
    let ids: Vec<u32> = (0..matrix.rows() as u32).collect();
    let part = 1.0 / ids.len().max(1) as f32;
    let mut rows = vec![0.0; STRETCH * columns];
    for ids in ids.chunks(STRETCH) {
        let rows = &mut rows[..ids.len() * columns];
        matrix.embed(cpu, ids, rows);
        for row in rows.chunks_exact(columns) {
            let pairs = squares.iter_mut().zip(row);
            pairs.for_each(|(sum, w)| *sum += part * w * w);
        }
    }
}

/// The rounded rows of the value that products read last, and room for those of the next.
#[derive(Default)]
pub(super) struct RoundedRows {
    rows: PanelRows,
    of: Option<Val>,
    next: PanelRows,
}

impl RoundedRows {
    /// Forgets what the values of the batch before were.
    pub(super) fn forget(&mut self) {
        self.of = None;
    }

    /// The next rows are those of `val` now.
    fn turn(&mut self, val: Val) {
        std::mem::swap(&mut self.rows, &mut self.next);
        self.of = Some(val);
    }
}

/// Queries, keys and values as attention reads them rounded, and what values they are.
#[derive(Default)]
pub(super) struct Attended {
    rows: [PanelRows; 3],
    of: [Option<Val>; 3],
}

impl Attended {
    /// Forgets what the values of the batch before were.
    pub(super) fn forget(&mut self) {
        self.of = [None; 3];
    }

    /// The values `vals`, whose rows are `plain` where no product rounded them.
    pub(super) fn inputs<'a>(
        &'a mut self,
        cpu: &Cpu,
        vals: [Val; 3],
        plain: impl Fn(Val) -> (&'a [f32], usize),
    ) -> [PanelInput<'a>; 3] {
        for (i, val) in vals.into_iter().enumerate() {
            if self.of[i] != Some(val) {
                let (x, width) = plain(val);
                self.rows[i].round(cpu, PanelFormat::Bf16.rounding(), x, width);
            }
        }
        self.rows.each_ref().map(PanelInput::Rounded)
    }
}

impl Running<'_> {
    /// Plays a step's part in panels; false where what it is defined as is to be computed.
    pub(super) fn play_panels(&mut self, index: usize, step: &Step) -> bool {
        let in_panels = &self.device.panels;
        match &in_panels.fused.parts[index] {
            Part::Done => return true,
            Part::Products { x, products } => {
                self.products(*x, products);
                return true;
            }
            Part::Plain => {}
        }
        if let Op::LayerNorm { .. } = step.op
            && in_panels.rounding(step.out).is_some()
        {
            self.norm(step);
            return true;
        }
        if let Op::Attention { state: None, .. } = step.op
            && let Some(format) = in_panels.plain_rounding(step.out)
        {
            let mut rounded = std::mem::take(&mut self.work.rounded);
            self.whole_attention(&step.op, PanelOut::Rounded(format, &mut rounded.next));
            rounded.turn(step.out);
            self.work.rounded = rounded;
            return true;
        }
        false
    }

    /// A norm whose rows products read.
    fn norm(&mut self, step: &Step) {
        let Op::LayerNorm { x, gain, bias, eps } = step.op else {
            unreachable!("called for layer norms only")
        };
        let rounding = self.device.panels.rounding(step.out);
        let rounding = rounding.expect("called where products ask for rounded rows");
        let weights = &self.device.weights;
        let norm = LayerNorm {
            gain: weights.vector(gain),
            bias: weights.vector(bias),
            eps,
        };
        let mut rounded = std::mem::take(&mut self.work.rounded);
        let mut out = self.work.take(self.plan, step.out);
        let values = self.work.values(self.plan);
        let to = (rounding, &mut rounded.next);
        kernels::layer_norm_rounded(&self.device.cpu, values.get(x), norm, out.values(), to);
        rounded.turn(step.out);
        self.work.put_back(out);
        self.work.rounded = rounded;
    }

    /// Products of one value.
    fn products(&mut self, x: Val, products: &[Product]) {
        let device = self.device;
        let mut rounded = std::mem::take(&mut self.work.rounded);
        let mut attended = std::mem::take(&mut self.work.attended);
        let mut outs: Vec<_> = products
            .iter()
            .map(|p| self.work.take(self.plan, p.out))
            .collect();
        let values = self.work.values(self.plan);
        let rounding = device.panels.rounding(x);
        if let Some(rounding) = rounding
            && rounded.of != Some(x)
        {
            let width = self.plan.value(x).width;
            rounded
                .rows
                .round(&device.cpu, rounding, values.get(x), width);
            rounded.of = Some(x);
        }
        let RoundedRows { rows, next, .. } = &mut rounded;
        let input = match rounding {
            Some(_) => PanelInput::Rounded(rows),
            None => PanelInput::Plain(values.get(x)),
        };
        // One product's rows at most leave rounded.
        let to = match products {
            [product] => device.panels.plain_rounding(product.out),
            _ => None,
        };
        let mut next = Some(next);
        let mut free = attended.rows.each_mut().map(Some);
        let pairs = products.iter().zip(&mut outs);
        let mut all: Vec<PanelProduct<'_>> = pairs
            .map(|(product, out)| PanelProduct {
                weight: device.panels.weight(product.weight, &device.weights),
                bias: product.bias.map(|id| device.weights.vector(id)),
                activation: product.act.map(activation),
                residual: product.residual.map(|val| values.get(val)),
                out: match (to, next.take(), device.panels.attended[product.out.index()]) {
                    (Some(format), Some(next), _) => PanelOut::Rounded(format, next),
                    (_, _, Some(i)) => match free[i].take() {
                        Some(rows) => {
                            attended.of[i] = Some(product.out);
                            PanelOut::Rounded(PanelFormat::Bf16, rows)
                        }
                        None => PanelOut::Plain(out.values()),
                    },
                    _ => PanelOut::Plain(out.values()),
                },
            })
            .collect();
        kernels::panel_products(&device.cpu, input, &mut all);
        drop(all);
        if to.is_some() {
            rounded.turn(products[0].out);
        }
        outs.into_iter().for_each(|out| self.work.put_back(out));
        self.work.rounded = rounded;
        self.work.attended = attended;
    }
}
