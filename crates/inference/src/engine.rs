//! A model ready to talk: its files opened, its weights loaded, its tokenizer and template beside them.
//!
//! In: a model's files, a backend and options. Out: requests for the generator, made of conversations.
//! It does not know: terminals, HTTP, which device it runs on.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use lattice_files::FilesError;

use crate::Error;
use crate::backend::{Backend, LoadOptions};
use crate::checkpoint::{GenerationDefaults, ModelFiles, OpenOptions};
use crate::generate::{Constraint, Generator, GeneratorOptions, Request, Thinking};
use crate::grammar::{Grammar, Grammars};
use crate::model::Model;
use crate::sample::SamplerOptions;
use crate::text::{open_template, open_tokenizer, stop_ids};
use crate::tokenizer::{
    ChatMessage, ChatOptions, ChatTemplate, HfTokenizer, Prompt, Rendered, TextError, Tokenizer,
};
use crate::tools::{Tool, ToolChoice, ToolError, ToolFormat, ToolStream, grammar_from_tools};

/// Tokens between marks at the beginnings of messages: each splits a batch, and a state takes memory.
const MARK_TOKENS: usize = 64;
/// Marks of a conversation.
const MESSAGE_MARKS_MAX: usize = 512;

/// Everything a caller may choose about an engine.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// How the files are opened.
    pub open: OpenOptions,
    /// What the runner holds.
    pub load: LoadOptions,
    /// The generate loop.
    pub generator: GeneratorOptions,
}

/// A conversation turned into a request.
pub struct ChatRequest {
    /// Prompt, stop ids, thinking block, marks for the next turn; the sampler is the model's own default.
    pub request: Request,
    /// What was done to the conversation that nobody asked for.
    pub notes: Vec<String>,
}

/// A loaded model with its text side, whose methods are its own: it dereferences to them.
pub struct Engine {
    /// What makes requests of texts.
    pub front: Arc<Front>,
    /// Runs requests.
    pub generator: Generator,
}

impl Deref for Engine {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.front
    }
}

/// The text side of a loaded model: makes requests of conversations, and may do so in many threads while the
/// generator runs in one.
pub struct Front {
    /// The model as opened.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: Arc<HfTokenizer>,
    /// What generation_config.json says.
    pub defaults: GenerationDefaults,
    /// The grammars that answers may be held to.
    pub grammars: Grammars,
    /// What the runner was loaded with.
    pub load: LoadOptions,
    template: Option<ChatTemplate>,
    stop_ids: Vec<u32>,
}

impl Engine {
    /// Opens and loads a model.
    ///
    /// # Errors
    /// What is wrong with which file, field or tensor; memory that is not there.
    pub fn open(
        files: &ModelFiles,
        backend: &dyn Backend,
        options: &EngineOptions,
    ) -> Result<Self, Error> {
        let model = Model::open(files, &options.open)?;
        model.must_generate()?;
        let tokenizer = open_tokenizer(files, &model)?;
        let template = open_template(files, &tokenizer)?;
        let defaults = GenerationDefaults::open(files)?;
        let stop_ids = stop_ids(&model.config, &defaults, &tokenizer)?;
        let (plan, checkpoint) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
        let runner = backend.load(plan, checkpoint, &options.load)?;
        let tokenizer = Arc::new(tokenizer);
        let shared: Arc<dyn Tokenizer> = Arc::<HfTokenizer>::clone(&tokenizer);
        let grammars = Grammars::new(Arc::clone(&shared));
        let generator = Generator::with_options(runner, shared, options.generator);
        let front = Arc::new(Front {
            grammars,
            load: options.load.clone(),
            model,
            tokenizer,
            defaults,
            template,
            stop_ids,
        });
        Ok(Self { front, generator })
    }

    /// Keeps the beginnings that requests have read in files of `folder` as well, at most `bytes_max` bytes of them, for
    /// later processes with the same model: [`Generator::save`] writes them. Reads all weights once, to know the model
    /// by them. False where the backend exports nothing.
    ///
    /// # Errors
    /// The folder cannot be made or read; a weight file changed.
    pub fn keep_in(&mut self, folder: &Path, bytes_max: u64) -> Result<bool, Error> {
        let model = self.model.fingerprint()?;
        let kept = self.generator.keep_in(folder, &model, bytes_max);
        Ok(kept.map_err(FilesError::io(folder, "use"))?)
    }
}

impl Front {
    /// Ids that end a text: those of generation_config.json and config.json, and the tokenizer's end token.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Whether the model has a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The sampler that the model's authors ask for; plain sampling where they say nothing.
    pub fn sampler_defaults(&self) -> SamplerOptions {
        let (given, plain) = (&self.defaults, SamplerOptions::default());
        let or = |value: Option<f64>, default: f32| value.map_or(default, |value| value as f32);
        SamplerOptions {
            temperature: or(given.temperature, plain.temperature),
            top_k: given.top_k.unwrap_or(plain.top_k),
            top_p: or(given.top_p, plain.top_p),
            min_p: or(given.min_p, plain.min_p),
            repetition_penalty: or(given.repetition_penalty, plain.repetition_penalty),
            ..plain
        }
    }

