//! The one table of how close is close enough.
//!
//! A row says how far logits computed from weights of a format may be from the reference computing in
//! float32 on the same stored weights.

/// Two greedy paths may part only at a step where the reference's two best logits are this close.
pub const GREEDY_GAP: f32 = 1e-4;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// The format of the weights, as safetensors headers name it, in lower case, or the scheme they are packed in; or
    /// `kv` and the format of keys and values; or `compute` and what products compute in.
    pub format: &'static str,
    /// The largest accepted normalised mean squared error, see [`nmse`](crate::nmse).
    pub nmse: f64,
    /// The same for a single step on the values of an embedding.
    pub step_nmse: f64,
    /// Why this much and not less.
    pub reason: &'static str,
}

/// The packed formats share their activations, and so their error.
const PACKED: &str = "the weights are taken exactly, activations rounded to 15 bits of the largest in 256: a step of the \
     operations' test is within 7e-9, the logits of lattice-tiny within 2e-8, those of the tiny random families within 4e-6";

/// Every format that the engine computes with.
pub const TABLE: &[Tolerance] = &[
    Tolerance {
        format: "f32",
        nmse: 1e-9,
        step_nmse: 1e-9,
        reason: "on the goldens transformers in float32 is within 1e-11 of its own float64, and another \
                 order of the sums costs as much again; the smallest fault tried, a norm's epsilon ten \
                 times too large in llama3_rope, gives 9e-9",
    },
    Tolerance {
        format: "f16",
        nmse: 1e-9,
        step_nmse: 1e-9,
        reason: "f16 weights widen to f32 exactly and activations stay f32",
    },
    Tolerance {
        format: "bf16",
        nmse: 1e-4,
        step_nmse: 1e-4,
        reason: "bf16 dot instructions round activations to 8 bits of mantissa, an error of 2^-9 of each \
                 value: squared 4e-6 a linear, and a few linears deep the errors add",
    },
    Tolerance {
        format: "q8",
        nmse: 1e-5,
        step_nmse: 1e-7,
        reason: PACKED,
    },
    Tolerance {
        format: "q4",
        nmse: 1e-5,
        step_nmse: 1e-7,
        reason: PACKED,
    },
    Tolerance {
        format: "q4_32",
        nmse: 1e-5,
        step_nmse: 1e-7,
        reason: PACKED,
    },
    Tolerance {
        format: "g4_64m",
        nmse: 1e-5,
        step_nmse: 1e-7,
        reason: PACKED,
    },
    Tolerance {
        format: "kv int8",
        nmse: 5e-3,
        step_nmse: 2e-4,
        reason: "a row is rounded to 127ths of its largest value, squared about 3e-5 of it: an attention step is within 3.2e-5 \
                 of f32 keys and values, the logits of lattice-tiny within 4e-5 of transformers, those of the tiny random \
                 families, whose scores are steep, within 9.1e-4, and 1.1e-3 where a row of the mixture changed an expert",
    },
    Tolerance {
        format: "compute f32",
        nmse: 1e-9,
        step_nmse: 1e-9,
        reason: "f32 by f32, and other formats widen to it exactly",
    },
    Tolerance {
        format: "compute bf16",
        nmse: 1e-3,
        step_nmse: 1e-4,
        reason: "weights and inputs rounded to 8 bits of mantissa: squared 2^-18 / 3 of each, and a layer has five products \
                 one after the other, of which attention's softmax makes more",
    },
    Tolerance {
        format: "compute int8",
        nmse: 2e-2,
        step_nmse: 2e-3,
        reason: "weights and inputs rounded to 127ths of the largest of 128, about 0.7 % of each: squared 1e-4 a product, and \
                 a layer has four of them, of which a softmax makes more",
    },
];

/// The limit of a format.
///
/// # Panics
/// If the table has no row for it: a new format needs a limit with a reason.
pub fn nmse_limit(format: &str) -> f64 {
    row(format).nmse
}

/// The limit of a format for a single step.
///
/// # Panics
/// As [`nmse_limit`].
pub fn step_nmse_limit(format: &str) -> f64 {
    row(format).step_nmse
}

fn row(format: &str) -> &'static Tolerance {
    let row = TABLE.iter().find(|row| row.format == format);
    row.unwrap_or_else(|| panic!("no tolerance for format {format}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_one_row_with_a_reason() {
        for row in TABLE {
            assert_eq!(
                TABLE
                    .iter()
                    .filter(|other| other.format == row.format)
                    .count(),
                1
            );
            assert!(row.nmse > 0.0 && row.nmse < 1.0 && !row.reason.is_empty());
            assert_eq!(nmse_limit(row.format), row.nmse);
            assert!(step_nmse_limit(row.format) <= row.nmse);
        }
    }

    #[test]
    #[should_panic(expected = "no tolerance for format q0")]
    fn a_format_without_a_row_is_an_error() {
        nmse_limit("q0");
    }
}
