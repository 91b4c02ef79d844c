//! GBNF, the grammars of llama.cpp, as Lark.
//!
//! GBNF has characters only; Lark's parser reads terminals, the longest that fits. What does not refer to itself is a
//! regular expression, and a terminal is made of as much of it as stands together. Where the longest terminal could be
//! the wrong one, the grammar is refused with the two that cannot be told apart: a translation holds to the same
//! language or there is none.

mod parse;
mod regular;
mod terminals;

use std::fmt::Write as _;

use super::GrammarError;
use super::compile::bounded;
use parse::{Node, Rules, rules_from_text};
use regular::{Regular, RegularRules};
use terminals::Terminals;

/// The rule that a text begins with.
const ROOT: &str = "root";
const RULES_MAX: usize = 1000;
/// Bytes of all regular expressions: a rule is copied into those that name it.
pub(super) const PATTERN_BYTES_MAX: usize = 256 << 10;

pub(super) fn refused(reason: impl Into<String>) -> GrammarError {
    GrammarError::Refused {
        kind: "gbnf",
        reason: reason.into(),
    }
}

/// The same grammar in Lark's syntax.
///
/// # Errors
/// What is wrong in which line; which rule is missing; what cannot be translated.
pub(super) fn lark_from_gbnf(text: &str) -> Result<String, GrammarError> {
    let rules = rules_from_text(text)?;
    if !rules.contains_key(ROOT) {
        return Err(refused("rule root is missing"));
    }
    bounded("gbnf", "the number of its rules", rules.len(), RULES_MAX)?;
    let regular = RegularRules::new(&rules)?;
    // Short terminals are shared by rules that go on differently, long ones hide what is alike.
    translated(&rules, &regular, Cut::Short)
        .or_else(|error| translated(&rules, &regular, Cut::Long).or(Err(error)))
}

/// How much becomes one terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// An expression with what may be empty behind it: mostly white space.
    Short,
    /// All that stands together.
    Long,
}

fn translated(rules: &Rules, regular: &RegularRules<'_>, cut: Cut) -> Result<String, GrammarError> {
    let mut translator = Translator {
        rules,
        regular,
        cut,
        terminals: Terminals::default(),
    };
    let mut lark = String::new();
    for (name, node) in rules {
        if !translator.regular.contains(name) {
            let body = translator.node(name, node)?;
            let _ = writeln!(lark, "{}: {}", translator.rule(name), body.lark());
            translator.terminals.rule(name, body);
        }
    }
    let root = Node::Rule(ROOT.to_owned());
    let start = translator.node(ROOT, &root)?;
    let _ = writeln!(lark, "start: {}", start.lark());
    translator.terminals.rule("", start);
    translator.terminals.check()?;
    lark.push_str(&translator.terminals.lark());
    Ok(lark)
}

/// An expression over terminals.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Terminal(usize),
    Token(String),
    /// The rule's name, and the one it has in Lark.
    Rule(String, String),
    Seq(Vec<Body>),
    Alt(Vec<Body>),
    Repeat(Box<Body>, usize, Option<usize>),
}

impl Body {
    fn lark(&self) -> String {
        let joined = |bodies: &[Body], sign: &str| {
            let parts: Vec<String> = bodies.iter().map(Body::lark).collect();
            format!("({})", parts.join(sign))
        };
        match self {
            Body::Terminal(at) => format!("T{at}"),
            Body::Token(token) => token.clone(),
            Body::Rule(_, rule) => rule.clone(),
            Body::Seq(bodies) if bodies.is_empty() => "\"\"".to_owned(),
            Body::Seq(bodies) => joined(bodies, " "),
            Body::Alt(bodies) => joined(bodies, " | "),
            Body::Repeat(body, 0, Some(1)) => format!("({})?", body.lark()),
            Body::Repeat(body, 0, None) => format!("({})*", body.lark()),
            Body::Repeat(body, 1, None) => format!("({})+", body.lark()),
            Body::Repeat(body, least, None) => format!("({}){{{least},}}", body.lark()),
            Body::Repeat(body, least, Some(most)) => format!("({}){{{least},{most}}}", body.lark()),
        }
    }
}

