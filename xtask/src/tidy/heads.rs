//! Every file opens by saying what it is; a kernel also says its layout, contract and measurement.
//!
//! In: a file. Out: a finding when the `//!` head is missing or incomplete.

use crate::Finding;
use crate::source::Source;

const KERNELS: &str = "crates/kernels/src/";
const KERNEL_WORDS: [&str; 3] = ["Layout", "Contract", "Measured"];
/// Files of the kernels crate that hold no kernel: what kernels are made of and run on.
const NOT_KERNELS: [&str; 8] = [
    "lib.rs",
    "mod.rs",
    "cpu.rs",
    "isa.rs",
    "parts.rs",
    "pool.rs",
    "scratch.rs",
    "spans.rs",
];

pub(crate) fn findings(source: &Source) -> Vec<Finding> {
    let head = head(&source.text);
    if head.is_empty() {
        return vec![Finding::new(
            &source.path,
            1,
            "no `//!` head: what comes in, what goes out?",
        )];
    }
    if !is_kernel(source) {
        return Vec::new();
    }
    let missing = KERNEL_WORDS.iter().filter(|word| !head.contains(**word));
    let findings = missing.map(|word| {
        Finding::new(
            &source.path,
            1,
            format!("the head of a kernel has the word `{word}`"),
        )
    });
    findings.collect()
}

/// The `//!` lines at the top.
fn head(text: &str) -> String {
    let lines = text.lines().skip_while(|line| line.trim().is_empty());
    lines.take_while(|line| line.starts_with("//!")).collect()
}

fn is_kernel(source: &Source) -> bool {
    let Some(inner) = source.path.strip_prefix(KERNELS) else {
        return false;
    };
    let file = inner.rsplit('/').next().unwrap_or(inner);
    !source.is_test_file() && !inner.starts_with("lanes/") && !NOT_KERNELS.contains(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        findings(&Source::new(path, text.into())).len()
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        assert_eq!(found("crates/x/src/a.rs", "//! A.\n\nfn f() {}"), 0);
        assert_eq!(found("crates/x/src/a.rs", "// A.\nfn f() {}"), 1);
        assert_eq!(found("crates/x/src/a.rs", "fn f() {}\n//! A."), 1);
        assert_eq!(found("crates/x/src/a.rs", ""), 1);
    }

    #[test]
    fn a_kernel_states_layout_contract_and_measurement() {
        let full = "//! A dot.\n//! Layout: rows. Contract: exact. Measured: not yet.\n";
        assert_eq!(found("crates/kernels/src/dot.rs", full), 0);
        assert_eq!(
            found(
                "crates/kernels/src/dot/q4.rs",
                "//! A dot.\n//! Layout: rows.\n"
            ),
            2
        );
        for infrastructure in [
            "lib.rs",
            "pool.rs",
            "lanes/avx2.rs",
            "dot/mod.rs",
            "dot/tests.rs",
        ] {
            assert_eq!(
                found(&format!("crates/kernels/src/{infrastructure}"), "//! A.\n"),
                0
            );
        }
    }
}
