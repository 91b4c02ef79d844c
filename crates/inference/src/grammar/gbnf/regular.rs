//! What of a grammar is a regular expression: what has no token in it, and no way back to itself.

use std::collections::{BTreeMap, BTreeSet};

use super::super::compile::bounded;
use super::parse::{Node, Rules};
use super::{GrammarError, PATTERN_BYTES_MAX, refused};

/// A regular expression.
#[derive(Debug, Clone)]
pub(super) struct Regular {
    pub(super) pattern: String,
    /// The characters that it may begin with, each as an expression.
    pub(super) first: BTreeSet<String>,
    /// Whether it matches nothing, too.
    pub(super) empty: bool,
}

impl Regular {
    fn nothing() -> Regular {
        Regular {
            pattern: String::new(),
            first: BTreeSet::new(),
            empty: true,
        }
    }

    fn character(pattern: String) -> Regular {
        Regular {
            first: BTreeSet::from([pattern.clone()]),
            pattern,
            empty: false,
        }
    }

    /// This one, then `next`.
    pub(super) fn then(mut self, next: Regular) -> Result<Regular, GrammarError> {
        self.pattern.push_str(&next.pattern);
        if self.empty {
            self.first.extend(next.first);
        }
        self.empty &= next.empty;
        self.within_bounds()
    }

    fn or(mut self, other: Regular) -> Result<Regular, GrammarError> {
        self.pattern = format!("{}|{}", self.pattern, other.pattern);
        self.first.extend(other.first);
        self.empty |= other.empty;
        self.within_bounds()
    }

    fn repeated(mut self, least: usize, most: Option<usize>) -> Regular {
        let most = most.map_or_else(String::new, |most| most.to_string());
        self.pattern = format!("(?:{}){{{least},{most}}}", self.pattern);
        self.empty |= least == 0;
        self
    }

    fn within_bounds(self) -> Result<Regular, GrammarError> {
        let what = "the length of its expressions in bytes";
        bounded("gbnf", what, self.pattern.len(), PATTERN_BYTES_MAX)?;
        Ok(self)
    }
}

/// The rules that are regular.
pub(super) struct RegularRules<'a> {
    rules: &'a Rules,
    known: BTreeMap<&'a str, Regular>,
}

impl<'a> RegularRules<'a> {
    /// Finds them.
    ///
    /// # Errors
    /// A rule that is missing, or an expression that is too long.
    pub(super) fn new(rules: &'a Rules) -> Result<RegularRules<'a>, GrammarError> {
        let known = BTreeMap::new();
        let mut found = RegularRules { rules, known };
        loop {
            let before = found.known.len();
            for (name, node) in rules {
                if !found.contains(name)
                    && let Some(regular) = found.of(node)?
                {
                    found.known.insert(name, regular);
                }
            }
            if found.known.len() == before {
                return Ok(found);
            }
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// An expression, if it is regular.
    pub(super) fn of(&self, node: &Node) -> Result<Option<Regular>, GrammarError> {
        match node {
            Node::Literal(text) => {
                let characters = text.chars().map(|c| Regular::character(escaped(c)));
                let whole = characters.reduce(|mut before, next| {
                    before.pattern.push_str(&next.pattern);
                    before
                });
                Ok(Some(whole.unwrap_or_else(Regular::nothing)))
            }
            Node::Class(class) => Ok(Some(Regular::character(class.clone()))),
            Node::Token(_) => Ok(None),
            Node::Rule(name) if !self.rules.contains_key(name) => {
                Err(refused(format!("rule {name} is missing")))
            }
            Node::Rule(name) => Ok(self.known.get(name.as_str()).cloned()),
            Node::Seq(nodes) => {
                let mut whole = Some(Regular::nothing());
                // To the end, so that every missing rule is found.
                for node in nodes {
                    whole = match (whole, self.of(node)?) {
                        (Some(before), Some(next)) => Some(before.then(next)?),
                        _ => None,
                    };
                }
                Ok(whole)
            }
            Node::Alt(nodes) => {
                let mut whole = None;
                let mut all = true;
                for node in nodes {
                    whole = match (whole, self.of(node)?) {
                        (None, Some(one)) => Some(one),
                        (Some(before), Some(one)) => Some(Regular::or(before, one)?),
                        (before, None) => {
                            all = false;
                            before
                        }
                    };
                }
                Ok(whole.filter(|_| all).map(|whole| Regular {
                    pattern: format!("(?:{})", whole.pattern),
                    ..whole
                }))
            }
            Node::Repeat(node, least, most) => {
                let one = self.of(node)?;
                Ok(one.map(|one| one.repeated(*least, *most)))
            }
        }
    }
}

/// A character as a regular expression writes it.
fn escaped(c: char) -> String {
    format!("\\x{{{:x}}}", u32::from(c))
}
