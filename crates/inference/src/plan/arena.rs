//! Liveness: which buffer each value lives in. A buffer is free again after the last step that reads its value.

use super::{Plan, Rows, Val};

/// Places values into as few buffers as their lifetimes allow.
#[derive(Debug, Clone)]
pub struct Arena {
    /// Buffer of each value, by value index.
    pub slot_of: Vec<usize>,
    /// Columns of each buffer.
    pub widths: Vec<usize>,
    /// Kind of rows of each buffer.
    pub rows: Vec<Rows>,
}

impl Arena {
    /// Plans buffers for every value: first fit by kind of rows, preferring the buffer nearest in width.
    pub fn of(plan: &Plan) -> Self {
        let ends: Vec<usize> = (0..plan.steps.len()).collect();
        Self::of_groups(plan, &ends)
    }

    /// As [`Arena::of`], where step `i` may run together with all steps up to `ends[i]`: what it reads stays until then.
    pub fn of_groups(plan: &Plan, ends: &[usize]) -> Self {
        let last_read = last_reads(plan, ends);
        let mut arena = Self {
            slot_of: vec![0; plan.values.len()],
            widths: Vec::new(),
            rows: Vec::new(),
        };
        let mut free: Vec<usize> = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let slot = arena.take(plan, step.out, &mut free);
            arena.slot_of[step.out.index()] = slot;
            let defined = plan.steps[..=index].iter().map(|step| step.out.index());
            let over = defined.filter(|val| last_read[*val] == index);
            free.extend(over.map(|val| arena.slot_of[val]));
        }
        arena
    }

    fn take(&mut self, plan: &Plan, val: Val, free: &mut Vec<usize>) -> usize {
        let value = plan.value(val);
        let fits = free
            .iter()
            .enumerate()
            .filter(|(_, slot)| self.rows[**slot] == value.rows)
            .min_by_key(|(_, slot)| self.widths[**slot].abs_diff(value.width))
            .map(|(place, _)| place);
        if let Some(place) = fits {
            let slot = free.swap_remove(place);
            self.widths[slot] = self.widths[slot].max(value.width);
            return slot;
        }
        self.widths.push(value.width);
        self.rows.push(value.rows);
        self.widths.len() - 1
    }

    /// Scratch bytes for batches of up to `tokens` rows and `outputs` output rows.
    pub fn bytes(&self, tokens: usize, outputs: usize) -> u64 {
        let rows = |kind: Rows| {
            if kind == Rows::Tokens {
                tokens
            } else {
                outputs
            }
        };
        self.widths
            .iter()
            .zip(&self.rows)
            .map(|(w, r)| (w * rows(*r) * 4) as u64)
            .sum()
    }
}

/// The step after which each value is read no more; the plan's output outlives them all.
fn last_reads(plan: &Plan, ends: &[usize]) -> Vec<usize> {
    let mut last: Vec<usize> = vec![0; plan.values.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        last[step.out.index()] = index;
        for input in step.op.inputs() {
            last[input.index()] = last[input.index()].max(ends[index]);
        }
    }
    last[plan.output.index()] = usize::MAX;
    last
}