    /// A request that answers a conversation.
    ///
    /// # Errors
    /// The model has no template, the template refuses the conversation, or a message is malformed.
    pub fn chat(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<ChatRequest, Error> {
        let template = self.known_template()?;
        let rendered = template.render(messages, options)?;
        let mut request = self.request(&rendered.prompt)?;
        let history = ChatOptions {
            add_generation_prompt: false,
            ..options.clone()
        };
        if options.add_generation_prompt
            && let Ok(past) = template.render(messages, &history)
        {
            let past = self.tokenizer.ids_from_prompt(&past.prompt)?;
            let same = request
                .prompt
                .iter()
                .zip(&past)
                .take_while(|(a, b)| a == b)
                .count();
            if same > 0 && same < request.prompt.len() {
                request.keep_marks = message_marks(&request.prompt, same);
            }
        }
        Ok(ChatRequest {
            request,
            notes: rendered.notes,
        })
    }

    /// Holds the answer to a request to a grammar. `may_think`: a model that opens its thinking block by itself may do so
    /// first.
    ///
    /// # Errors
    /// The grammar is wrong, too large, or nothing satisfies it.
    pub fn hold(
        &self,
        request: &mut Request,
        grammar: &Grammar,
        may_think: bool,
    ) -> Result<(), Error> {
        let compiled = self.grammars.compile(grammar)?;
        request.constraint = Some(Constraint {
            guide: Box::new(compiled.guide(&request.stop_ids)),
            may_think,
        });
        Ok(())
    }

    /// The form in which the model writes calls of tools, as its template asks for it.
    pub fn tool_format(&self) -> Option<ToolFormat> {
        ToolFormat::from_template(self.template.as_ref()?.tools_source())
    }

    /// The grammar that holds an answer to a choice of tools, where one is needed.
    ///
    /// # Errors
    /// The model's form of calls is not known, or cannot hold to a strict schema.
    pub fn tool_grammar(
        &self,
        tools: &[Tool],
        choice: &ToolChoice,
        parallel: bool,
    ) -> Result<Option<Grammar>, Error> {
        let format = self.known_tool_format()?;
        let control = self.tokenizer.control_ids();
        let is_token = |tag: &str| control.iter().any(|(spelling, _)| *spelling == tag);
        Ok(grammar_from_tools(
            format, tools, choice, parallel, &is_token,
        )?)
    }

    /// A reader of one answer that may call `tools`.
    ///
    /// # Errors
    /// The model's form of calls is not known.
    pub fn tool_stream(&self, tools: Vec<Tool>) -> Result<ToolStream, Error> {
        let format = self.known_tool_format()?;
        // Tags that are tokens without a text.
        let hidden = |tag: &&str| {
            let id = self.tokenizer.id_from_token(tag)?;
            let hidden = self.tokenizer.bytes_from_id(id)?.is_empty();
            hidden.then(|| (id, (*tag).to_owned()))
        };
        let marks = format.marks().iter().filter_map(hidden).collect();
        Ok(ToolStream::new(format, tools).with_marks(marks))
    }

    fn known_tool_format(&self) -> Result<ToolFormat, ToolError> {
        self.tool_format().ok_or_else(|| ToolError {
            field: "tools".to_owned(),
            reason: "the model's chat template asks for no form of calls that is known".to_owned(),
        })
    }

    /// The prompt of a conversation as its template writes it, without its ids.
    ///
    /// # Errors
    /// As [`Self::chat`].
    pub fn render(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<Rendered, Error> {
        Ok(self.known_template()?.render(messages, options)?)
    }

    fn known_template(&self) -> Result<&ChatTemplate, TextError> {
        self.template.as_ref().ok_or_else(|| TextError::Template {
            file: "chat_template.jinja".to_owned(),
            reason: "the model has no chat template".to_owned(),
        })
    }

    /// A request that goes on with a text, without a template.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn complete(&self, text: &str) -> Result<Request, Error> {
        let prompt = self.tokenizer.ids_from_text(text)?;
        Ok(self.request_of(prompt))
    }

    fn request(&self, prompt: &Prompt) -> Result<Request, Error> {
        Ok(self.request_of(self.tokenizer.ids_from_prompt(prompt)?))
    }

    /// A request that goes on with tokens.
    pub fn request_of(&self, prompt: Vec<u32>) -> Request {
        Request {
            thinking: self.thinking(&prompt),
            sampler: self.sampler_defaults(),
            stop_ids: self.stop_ids.clone(),
            max_tokens: self.defaults.max_new_tokens.map(|tokens| tokens as usize),
            prompt,
            ..Request::default()
        }
    }

    /// The thinking block, where the tokenizer has tokens for one, and whether the prompt ends inside of it.
    fn thinking(&self, prompt: &[u32]) -> Option<Thinking> {
        let begin = self.tokenizer.id_from_token("<think>")?;
        let close = self.tokenizer.id_from_token("</think>")?;
        let last = prompt
            .iter()
            .rev()
            .find(|id| **id == begin || **id == close);
        let (begin, close, open) = (vec![begin], vec![close], last == Some(&begin));
        Some(Thinking {
            open,
            begin,
            close,
            budget: None,
        })
    }
}

/// Where messages begin in a prompt whose history has `history` tokens: the first token of the answer's part is the one
/// that begins a message. Not nearer than [`MARK_TOKENS`] to the next one, those at the end first.
fn message_marks(prompt: &[u32], history: usize) -> Vec<usize> {
    let begins = prompt[history];
    let mut marks = vec![history];
    for at in (1..history).rev() {
        let next = marks[marks.len() - 1];
        if prompt[at] == begins && next - at >= MARK_TOKENS && marks.len() < MESSAGE_MARKS_MAX {
            marks.push(at);
        }
    }
    marks.reverse();
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_marked_where_they_begin_and_not_too_densely() {
        let mut prompt = vec![7; 1000];
        for begins in [0, 10, 200, 220, 500, 990] {
            prompt[begins] = 1;
        }
        assert_eq!(message_marks(&prompt, 990), [10, 220, 500, 990]);
    }
}
