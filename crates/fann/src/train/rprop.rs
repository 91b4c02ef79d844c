//! iRPROP-: step widths by the signs of the gradient.
//!
//! In: parameters, gradient of all samples. Out: new parameters. It does not know: samples.
//! Igel, Hüsken: Improving the Rprop learning algorithm, 2000. After a change of sign the parameter
//! stays where it is once; nothing is taken back.

use alloc::vec::Vec;

use super::Optimizer;
use super::optimizer::Slope;

#[derive(Debug, Clone)]
pub(super) struct Rprop {
    options: Optimizer,
    width: Vec<f32>,
    last: Vec<f32>,
}

impl Rprop {
    pub(super) fn new(options: Optimizer, first: f32, parameters: usize) -> Rprop {
        Rprop {
            options,
            width: alloc::vec![first; parameters],
            last: alloc::vec![0.0; parameters],
        }
    }

    pub(super) fn step(&mut self, slope: Slope<'_>, parameters: &mut [f32]) {
        let Optimizer::Rprop {
            least,
            most,
            down,
            up,
            ..
        } = self.options
        else {
            unreachable!("made of these options");
        };
        let memory = self.width.iter_mut().zip(&mut self.last);
        for ((w, sum), (width, last)) in parameters.iter_mut().zip(slope.sums).zip(memory) {
            let g = sum * slope.scale;
            // By signs: the product of two small gradients may round to 0.
            let same = (g > 0.0 && *last > 0.0) || (g < 0.0 && *last < 0.0);
            let turned = (g > 0.0 && *last < 0.0) || (g < 0.0 && *last > 0.0);
            *last = if turned { 0.0 } else { g };
            if same {
                *width = (*width * up).min(most);
            } else if turned {
                *width = (*width * down).max(least);
            }
            let step = slope.factor * *width;
            *w -= match *last {
                g if g > 0.0 => step,
                g if g < 0.0 => -step,
                _ => 0.0,
            };
        }
    }
}
