//! The terminals of a translated grammar, and whether the longest one is always the right one.
//!
//! A terminal is read wrongly where it could have ended, what may follow it comes next, and a terminal (the same one, or
//! another) goes on with that. Whether there is such a text is a question about regular languages: the second
//! terminal, and the first with what may follow it and anything behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use llguidance::derivre::{RegexAst, RegexBuilder};

use super::super::compile::bounded;
use super::regular::Regular;
use super::{Body, GrammarError, PATTERN_BYTES_MAX, refused};

/// Steps that one comparison may take.
const FUEL: u64 = 100_000;
/// Terminals of a grammar: each is compared with each.
const TERMINALS_MAX: usize = 100;

struct Terminal {
    /// The rule that it stands in.
    rule: String,
    pattern: String,
    /// The characters that it may begin with, as a regular expression.
    first: String,
    /// Whether its pattern also matches nothing, which it must not.
    trimmed: bool,
}

#[derive(Default)]
pub(super) struct Terminals {
    list: Vec<Terminal>,
    bodies: BTreeMap<String, Body>,
}

const EMPTY: Begin = Begin {
    first: BTreeSet::new(),
    empty: true,
};

/// What may begin an expression, and whether it may be empty.
#[derive(Clone, Default, PartialEq)]
struct Begin {
    first: BTreeSet<usize>,
    empty: bool,
}

impl Terminals {
    /// The place of a terminal; equal ones are one.
    pub(super) fn add(&mut self, rule: &str, regular: Regular) -> usize {
        let Regular {
            pattern,
            first,
            empty,
        } = regular;
        let known = self.list.iter().position(|known| known.pattern == pattern);
        known.unwrap_or_else(|| {
            self.list.push(Terminal {
                rule: rule.to_owned(),
                pattern,
                first: first.into_iter().collect::<Vec<_>>().join("|"),
                trimmed: empty,
            });
            self.list.len() - 1
        })
    }

    /// The body of a rule; that of the whole text has no name.
    pub(super) fn rule(&mut self, name: &str, body: Body) {
        self.bodies.insert(name.to_owned(), body);
    }

    pub(super) fn lark(&self) -> String {
        let mut out = String::new();
        for (at, terminal) in self.list.iter().enumerate() {
            let pattern = terminal.pattern.replace('/', "\\/");
            let trimmed = if terminal.trimmed { " & /(?s:.+)/" } else { "" };
            let _ = writeln!(out, "T{at}: /{pattern}/{trimmed}");
        }
        out
    }

    /// Refuses a grammar whose terminals cannot be told apart by the longest one.
    pub(super) fn check(&self) -> Result<(), GrammarError> {
        let bytes = self
            .list
            .iter()
            .map(|terminal| terminal.pattern.len())
            .sum();
        bounded(
            "gbnf",
            "the length of its expressions in bytes",
            bytes,
            PATTERN_BYTES_MAX,
        )?;
        bounded(
            "gbnf",
            "the number of its terminals",
            self.list.len(),
            TERMINALS_MAX,
        )?;
        for (one, next) in self.follow().iter().enumerate() {
            if next.is_empty() {
                continue;
            }
            let next: Vec<&str> = next
                .iter()
                .map(|&at| self.list[at].first.as_str())
                .collect();
            let next = format!("(?:{})(?s:.*)", next.join("|"));
            for other in 0..self.list.len() {
                self.check_pair(one, other, &next)?;
            }
        }
        Ok(())
    }

    /// Whether `other` goes on where `one` ends and `next` comes.
    fn check_pair(&self, one: usize, other: usize, next: &str) -> Result<(), GrammarError> {
        let longer = RegexAst::Concat(vec![self.ast(one), RegexAst::Regex(next.to_owned())]);
        let both = RegexAst::And(vec![self.ast(other), longer]);
        let mut builder = RegexBuilder::new();
        let regex = builder.mk(&both);
        let regex = regex.and_then(|both| builder.to_regex_limited(both, FUEL));
        let empty = regex.map(|mut both| both.always_empty());
        let (one, other) = (&self.list[one].rule, &self.list[other].rule);
        match empty {
            Ok(true) => Ok(()),
            Ok(false) => Err(refused(format!(
                "a part of rule {one} and a part of rule {other} cannot be told apart by the longest that fits"
            ))),
            Err(_) => Err(refused(format!(
                "rules {one} and {other} are too complex to tell apart"
            ))),
        }
    }

