//! How the steps of a plan run together where its products read weights in panels: products of one value at once, an
//! activation and a sum on a product's way out, values that products alone read as rounded rows.
//!
//! In: a plan, and the format of each matrix that is in panels. Out: a part for each step, a place for each value. A
//! row's bits do not depend on what runs together.
//! It does not know: how a part is played.

use lattice_kernels::PanelFormat;

use crate::plan::{Act, Op, Plan, Val, WeightId};

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// What it is defined as.
    Plain,
    /// Nothing: a step before it did its work.
    Done,
    /// All of these products of `x`.
    Products { x: Val, products: Vec<Product> },
}

/// A product and what happens on its way out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Product {
    pub(super) weight: WeightId,
    pub(super) bias: Option<WeightId>,
    pub(super) act: Option<Act>,
    pub(super) residual: Option<Val>,
    pub(super) out: Val,
}

/// How a value is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// As floats.
    pub(super) plain: bool,
    /// By attention, which takes it either way.
    pub(super) attended: bool,
    /// As rows rounded to this.
    pub(super) rounded: Option<PanelFormat>,
}

/// How a plan runs.
#[derive(Debug)]
pub(super) struct Fused {
    /// Of each step.
    pub(super) parts: Vec<Part>,
    /// The last step that runs with each step.
    pub(super) ends: Vec<usize>,
    /// Of each value.
    pub(super) places: Vec<Place>,
}

impl Fused {
    /// `format` is that of a matrix in panels.
    pub(super) fn of(plan: &Plan, format: impl Fn(WeightId) -> Option<PanelFormat>) -> Self {
        let view = View {
            plan,
            format: &format,
        };
        let steps = plan.steps.len();
        let mut fused = Self {
            parts: vec![Part::Plain; steps],
            ends: (0..steps).collect(),
            places: Vec::new(),
        };
        let mut index = 0;
        while index < steps {
            let Some((x, products)) = view.products(index) else {
                index += 1;
                continue;
            };
            let end = view.step_of(products[products.len() - 1].out);
            fused.parts[index + 1..=end].fill(Part::Done);
            fused.ends[index..=end].fill(end);
            fused.parts[index] = Part::Products { x, products };
            index = end + 1;
        }
        let vals = (0..plan.values.len()).map(|val| view.place(Val(val as u32), &fused.parts));
        fused.places = vals.collect();
        fused
    }

    /// How a value is wanted.
    pub(super) fn place(&self, val: Val) -> Place {
        self.places[val.index()]
    }
}

/// A plan, looked at.
struct View<'a> {
    plan: &'a Plan,
    format: &'a dyn Fn(WeightId) -> Option<PanelFormat>,
}

