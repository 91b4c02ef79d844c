//! Where the time of a runner goes, by kind of work.
//!
//! In: how long each step of a batch took. Out: sums by kind, beside the operations and weight bytes they stand for.
//! It does not know: what a step computes; who asks.

use std::time::{Duration, Instant};

use super::table::Layout;
use super::weights::stored_bytes;
use crate::checkpoint::Checkpoint;
use crate::plan::{Op, Plan, Rows, Step, StepCost, WeightId};

/// What one kind of work took since the last [`super::Runner::take_profile`].
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// Its name: the operation, for a product of weights with their format.
    pub work: String,
    /// Steps of this kind that ran.
    pub steps: u64,
    /// Seconds they took.
    pub seconds: f64,
    /// Floating-point operations they stand for, a multiply-add counting two.
    pub flops: u64,
    /// Bytes of weights they read, once for each batch.
    pub weight_bytes: u64,
}

/// The work that a step's inputs are rounded in, before the product that wants them so.
const ROUNDING: usize = 0;
/// What is no step: looking at the batch, at the files, finding memory.
const AROUND: usize = 1;

/// The clocks of a runner; without any where nobody asked.
#[derive(Default)]
pub(super) struct Clocks(Option<Profile>);

/// The clocks of a plan's steps.
struct Profile {
    /// Sums, [`ROUNDING`] and [`AROUND`] first.
    spent: Vec<Spent>,
    steps: Vec<Measured>,
    /// Of the step under way: rounding, and what counts as another step; and all of the batch's steps.
    rounding: Duration,
    elsewhere: Duration,
    in_steps: Duration,
}

/// What is known of a step beforehand.
struct Measured {
    /// Which of the sums it belongs to.
    work: usize,
    cost: StepCost,
    rows: Rows,
    weight_bytes: u64,
}

impl Clocks {
    /// Clocks at zero for the steps of `plan`.
    pub(super) fn new(plan: &Plan, checkpoint: &Checkpoint) -> Self {
        let names = ["rounding of inputs", "around the steps"];
        let mut spent = names.map(|name| Spent::none(name.to_owned())).to_vec();
        let measured = |step: &Step| {
            let name = name_of(plan, checkpoint, step);
            let known = spent.iter().position(|spent| spent.work == name);
            let work = known.unwrap_or(spent.len());
            if known.is_none() {
                spent.push(Spent::none(name));
            }
            let bytes = |id| stored_bytes(plan.weight(id), checkpoint);
            Measured {
                work,
                cost: plan.cost(step),
                rows: plan.value(step.out).rows,
                weight_bytes: product_weight(&step.op).map_or(0, bytes),
            }
        };
        let steps = plan.steps.iter().map(measured).collect();
        Self(Some(Profile {
            spent,
            steps,
            rounding: Duration::ZERO,
            elsewhere: Duration::ZERO,
            in_steps: Duration::ZERO,
        }))
    }

    /// Now, if anybody wants to know.
    pub(super) fn now(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }

    /// Inputs of the step under way were rounded since `started`.
    pub(super) fn rounded(&mut self, started: Option<Instant>) {
        if let (Some(profile), Some(started)) = (&mut self.0, started) {
            profile.rounding += started.elapsed();
        }
    }

    /// The product at step `index` of the plan, which its clock has counted, was made since `started` by another step.
    pub(super) fn multiplied(&mut self, index: usize, started: Option<Instant>) {
        if let (Some(profile), Some(started)) = (&mut self.0, started) {
            let took = started.elapsed();
            profile.elsewhere += took;
            let work = profile.steps[index].work;
            profile.spent[work].seconds += took.as_secs_f64();
        }
    }

    /// Step `index` of the plan ran since `started`, over a batch laid out as `layout`.
    pub(super) fn stepped(&mut self, index: usize, started: Option<Instant>, layout: &Layout) {
        if let (Some(profile), Some(started)) = (&mut self.0, started) {
            profile.add_step(index, started.elapsed(), layout);
        }
    }

