//! How the steps of a plan share work: what leaves a step as integers alone, and gates that run with their products.
//!
//! In: a plan, and which of its weights are packed. Out: a role for each step. A row's bits do not depend on it.
//! It does not know: how a role is played.

use crate::plan::{Op, Plan, Val, WeightId};

/// What a step does beside its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Plain,
    /// Its rows are wanted by packed matrices alone: they are made as integers.
    Rounded,
    /// A product that the gate at this step may make itself.
    GateInput(Gate),
    /// As [`Role::Rounded`]; it may make both of its products itself.
    Gate(Gate),
}

/// A gate over two products of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gate {
    pub(super) x: Val,
    pub(super) gate: WeightId,
    pub(super) up: WeightId,
    /// The step of the first product.
    pub(super) product: usize,
}

/// The role of each step.
pub(super) fn roles(plan: &Plan, is_packed: impl Fn(WeightId) -> bool) -> Vec<Role> {
    let view = View {
        plan,
        is_packed: &is_packed,
    };
    let rounded = |index| match view.leaves_as_integers(index) {
        true => Role::Rounded,
        false => Role::Plain,
    };
    let mut roles: Vec<Role> = (0..plan.steps.len()).map(rounded).collect();
    for index in 0..plan.steps.len() {
        if roles[index] == Role::Rounded
            && let Some((gate, products)) = view.gate(index)
        {
            roles[index] = Role::Gate(gate);
            for product in products {
                roles[product] = Role::GateInput(gate);
            }
        }
    }
    roles
}

/// A plan, looked at.
struct View<'a> {
    plan: &'a Plan,
    is_packed: &'a dyn Fn(WeightId) -> bool,
}

impl View<'_> {
    fn width(&self, val: Val) -> usize {
        self.plan.value(val).width
    }

    /// The value that a product with a packed matrix at `index` rounds, and the matrix.
    fn rounds(&self, index: usize) -> Option<(Val, WeightId)> {
        let Op::Linear { x, weight, .. } = self.plan.steps[index].op else {
            return None;
        };
        (self.is_packed)(weight).then_some((x, weight))
    }

    /// The steps that read a value.
    fn readers(&self, val: Val) -> impl Iterator<Item = usize> {
        let reads = move |index: &usize| self.plan.steps[*index].op.inputs().contains(&val);
        (0..self.plan.steps.len()).filter(reads)
    }

    /// Whether the integers of `val` are still there at every step up to `last`, if they are at `first`.
    fn keeps(&self, val: Val, first: usize, last: usize) -> bool {
        (first..=last).all(|index| self.rounds(index).is_none_or(|(x, _)| x == val))
    }

    /// Whether the step can make integers, and nobody wants anything else of it.
    fn leaves_as_integers(&self, index: usize) -> bool {
        let step = &self.plan.steps[index];
        let width = self.width(step.out);
        let able = match &step.op {
            Op::RmsNorm { gain, .. } => self.plan.weight(*gain).len() == width,
            Op::Glu { gate, .. } => self.width(*gate) == width,
            Op::Embed { .. }
            | Op::LayerNorm { .. }
            | Op::Linear { .. }
            | Op::Rope { .. }
            | Op::Attention { .. }
            | Op::Conv1d { .. }
            | Op::GatedDelta { .. }
            | Op::Act { .. }
            | Op::Moe { .. }
            | Op::Add { .. }
            | Op::TakeRows { .. }
            | Op::Pool { .. } => false,
        };
        if !able || step.out == self.plan.output {
            return false;
        }
        let wanted = |reader: usize| self.rounds(reader).is_some_and(|(x, _)| x == step.out);
        let Some(last) = self.readers(step.out).last() else {
            return false;
        };
        self.readers(step.out).all(wanted) && self.keeps(step.out, index + 1, last)
    }

    /// The gate at `index` if its inputs are products of one value, there for it alone; and their steps.
    fn gate(&self, index: usize) -> Option<(Gate, [usize; 2])> {
        let Op::Glu { gate, up, .. } = self.plan.steps[index].op else {
            return None;
        };
        let product = |val: Val| {
            let at = self.plan.steps.iter().position(|step| step.out == val)?;
            let Op::Linear { bias: None, .. } = self.plan.steps[at].op else {
                return None;
            };
            let alone = self.readers(val).eq([index]) && val != self.plan.output;
            let (x, weight) = self.rounds(at).filter(|_| alone)?;
            Some((at, x, weight))
        };
        let ((gate_at, x, gate), (up_at, other, up)) = (product(gate)?, product(up)?);
        let first = gate_at.min(up_at);
        if x != other || !self.keeps(x, first, index) {
            return None;
        }
        let gate = Gate {
            x,
            gate,
            up,
            product: first,
        };
        Some((gate, [gate_at, up_at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Act, Builder, Fold};

    /// A norm, a gated product of it and another one; `more` may add steps that read the norm and the gate.
    fn plan(more: impl Fn(&mut Builder, Val, Val) -> Val) -> Plan {
        let mut b = Builder::new("test", 16, 8);
        let table = b.weight("embed", &[16, 8]);
        let x = b.embed(table);
        let x = b.rms_norm(x, "norm", 8, Fold::None, 1e-6);
        let gate = b.linear(x, "gate", 12, None);
        let up = b.linear(x, "up", 12, None);
        let gated = b.glu("gate", Act::Silu, gate, up);
        let down = b.linear(gated, "down", 8, None);
        let out = more(&mut b, x, gated);
        let out = b.add("sum", out, down);
        let out = b.take_rows("rows", out);
        b.finish(out).unwrap()
    }

    fn names(plan: &Plan, packed: bool) -> Vec<&'static str> {
        let name = |role: &Role| match role {
            Role::Plain => "plain",
            Role::Rounded => "rounded",
            Role::GateInput(_) => "input",
            Role::Gate(_) => "gate",
        };
        roles(plan, |_| packed).iter().map(name).collect()
    }

    #[test]
    fn a_norm_and_a_gate_that_products_alone_read_are_made_as_integers() {
        let plain = |b: &mut Builder, _: Val, gated: Val| b.linear(gated, "other", 8, None);
        let plan = plan(plain);
        let all = [
            "plain", "rounded", "input", "input", "gate", "plain", "plain", "plain", "plain",
        ];
        assert_eq!(names(&plan, true), all);
        assert_eq!(names(&plan, false), ["plain"; 9]);
    }

    #[test]
    fn what_somebody_else_reads_or_what_would_be_lost_stays_as_it_is() {
        // The norm is read after the gate's rows were rounded, and by a sum.
        let late = plan(|b, x, _| b.linear(x, "late", 8, None));
        let expected = [
            "plain", "plain", "input", "input", "gate", "plain", "plain", "plain", "plain",
        ];
        assert_eq!(names(&late, true), expected);
        let sum = plan(|_, x, _| x);
        assert_eq!(names(&sum, true)[1], "plain");
        // The gate is read by another gate.
        let twice = plan(|b, x, gated| {
            let other = b.linear(x, "other", 12, None);
            let both = b.glu("both", Act::Silu, other, gated);
            b.linear(both, "last", 8, None)
        });
        assert_eq!(names(&twice, true)[2..5], ["plain"; 3]);
    }
}