impl View<'_> {
    fn step_of(&self, val: Val) -> usize {
        let found = self.plan.steps.iter().position(|step| step.out == val);
        found.expect("every value is the output of a step")
    }

    /// The product at `index` alone, if its matrix is in panels, with its input and its format.
    fn product(&self, index: usize) -> Option<(Val, PanelFormat, Product)> {
        let step = self.plan.steps.get(index)?;
        let Op::Linear { x, weight, bias } = step.op else {
            return None;
        };
        let product = Product {
            weight,
            bias,
            act: None,
            residual: None,
            out: step.out,
        };
        Some((x, (self.format)(weight)?, product))
    }

    /// The products that run at `index`.
    fn products(&self, index: usize) -> Option<(Val, Vec<Product>)> {
        let (x, format, first) = self.product(index)?;
        let more = (index + 1..).map_while(|index| {
            let (other, its, product) = self.product(index)?;
            (other == x && its == format).then_some(product)
        });
        let mut products: Vec<Product> = std::iter::once(first).chain(more).collect();
        if let [product] = &mut products[..] {
            self.take_act(index + 1, product);
            self.take_sum(index, product);
        }
        Some((x, products))
    }

    /// Whether the step at `index` alone reads `val`.
    fn alone(&self, val: Val, index: usize) -> bool {
        let steps = self.plan.steps.iter().enumerate();
        let mut readers = steps.filter(|(_, step)| step.op.inputs().contains(&val));
        readers.next().is_some_and(|(reader, _)| reader == index)
            && readers.next().is_none()
            && val != self.plan.output
    }

    /// Takes an activation at `index` along.
    fn take_act(&self, index: usize, product: &mut Product) {
        if let Some(step) = self.plan.steps.get(index)
            && let Op::Act { x, act } = step.op
            && x == product.out
            && self.alone(x, index)
        {
            product.act = Some(act);
            product.out = step.out;
        }
    }

    /// Takes the sum with a value that was there before the step at `first` along, if it comes next.
    fn take_sum(&self, first: usize, product: &mut Product) {
        let index = self.step_of(product.out) + 1;
        let Some(step) = self.plan.steps.get(index) else {
            return;
        };
        let Op::Add { a, b } = step.op else {
            return;
        };
        let other = if a == product.out { b } else { a };
        let fits = (a == product.out) != (b == product.out);
        if fits && self.alone(product.out, index) && self.step_of(other) < first {
            product.residual = Some(other);
            product.out = step.out;
        }
    }

    fn place(&self, val: Val, parts: &[Part]) -> Place {
        let mut place = Place {
            plain: val == self.plan.output,
            attended: false,
            rounded: None,
        };
        for (step, part) in self.plan.steps.iter().zip(parts) {
            match part {
                Part::Done => {}
                Part::Plain => {
                    let read = step.op.inputs().contains(&val);
                    if let Op::Attention { state: None, .. } = step.op {
                        place.attended |= read;
                    } else {
                        place.plain |= read;
                    }
                }
                Part::Products { x, products } => {
                    place.plain |= products.iter().any(|p| p.residual == Some(val));
                    if *x == val {
                        match (self.format)(products[0].weight) {
                            None | Some(PanelFormat::F32) => place.plain = true,
                            rounded => place.rounded = rounded,
                        }
                    }
                }
            }
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Builder;

    /// A layer as BERT's: three products of one value, one with a sum, one with an activation.
    fn plan() -> Plan {
        let mut b = Builder::new("test", 16, 8);
        let table = b.weight("embed", &[16, 8]);
        let x = b.embed(table);
        let x = b.layer_norm(x, "norm", 1e-6);
        let [q, k, v] = ["q", "k", "v"].map(|name| b.linear(x, name, 8, None));
        let sum = b.add("qk", q, k);
        let sum = b.add("qkv", sum, v);
        let y = b.linear(sum, "out", 8, None);
        let y = b.add("residual", y, x);
        let y = b.layer_norm(y, "norm2", 1e-6);
        let wide = b.linear(y, "wide", 12, None);
        let wide = b.act("act", Act::Gelu, wide);
        let down = b.linear(wide, "down", 8, None);
        let out = b.take_rows("rows", down);
        b.finish(out).unwrap()
    }

    #[test]
    fn products_take_along_what_follows() {
        let plan = plan();
        let fused = Fused::of(&plan, |_| Some(PanelFormat::Int8));
        let kinds: Vec<String> = fused.parts.iter().map(describe).collect();
        let expected = [
            "plain", "plain", "3", "done", "done", "plain", "plain", "1 sum", "done", "plain",
            "1 act", "done", "1", "plain",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(fused.ends[2..5], [4, 4, 4]);
        // The first norm is read by products and by a sum, what is between the last products by one alone.
        let place = |step: usize| fused.place(plan.steps[step].out);
        let int8 = Some(PanelFormat::Int8);
        assert_eq!((place(1).plain, place(1).rounded), (true, int8));
        assert_eq!((place(11).plain, place(11).rounded), (false, int8));
        assert!(place(12).plain);
    }

    fn describe(part: &Part) -> String {
        match part {
            Part::Plain => "plain".to_owned(),
            Part::Done => "done".to_owned(),
            Part::Products { products, .. } => {
                let act = products[0].act.map_or("", |_| " act");
                let sum = products[0].residual.map_or("", |_| " sum");
                format!("{}{act}{sum}", products.len())
            }
        }
    }

    #[test]
    fn nothing_changes_without_panels() {
        let fused = Fused::of(&plan(), |_| None);
        assert!(fused.parts.iter().all(|part| *part == Part::Plain));
        assert!(fused.places.iter().all(|place| place.rounded.is_none()));
    }
}
