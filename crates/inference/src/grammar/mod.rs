//! What a text may be: grammars compiled for one vocabulary, and guides that hold requests to them.
//!
//! In: a JSON schema, a regular expression, a Lark or GBNF grammar, the bytes of each token. Out: a
//! [`Guide`](crate::sample::Guide) that says which tokens may come next, which must, and when the text is complete.
//! The masks are llguidance's; what is ours are the bounds, the cache, the translation of GBNF, and the computing of masks
//! beside the forward pass. It does not know: models, batches, templates.
//!
//! ```
//! use lattice_inference::grammar::{Grammar, Grammars};
//! use lattice_inference::tokenizer::HfTokenizer;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let json = std::fs::read("../../models/lattice-tiny/tokenizer.json")?;
//! let grammars = Grammars::new(Arc::new(HfTokenizer::from_json(&json, None)?));
//! let compiled = grammars.compile(&Grammar::Regex("[0-9]{4}-[0-9]{2}".to_owned()))?;
//! assert!(compiled.matches("2026-11")?);
//! assert!(!compiled.matches("2026-1")?);
//! # Ok(())
//! # }
//! ```

mod cache;
mod compile;
mod gbnf;
mod guide;
mod masks;
mod schema;
mod vocabulary;

use serde_json::Value;

pub use compile::{Compiled, GrammarLimits, Grammars};
pub use guide::GrammarGuide;
pub(crate) use schema::{bounded_white_space, no_white_space};

/// What a text has to be, as a request says it.
#[derive(Debug, Clone, PartialEq)]
pub enum Grammar {
    /// JSON that a JSON schema (draft 2020-12 and those before it) allows. Properties come in the order of the schema.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
    /// A regular expression that the whole text matches, in the syntax of the `regex` crate; no look-around, no
    /// references back.
    Regex(String),
    /// A grammar in Lark's syntax, as llguidance reads it.
    Lark(String),
    /// A grammar in the syntax of llama.cpp.
    Gbnf(String),
}

impl Grammar {
    /// The word for its kind, as errors say it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Grammar::JsonSchema(_) => "json_schema",
            Grammar::JsonObject => "json_object",
            Grammar::Regex(_) => "regex",
            Grammar::Lark(_) => "lark",
            Grammar::Gbnf(_) => "gbnf",
        }
    }

    /// What OpenAI's `response_format` asks for; `None` for `{"type": "text"}`.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn from_response_format(value: &Value) -> Result<Option<Grammar>, GrammarError> {
        let wrong = |reason: &str| GrammarError::Refused {
            kind: "response_format",
            reason: reason.to_owned(),
        };
        match value["type"].as_str() {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(Grammar::JsonObject)),
            Some("json_schema") => {
                // Some clients leave the wrapper with the name out.
                let schema = value.pointer("/json_schema/schema").or(value.get("schema"));
                let schema = schema.ok_or_else(|| wrong("json_schema.schema: missing"))?;
                Ok(Some(Grammar::JsonSchema(schema.clone())))
            }
            Some(other) => Err(wrong(&format!(
                "type is {other:?}, allowed is text, json_object or json_schema"
            ))),
            None => Err(wrong("type: missing")),
        }
    }

    /// A field of a request that names a grammar of any kind: `{"regex": text}`, `{"lark": text}`, `{"gbnf": text}` or
    /// `{"json_schema": schema}`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn from_field(value: &Value) -> Result<Grammar, GrammarError> {
        let fields = value.as_object().filter(|fields| fields.len() == 1);
        let field = fields.and_then(|fields| fields.iter().next());
        let text = |content: &Value| content.as_str().map(str::to_owned);
        let grammar = field.and_then(|(kind, content)| match kind.as_str() {
            "json_schema" => Some(Grammar::JsonSchema(content.clone())),
            "regex" => text(content).map(Grammar::Regex),
            "lark" => text(content).map(Grammar::Lark),
            "gbnf" => text(content).map(Grammar::Gbnf),
            _ => None,
        });
        grammar.ok_or_else(|| GrammarError::Refused {
            kind: "grammar",
            reason: "expected one of regex, lark, gbnf (texts) or json_schema".to_owned(),
        })
    }

    /// The grammar of a file, by its extension: `.lark`, `.gbnf`, `.json` (a schema).
    ///
    /// # Errors
    /// Another extension; a schema that is not JSON.
    pub fn from_file(extension: &str, text: &str) -> Result<Grammar, GrammarError> {
        match extension {
            "lark" => Ok(Grammar::Lark(text.to_owned())),
            "gbnf" => Ok(Grammar::Gbnf(text.to_owned())),
            "json" => Grammar::schema_from_text(text),
            other => Err(GrammarError::Refused {
                kind: "grammar",
                reason: format!("extension {other:?}, allowed is lark, gbnf or json"),
            }),
        }
    }

    /// A JSON schema from its text.
    ///
    /// # Errors
    /// It is not JSON, or nests too deep.
    pub fn schema_from_text(text: &str) -> Result<Grammar, GrammarError> {
        let schema = serde_json::from_str(text).map_err(|error| GrammarError::Refused {
            kind: "json_schema",
            reason: format!("not JSON: {error}"),
        })?;
        Ok(Grammar::JsonSchema(schema))
    }
}

/// Why a grammar cannot be held to. All of them are the fault of the request, but for `Vocabulary`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// It is no grammar of its kind, or asks for what is not supported.
    #[error("{kind}: {reason}")]
    Refused {
        /// [`Grammar::kind`].
        kind: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// No text satisfies it.
    #[error("{kind}: nothing satisfies it: {reason}")]
    Unsatisfiable {
        /// [`Grammar::kind`].
        kind: &'static str,
        /// Why not.
        reason: String,
    },
    /// It is larger than may be compiled.
    #[error("{kind}: {what} is {found}, the most is {most}")]
    TooLarge {
        /// [`Grammar::kind`].
        kind: &'static str,
        /// What was counted.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        most: usize,
    },
    /// Grammars cannot be held to with this tokenizer.
    #[error("tokenizer: {0}")]
    Vocabulary(String),
}
