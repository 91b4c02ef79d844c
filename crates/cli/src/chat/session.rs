//! A conversation with a loaded model: the one place where messages become a request and a request an answer.
//!
//! In: what the person says, the choices. Out: pieces of the answer as they come, then the whole turn.
//! It does not know: terminals, JSON.

use std::io;

use lattice_inference::generate::{
    Event, Failure, Request, RequestError, RequestId, StopReason, Usage,
};
use lattice_inference::tokenizer::{ChatMessage, ChatOptions, Function, Role, ToolCall};
use lattice_inference::tools::{Form, ToolEvent, ToolStream};
use lattice_inference::{AnswerReader, Engine, Error, Piece};
use serde_json::Value;

use super::choices::Choices;
use super::form;
use super::interrupt::Interrupt;
use crate::args::ChatArgs;

/// A loaded model, and what was said so far.
pub(crate) struct Session {
    pub(crate) engine: Engine,
    /// The model's name, for people.
    pub(crate) name: String,
    pub(crate) choices: Choices,
    /// What answers are held to.
    pub(crate) form: Form,
    pub(crate) system: Option<String>,
    /// What was said, without the system message.
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) totals: Totals,
    pub(crate) interrupt: Interrupt,
}

/// What to answer.
pub(crate) enum Ask {
    /// A conversation, through the model's template.
    Chat(Vec<ChatMessage>),
    /// A text to go on with.
    Raw(String),
}

/// Hears the pieces of an answer. Its first error ends the answer.
pub(crate) type Listener<'a> = dyn FnMut(&Piece) -> io::Result<()> + 'a;

/// One answer.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The answer: the pieces that were said.
    pub(crate) text: String,
    /// The pieces that were thought.
    pub(crate) thinking: String,
    pub(crate) reason: StopReason,
    /// It is the beginning of what its grammar has.
    pub(crate) incomplete: bool,
    /// The calls of tools that are whole.
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) usage: Usage,
    /// What was done to the conversation that nobody asked for.
    pub(crate) notes: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody can read it.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
    /// The request was refused, or failed.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// Figures over all answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) answers: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) cached_tokens: usize,
    pub(crate) generated_tokens: usize,
    /// Time between first and last tokens.
    pub(crate) generating_ms: f64,
    /// Tokens after the first of their answer.
    pub(crate) later_tokens: usize,
    /// Tokens in the context after the last answer.
    pub(crate) context_tokens: usize,
}

impl Session {
    /// Loads the model. `sequences_max` conversations may lie in memory.
    pub(crate) fn open(
        args: &ChatArgs,
        interrupt: Interrupt,
        sequences_max: usize,
    ) -> anyhow::Result<Self> {
        // Before a large model is read.
        let form = form::from_args(&args.form)?;
        let files = args.source.resolve(args.model.as_deref())?;
        let name = files.name();
        let options = args.run.engine_options(&args.source, sequences_max);
        let engine = Engine::open(&files, args.run.on.device.backend(), &options)?;
        Ok(Self {
            engine,
            name,
            choices: Choices::from_args(args),
            form,
            system: args.system.clone().filter(|text| !text.is_empty()),
            messages: Vec::new(),
            totals: Totals::default(),
            interrupt,
        })
    }

