//! GBNF's text as a tree.

use std::collections::BTreeMap;

use super::refused;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// These characters, one after the other.
    Literal(String),
    /// One character of a class, as a regular expression writes it.
    Class(String),
    /// A control token, as Lark writes it.
    Token(String),
    Rule(String),
    Seq(Vec<Node>),
    Alt(Vec<Node>),
    /// So many times, or any number of times from the least on.
    Repeat(Box<Node>, usize, Option<usize>),
}

/// Rules by name, with the names in the order of the text.
pub(super) type Rules = BTreeMap<String, Node>;

pub(super) fn rules_from_text(text: &str) -> Result<Rules, super::GrammarError> {
    let mut parser = Parser { rest: text, text };
    let mut rules = Rules::new();
    loop {
        parser.skip(true);
        if parser.rest.is_empty() {
            return Ok(rules);
        }
        let name = parser.name()?;
        parser.skip(false);
        if !parser.take("::=") {
            return Err(parser.wrong("::= is missing"));
        }
        parser.skip(true);
        let node = parser.alternatives(false)?;
        if rules.insert(name.clone(), node).is_some() {
            return Err(parser.wrong(&format!("rule {name} is given twice")));
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn wrong(&self, reason: &str) -> super::GrammarError {
        let read = &self.text[..self.text.len() - self.rest.len()];
        refused(format!("line {}: {reason}", read.matches('\n').count() + 1))
    }

    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Result<char, super::GrammarError> {
        let mut chars = self.rest.chars();
        let next = chars
            .next()
            .ok_or_else(|| self.wrong("the text ends too soon"))?;
        self.rest = chars.as_str();
        Ok(next)
    }

    /// White space and comments; line breaks only where an expression goes on over them.
    fn skip(&mut self, lines: bool) {
        loop {
            let space = |c: char| c == ' ' || c == '\t' || lines && (c == '\n' || c == '\r');
            self.rest = self.rest.trim_start_matches(space);
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
        }
    }

    fn name(&mut self) -> Result<String, super::GrammarError> {
        let sign = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let end = self.rest.find(|c| !sign(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.wrong("a name is missing"));
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn alternatives(&mut self, nested: bool) -> Result<Node, super::GrammarError> {
        let mut options = vec![self.sequence(nested)?];
        while self.take("|") {
            self.skip(true);
            options.push(self.sequence(nested)?);
        }
        Ok(match options.pop() {
            Some(only) if options.is_empty() => only,
            last => Node::Alt(options.into_iter().chain(last).collect()),
        })
    }

    fn sequence(&mut self, nested: bool) -> Result<Node, super::GrammarError> {
        let mut items = Vec::new();
        loop {
            let item = match self.rest.chars().next() {
                Some('"') => Node::Literal(self.literal()?),
                Some('[') => Node::Class(self.class()?),
                Some('.') => {
                    self.next()?;
                    Node::Class("(?s:.)".to_owned())
                }
                Some('<') => self.token()?,
                Some('!') => {
                    return Err(
                        self.wrong("a token that may not come (!<...>) cannot be translated")
                    );
                }
                Some('(') => self.group()?,
                Some(c) if c.is_ascii_alphanumeric() || c == '_' || c == '-' => {
                    Node::Rule(self.name()?)
                }
                _ => break,
            };
            let item = self.repeated(item)?;
            items.push(item);
            self.skip(nested);
        }
        Ok(Node::Seq(items))
    }

    fn group(&mut self) -> Result<Node, super::GrammarError> {
        self.next()?;
        self.skip(true);
        let node = self.alternatives(true)?;
        self.skip(true);
        if self.take(")") {
            Ok(node)
        } else {
            Err(self.wrong(") is missing"))
        }
    }

    /// The signs behind an expression that repeat it.
    fn repeated(&mut self, mut node: Node) -> Result<Node, super::GrammarError> {
        loop {
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.next()?;
                    let bounds = self.bounds()?;
                    node = Node::Repeat(Box::new(node), bounds.0, bounds.1);
                    continue;
                }
                _ => return Ok(node),
            };
            self.next()?;
            node = Node::Repeat(Box::new(node), least, most);
        }
    }

    fn bounds(&mut self) -> Result<(usize, Option<usize>), super::GrammarError> {
        let end = self
            .rest
            .find('}')
            .ok_or_else(|| self.wrong("} is missing"))?;
        let (inside, rest) = self.rest.split_at(end);
        let number = |digits: &str| digits.trim().parse::<usize>().ok();
        let bounds = match inside.split_once(',') {
            None => number(inside).map(|count| (count, Some(count))),
            Some((least, most)) if most.trim().is_empty() => {
                number(least).map(|least| (least, None))
            }
            Some((least, most)) => number(least)
                .zip(number(most))
                .map(|(least, most)| (least, Some(most))),
        };
        match bounds {
            Some((least, most)) if most.is_none_or(|most| least <= most) => {
                self.rest = &rest[1..];
                Ok((least, most))
            }
            _ => Err(self.wrong(&format!("{{{inside}}} is no number of times"))),
        }
    }

    fn literal(&mut self) -> Result<String, super::GrammarError> {
        self.next()?;
        let mut text = String::new();
        while !self.take("\"") {
            if self.rest.starts_with('\n') {
                return Err(self.wrong("\" is missing"));
            }
            text.push(self.character()?);
        }
        Ok(text)
    }

    /// A character, or what stands for one behind a backslash.
    fn character(&mut self) -> Result<char, super::GrammarError> {
        let c = self.next()?;
        if c != '\\' {
            return Ok(c);
        }
        let digits = match self.next()? {
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c @ ('"' | '\\' | '[' | ']' | '^' | '-' | '/') => return Ok(c),
            c => return Err(self.wrong(&format!("\\{c} stands for nothing"))),
        };
        let code = self.rest.get(..digits);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        let c = code
            .and_then(char::from_u32)
            .ok_or_else(|| self.wrong("no character has this number"))?;
        self.rest = &self.rest[digits..];
        Ok(c)
    }

    fn class(&mut self) -> Result<String, super::GrammarError> {
        self.next()?;
        let mut class = if self.take("^") { "[^" } else { "[" }.to_owned();
        let empty = class.len();
        while !self.take("]") {
            let first = self.character()?;
            let mut last = first;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next()?;
                last = self.character()?;
            }
            if last < first {
                return Err(self.wrong("a range of characters ends before it begins"));
            }
            class.push_str(&format!(
                "\\x{{{:x}}}-\\x{{{:x}}}",
                u32::from(first),
                u32::from(last)
            ));
        }
        if class.len() == empty {
            return Err(self.wrong("a class without characters"));
        }
        class.push(']');
        Ok(class)
    }

    fn token(&mut self) -> Result<Node, super::GrammarError> {
        let end = self
            .rest
            .find('>')
            .ok_or_else(|| self.wrong("> is missing"))?;
        let (token, rest) = self.rest.split_at(end + 1);
        if token.chars().any(char::is_whitespace) {
            return Err(self.wrong("white space in the name of a token"));
        }
        self.rest = rest;
        Ok(Node::Token(token.to_owned()))
    }
}