    /// A batch ran since `started`.
    pub(super) fn ran(&mut self, started: Option<Instant>) {
        if let (Some(profile), Some(started)) = (&mut self.0, started) {
            let steps = std::mem::take(&mut profile.in_steps);
            profile.spent[AROUND].add(started.elapsed().saturating_sub(steps));
        }
    }

    /// The sums, longest first, without those of nothing; the clocks are back at zero.
    pub(super) fn take(&mut self) -> Vec<Spent> {
        let Some(profile) = &mut self.0 else {
            return Vec::new();
        };
        let reset = |spent: &mut Spent| {
            let zero = Spent::none(spent.work.clone());
            std::mem::replace(spent, zero)
        };
        let mut taken: Vec<Spent> = profile.spent.iter_mut().map(reset).collect();
        taken.retain(|spent| spent.steps > 0);
        taken.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        taken
    }
}

impl Profile {
    fn add_step(&mut self, index: usize, took: Duration, layout: &Layout) {
        self.in_steps += took;
        let rounding = std::mem::take(&mut self.rounding);
        let elsewhere = std::mem::take(&mut self.elsewhere);
        if !rounding.is_zero() {
            self.spent[ROUNDING].add(rounding);
        }
        let step = &self.steps[index];
        let rows = match step.rows {
            Rows::Tokens => layout.ids.len(),
            Rows::Outputs => layout.outputs.len(),
        };
        let spent = &mut self.spent[step.work];
        spent.add(took.saturating_sub(rounding + elsewhere));
        spent.flops += rows as u64 * step.cost.flops + step.cost.flops_per_key * keys_seen(layout);
        spent.weight_bytes += step.weight_bytes;
    }
}

impl Spent {
    fn none(work: String) -> Self {
        Self {
            work,
            steps: 0,
            seconds: 0.0,
            flops: 0,
            weight_bytes: 0,
        }
    }

    fn add(&mut self, took: Duration) {
        self.steps += 1;
        self.seconds += took.as_secs_f64();
    }
}

/// Keys that the rows of a batch see, each its own among them.
fn keys_seen(layout: &Layout) -> u64 {
    let keys = |position: &u32| u64::from(*position) + 1;
    layout.positions.iter().map(keys).sum()
}

/// The matrix that a step reads in full.
fn product_weight(op: &Op) -> Option<WeightId> {
    match op {
        Op::Linear { weight, .. } => Some(*weight),
        Op::Embed { .. }
        | Op::RmsNorm { .. }
        | Op::LayerNorm { .. }
        | Op::Rope { .. }
        | Op::Attention { .. }
        | Op::Conv1d { .. }
        | Op::GatedDelta { .. }
        | Op::Act { .. }
        | Op::Glu { .. }
        | Op::Moe { .. }
        | Op::Add { .. }
        | Op::TakeRows { .. }
        | Op::Pool { .. } => None,
    }
}

/// The kind of a step's work.
fn name_of(plan: &Plan, checkpoint: &Checkpoint, step: &Step) -> String {
    let form = |id: WeightId| {
        let tensor = checkpoint.tensor(&plan.weight(id).tensor);
        tensor.map_or(String::new(), |tensor| format!(" {}", tensor.form))
    };
    match &step.op {
        Op::Embed { .. } => "embedding".to_owned(),
        Op::RmsNorm { .. } | Op::LayerNorm { .. } => "norm".to_owned(),
        Op::Linear { weight, .. } => match plan.value(step.out).rows {
            Rows::Tokens => format!("linear{}", form(*weight)),
            Rows::Outputs => format!("head{}", form(*weight)),
        },
        Op::Rope { .. } => "rope".to_owned(),
        Op::Attention { .. } => "attention".to_owned(),
        Op::Conv1d { .. } => "convolution".to_owned(),
        Op::GatedDelta { .. } => "delta rule".to_owned(),
        Op::Act { .. } => "activation".to_owned(),
        Op::Glu { .. } => "gate".to_owned(),
        Op::Moe { experts, .. } => format!("mixture{}", form(experts.gate)),
        Op::Add { .. } => "sum".to_owned(),
        Op::TakeRows { .. } => "rows taken".to_owned(),
        Op::Pool { .. } => "pooling".to_owned(),
    }
}
