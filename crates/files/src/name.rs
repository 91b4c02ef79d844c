//! Names that others wrote, before they become a part of a path.
//!
//! In: the name of a file or of a model. Out: what is wrong with it, if anything, on any system: a name that is
//! accepted here never leads out of the directory it is joined to.

use std::path::{Component, Path};

/// Bytes of one part of a name: what file systems accept.
const PART_BYTES_MAX: usize = 255;
/// Bytes of a whole name: with a root in front of it, still a path on every system.
const NAME_BYTES_MAX: usize = 1024;
/// Names that Windows keeps for devices, whatever follows the first dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Refuses a name that is not a plain relative path on any system: rooted, with a drive, with `..`, `.` or empty parts.
///
/// # Errors
/// The reason.
pub fn check_relative(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.starts_with('/') {
        return Err("an absolute path is no name");
    }
    if name.contains(['\\', ':', '\0']) {
        return Err("a name holds no backslash, colon or NUL");
    }
    for part in name.split('/') {
        match part {
            "" => return Err("a part of the name is empty"),
            "." | ".." => return Err("a name does not go up or stay"),
            _ if part.len() > PART_BYTES_MAX => return Err("a part of the name is too long"),
            _ => {}
        }
    }
    // What the rules above let through is plain to this system's own reading of paths, too.
    let plain = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if plain {
        Ok(())
    } else {
        Err("the name is no plain relative path")
    }
}

/// [`check_relative`], and stricter: what every file system takes as it is. A part begins with a letter, a digit or `_`
/// and goes on with these, spaces or `-.+@`.
///
/// # Errors
/// The reason.
pub fn check_plain(name: &str) -> Result<(), &'static str> {
    check_relative(name)?;
    if name.len() > NAME_BYTES_MAX {
        return Err("the name is too long");
    }
    name.split('/').try_for_each(check_part)
}

/// Refuses what is no `name`, `org/name` or one of these with `@revision`.
///
/// # Errors
/// The reason.
pub fn check_model_name(name: &str) -> Result<(), &'static str> {
    check_relative(name)?;
    if name.split('/').count() > 2 {
        return Err("neither a directory nor a model's name, which has one or two parts");
    }
    if name.starts_with('_') || name.contains("/_") {
        return Err("a model's name begins with a letter or a digit");
    }
    check_plain(name)
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(front) else {
        return false;
    };
    // The leftmost place of each middle part leaves the most for those behind it.
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn check_part(part: &str) -> Result<(), &'static str> {
    let known = |c: char| c.is_alphanumeric() || " -_.+@".contains(c);
    let begins = |c: char| c.is_alphanumeric() || c == '_';
    if !part.starts_with(begins) || !part.chars().all(known) {
        return Err("a name has letters, digits, spaces and -_.+@ in it");
    }
    if part.ends_with(['.', ' ']) {
        return Err("a name does not end with a dot or a space");
    }
    if is_device(part) {
        return Err("the name belongs to a device on some systems");
    }
    Ok(())
}

/// Whether Windows reads it as a device: CON, com1.txt, `LPT9 .x`.
fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part).trim_end();
    let stem = stem.to_ascii_lowercase();
    let port = stem
        .strip_prefix("com")
        .or_else(|| stem.strip_prefix("lpt"));
    let port = port.is_some_and(|rest| {
        // Windows counts the superscript digits, too.
        rest.chars().count() == 1
            && rest
                .chars()
                .all(|c| "123456789\u{b9}\u{b2}\u{b3}".contains(c))
    });
    port || DEVICES.contains(&stem.as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// Pieces that names are attacked with.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("..".to_owned()),
            Just(".".to_owned()),
            Just("/".to_owned()),
            Just("\\".to_owned()),
            Just("C:".to_owned()),
            Just("\\\\host\\s".to_owned()),
            Just("\0".to_owned()),
            Just("CON".to_owned()),
            Just("%2e%2e%2f".to_owned()),
            Just("\u{ff0f}\u{2024}\u{2215}".to_owned()),
            Just("~".to_owned()),
            Just("model".to_owned()),
            any::<String>(),
        ];
        prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_inside_its_root(name in hostile()) {
            let root = Path::new("/srv/models");
            for check in [check_relative, check_plain, check_model_name] {
                if check(&name).is_ok() {
                    let path = root.join(&name);
                    prop_assert!(path.starts_with(root) && path != root);
                    let rest = path.strip_prefix(root).unwrap();
                    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
                    prop_assert!(rest.components().all(plain), "{name:?}");
                    prop_assert!(!name.contains(['\\', ':', '\0']), "{name:?}");
                }
            }
        }
    }

    #[test]
    fn names_that_systems_read_otherwise_are_refused() {
        let long = "x".repeat(256);
        let refused = [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "/x",
            "a//b",
            "a/",
            "\\x",
            "C:x",
            "D:\\x",
            "\\\\host\\s",
            "a\0b",
            "CON",
            "con.json",
            "a/NUL",
            "com1.txt",
            "LPT\u{b9}",
            "x.",
            "x ",
            "%2e%2e/x",
            ".hidden",
            "a\u{ff0f}b",
            "a\u{202e}b",
            "a\nb",
            "~/x",
            "-x",
            &long,
        ];
        for name in refused {
            assert!(check_plain(name).is_err(), "{name:?}");
            assert!(check_model_name(name).is_err(), "{name:?}");
        }
        for name in [
            "Qwen/Qwen3.5-0.8B",
            "a",
            "org/name@v1.0",
            "modèle/\u{6a21}\u{578b}",
            "com10",
            "a b",
        ] {
            assert_eq!(check_model_name(name), Ok(()), "{name:?}");
        }
        assert!(check_model_name("a/b/c").is_err() && check_model_name("a/_b").is_err());
        for name in ["config.json", "1_Pooling/config.json", "_x/a+b.gguf"] {
            assert_eq!(check_plain(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_star_is_any_text() {
        let name = "model.layers.3.mlp.down_proj.weight";
        for pattern in [
            name,
            "*",
            "**",
            "model.*",
            "*.weight",
            "*.down_proj.*",
            "model.layers.*.mlp.*.weight",
            "*model.layers.3.mlp.down_proj.weight*",
        ] {
            assert!(matches(pattern, name), "{pattern}");
        }
        for pattern in [
            "",
            "model",
            "*.bias",
            "layers.*",
            "*down_proj",
            "*.3.*.3.*",
            "model.*model.*",
        ] {
            assert!(!matches(pattern, name), "{pattern}");
        }
        // What one star took, the next part cannot have too.
        assert!(!matches("ab*ba", "aba") && matches("ab*ba", "abba"));
    }
}