struct Translator<'a> {
    rules: &'a Rules,
    regular: &'a RegularRules<'a>,
    cut: Cut,
    terminals: Terminals,
}

impl Translator<'_> {
    /// A rule's name in Lark: its place.
    fn rule(&self, name: &str) -> String {
        let place = self.rules.keys().position(|key| key == name);
        format!("r{}", place.unwrap_or_default())
    }

    /// An expression of rule `name`.
    fn node(&mut self, name: &str, node: &Node) -> Result<Body, GrammarError> {
        if let Some(regular) = self.regular.of(node)? {
            return Ok(self.terminal(name, regular));
        }
        match node {
            Node::Seq(nodes) => self.sequence(name, nodes),
            Node::Alt(nodes) => {
                let bodies = nodes.iter().map(|node| self.node(name, node));
                Ok(Body::Alt(bodies.collect::<Result<_, _>>()?))
            }
            Node::Repeat(node, least, most) => {
                let body = self.node(name, node)?;
                Ok(Body::Repeat(Box::new(body), *least, *most))
            }
            Node::Token(token) => Ok(Body::Token(token.clone())),
            Node::Rule(other) => Ok(Body::Rule(other.clone(), self.rule(other))),
            Node::Literal(_) | Node::Class(_) => Ok(Body::Seq(Vec::new())),
        }
    }

    fn sequence(&mut self, name: &str, nodes: &[Node]) -> Result<Body, GrammarError> {
        let mut bodies = Vec::new();
        let mut run: Option<Regular> = None;
        for node in nodes {
            run = match (run, self.regular.of(node)?) {
                (None, next) if next.is_some() => next,
                (Some(before), Some(next)) if self.cut == Cut::Long || next.empty => {
                    Some(before.then(next)?)
                }
                (Some(before), Some(next)) => {
                    let before = self.terminal(name, before);
                    bodies.push(before);
                    Some(next)
                }
                (before, _) => {
                    bodies.extend(before.map(|before| self.terminal(name, before)));
                    bodies.push(self.node(name, node)?);
                    None
                }
            };
        }
        bodies.extend(run.map(|run| self.terminal(name, run)));
        Ok(Body::Seq(bodies))
    }

    /// Regular expressions one after the other as one terminal. Terminals are never empty.
    fn terminal(&mut self, name: &str, regular: Regular) -> Body {
        if regular.first.is_empty() {
            return Body::Seq(Vec::new());
        }
        let empty = regular.empty;
        let terminal = Body::Terminal(self.terminals.add(name, regular));
        if empty {
            Body::Repeat(Box::new(terminal), 0, Some(1))
        } else {
            terminal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("a ::= \"x\"", "rule root is missing"),
            ("root ::= b", "rule b is missing"),
            (
                "root ::= \"x\"\nroot ::= \"y\"",
                "line 2: rule root is given twice",
            ),
            ("root = \"x\"", "line 1: ::= is missing"),
            ("root ::= (\"x\"", "line 1: ) is missing"),
            ("root ::= \"x", "line 1: the text ends too soon"),
            ("root ::= [z-a]", "ends before it begins"),
            ("root ::= \"\\q\"", "\\q stands for nothing"),
            ("root ::= \"a\"{3,1}", "is no number of times"),
            ("root ::= !<x> root", "cannot be translated"),
        ] {
            let error = lark_from_gbnf(text).unwrap_err().to_string();
            assert!(
                error.starts_with("gbnf: ") && error.contains(says),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn terminals_that_cannot_be_told_apart_are_refused() {
        let text = "root ::= item | \"(\" root \")\"\nitem ::= [a-z]+ root \"x\"";
        let error = lark_from_gbnf(text).unwrap_err().to_string();
        assert!(error.contains("cannot be told apart"), "{error}");
    }
}
