//! One Jinja template, as transformers sets Jinja up, kept in its place.
//!
//! In: the source of a template and plain values. Out: text. The source was written by somebody else: it loads nothing,
//! sees nothing but the values, and runs on a budget of steps that bounds its time, its memory and its output.
//! It does not know what the text is for.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::machinery::{self, CompiledTemplate, TemplateConfig};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value as TemplateValue};
use serde_json::{Map, Value, json};

use super::deep::TEMPLATE_BYTES_MAX;
use super::guard::{ESCAPE, Level, MARK};
use super::{ChatOptions, ControlTokens, TextError, budget, python};

/// Steps of a conversation of no length: about 20 ms. A step is an instruction or 64 bytes of text.
const STEPS_BASE: u64 = 200_000;
/// Templates look at all messages from each of them.
const STEPS_PER_MESSAGE: u64 = 2_000;
/// Templates pass the whole text on about ten times; this allows for 16.
const BYTES_PER_STEP: u64 = 4;
const STEPS_MAX: u64 = 10_000_000;
const RECURSION_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct Program {
    env: Environment<'static>,
    source: String,
    /// Names that the template's instructions call.
    functions: Vec<String>,
    /// Whether the template reads content that is a list of parts.
    pub(super) takes_parts: bool,
}

/// What differs between a plain and a marked rendering.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values {
    pub(super) messages: Vec<Map<String, Value>>,
    pub(super) tools: Option<Vec<Value>>,
    pub(super) extra: Map<String, Value>,
}

impl Values {
    /// The same values with marks in all that people wrote.
    pub(super) fn marked(&self, control: &ControlTokens, level: Level) -> Self {
        let mark = |value: &Value| control.mark_value(value, level);
        let extra = self
            .extra
            .iter()
            .map(|(name, value)| (name.clone(), mark(value)))
            .collect();
        Values {
            messages: self
                .messages
                .iter()
                .map(|m| control.mark_message(m, level))
                .collect(),
            tools: self
                .tools
                .as_ref()
                .map(|tools| tools.iter().map(mark).collect()),
            extra,
        }
    }

    fn bytes(&self) -> u64 {
        let tools = self.tools.iter().flatten().map(value_bytes).sum::<u64>();
        let extra = self.extra.values().map(value_bytes).sum::<u64>();
        let messages = self
            .messages
            .iter()
            .flat_map(Map::values)
            .map(value_bytes)
            .sum::<u64>();
        tools + extra + messages
    }
}

fn value_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(value_bytes).sum::<u64>() + 8,
        Value::Object(map) => map
            .iter()
            .map(|(key, v)| key.len() as u64 + value_bytes(v) + 8)
            .sum(),
        _ => 8,
    }
}

impl Program {
    /// Compiles a template; `file` is named in errors.
    pub(super) fn compile(
        file: &str,
        source: &str,
        special: &Map<String, Value>,
    ) -> Result<Self, TextError> {
        let wrong = |reason: String| TextError::Template {
            file: file.to_owned(),
            reason,
        };
        if source.len() > TEMPLATE_BYTES_MAX {
            let bytes = source.len();
            return Err(wrong(format!(
                "{bytes} bytes of template, the most is {TEMPLATE_BYTES_MAX}"
            )));
        }
        let lower = source.to_lowercase();
        if source.contains([MARK, ESCAPE]) || lower.contains("\\ufdd0") || lower.contains("\\ufdd1")
        {
            return Err(wrong(
                "the noncharacters U+FDD0 and U+FDD1 are reserved".to_owned(),
            ));
        }
        let mut env = environment();
        let source = with_generation_tags_scoped(source);
        let syntax = |error: Error| wrong(error_text(&error));
        let mut template = compiled(&env, &source).map_err(syntax)?;
        let functions = budget::function_names(&mut template);
        budget::add_functions(&mut env, &mut template);
        budget::replace_instructions(&mut template, &functions).map_err(syntax)?;
        drop(template);
        let mut program = Program {
            env,
            source,
            functions,
            takes_parts: false,
        };
        program.takes_parts = program.reads_parts(special);
        Ok(program)
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Tries a message of two parts.
    fn reads_parts(&self, special: &Map<String, Value>) -> bool {
        let part = |text: &str| json!({"type": "text", "text": text});
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("user"));
        message.insert(
            "content".to_owned(),
            json!([part("probe-one"), part("probe-two")]),
        );
        let values = Values {
            messages: vec![message],
            tools: None,
            extra: Map::new(),
        };
        let text = self
            .render(special, &values, &ChatOptions::default())
            .unwrap_or_default();
        // A template that takes the list for text prints it as Python would.
        text.contains("probe-one") && text.contains("probe-two") && !text.contains("'probe-one'")
    }

