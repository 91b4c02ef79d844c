//! A report as a picture.
//!
//! In: a report, or those of a stream. Out: SVG, complete in itself. It does not know: files. Nothing of the input but
//! numbers stands in it.

use std::fmt::Write as _;

use super::monitor::DriftWindow;
use super::report::DriftReport;
use super::text::figure;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 40.0;
const OLD: &str = "#4477aa";
const NEW: &str = "#cc6633";

/// Two panels: the statistic beside what mixed labels give, and both sets on a plane.
pub fn svg_from_report(report: &DriftReport) -> String {
    let mut out = head(2.0 * WIDTH);
    let verdict = if report.is_drift() {
        "drift"
    } else {
        "no drift"
    };
    let p = format!("{verdict}: p = {}", figure(report.p_value));
    histogram(&mut out, &p, &report.null, report.energy);
    let _ = write!(out, "<g transform=\"translate({WIDTH},0)\">");
    scatter(&mut out, report);
    out.push_str("</g></svg>\n");
    out
}

/// A stream's p-values and divergences, window by window.
pub fn svg_from_windows(windows: &[DriftWindow]) -> String {
    let mut out = head(2.0 * WIDTH);
    let at = |i: usize| windows[i].first as f64;
    let series = |f: fn(&DriftReport) -> f64| -> Vec<(f64, f64, bool)> {
        let windows = windows.iter().enumerate();
        windows
            .map(|(i, window)| (at(i), f(&window.report), window.report.is_drift()))
            .collect()
    };
    timeline(
        &mut out,
        "log10 of the p-value",
        &series(|r| r.p_value.log10()),
    );
    let _ = write!(out, "<g transform=\"translate({WIDTH},0)\">");
    timeline(&mut out, "divergence", &series(|r| r.divergence));
    out.push_str("</g></svg>\n");
    out
}

fn head(width: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

/// A line of numbers on a line of pixels.
struct Axis {
    from: f64,
    to: f64,
    pixels: [f64; 2],
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Axis {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (from, to) = (from.min(value), to.max(value));
        }
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        if to - from < 1e-300 {
            (from, to) = (from - 0.5, to + 0.5);
        }
        Axis { from, to, pixels }
    }

    fn at(&self, x: f64) -> f64 {
        let [left, right] = self.pixels;
        left + (right - left) * ((x - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

fn horizontal(values: impl Iterator<Item = f64>) -> Axis {
    Axis::over(values, [MARGIN, WIDTH - MARGIN])
}

fn vertical(values: impl Iterator<Item = f64>) -> Axis {
    Axis::over(values, [HEIGHT - MARGIN, MARGIN])
}

/// Title, frame, and the ends of both axes.
fn frame(out: &mut String, title: &str, x: &Axis, y: &Axis) {
    let (right, bottom) = (WIDTH - MARGIN, HEIGHT - MARGIN);
    let _ = write!(
        out,
        "<text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">{title}</text>\
         <path d=\"M{MARGIN},{MARGIN}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>"
    );
    let low = bottom + 16.0;
    for (at, anchor, value) in [(MARGIN, "start", x.from), (right, "end", x.to)] {
        let value = figure(value);
        let _ = write!(
            out,
            "<text x=\"{at}\" y=\"{low}\" text-anchor=\"{anchor}\">{value}</text>"
        );
    }
    for (at, value) in [(bottom, y.from), (MARGIN + 8.0, y.to)] {
        let (left, value) = (MARGIN - 4.0, figure(value));
        let _ = write!(
            out,
            "<text x=\"{left}\" y=\"{at}\" text-anchor=\"end\" font-size=\"10\">{value}</text>"
        );
    }
}

fn histogram(out: &mut String, title: &str, null: &[f64], observed: f64) {
    const BARS: usize = 40;
    let x = horizontal(null.iter().copied().chain([observed]));
    let mut bars = [0usize; BARS];
    for value in null {
        let share = (value - x.from) / (x.to - x.from);
        bars[((share * BARS as f64) as usize).min(BARS - 1)] += 1;
    }
    let y = vertical(bars.iter().map(|bar| *bar as f64).chain([0.0]));
    frame(out, title, &x, &y);
    let wide = (WIDTH - 2.0 * MARGIN) / BARS as f64;
    for (i, bar) in bars.iter().enumerate() {
        let (left, top) = (MARGIN + i as f64 * wide, y.at(*bar as f64));
        let high = HEIGHT - MARGIN - top;
        let _ = write!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" fill=\"{OLD}\"/>"
        );
    }
    let (at, bottom) = (x.at(observed), HEIGHT - MARGIN);
    let _ = writeln!(
        out,
        "<path d=\"M{at:.1},{MARGIN}V{bottom}\" stroke=\"{NEW}\" stroke-width=\"2\"/>\
         <text x=\"{MARGIN}\" y=\"312\">energy distance: labels mixed (bars), as they are (line)</text>"
    );
}

fn scatter(out: &mut String, report: &DriftReport) {
    let x = horizontal(report.map.iter().map(|point| point.x));
    let y = vertical(report.map.iter().map(|point| point.y));
    let shift = format!("mean shift {}", figure(report.mean_shift));
    frame(out, &shift, &x, &y);
    for point in &report.map {
        let colour = if point.new { NEW } else { OLD };
        let _ = write!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"{colour}\" fill-opacity=\"0.5\"/>",
            x.at(point.x),
            y.at(point.y)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"312\"><tspan fill=\"{OLD}\">baseline</tspan> and <tspan fill=\"{NEW}\">new</tspan>: \
         along the line of both means, and the widest across it</text>"
    );
}

fn timeline(out: &mut String, title: &str, series: &[(f64, f64, bool)]) {
    let x = horizontal(series.iter().map(|point| point.0));
    let y = vertical(series.iter().map(|point| point.1));
    frame(out, title, &x, &y);
    let points = series
        .iter()
        .map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1)));
    let points = points.collect::<Vec<_>>().join(" ");
    let _ = write!(
        out,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"#888\"/>"
    );
    for (first, value, drift) in series {
        let colour = if *drift { NEW } else { OLD };
        let (x, y) = (x.at(*first), y.at(*value));
        let _ = write!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"312\">first vector of each window; <tspan fill=\"{NEW}\">drift</tspan></text>"
    );
}
