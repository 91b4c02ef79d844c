//! A model ready to talk: its files opened, its weights loaded, its tokenizer and template beside them.
//!
//! In: a model's files, a backend and options. Out: requests for the generator, made of conversations.
//! It does not know: terminals, HTTP, which device it runs on.

use std::sync::Arc;

use crate::Error;
use crate::backend::{Backend, LoadOptions};
use crate::checkpoint::{GenerationDefaults, ModelFiles, OpenOptions};
use crate::generate::{Generator, GeneratorOptions, Request, Thinking};
use crate::model::Model;
use crate::sample::SamplerOptions;
use crate::text::{open_template, open_tokenizer, stop_ids};
use crate::tokenizer::{
    ChatMessage, ChatOptions, ChatTemplate, HfTokenizer, Prompt, TextError, Tokenizer,
};

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

/// A loaded model with its text side.
pub struct Engine {
    /// The model as opened.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: Arc<HfTokenizer>,
    /// What generation_config.json says.
    pub defaults: GenerationDefaults,
    /// Runs requests.
    pub generator: Generator,
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
        let generator = Generator::with_options(runner, shared, options.generator);
        Ok(Self {
            model,
            tokenizer,
            defaults,
            generator,
            template,
            stop_ids,
        })
    }

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
        let template = self.template.as_ref().ok_or_else(|| TextError::Template {
            file: "chat_template.jinja".to_owned(),
            reason: "the model has no chat template".to_owned(),
        })?;
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
            request
                .keep_marks
                .extend((same > 0 && same < request.prompt.len()).then_some(same));
        }
        Ok(ChatRequest {
            request,
            notes: rendered.notes,
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

    fn request_of(&self, prompt: Vec<u32>) -> Request {
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
