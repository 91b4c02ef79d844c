//! Before and after: the figures of this bench beside those of an earlier one.
//!
//! In: two `lattice bench --json` objects. Out: ratios, and a warning for each way in which they are not alike.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// What should be the same for a comparison to mean something.
const ALIKE: [&str; 10] = [
    "model",
    "processor",
    "device",
    "isa",
    "int_isa",
    "bf16_isa",
    "threads",
    "kv_format",
    "batch_tokens",
    "step_tokens",
];
/// Figures outside of the list of tests.
const TOTALS: [(&str, &str); 3] = [
    ("load_ms", "load ms"),
    ("peak_memory_bytes", "peak memory MiB"),
    ("read_gbps", "read bandwidth GB/s"),
];
const MIB: f64 = 1048576.0;

/// Reads what `lattice bench --json` wrote.
pub(super) fn read(path: &Path) -> anyhow::Result<Value> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{name}: not JSON"))?;
    if !value["tests"].is_array() {
        bail!("{name}: no list `tests`: not written by `lattice bench --json`");
    }
    Ok(value)
}

/// One figure twice.
struct Row {
    name: String,
    before: f64,
    after: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.after / self.before
    }
}

/// Two benches side by side.
pub(super) struct Comparison {
    rows: Vec<Row>,
    warnings: Vec<String>,
}

/// Holds `after` against `before`; figures that only one of them has are passed over.
pub(super) fn against(before: &Value, after: &Value) -> Comparison {
    let mut rows = Vec::new();
    for (field, name) in TOTALS {
        let unit = if field == "peak_memory_bytes" {
            MIB
        } else {
            1.0
        };
        if let (Some(before), Some(after)) = (before[field].as_f64(), after[field].as_f64()) {
            rows.push(Row {
                name: name.to_owned(),
                before: before / unit,
                after: after / unit,
            });
        }
    }
    for test in tests(after) {
        let Some(name) = test["test"].as_str() else {
            continue;
        };
        let earlier = tests(before).find(|earlier| earlier["test"] == *name);
        let speed = |test: &Value| test["tok_s"].as_f64();
        if let (Some(before), Some(after)) = (earlier.and_then(speed), speed(test)) {
            let name = format!("{name} tok/s");
            rows.push(Row {
                name,
                before,
                after,
            });
        }
    }
    let differ = |field: &&&str| before[**field] != after[**field];
    let warning = |field: &&str| {
        let (before, after) = (&before[*field], &after[*field]);
        format!("{field} was {before}, is {after}")
    };
    Comparison {
        rows,
        warnings: ALIKE.iter().filter(differ).map(warning).collect(),
    }
}

fn tests(bench: &Value) -> impl Iterator<Item = &Value> {
    bench["tests"].as_array().into_iter().flatten()
}

impl Comparison {
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{:<32}{:>12}{:>12}{:>12}",
            "", "before", "after", "ratio"
        )?;
        for row in &self.rows {
            let Row {
                name,
                before,
                after,
            } = row;
            let ratio = row.ratio();
            writeln!(out, "{name:<32}{before:>12.1}{after:>12.1}{ratio:>12.3}")?;
        }
        for warning in &self.warnings {
            writeln!(out, "note: not alike: {warning}")?;
        }
        Ok(())
    }

    pub(super) fn as_json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "figure": row.name,
                "before": row.before,
                "after": row.after,
                "ratio": row.ratio(),
            })
        };
        json!({
            "figures": self.rows.iter().map(row).collect::<Vec<_>>(),
            "not_alike": self.warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_both_have_are_compared_and_differences_are_said() {
        let before = json!({"threads": 1, "load_ms": 10.0, "tests": [
            {"test": "prompt 128", "tok_s": 100.0}, {"test": "gone", "tok_s": 1.0}]});
        let after = json!({"threads": 2, "load_ms": 5.0, "tests": [
            {"test": "prompt 128", "tok_s": 150.0}, {"test": "new", "tok_s": 1.0}]});
        let found = against(&before, &after).as_json();
        let expected = json!({"figures": [
            {"figure": "load ms", "before": 10.0, "after": 5.0, "ratio": 0.5},
            {"figure": "prompt 128 tok/s", "before": 100.0, "after": 150.0, "ratio": 1.5}],
            "not_alike": ["threads was 1, is 2"]});
        assert_eq!(found, expected);
    }
}
