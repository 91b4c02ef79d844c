//! SPDX licence expressions against a list of allowed names.
//!
//! In: the `license` field of a manifest, also in its older form with a slash. Out: whether the allowed
//! names satisfy it. `A WITH e` is a name of its own. What cannot be read is not satisfied.

/// `OR` wants one side, `AND` both; `AND` binds tighter.
pub(crate) fn is_satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        words: &words,
        allowed,
    };
    parser
        .any()
        .is_some_and(|satisfied| satisfied && parser.words.is_empty())
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut satisfied = self.all()?;
        while self.took("OR") {
            satisfied |= self.all()?;
        }
        Some(satisfied)
    }

    fn all(&mut self) -> Option<bool> {
        let mut satisfied = self.one()?;
        while self.took("AND") {
            satisfied &= self.one()?;
        }
        Some(satisfied)
    }

    fn one(&mut self) -> Option<bool> {
        if self.took("(") {
            let satisfied = self.any()?;
            return self.took(")").then_some(satisfied);
        }
        let mut name = self.next()?.to_owned();
        if self.took("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(self.allowed.contains(&name))
    }

    fn took(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        self.words = &self.words[usize::from(found)..];
        found
    }

    fn next(&mut self) -> Option<&'a str> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_want_one_and_conjunctions_all() {
        let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
        let satisfied = [
            "MIT",
            "Apache-2.0 OR MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-3.0 AND ISC OR MIT",
        ];
        for expression in satisfied {
            assert!(is_satisfied(expression, &allowed), "{expression}");
        }
        let refused = [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT WITH x",
            "MIT OR",
            "(MIT",
            "MIT MIT",
            "MIT)",
        ];
        for expression in refused {
            assert!(!is_satisfied(expression, &allowed), "{expression}");
        }
    }
}