    /// Renders the template with `special` tokens and `values`.
    pub(super) fn render(
        &self,
        special: &Map<String, Value>,
        values: &Values,
        options: &ChatOptions,
    ) -> Result<String, TextError> {
        let steps = STEPS_BASE
            .saturating_add((values.messages.len() as u64).saturating_mul(STEPS_PER_MESSAGE))
            .saturating_add(values.bytes() / BYTES_PER_STEP)
            .min(STEPS_MAX);
        let mut env = self.env.clone();
        env.set_fuel(Some(steps));
        let now = options.now_unix_s;
        env.add_function("strftime_now", move |format: &str| {
            python::strftime(now.unwrap_or_else(unix_now), format)
        });
        let mut messages = values.messages.clone();
        if options.continue_final_message {
            open_last(&mut messages);
        }
        let mut context = special.clone();
        context.extend(values.extra.clone());
        context.insert("messages".to_owned(), json!(messages));
        context.insert("tools".to_owned(), json!(values.tools));
        context.insert("documents".to_owned(), Value::Null);
        context.insert(
            "add_generation_prompt".to_owned(),
            json!(options.add_generation_prompt),
        );
        if let Some(thinking) = options.enable_thinking {
            context.insert("enable_thinking".to_owned(), json!(thinking));
        }
        let context = TemplateValue::from(Serde(context));
        let text = run(&env, &self.source, &self.functions, context)
            .map_err(|error| render_error(&error, steps))?;
        if options.continue_final_message {
            closed_at_tag(text)
        } else {
            Ok(text)
        }
    }
}

fn compiled<'a>(env: &Environment<'_>, source: &'a str) -> Result<CompiledTemplate<'a>, Error> {
    let config = TemplateConfig {
        syntax_config: env.syntax().clone(),
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    CompiledTemplate::new("chat", source, &config)
}

/// Runs a template whose instructions pay for what they make; `functions` are those of `budget`.
fn run(
    env: &Environment<'_>,
    source: &str,
    functions: &[String],
    context: TemplateValue,
) -> Result<String, Error> {
    let mut template = compiled(env, source)?;
    budget::replace_instructions(&mut template, functions)?;
    let mut text = String::with_capacity(template.buffer_size_hint);
    let mut out = machinery::make_string_output(&mut text);
    machinery::eval(
        env,
        &template.instructions,
        context,
        &template.blocks,
        &mut out,
        AutoEscape::None,
    )?;
    drop(out);
    Ok(text)
}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    env.set_syntax(syntax.expect("the default delimiters are valid"));
    env.set_recursion_limit(RECURSION_MAX);
    env.add_filter("tojson", python::to_json);
    env.add_test("iterable", python::is_iterable);
    env.add_test("sequence", python::is_sequence);
    env.add_function(
        "raise_exception",
        |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(message)))
        },
    );
    env
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn render_error(error: &Error, steps_max: u64) -> TextError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return TextError::Refused(message.clone());
        }
        if current
            .downcast_ref()
            .is_some_and(|error: &Error| error.kind() == ErrorKind::OutOfFuel)
        {
            return TextError::TemplateBudget { steps_max };
        }
        cause = current.source();
    }
    runtime_error(error_text(error))
}

fn runtime_error(reason: String) -> TextError {
    TextError::Template {
        file: "chat template".to_owned(),
        reason,
    }
}

fn error_text(error: &Error) -> String {
    let line = error
        .line()
        .map_or(String::new(), |line| format!("line {line}: "));
    format!(
        "{line}{}",
        error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned)
    )
}

fn unix_now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// Writes `{% generation %}` blocks, which mark what a model is trained on, as blocks that only bound the scope.
fn with_generation_tags_scoped(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag.trim_matches(|c: char| "{%-+}".contains(c) || c.is_whitespace());
        match word {
            "generation" => out.push_str(&tag.replace("generation", "with")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endwith")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

const OPEN_TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Writes a tag behind the last text, where the rendered prompt will be cut.
fn open_last(messages: &mut [Map<String, Value>]) {
    let Some(content) = messages
        .last_mut()
        .and_then(|message| message.get_mut("content"))
    else {
        return;
    };
    let text = match content {
        Value::Array(parts) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        content => Some(content),
    };
    if let Some(Value::String(text)) = text {
        text.push_str(OPEN_TAG);
    }
}

fn closed_at_tag(mut text: String) -> Result<String, TextError> {
    let Some(at) = text.rfind(OPEN_TAG.trim_end()) else {
        let reason = "the chat template does not render the last message as it is";
        return Err(TextError::field("continue_final_message", reason));
    };
    // A template that trims the message also takes the space off the tag.
    let trimmed = !text[at..].starts_with(OPEN_TAG);
    text.truncate(at);
    if trimmed {
        text.truncate(text.trim_end().len());
    }
    Ok(text)
}
