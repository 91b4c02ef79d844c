//! `tidy.toml`: the exceptions and allow-lists that people review.
//!
//! In: the file's text, a small part of TOML: `[section]`, `key = "text"`, `key = ["a", "b"]`.
//! Out: the values of a section by key. Anything else is an error with its line.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// The sections of `tidy.toml`.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    sections: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Settings {
    pub(crate) fn from_text(text: &str) -> Result<Self> {
        let mut settings = Self::default();
        let mut section = None;
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = Some(settings.sections.entry(name.to_owned()).or_default());
                continue;
            }
            let (key, values) = entry(line).with_context(|| format!("tidy.toml:{number}"))?;
            let section = section
                .as_mut()
                .with_context(|| format!("tidy.toml:{number}: no section"))?;
            section.insert(key, values);
        }
        Ok(settings)
    }

    /// Keys and values of a section; nothing when it is absent.
    pub(crate) fn section(&self, name: &str) -> impl Iterator<Item = (&str, &[String])> {
        let entries = self.sections.get(name).into_iter().flatten();
        entries.map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}

fn entry(line: &str) -> Result<(String, Vec<String>)> {
    let (key, value) = line.split_once(" = ").context("expected `key = value`")?;
    let key = key.trim().trim_matches('"').to_owned();
    let value = value.trim();
    let Some(list) = value.strip_prefix('[') else {
        return Ok((key, vec![quoted(value)?]));
    };
    let list = list
        .strip_suffix(']')
        .context("a list ends with `]` on its own line")?
        .trim();
    let items = list
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    Ok((key, items.map(quoted).collect::<Result<_>>()?))
}

fn quoted(value: &str) -> Result<String> {
    match value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(text) => Ok(text.to_owned()),
        None => bail!("expected a quoted text, found {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_hold_texts_and_lists() {
        let text = "# why\n[oversize]\n\"a.rs\" = \"a table\"\n[dependencies]\nb = [\"c\", \"d\"]\ne = []\n";
        let settings = Settings::from_text(text).unwrap();
        let oversize: Vec<_> = settings.section("oversize").collect();
        assert_eq!(oversize, [("a.rs", ["a table".to_owned()].as_slice())]);
        let counts: Vec<_> = settings
            .section("dependencies")
            .map(|(k, v)| (k, v.len()))
            .collect();
        assert_eq!(counts, [("b", 2), ("e", 0)]);
        assert_eq!(settings.section("absent").count(), 0);
    }

    #[test]
    fn what_it_cannot_read_is_an_error_with_the_line() {
        for text in ["a = \"b\"\n", "[s]\na = b\n", "[s]\na = [\"b\"\n"] {
            let error = Settings::from_text(text).unwrap_err();
            assert!(format!("{error:#}").contains("tidy.toml:"), "{error:#}");
        }
    }
}
