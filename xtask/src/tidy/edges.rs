//! Who may name whom: the forbidden edges of the design.
//!
//! In: all files. Out: a finding for each name that crosses a forbidden border. A name re-exported
//! elsewhere (`pub use`) counts as the thing it stands for. Tests may cross: they build whole models.

use std::collections::BTreeMap;

use super::names::{Name, module_of, names};
use crate::Finding;
use crate::source::Source;

struct Edge {
    /// A folder, or the file of the same name.
    inside: &'static str,
    never: &'static [&'static str],
    why: &'static str,
}

const FORMATS: [&str; 5] = [
    "half",
    "crate::weights",
    "crate::backend::weights",
    "crate::checkpoint::Dtype",
    "crate::checkpoint::Form",
];

const DEVICES: [&str; 3] = [
    "crate::backend::cpu",
    "crate::backend::reference",
    "crate::backend::gpu",
];

const EDGES: [Edge; 13] = [
    Edge {
        inside: "crates/inference/src/models",
        never: &["crate::backend", "lattice_kernels"],
        why: "a model family is a list of steps, whatever runs it",
    },
    Edge {
        inside: "crates/inference/src/models",
        never: &FORMATS,
        why: "the weight knows its format, the model file never does",
    },
    Edge {
        inside: "crates/inference/src/backend",
        never: &[
            "crate::models",
            "crate::tokenizer",
            "crate::generate",
            "crate::sample",
        ],
        why: "a backend sees plans and batches only",
    },
    Edge {
        inside: "crates/inference/src/generate",
        never: &["lattice_kernels"],
        why: "generation talks to a runner",
    },
    Edge {
        inside: "crates/inference/src/generate",
        never: &DEVICES,
        why: "generation knows no device",
    },
    Edge {
        inside: "crates/inference/src/generate",
        never: &FORMATS,
        why: "generation knows no weight format",
    },
    Edge {
        inside: "crates/inference/src/sample",
        never: &["lattice_kernels::Cpu", "crate::models"],
        why: "a sampler sees logits, and has no device to compute on",
    },
    Edge {
        inside: "crates/inference/src/sample",
        never: &DEVICES,
        why: "a sampler sees logits, wherever they come from",
    },
    Edge {
        inside: "crates/inference/src/sample",
        never: &FORMATS,
        why: "a sampler sees logits in f32",
    },
    Edge {
        inside: "crates/inference/src/plan",
        never: &[
            "crate::backend",
            "crate::models",
            "crate::checkpoint",
            "crate::tokenizer",
        ],
        why: "the plan is the seam and knows neither side",
    },
    Edge {
        inside: "crates/inference/src/plan",
        never: &["lattice_kernels", "half"],
        why: "the plan is the seam and computes nothing",
    },
    Edge {
        inside: "crates/inference/src/tokenizer",
        never: &[
            "crate::plan",
            "crate::backend",
            "crate::models",
            "crate::generate",
        ],
        why: "text and ids need no model",
    },
    Edge {
        inside: "crates/serve/src",
        never: &["lattice_kernels"],
        why: "a server has an engine",
    },
];

pub(crate) fn findings(sources: &[Source]) -> Vec<Finding> {
    let aliases = Aliases::of(sources);
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test_file()) {
        let edges: Vec<_> = EDGES
            .iter()
            .filter(|edge| edge.holds_in(&source.path))
            .collect();
        if edges.is_empty() {
            continue;
        }
        for name in names(source).iter().filter(|name| !source.is_test(name.at)) {
            let meant = aliases.meant(&source.path, name);
            for edge in edges.iter().filter(|edge| edge.forbids(&meant)) {
                let message = format!("names `{meant}`: {}", edge.why);
                findings.push(Finding::new(&source.path, source.line(name.at), message));
            }
        }
    }
    findings
}

impl Edge {
    fn holds_in(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.inside);
        rest.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    }

    fn forbids(&self, path: &str) -> bool {
        self.never.iter().any(|prefix| is_within(path, prefix))
    }
}

fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What the re-exports of each crate stand for.
struct Aliases(BTreeMap<String, String>);

