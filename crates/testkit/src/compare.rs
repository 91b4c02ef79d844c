//! How far a result is from its reference.

/// Normalised mean squared error: the sum of squared differences over the reference's sum of squares.
///
/// Without unit; 0 for equal values, 1 for an answer of all zeros. NaN if either side holds a NaN, so
/// compare with `nmse(..) <= limit`, which is then false.
///
/// # Panics
/// If the lengths differ.
pub fn nmse(reference: &[f32], found: &[f32]) -> f64 {
    assert_eq!(
        reference.len(),
        found.len(),
        "compared rows have different lengths"
    );
    let difference: f64 = pairs(reference, found)
        .map(|(r, f)| (f - r) * (f - r))
        .sum();
    let size: f64 = reference.iter().map(|&r| f64::from(r) * f64::from(r)).sum();
    // Two silent rows are equal, not undefined.
    if difference == 0.0 {
        0.0
    } else {
        difference / size
    }
}

/// The largest absolute difference, in the values' own unit; NaN if there is one on either side.
///
/// # Panics
/// If the lengths differ.
pub fn max_abs_error(reference: &[f32], found: &[f32]) -> f64 {
    assert_eq!(
        reference.len(),
        found.len(),
        "compared rows have different lengths"
    );
    let differences = pairs(reference, found).map(|(r, f)| (f - r).abs());
    differences.fold(
        0.0,
        |worst, d| if d > worst || d.is_nan() { d } else { worst },
    )
}

fn pairs<'a>(reference: &'a [f32], found: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
    reference
        .iter()
        .zip(found)
        .map(|(&r, &f)| (f64::from(r), f64::from(f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_have_no_error_and_silence_has_all_of_it() {
        assert_eq!(nmse(&[1.0, -2.0], &[1.0, -2.0]), 0.0);
        assert_eq!(nmse(&[3.0, 4.0], &[0.0, 0.0]), 1.0);
        assert_eq!(nmse(&[0.0], &[0.0]), 0.0);
        assert!(nmse(&[0.0], &[1e-9]).is_infinite());
    }

    #[test]
    fn scaling_both_sides_changes_nothing() {
        let (a, b) = ([1.0, 2.0, -3.0], [1.5, 2.0, -3.25]);
        let scaled = |v: [f32; 3]| v.map(|x| x * 1024.0);
        assert_eq!(nmse(&a, &b), nmse(&scaled(a), &scaled(b)));
        assert_eq!(
            max_abs_error(&a, &b) * 1024.0,
            max_abs_error(&scaled(a), &scaled(b))
        );
    }

    #[test]
    fn a_nan_is_never_within_a_limit() {
        assert!(nmse(&[1.0, 1.0], &[1.0, f32::NAN]).is_nan());
        assert!(nmse(&[f32::NAN, 1.0], &[1.0, 1.0]).is_nan());
        assert!(max_abs_error(&[1.0, 1.0], &[f32::NAN, 9.0]).is_nan());
    }
}
