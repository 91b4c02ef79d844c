//! What an answer is held to, and the tools it may call, as flags say it.
//!
//! In: flags that name files. Out: a grammar, or tools with a choice. Ranges and schemas are the library's.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use lattice_inference::grammar::Grammar;
use lattice_inference::tools::{Form, Tools};
use serde_json::Value;

use crate::args::FormArgs;

/// Bytes of a file with a schema, a grammar or tools.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads the files that the flags name.
pub(crate) fn from_args(args: &FormArgs) -> anyhow::Result<Form> {
    let grammar = match (&args.schema, &args.regex, &args.grammar) {
        (Some(path), _, _) => Some(in_file(path, Grammar::schema_from_text)?),
        (_, Some(pattern), _) => Some(Grammar::Regex(pattern.clone())),
        (_, _, Some(path)) => {
            let extension = path.extension().and_then(|extension| extension.to_str());
            let extension = extension.unwrap_or_default();
            Some(in_file(path, |text| Grammar::from_file(extension, text))?)
        }
        _ => None,
    };
    let tools = match &args.tools {
        None => None,
        Some(path) => {
            let values = in_file(path, |text| serde_json::from_str::<Value>(text))?;
            let choice = choice_from_flag(args.tool_choice.as_deref());
            Tools::new(values, &choice, true).with_context(|| path.display().to_string())?
        }
    };
    Ok(Form {
        grammar,
        tools,
        ..Form::default()
    })
}

/// `auto`, `none` and `required` are words, everything else is the name of a tool.
fn choice_from_flag(flag: Option<&str>) -> Value {
    match flag {
        None => Value::Null,
        Some(word @ ("auto" | "none" | "required")) => Value::from(word),
        Some(name) => serde_json::json!({"function": {"name": name}}),
    }
}

/// What `read` makes of the text of a file.
fn in_file<T, E>(path: &Path, read: impl Fn(&str) -> Result<T, E>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let name = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    ensure!(is_file, "{name} is no regular file");
    let mut text = String::new();
    let mut limited = file.take(FILE_BYTES_MAX + 1);
    limited
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    let fits = text.len() as u64 <= FILE_BYTES_MAX;
    ensure!(fits, "{name} is larger than {FILE_BYTES_MAX} bytes");
    read(&text).with_context(|| name.to_string())
}