impl Aliases {
    fn of(sources: &[Source]) -> Self {
        let modules: Vec<_> = sources
            .iter()
            .map(|s| in_crate(&s.path, &module_of(&s.path)))
            .collect();
        let mut aliases = BTreeMap::new();
        for source in sources.iter().filter(|source| !source.is_test_file()) {
            for Name {
                path, exported_as, ..
            } in names(source)
            {
                let Some(exported) = exported_as else {
                    continue;
                };
                let local = format!("{}::{path}", module_of(&source.path));
                let (outer, _) = local.rsplit_once("::").expect("a module precedes the path");
                let is_local = modules.contains(&in_crate(&source.path, outer));
                let meant = if is_local && !path.starts_with("crate::") {
                    local
                } else {
                    path
                };
                aliases.insert(in_crate(&source.path, &exported), meant);
            }
        }
        Self(aliases)
    }

    fn meant(&self, file: &str, name: &Name) -> String {
        let mut path = name.path.clone();
        // An alias of an alias of an alias is as deep as anybody should go.
        for _ in 0..3 {
            let mut stem = path.as_str();
            let target = loop {
                if let Some(target) = self.0.get(&in_crate(file, stem)) {
                    break Some((stem.len(), target));
                }
                match stem.rsplit_once("::") {
                    Some((outer, _)) => stem = outer,
                    None => break None,
                }
            };
            match target {
                Some((length, target)) => path = format!("{target}{}", &path[length..]),
                None => break,
            }
        }
        path
    }
}

/// Tells `crate::a` of one crate from that of another.
fn in_crate(file: &str, path: &str) -> String {
    let home = file.split_once("/src/").map_or("", |(home, _)| home);
    format!("{home} {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "crates/inference/src";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let source =
            |(path, text): &(&str, &str)| Source::new(&format!("{HOME}/{path}"), (*text).into());
        let sources: Vec<_> = files.iter().map(source).collect();
        findings(&sources).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_forbidden_edge_is_found() {
        let cases = [
            ("models/a.rs", "use crate::{plan, backend::Runner};"),
            ("models/a.rs", "use super::super::backend;"),
            ("models/a.rs", "fn f() { half::f16::ZERO; }"),
            ("models/a.rs", "use crate::checkpoint::Dtype;"),
            ("backend/cpu/mod.rs", "use crate::models;"),
            ("backend/cpu/mod.rs", "use crate::sample::Sampler;"),
            ("generate/a.rs", "use crate::backend::cpu::Cpu;"),
            ("generate/a.rs", "use lattice_kernels as k;"),
            ("sample/a.rs", "use crate::backend::cpu;"),
            ("plan/op.rs", "use crate::checkpoint::Tensor;"),
            ("tokenizer/mod.rs", "use crate::plan::Plan;"),
            ("tokenizer.rs", "use crate::plan::Plan;"),
        ];
        for (path, text) in cases {
            assert_eq!(found(&[(path, text)]).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn allowed_edges_tests_and_words_are_not_found() {
        let cases = [
            (
                "models/a.rs",
                "use crate::plan::Op;\nuse crate::checkpoint::Config;\nlet half = 1;",
            ),
            (
                "models/a.rs",
                "#[cfg(test)]\nmod tests { use crate::backend::Runner; }",
            ),
            ("models/tests.rs", "use crate::backend::Runner;"),
            (
                "models/a.rs",
                "/// [`crate::backend::Runner`] runs it.\nfn f() {}",
            ),
            ("generate/a.rs", "use crate::backend::{Batch, Runner};"),
            (
                "backend/cpu/mod.rs",
                "use half::f16;\nuse lattice_kernels::Isa;",
            ),
            ("engine.rs", "use crate::backend::cpu::Cpu;"),
        ];
        for (path, text) in cases {
            assert_eq!(found(&[(path, text)]), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_re_export_counts_as_what_it_stands_for() {
        let library = ("lib.rs", "pub use backend::Runner;\npub use plan::Plan;");
        let backend = ("backend/mod.rs", "pub use cpu::Cpu;");
        let others = [("backend/cpu.rs", ""), ("plan/mod.rs", "")];
        let model = [("models/a.rs", "use crate::{Plan, Runner};")];
        let files = [&[library, backend], others.as_slice(), &model].concat();
        assert_eq!(found(&files).len(), 1);
        let generate = [("generate/a.rs", "fn f() { crate::backend::Cpu::new(); }")];
        let files = [&[library, backend], others.as_slice(), &generate].concat();
        assert!(found(&files)[0].contains("crate::backend::cpu::Cpu"));
    }
}
