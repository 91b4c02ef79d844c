//! What one row of logits says, in f64: a text's worth of rows is summed up, and differences between good formats
//! are as small as 1e-5.
//!
//! In: rows of f32 logits and the token that came. Out: nats.

/// `-ln p(id)` under the softmax of `logits`. NaN logits give NaN.
pub(super) fn negative_log_likelihood(logits: &[f32], id: u32) -> f64 {
    let max = maximum(logits);
    let sum: f64 = logits.iter().map(|&x| libm::exp(f64::from(x) - max)).sum();
    libm::log(sum) + max - logit(logits, id)
}

/// A row of the base and a row of the model at the same place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    /// `-ln p(id)` under the base.
    pub(super) base_nll: f64,
    /// `-ln p(id)` under the model.
    pub(super) model_nll: f64,
    /// KL(base || model) = sum of p_base (ln p_base - ln p_model).
    pub(super) kl: f64,
    /// Whether both like the same token best.
    pub(super) same_top: bool,
}

impl Pair {
    /// # Panics
    /// If the rows differ in length.
    pub(super) fn of(base: &[f32], model: &[f32], id: u32) -> Self {
        assert_eq!(base.len(), model.len(), "rows of one vocabulary");
        let (base_max, model_max) = (maximum(base), maximum(model));
        let (mut base_sum, mut model_sum, mut gap) = (0.0, 0.0, 0.0);
        for (&b, &m) in base.iter().zip(model) {
            let (b, m) = (f64::from(b), f64::from(m));
            let weight = libm::exp(b - base_max);
            base_sum += weight;
            model_sum += libm::exp(m - model_max);
            // A token that the base rules out says nothing, also where the model rules it out too.
            if weight != 0.0 {
                gap += weight * (b - m);
            }
        }
        let base_norm = libm::log(base_sum) + base_max;
        let model_norm = libm::log(model_sum) + model_max;
        Self {
            base_nll: base_norm - logit(base, id),
            model_nll: model_norm - logit(model, id),
            kl: gap / base_sum + (model_norm - base_norm),
            same_top: top(base, base_max) == top(model, model_max),
        }
    }
}

fn maximum(logits: &[f32]) -> f64 {
    f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// The first column that holds the maximum.
fn top(logits: &[f32], max: f64) -> Option<usize> {
    logits.iter().position(|&x| f64::from(x) == max)
}

/// An id outside of the row has probability zero.
fn logit(logits: &[f32], id: u32) -> f64 {
    logits
        .get(id as usize)
        .map_or(f64::NEG_INFINITY, |&x| f64::from(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logits_do_not_overflow() {
        let nll = negative_log_likelihood(&[1000.0, 1000.0, -1000.0], 0);
        assert!((nll - std::f64::consts::LN_2).abs() < 1e-12, "{nll}");
        assert_eq!(negative_log_likelihood(&[0.0], 1), f64::INFINITY);
        assert!(negative_log_likelihood(&[f32::NAN, 0.0], 1).is_nan());
    }

    #[test]
    fn the_divergence_of_two_coins_is_the_formula() {
        let odds = |p: f64| [(p.ln()) as f32, ((1.0 - p).ln()) as f32];
        let pair = Pair::of(&odds(0.5), &odds(0.9), 1);
        let expected = 0.5 * (0.5f64 / 0.9).ln() + 0.5 * (0.5f64 / 0.1).ln();
        assert!((pair.kl - expected).abs() < 1e-6, "{pair:?}");
        assert!((pair.model_nll + 0.1f64.ln()).abs() < 1e-6, "{pair:?}");
        assert!((pair.base_nll + 0.5f64.ln()).abs() < 1e-6, "{pair:?}");
    }

    #[test]
    fn a_row_does_not_diverge_from_itself_nor_from_itself_shifted() {
        let row: Vec<f32> = (0..100).map(|i| ((i * 37) % 41) as f32 / 4.0).collect();
        let shifted: Vec<f32> = row.iter().map(|x| x + 8.0).collect();
        assert_eq!(Pair::of(&row, &row, 3).kl, 0.0);
        let pair = Pair::of(&row, &shifted, 3);
        assert!(pair.kl.abs() < 1e-12 && pair.same_top, "{pair:?}");
    }

    #[test]
    fn what_the_base_rules_out_counts_for_nothing() {
        let out = f32::NEG_INFINITY;
        assert_eq!(Pair::of(&[0.0, out], &[0.0, out], 0).kl, 0.0);
        assert_eq!(Pair::of(&[0.0, 0.0], &[0.0, out], 0).kl, f64::INFINITY);
    }
}
