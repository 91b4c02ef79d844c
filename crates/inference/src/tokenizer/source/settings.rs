//! What stands beside a vocabulary: tokenizer_config.json, special_tokens_map.json, added_tokens.json.
//!
//! In: their text. Out: one view of them with the rules of transformers: the two older files count where
//! tokenizer_config.json has no `added_tokens_decoder`, and then the map overrides the configuration.
//! It does not know vocabularies.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::super::TextError;
use super::super::added::AddedToken;
use super::super::error::wrong_in;

/// The names under which a tokenizer knows its special tokens.
pub(super) const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The three files as one.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// tokenizer_config.json, with the map's entries in the place of its own.
    pub(crate) config: Map<String, Value>,
    /// Tokens of its `added_tokens_decoder`, or else of added_tokens.json.
    pub(super) added: Vec<AddedToken>,
}

impl Settings {
    /// Reads the files that there are.
    pub(crate) fn new(
        config: Option<&str>,
        special: Option<&str>,
        added: Option<&str>,
    ) -> Result<Self, TextError> {
        let mut settings = Settings {
            config: object(CONFIG, config)?,
            added: Vec::new(),
        };
        if let Some(described) = settings.config.get("added_tokens_decoder") {
            settings.added = described_tokens(described)?;
            return Ok(settings);
        }
        settings.config.extend(object(SPECIAL, special)?);
        for (content, id) in object(ADDED, added)? {
            let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
                return Err(wrong_in(ADDED, format!("{content:?}: {id} is not an id")));
            };
            let special = settings.is_special(&content);
            settings.added.push(AddedToken {
                special,
                normalized: !special,
                ..AddedToken::plain(id, content)
            });
        }
        Ok(settings)
    }

    /// `tokenizer_class` without the word that told the two implementations apart.
    pub(super) fn class(&self) -> Option<&str> {
        let class = self.config.get("tokenizer_class")?.as_str()?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// A switch, `default` where it is missing or null.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, TextError> {
        Ok(self.maybe_flag(name)?.unwrap_or(default))
    }

    /// A switch that may be left open.
    pub(super) fn maybe_flag(&self, name: &str) -> Result<Option<bool>, TextError> {
        match self.config.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_in(CONFIG, format!("{name}: {other} is not a switch"))),
        }
    }

    /// A special token by its name: the spelling and what the file says of it. `None` where it says nothing.
    pub(crate) fn named(&self, name: &str) -> Option<AddedToken> {
        special_token(self.config.get(name)?)
    }

    /// Special tokens without a name of their own.
    pub(super) fn unnamed(&self) -> impl Iterator<Item = AddedToken> {
        let lists = ["extra_special_tokens", "additional_special_tokens"];
        let values = lists.into_iter().filter_map(|list| self.config.get(list));
        let lists = values.filter_map(Value::as_array);
        lists.flatten().filter_map(special_token)
    }

    /// Adds the tokens that only the settings know to those of a tokenizer.json. Where both describe one, the settings win,
    /// as they do in the reference.
    pub(super) fn add_to(&self, tokens: &mut Vec<AddedToken>) -> Result<(), TextError> {
        for token in &self.added {
            let mut known = tokens.iter_mut();
            match known.find(|known| known.content == token.content) {
                Some(known) if known.id != token.id => {
                    let (id, content, other) = (token.id, &token.content, known.id);
                    let reason = format!(
                        "added_tokens_decoder.{id}: {content:?} has id {other} in tokenizer.json"
                    );
                    return Err(wrong_in(CONFIG, reason));
                }
                Some(known) => known.clone_from(token),
                None => tokens.push(token.clone()),
            }
        }
        Ok(())
    }

    fn is_special(&self, content: &str) -> bool {
        let named = NAMES.into_iter().filter_map(|name| self.named(name));
        named
            .chain(self.unnamed())
            .any(|token| token.content == content)
    }
}

/// The tokens of `added_tokens_decoder`: ids with what is said of each.
fn described_tokens(value: &Value) -> Result<Vec<AddedToken>, TextError> {
    let mut tokens = Vec::new();
    for (id, token) in value.as_object().into_iter().flatten() {
        let wrong =
            |reason: String| wrong_in(CONFIG, format!("added_tokens_decoder.{id}: {reason}"));
        let number: u32 = id
            .parse()
            .map_err(|error| wrong(format!("the key is not an id: {error}")))?;
        let mut token = token.clone();
        if let Some(fields) = token.as_object_mut() {
            fields.insert("id".to_owned(), number.into());
        }
        tokens.push(AddedToken::deserialize(token).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(tokens)
}

/// A token as these files write it: its spelling, or an object that holds it. The id is found later.
fn special_token(value: &Value) -> Option<AddedToken> {
    let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
    let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(AddedToken {
        single_word: flag("single_word"),
        lstrip: flag("lstrip"),
        rstrip: flag("rstrip"),
        normalized: flag("normalized"),
        special: true,
        ..AddedToken::plain(0, content.to_owned())
    })
}

fn object(file: &str, text: Option<&str>) -> Result<Map<String, Value>, TextError> {
    match text {
        None => Ok(Map::new()),
        Some(text) => serde_json::from_str(text).map_err(|error| wrong_in(file, error)),
    }
}