    /// Says `text` and hears the answer; both stay in the conversation, an answer that was stopped too.
    /// What was said is taken back where nothing is answered.
    pub(crate) fn say(
        &mut self,
        text: &str,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, AskError> {
        self.messages.push(ChatMessage::new(Role::User, text));
        let choices = self.choices.clone();
        let form = self.form.clone();
        let result = self.answer(self.conversation(), &choices, &form, listener);
        let answered = result
            .as_ref()
            .is_ok_and(|turn| turn.failure().is_none() && turn.says_something());
        match &result {
            Ok(turn) if answered => self.messages.push(turn.message()),
            _ => {
                self.messages.pop();
            }
        }
        result
    }

    /// Everything said so far, the system message first.
    fn conversation(&self) -> Ask {
        let system = self.system.iter();
        let system = system.map(|text| ChatMessage::new(Role::System, text.clone()));
        Ask::Chat(system.chain(self.messages.iter().cloned()).collect())
    }

    /// Answers, and keeps nothing but the figures.
    pub(crate) fn answer(
        &mut self,
        ask: Ask,
        choices: &Choices,
        form: &Form,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, AskError> {
        let (mut request, mut notes) = self.request(ask, choices, form)?;
        let tools = self.hold(&mut request, choices, form)?;
        if choices.think && request.thinking.is_none() {
            notes.push("this model has no thinking block: it answers at once".to_owned());
        }
        choices.apply(&mut request);
        self.interrupt.hold();
        let mut turn = self.run(request, tools, listener)?;
        turn.notes.splice(0..0, notes);
        self.totals.add(&turn.usage);
        Ok(turn)
    }

    /// Holds a request to the form; the reader of calls, where there may be some.
    fn hold(
        &self,
        request: &mut Request,
        choices: &Choices,
        form: &Form,
    ) -> Result<Option<ToolStream>, Error> {
        if let Some(grammar) = &form.grammar {
            self.engine.hold(request, grammar, choices.think)?;
        }
        let Some(tools) = &form.tools else {
            return Ok(None);
        };
        let grammar = self
            .engine
            .tool_grammar(&tools.list, &tools.choice, tools.parallel)?;
        if let Some(grammar) = grammar {
            self.engine.hold(request, &grammar, choices.think)?;
        }
        Ok(Some(self.engine.tool_stream(tools.list.clone())?))
    }

    fn request(
        &self,
        ask: Ask,
        choices: &Choices,
        form: &Form,
    ) -> Result<(Request, Vec<String>), Error> {
        match ask {
            Ask::Raw(text) => Ok((self.engine.complete(&text)?, Vec::new())),
            Ask::Chat(messages) => {
                let options = ChatOptions {
                    enable_thinking: Some(choices.think),
                    tools: form.tools.as_ref().map(|tools| tools.values.clone()),
                    ..ChatOptions::default()
                };
                let chat = self.engine.chat(&messages, &options)?;
                Ok((chat.request, chat.notes))
            }
        }
    }

    /// Steps the generator until the answer ends. Ctrl-C is looked for at every step, so that it also stops
    /// the reading of a long prompt, which says nothing.
    fn run(
        &mut self,
        request: Request,
        tools: Option<ToolStream>,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, AskError> {
        let generator = &mut self.engine.generator;
        let id = generator.submit(request).map_err(Error::from)?;
        let mut heard = Heard {
            reader: AnswerReader::new(tools),
            ..Heard::default()
        };
        loop {
            for event in generator.step() {
                if event.request() != id {
                    continue;
                }
                if let Err(error) = heard.take(&event, listener) {
                    generator.cancel(id);
                    drain(generator, id);
                    return Err(AskError::Write(error));
                }
                if let Event::Done {
                    reason,
                    incomplete,
                    usage,
                    ..
                } = event
                {
                    return Ok(heard.turn(reason, incomplete, usage));
                }
            }
            if self.interrupt.pressed() {
                generator.cancel(id);
            }
        }
    }
}

/// Lets a cancelled request end.
fn drain(generator: &mut lattice_inference::generate::Generator, id: RequestId) {
    while !generator.idle() {
        let events = generator.step();
        let done = |event: &Event| matches!(event, Event::Done { request, .. } if *request == id);
        if events.iter().any(done) {
            return;
        }
    }
}

impl Turn {
    /// What went wrong, if it ended so.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.reason {
            StopReason::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether Ctrl-C ended it.
    pub(crate) fn was_stopped(&self) -> bool {
        self.reason == StopReason::Cancelled
    }

    /// Whether there is anything to keep: a stopped answer may not have begun.
    pub(crate) fn says_something(&self) -> bool {
        !self.was_stopped() || !self.text.is_empty() || !self.thinking.is_empty()
    }

    fn message(&self) -> ChatMessage {
        let thinking = self.thinking.trim_matches('\n');
        ChatMessage {
            reasoning_content: (!thinking.is_empty()).then(|| thinking.to_owned()),
            tool_calls: (!self.calls.is_empty()).then(|| self.calls.clone()),
            ..ChatMessage::new(Role::Assistant, self.text.clone())
        }
    }
}

/// What links a call to its answer.
pub(crate) fn call_id(index: usize) -> String {
    format!("call_{index}")
}

/// What an answer has been so far.
#[derive(Default)]
struct Heard {
    reader: AnswerReader,
    text: String,
    thinking: String,
    /// Calls so far, with their arguments as text.
    calls: Vec<ToolCall>,
    /// Calls that broke off, by their place.
    broken: Vec<usize>,
    notes: Vec<String>,
}

impl Heard {
    fn take(&mut self, event: &Event, listener: &mut Listener<'_>) -> io::Result<()> {
        let Some(piece) = self.reader.read(event) else {
            return Ok(());
        };
        self.take_calls(&piece.calls);
        let to = if piece.thinking {
            &mut self.thinking
        } else {
            &mut self.text
        };
        to.push_str(&piece.text);
        listener(&piece)
    }

    fn take_calls(&mut self, events: &[ToolEvent]) {
        for event in events {
            match event {
                ToolEvent::Text(_) => {}
                ToolEvent::Begin { index, name } => self.calls.push(ToolCall {
                    id: Some(call_id(*index)),
                    kind: Some("function".to_owned()),
                    function: Function {
                        name: name.clone(),
                        arguments: Value::String(String::new()),
                    },
                }),
                ToolEvent::Arguments { index, json } => {
                    let call = self.calls.get_mut(*index);
                    if let Some(Value::String(so_far)) =
                        call.map(|call| &mut call.function.arguments)
                    {
                        so_far.push_str(json);
                    }
                }
                ToolEvent::End { .. } => {}
                ToolEvent::Broken { index } => self.broken.push(*index),
                ToolEvent::Note(note) => self.notes.push(note.clone()),
            }
        }
    }

    fn turn(self, reason: StopReason, incomplete: bool, usage: Usage) -> Turn {
        let calls = (0..).zip(self.calls);
        let whole = calls.filter(|(index, _)| !self.broken.contains(index));
        Turn {
            text: self.text,
            thinking: self.thinking,
            reason,
            incomplete,
            calls: whole.map(|(_, call)| call).collect(),
            usage,
            notes: self.notes,
        }
    }
}

impl Totals {
    fn add(&mut self, usage: &Usage) {
        self.answers += 1;
        self.prompt_tokens += usage.prompt_tokens;
        self.cached_tokens += usage.cached_tokens;
        self.generated_tokens += usage.generated_tokens;
        self.context_tokens = usage.prompt_tokens + usage.generated_tokens;
        if let Some(first) = usage.ttft_ms {
            self.generating_ms += usage.total_ms - first;
            self.later_tokens += usage.generated_tokens.saturating_sub(1);
        }
    }

    /// Tokens a second over all answers.
    pub(crate) fn tokens_per_second(&self) -> Option<f64> {
        let rate = self.later_tokens as f64 / (self.generating_ms / 1e3);
        rate.is_finite().then_some(rate)
    }
}

impl AskError {
    /// What a person can do about it, beyond what the error says.
    pub(crate) fn advice(&self, context_tokens_made_for: usize) -> Option<String> {
        match self {
            Self::Engine(Error::Request(RequestError::ContextLength {
                context_tokens, ..
            })) => {
                let larger = if *context_tokens < context_tokens_made_for {
                    format!(", or start with a --context of up to {context_tokens_made_for}")
                } else {
                    String::new()
                };
                Some(format!(
                    "your last message was taken back: shorten it, /clear the conversation{larger}"
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lattice_inference::generate::Part;

    use super::*;

    fn token(text: &str, part: Part) -> Event {
        Event::Token {
            request: RequestId(0),
            id: 7,
            text: text.to_owned(),
            part,
            logprobs: None,
        }
    }

    #[test]
    fn pieces_concatenate_to_the_turn() {
        let mut heard = Heard::default();
        let (mut said, mut thought) = (String::new(), String::new());
        let events = [
            token("why", Part::Thinking),
            token("</think>", Part::Mark),
            token("\n", Part::Answer),
            token("\n\nSo", Part::Answer),
            token("\n\n.", Part::Answer),
        ];
        for event in &events {
            let mut listener = |piece: &Piece| {
                let to = if piece.thinking {
                    &mut thought
                } else {
                    &mut said
                };
                to.push_str(&piece.text);
                Ok(())
            };
            heard.take(event, &mut listener).unwrap();
        }
        let turn = heard.turn(StopReason::MaxTokens, false, Usage::default());
        assert_eq!((said.as_str(), thought.as_str()), ("So\n\n.", "why"));
        assert_eq!((turn.text, turn.thinking), (said, thought));
    }
}
