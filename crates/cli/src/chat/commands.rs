//! What a line that begins with `/` means.
//!
//! In: the line. Out: a command, or words about what is wrong with it.

use std::path::PathBuf;

use serde_json::Value;

use super::choices;

/// A command.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    /// Without a name: list what can be set.
    Set(Option<(String, Value)>),
    Show,
    /// Without text: forget it.
    System(Option<String>),
    Clear,
    Save(PathBuf),
    Load(PathBuf),
    Think(Think),
    Stats,
    Quit,
}

/// What `/think` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Think {
    Off,
    On,
    /// On, with this many tokens.
    Budget(usize),
}

/// Usage and meaning of each command.
pub(crate) const HELP: [(&str, &str); 11] = [
    ("/help", "print this"),
    (
        "/set NAME VALUE",
        "set temperature, seed, max_tokens, ...; VALUE `default` unsets; alone it lists all",
    ),
    (
        "/show",
        "print the model, the system message and the settings",
    ),
    (
        "/system TEXT",
        "what the model is told first; without TEXT: nothing",
    ),
    (
        "/think on|off|N",
        "whether it thinks first; N: for N tokens at most",
    ),
    ("/clear", "forget the conversation"),
    ("/save FILE", "write conversation and settings as JSON"),
    ("/load FILE", "read them back"),
    ("/stats", "figures over all answers"),
    ("/quit", "leave; Ctrl-D too"),
    ("//text", "say \"/text\""),
];

/// Further lines of `/help`.
pub(crate) const HELP_KEYS: &str = "A line that ends in \\ goes on in the next one; \"\"\" opens and closes a block. \
    Ctrl-C stops an answer, clears a line, and leaves when pressed twice at an empty prompt.";

/// The commands' names, slash included.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let words = HELP.iter().filter_map(|(usage, _)| usage.split(' ').next());
    words.filter(|word| !word.starts_with("//"))
}

impl Command {
    /// The command on a line that begins with `/`.
    ///
    /// # Errors
    /// Words for the person: what is near, or how the command is used.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let file = || match rest {
            "" => Err(format!("which file? {name} FILE")),
            rest => Ok(PathBuf::from(rest)),
        };
        let command = match name {
            "/help" => Self::Help,
            "/set" => return set(rest).map(Self::Set),
            "/show" => Self::Show,
            "/system" => return Ok(Self::System((!rest.is_empty()).then(|| rest.to_owned()))),
            "/clear" => Self::Clear,
            "/save" => return file().map(Self::Save),
            "/load" => return file().map(Self::Load),
            "/think" => return think(rest).map(Self::Think),
            "/stats" => Self::Stats,
            "/quit" => Self::Quit,
            _ => {
                let meant = nearest(name, names());
                let meant = meant.map_or("/help lists all".to_owned(), |near| {
                    format!("did you mean {near}?")
                });
                return Err(format!("there is no {name}; {meant}"));
            }
        };
        if rest.is_empty() {
            Ok(command)
        } else {
            Err(format!("{name} takes nothing after it, found `{rest}`"))
        }
    }
}

fn set(rest: &str) -> Result<Option<(String, Value)>, String> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let name = name.trim_start_matches("--").replace('-', "_");
    if !choices::NAMES.contains(&name.as_str()) {
        let meant = nearest(&name, choices::NAMES);
        let meant = meant.map_or("/set lists all".to_owned(), |near| {
            format!("did you mean {near}?")
        });
        return Err(format!("there is no setting {name}; {meant}"));
    }
    let value = match text.trim() {
        "" => {
            return Err(format!(
                "to what? /set {name} VALUE, or /set {name} default"
            ));
        }
        "default" => Value::Null,
        "on" if name == "think" => Value::Bool(true),
        "off" if name == "think" => Value::Bool(false),
        // A stop text is taken as it stands, unless it is written as JSON, for line breaks and lists.
        text if name == "stop" && !text.starts_with(['"', '[']) => Value::from(text),
        text => serde_json::from_str(text).unwrap_or_else(|_not_json| Value::from(text)),
    };
    Ok(Some((name, value)))
}

fn think(rest: &str) -> Result<Think, String> {
    match rest {
        "on" => Ok(Think::On),
        "off" => Ok(Think::Off),
        number => number
            .parse()
            .map(Think::Budget)
            .map_err(|_not_a_number| "/think on, /think off, or /think N for N tokens".to_owned()),
    }
}

/// The name that was probably meant.
fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let begins = |name: &str| word.len() > 2 && name.starts_with(word);
    let distance = |name: &str| match begins(name) {
        true => 0,
        false => strsim::damerau_levenshtein(word, name),
    };
    let (distance, name) = names
        .into_iter()
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.max(word.len() / 3)).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_command_of_the_help_parses() {
        assert_eq!(names().count(), HELP.len() - 1);
        for name in names() {
            let with = match name {
                "/set" => "/set seed 1".to_owned(),
                "/save" | "/load" => format!("{name} a file.json"),
                "/think" => "/think on".to_owned(),
                name => name.to_owned(),
            };
            Command::parse(&with).unwrap();
        }
    }

    #[test]
    fn settings_are_typed() {
        let set = |line: &str| match Command::parse(line) {
            Ok(Command::Set(set)) => set.unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            set("/set temperature 0.5"),
            ("temperature".into(), json!(0.5))
        );
        assert_eq!(set("/set --top-k  4 "), ("top_k".into(), json!(4)));
        assert_eq!(set("/set seed default"), ("seed".into(), Value::Null));
        assert_eq!(set("/set stop 5"), ("stop".into(), json!("5")));
        assert_eq!(set("/set stop \"\\n\""), ("stop".into(), json!("\n")));
        assert_eq!(set("/set stop [\"a\"]"), ("stop".into(), json!(["a"])));
        assert_eq!(set("/set think on"), ("think".into(), json!(true)));
        assert_eq!(set("/set top_p high"), ("top_p".into(), json!("high")));
        assert_eq!(Command::parse("/set"), Ok(Command::Set(None)));
    }

    #[test]
    fn what_is_near_is_said() {
        let wrong = |line| Command::parse(line).unwrap_err();
        assert_eq!(wrong("/hlep"), "there is no /hlep; did you mean /help?");
        assert_eq!(wrong("/sys hi"), "there is no /sys; did you mean /system?");
        assert_eq!(wrong("/exit"), "there is no /exit; did you mean /quit?");
        assert_eq!(
            wrong("/frobnicate"),
            "there is no /frobnicate; /help lists all"
        );
        assert_eq!(wrong("/"), "there is no /; /help lists all");
        let setting = "there is no setting temprature; did you mean temperature?";
        assert_eq!(wrong("/set temprature 1"), setting);
        assert!(wrong("/set seed").starts_with("to what?"));
        assert!(wrong("/save").starts_with("which file?"));
        assert!(wrong("/think deeply").starts_with("/think on"));
        assert!(wrong("/quit now").contains("takes nothing"));
    }

    #[test]
    fn texts_and_files_keep_their_spaces() {
        let system = Command::System(Some("be  brief".to_owned()));
        assert_eq!(Command::parse("/system  be  brief "), Ok(system));
        assert_eq!(Command::parse("/system"), Ok(Command::System(None)));
        let save = Command::Save(PathBuf::from("my talk.json"));
        assert_eq!(Command::parse("/save my talk.json"), Ok(save));
        assert_eq!(
            Command::parse("/think 64"),
            Ok(Command::Think(Think::Budget(64)))
        );
    }
}
