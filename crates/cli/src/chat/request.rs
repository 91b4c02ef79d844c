//! One request of a program.
//!
//! In: a line of JSON, and what the flags say where it says nothing. Out: what to answer and how, or words that name
//! the field that is wrong.

use lattice_inference::tokenizer::{ChatMessage, Role};
use lattice_inference::tools::Form;
use serde_json::{Map, Value};

use super::choices::{ChoiceError, Choices};
use super::session::Ask;

/// A request that was understood.
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) choices: Choices,
    /// What the answer is held to; what the flags say where the request says nothing.
    pub(crate) form: Option<Form>,
    /// Fields without a meaning.
    pub(crate) ignored: Vec<String>,
}

/// Reads a request: `{"prompt": text}` or `{"messages": [...]}`, with `system`, `raw` and the names of
/// [`choices`](super::choices).
///
/// # Errors
/// The field that is wrong, and how.
pub(crate) fn parse(line: &[u8], choices: &Choices, system: Option<&str>) -> Result<Asked, String> {
    let value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(mut fields) = value else {
        return Err("not a JSON object".to_owned());
    };
    let ask = ask(&mut fields, system)?;
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
    let form = Form::from_fields(&mut take).map_err(|error| error.to_string())?;
    let (mut choices, mut ignored) = (choices.clone(), Vec::new());
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        match choices.set(&name, &value) {
            Ok(()) => {}
            Err(ChoiceError::Unknown(name)) => ignored.push(name),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Asked {
        ask,
        choices,
        form,
        ignored,
    })
}

fn ask(fields: &mut Map<String, Value>, system: Option<&str>) -> Result<Ask, String> {
    let prompt = text(fields, "prompt")?;
    let own_system = text(fields, "system")?;
    let messages = fields.remove("messages").filter(|value| !value.is_null());
    let raw = match fields.remove("raw") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(raw)) => raw,
        Some(_) => return Err("raw: expected true or false".to_owned()),
    };
    match (prompt, messages) {
        (Some(_), Some(_)) => Err("prompt and messages: only one of them".to_owned()),
        (None, None) => Err("prompt or messages: missing".to_owned()),
        (Some(_), None) if raw && own_system.is_some() => {
            Err("system: a raw prompt has no place for it".to_owned())
        }
        (Some(text), None) if text.trim().is_empty() => Err("prompt: empty".to_owned()),
        (Some(text), None) if raw => Ok(Ask::Raw(text)),
        (Some(text), None) => {
            let messages = vec![ChatMessage::new(Role::User, text)];
            Ok(chat(messages, own_system.as_deref().or(system)))
        }
        (None, Some(_)) if raw => Err("raw: takes a prompt, not messages".to_owned()),
        (None, Some(messages)) => {
            let messages = ChatMessage::list_from_json(&messages).map_err(|e| e.to_string())?;
            let Some(first) = messages.first() else {
                return Err("messages: empty".to_owned());
            };
            // The flag gives way to the instructions that a conversation brings along.
            let instructed = matches!(first.role, Role::System | Role::Developer);
            let flag = system.filter(|_| !instructed);
            Ok(chat(messages, own_system.as_deref().or(flag)))
        }
    }
}

fn chat(mut messages: Vec<ChatMessage>, system: Option<&str>) -> Ask {
    if let Some(text) = system.filter(|text| !text.is_empty()) {
        messages.insert(0, ChatMessage::new(Role::System, text));
    }
    Ask::Chat(messages)
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name}: expected a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.as_bytes(), &Choices::default(), Some("flag"))
    }

    /// Role and text of each message.
    fn said(line: &str) -> Vec<(Role, String)> {
        match parsed(line).unwrap().ask {
            Ask::Chat(messages) => messages.iter().map(|m| (m.role, m.text())).collect(),
            Ask::Raw(text) => panic!("raw {text}"),
        }
    }

    #[test]
    fn the_nearest_system_message_holds() {
        let user = (Role::User, "hi".to_owned());
        let system = |text: &str| (Role::System, text.to_owned());
        assert_eq!(said(r#"{"prompt":"hi"}"#), [system("flag"), user.clone()]);
        let own = r#"{"prompt":"hi","system":"own"}"#;
        assert_eq!(said(own), [system("own"), user.clone()]);
        assert_eq!(
            said(r#"{"prompt":"hi","system":""}"#),
            std::slice::from_ref(&user)
        );
        let inside =
            r#"{"messages":[{"role":"system","content":"in"},{"role":"user","content":"hi"}]}"#;
        assert_eq!(said(inside), [system("in"), user]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, begins) in [
            ("", "not JSON"),
            ("[1]", "not a JSON object"),
            (r#"{"prompt":"\ud800"}"#, "not JSON"),
            ("{}", "prompt or messages"),
            (r#"{"prompt":" "}"#, "prompt: empty"),
            (r#"{"prompt":5}"#, "prompt:"),
            (r#"{"prompt":"a","messages":[]}"#, "prompt and messages"),
            (r#"{"messages":[]}"#, "messages: empty"),
            (r#"{"messages":"a"}"#, "messages:"),
            (r#"{"messages":[{"role":"king"}]}"#, "messages[0]"),
            (r#"{"prompt":"a","raw":1}"#, "raw:"),
            (r#"{"prompt":"a","raw":true,"system":"b"}"#, "system:"),
            (r#"{"prompt":"a","temperature":"5"}"#, "temperature:"),
            (r#"{"prompt":"a","max_tokens":1.5}"#, "max_tokens:"),
        ] {
            let error = parsed(line).err().unwrap();
            assert!(error.starts_with(begins), "{line}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parsed(&deep).err().unwrap().starts_with("not JSON"));
    }

    #[test]
    fn fields_without_a_meaning_are_listed() {
        let asked = parsed(r#"{"prompt":"a","mood":1,"seed":4,"top_p":null,"n":null}"#).unwrap();
        assert_eq!(asked.ignored, ["mood"]);
        assert_eq!(asked.choices.sampler.seed, Some(4));
    }
}