    fn ast(&self, at: usize) -> RegexAst {
        let terminal = &self.list[at];
        let whole = RegexAst::Regex(terminal.pattern.clone());
        if terminal.trimmed {
            RegexAst::And(vec![whole, RegexAst::Regex("(?s:.+)".to_owned())])
        } else {
            whole
        }
    }

    /// For each terminal, those that may come right after it.
    fn follow(&self) -> Vec<BTreeSet<usize>> {
        let begins = self.begins();
        let mut follow = Follow {
            begins,
            terminals: vec![BTreeSet::new(); self.list.len()],
            rules: BTreeMap::new(),
        };
        loop {
            let before = follow.size();
            for (name, body) in &self.bodies {
                let after = follow.rules.get(name).cloned().unwrap_or_default();
                follow.walk(body, &after);
            }
            if follow.size() == before {
                return follow.terminals;
            }
        }
    }

    /// What may begin each rule.
    fn begins(&self) -> BTreeMap<String, Begin> {
        let mut begins = BTreeMap::new();
        loop {
            let mut changed = false;
            for (name, body) in &self.bodies {
                let begin = begin(body, &begins);
                changed |= begins.insert(name.clone(), begin.clone()) != Some(begin);
            }
            if !changed {
                return begins;
            }
        }
    }
}

fn begin(body: &Body, begins: &BTreeMap<String, Begin>) -> Begin {
    match body {
        Body::Terminal(at) => Begin {
            first: BTreeSet::from([*at]),
            empty: false,
        },
        Body::Token(_) => Begin::default(),
        Body::Rule(name, _) => begins.get(name).cloned().unwrap_or_default(),
        Body::Seq(bodies) => bodies.iter().rev().fold(EMPTY, |after, body| {
            let mut own = begin(body, begins);
            if own.empty {
                own.first.extend(after.first);
                own.empty = after.empty;
            }
            own
        }),
        Body::Alt(bodies) => bodies.iter().fold(Begin::default(), |mut all, body| {
            let own = begin(body, begins);
            all.first.extend(own.first);
            all.empty |= own.empty;
            all
        }),
        Body::Repeat(body, least, _) => {
            let mut own = begin(body, begins);
            own.empty |= *least == 0;
            own
        }
    }
}

/// What may follow terminals and rules, as far as it is known.
struct Follow {
    begins: BTreeMap<String, Begin>,
    terminals: Vec<BTreeSet<usize>>,
    rules: BTreeMap<String, BTreeSet<usize>>,
}

impl Follow {
    fn size(&self) -> usize {
        let sets = self.terminals.iter().chain(self.rules.values());
        sets.map(BTreeSet::len).sum()
    }

    /// `after` may follow `body`.
    fn walk(&mut self, body: &Body, after: &BTreeSet<usize>) {
        match body {
            Body::Terminal(at) => self.terminals[*at].extend(after),
            Body::Token(_) => {}
            Body::Rule(name, _) => self.rules.entry(name.clone()).or_default().extend(after),
            Body::Seq(bodies) => {
                let mut after = after.clone();
                for body in bodies.iter().rev() {
                    self.walk(body, &after);
                    let begin = begin(body, &self.begins);
                    if !begin.empty {
                        after.clear();
                    }
                    after.extend(begin.first);
                }
            }
            Body::Alt(bodies) => bodies.iter().for_each(|body| self.walk(body, after)),
            Body::Repeat(body, _, most) => {
                let mut after = after.clone();
                if *most != Some(1) {
                    after.extend(begin(body, &self.begins).first);
                }
                self.walk(body, &after);
            }
        }
    }
}
