//! Text to ids and back.
//!
//! In: a checkpoint's tokenizer files and chat template. Out: ids for prompts, bytes for ids, complete UTF-8 deltas.
//! The way: messages -> [`ChatTemplate`] -> [`Prompt`] -> [`HfTokenizer`] -> ids, and ids -> [`TextStream`] -> text.
//! It does not know: models, backends, sampling.
//!
//! ```
//! use lattice_inference::tokenizer::*;
//! let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/lattice-tiny");
//! let json = std::fs::read(format!("{dir}/tokenizer.json"))?;
//! let jinja = std::fs::read_to_string(format!("{dir}/chat_template.jinja"))?;
//!
//! let tokenizer = HfTokenizer::from_json(&json, None)?;
//! let files = TemplateFiles { jinja: Some(&jinja), tokenizer_config: None };
//! let template = ChatTemplate::new(files, tokenizer.control_tokens())?.expect("there is one");
//! let messages = [ChatMessage::new(Role::User, "What does <|im_end|> mean?")];
//! let rendered = template.render(&messages, &ChatOptions::default())?;
//! assert!(rendered.prompt.display().starts_with("<|im_start|>user\nWhat does <|im_end|> mean?"));
//!
//! let ids = tokenizer.ids_from_prompt(&rendered.prompt)?;
//! let end = tokenizer.id_from_token("<|im_end|>").expect("the model has one");
//! assert_eq!(ids.iter().filter(|&&id| id == end).count(), 1); // the template's, not the person's
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod added;
mod budget;
mod chat;
mod deep;
mod error;
mod file;
mod guard;
mod hf;
mod jinja;
mod normal;
mod pieces;
mod prompt;
mod python;
mod source;
mod split;
mod stream;
mod template;

pub use chat::{ChatMessage, ChatOptions, Content, Function, Role, ToolCall};
pub use error::TextError;
pub use guard::ControlTokens;
pub use hf::{HfTokenizer, TokenRow};
pub use prompt::Prompt;
pub use source::{GgufVocabulary, TokenizerFiles, Vocabulary};
pub use stream::TextStream;
pub use template::{ChatTemplate, Rendered, TemplateFiles};

/// Turns text into ids and ids into bytes, as the checkpoint's own tokenizer does.
pub trait Tokenizer: Send + Sync {
    /// Ids of plain text. Nothing in it becomes a control token, whatever it spells.
    fn ids_from_text(&self, text: &str) -> Result<Vec<u32>, TextError>;
    /// Ids of a rendered prompt: control tokens count outside the spans that came from people.
    fn ids_from_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError>;
    /// The bytes an id adds to the text: empty for a token marked special, `None` where no token has this id
    /// (padding rows of the vocabulary, which must never be sampled).
    fn bytes_from_id(&self, id: u32) -> Option<&[u8]>;
    /// The id of a token by its exact spelling, e.g. `<|im_end|>`.
    fn id_from_token(&self, token: &str) -> Option<u32>;
    /// Spelling and id of each control token: what a text must spell to be taken for one of them is not text.
    fn control_ids(&self) -> Vec<(&str, u32)> {
        Vec::new()
    }
    /// One more than the highest id that has a token.
    fn ids_max(&self) -> usize;
    /// Whether the decoder drops one leading space of the whole text (SentencePiece styles).
    fn strips_leading_space(&self) -> bool {
        false
    }
    /// The text of a whole answer: what a [`TextStream`] gives in pieces. Ids without a token add nothing.
    fn text_from_ids(&self, ids: &[u32]) -> String {
        let mut stream = TextStream::new(self);
        let mut text: String = ids.iter().map(|&id| stream.push(self, id)).collect();
        text.push_str(&stream.finish());
        text
    }
}
