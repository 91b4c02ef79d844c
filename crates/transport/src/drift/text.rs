//! A report in words.
//!
//! In: a report. Out: lines for a terminal. It does not know: the terminal.

use std::fmt::Write as _;

use super::debiased::DIVERGENCE_TOLERANCE;
use super::items::Item;
use super::monitor::DriftWindow;
use super::report::DriftReport;

/// The report as lines of text. Names of items stand in it as they are: whoever prints them to a terminal takes care of
/// control characters.
pub fn text_from_report(report: &DriftReport) -> String {
    let mut out = String::new();
    let verdict = if report.is_drift() {
        "drift"
    } else {
        "no drift"
    };
    line(&mut out, "verdict", verdict);
    for exceeded in &report.exceeded {
        let sign = if exceeded.what == "p_value" {
            "below"
        } else {
            "above"
        };
        let words = format!(
            "{} {} is {sign} {}",
            exceeded.what,
            figure(exceeded.value),
            figure(exceeded.threshold)
        );
        line(&mut out, "because", &words);
    }
    let sampled = |count: usize, sampled: usize| {
        if count == sampled {
            count.to_string()
        } else {
            format!("{count} (divergence and test: {sampled} of them)")
        }
    };
    line(
        &mut out,
        "baseline",
        &sampled(report.baseline_count, report.baseline_sampled),
    );
    line(
        &mut out,
        "new",
        &sampled(report.new_count, report.new_sampled),
    );
    line(&mut out, "dimension", &report.dimension.to_string());
    let test = format!(
        "{} ({} permutations)",
        figure(report.p_value),
        report.permutations
    );
    line(&mut out, "p-value", &test);
    line(&mut out, "energy distance", &figure(report.energy));
    let mut divergence = format!(
        "{} (epsilon {})",
        figure(report.divergence),
        figure(report.epsilon)
    );
    if let Some(p_value) = report.divergence_p_value {
        let _ = write!(divergence, ", p-value {}", figure(p_value));
    }
    if report.divergence_error > DIVERGENCE_TOLERANCE {
        let error = figure(report.divergence_error);
        let _ = write!(divergence, ", not converged: marginal error {error}");
    }
    line(&mut out, "divergence", &divergence);
    line(&mut out, "sliced distance", &figure(report.sliced));
    line(&mut out, "mean shift", &figure(report.mean_shift));
    single_items(&mut out, report);
    out
}

/// What happened to single items, if anything is known of them.
fn single_items(out: &mut String, report: &DriftReport) {
    if let Some(moved) = &report.displacement {
        let words = format!(
            "{} items in both (gone {}, added {}): mean {}, median {}, 95 % {}",
            moved.matched,
            moved.gone,
            moved.added,
            figure(moved.mean),
            figure(moved.median),
            figure(moved.p95)
        );
        line(out, "displacement", &words);
        items(out, &moved.largest);
    }
    if let Some(outliers) = &report.outliers {
        let words = format!(
            "{} ({:.2} %) further than {} from the baseline",
            outliers.count,
            outliers.share * 100.0,
            figure(outliers.limit)
        );
        line(out, "outliers", &words);
        items(out, &outliers.furthest);
    }
}

/// One line for each window.
pub fn text_from_windows(windows: &[DriftWindow]) -> String {
    let mut out =
        String::from("     first    p-value  divergence      sliced  mean shift  verdict\n");
    for DriftWindow { first, report } in windows {
        let verdict = if report.is_drift() {
            "drift"
        } else {
            "no drift"
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{first:>10} {:>10} {:>11} {:>11} {:>11}  {verdict}",
            figure(report.p_value),
            figure(report.divergence),
            figure(report.sliced),
            figure(report.mean_shift)
        );
    }
    out
}

fn line(out: &mut String, name: &str, words: &str) {
    let _ = writeln!(out, "{name:<16} {words}");
}

fn items(out: &mut String, items: &[Item]) {
    for item in items {
        let _ = writeln!(out, "  {:>12}  {}", figure(item.distance), item.id);
    }
}

/// Four digits that say something.
pub(super) fn figure(x: f64) -> String {
    if x == 0.0 || (1e-3..1e5).contains(&x.abs()) {
        let digits = if x == 0.0 {
            0
        } else {
            (3 - x.abs().log10().floor() as i32).clamp(0, 6)
        };
        return format!("{x:.*}", digits as usize);
    }
    format!("{x:.3e}")
}
