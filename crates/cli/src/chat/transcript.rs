//! Conversations as files.
//!
//! In and out: JSON: `{"model": name, "system": text, "messages": [...], "settings": {...}}`, messages as the OpenAI
//! API writes them.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use lattice_inference::tokenizer::{ChatMessage, Role};
use serde_json::{Value, json};

use super::choices::{ChoiceError, Choices};
use super::session::Session;

/// Far above any conversation.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) model: Option<String>,
    pub(crate) system: Option<String>,
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) choices: Choices,
    /// What stood in the file and is not used.
    pub(crate) ignored: Vec<String>,
}

/// Writes the conversation to `path`: all of it or nothing.
pub(crate) fn save(session: &Session, path: &Path) -> anyhow::Result<()> {
    let path = &at_home(path);
    check_place(path)?;
    let value = json!({
        "model": session.name,
        "system": session.system,
        "messages": session.messages,
        "settings": session.choices.to_json(),
    });
    let text = format!("{value:#}\n");
    let name = path.file_name().context("that is no file name")?;
    let mut partial = name.to_owned();
    partial.push(".partial");
    let partial = path.with_file_name(partial);
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The reason is the first error; a file that was never made cannot be removed.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Refuses to write over anything but a conversation: a file of another kind, a device, a link, a folder.
fn check_place(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    ensure!(metadata.is_file(), "{name} is there and is no regular file");
    let old: Value = open(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let is_ours = old["messages"].is_array() && old["settings"].is_object();
    ensure!(is_ours, "{name} is there and is no saved conversation");
    Ok(())
}

/// The bytes of a regular file of at most [`FILE_BYTES_MAX`] bytes.
fn open(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot open {name}"))?;
    ensure!(metadata.is_file(), "{name} is no regular file");
    let file = fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {name}"))?;
    ensure!(
        bytes.len() as u64 <= FILE_BYTES_MAX,
        "{name} is larger than {FILE_BYTES_MAX} bytes"
    );
    Ok(bytes)
}

/// Reads a file that [`save`] wrote, or somebody by hand.
pub(crate) fn load(path: &Path, vocab: usize) -> anyhow::Result<Transcript> {
    let path = &at_home(path);
    let name = path.display();
    let bytes = open(path)?;
    let value = serde_json::from_slice(&bytes).with_context(|| format!("{name} is not JSON"))?;
    from_json(value, vocab).with_context(|| name.to_string())
}

fn from_json(value: Value, vocab: usize) -> anyhow::Result<Transcript> {
    let Value::Object(mut fields) = value else {
        bail!("not an object");
    };
    let mut text = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => bail!("{name}: not a text"),
    };
    let (model, mut system) = (text("model")?, text("system")?);
    let messages = fields.remove("messages").context("messages: missing")?;
    let mut messages = ChatMessage::list_from_json(&messages)?;
    let first_is_system = messages.first().is_some_and(|m| m.role == Role::System);
    if first_is_system && system.is_none() {
        system = Some(messages.remove(0).text());
    }
    let mut ignored = Vec::new();
    let mut choices = Choices::default();
    match fields.remove("settings") {
        None | Some(Value::Null) => {}
        Some(Value::Object(settings)) => {
            for (name, value) in settings {
                match choices.set(&name, &value) {
                    Err(ChoiceError::Unknown(_)) => ignored.push(format!("settings.{name}")),
                    result => result.context("settings")?,
                }
            }
        }
        Some(_) => bail!("settings: not an object"),
    }
    choices.check(vocab).context("settings")?;
    ignored.extend(fields.into_iter().map(|(name, _)| name));
    Ok(Transcript {
        model,
        system: system.filter(|text| !text.is_empty()),
        messages,
        choices,
        ignored,
    })
}

/// `~/x` as a shell would read it.
fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_read() {
        let read = from_json(
            json!({
                "model": "m",
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": "ho", "reasoning_content": "hm"},
                ],
                "settings": {"seed": 3, "heat": 1},
                "mood": "good",
            }),
            100,
        )
        .unwrap();
        assert_eq!(read.model.as_deref(), Some("m"));
        assert_eq!(read.system.as_deref(), Some("be brief"));
        assert_eq!(read.messages.len(), 2);
        assert_eq!(read.messages[1].reasoning_content.as_deref(), Some("hm"));
        assert_eq!(read.choices.sampler.seed, Some(3));
        assert_eq!(read.ignored, ["settings.heat", "mood"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |value| format!("{:#}", from_json(value, 100).unwrap_err());
        assert_eq!(wrong(json!([])), "not an object");
        assert_eq!(wrong(json!({})), "messages: missing");
        let messages = json!({"messages": [{"role": "king", "content": "x"}]});
        assert!(wrong(messages).starts_with("messages[0]"));
        let settings = json!({"messages": [], "settings": {"top_p": 3}});
        assert!(wrong(settings).contains("top_p"));
        assert!(wrong(json!({"messages": [], "system": 1})).contains("system"));
    }
}
