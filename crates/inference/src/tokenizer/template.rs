//! The checkpoint's own chat template.
//!
//! In: a Jinja template and a conversation. Out: a [`Prompt`] whose text is, byte for byte, what transformers renders.
//! The template is a program that somebody else wrote: it sees plain values only, loads nothing, and runs on a budget of
//! steps that bounds its time, its memory and its output.
//! It does not know tokens, except for the spellings that must not come from people.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value as TemplateValue};
use serde_json::{Map, Value, json};

use super::guard::{ESCAPE, Level, MARK};
use super::{ChatMessage, ChatOptions, ControlTokens, Prompt, Role, TextError, python};

/// Steps of a conversation of no length: about 20 ms. A step is an instruction or 64 bytes of text.
const STEPS_BASE: u64 = 200_000;
/// Steps for each message: templates look at all messages from each of them.
const STEPS_PER_MESSAGE: u64 = 2_000;
/// Templates pass the whole text on a few times.
const STEPS_PER_BYTE: u64 = 1;
const STEPS_MAX: u64 = 20_000_000;
const TEMPLATE_BYTES_MAX: usize = 1 << 20;
const RECURSION_MAX: usize = 100;

/// Names that further variables may not take.
const RESERVED: [&str; 16] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "conversation",
    "tokenize",
    "return_dict",
    "raise_exception",
    "strftime_now",
    "namespace",
    "dict",
    "range",
    "tool_use",
    "add_special_tokens",
];

/// The files of a checkpoint that may hold its template, as text.
#[derive(Debug, Clone, Copy, Default)]
pub struct TemplateFiles<'a> {
    /// chat_template.jinja.
    pub jinja: Option<&'a str>,
    /// tokenizer_config.json, for `chat_template` where the file above is missing, and for the special tokens.
    pub tokenizer_config: Option<&'a str>,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    default: Program,
    /// The one for conversations with tools, where the checkpoint has two.
    tool_use: Option<Program>,
    /// `bos_token` and its like.
    special: Map<String, Value>,
    control: ControlTokens,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The prompt.
    pub prompt: Prompt,
    /// What was done to the conversation that nobody asked for, for people.
    pub notes: Vec<String>,
}

#[derive(Debug)]
struct Program {
    env: Environment<'static>,
    /// Whether the template reads content that is a list of parts.
    takes_parts: bool,
}

impl ChatTemplate {
    /// Compiles the template of a checkpoint; `None` where it has none.
    ///
    /// `control` are the spellings to keep out of text from people: [`super::HfTokenizer::control_tokens`].
    ///
    /// # Errors
    /// [`TextError::Template`] names the file and the line; [`TextError::Tokenizer`] a broken tokenizer_config.json.
    pub fn new(
        files: TemplateFiles<'_>,
        control: ControlTokens,
    ) -> Result<Option<Self>, TextError> {
        let config: Value = match files.tokenizer_config {
            None => Value::Null,
            Some(text) => serde_json::from_str(text).map_err(|error| TextError::Tokenizer {
                file: "tokenizer_config.json".to_owned(),
                reason: error.to_string(),
            })?,
        };
        let (default, tool_use) = match files.jinja {
            Some(source) => (Some(source), None),
            None => sources_from_config(&config["chat_template"])?,
        };
        let file = if files.jinja.is_some() {
            "chat_template.jinja"
        } else {
            "tokenizer_config.json"
        };
        let Some(default) = default else {
            return Ok(None);
        };
        let special = special_from_config(&config);
        Ok(Some(ChatTemplate {
            default: Program::compile(file, default, &special)?,
            tool_use: tool_use
                .map(|source| Program::compile(file, source, &special))
                .transpose()?,
            special,
            control,
        }))
    }

    /// Renders a conversation.
    ///
    /// Control tokens spelled by people stay text: [`Prompt`] keeps them apart, in every field of every message and tool.
    ///
    /// # Errors
    /// [`TextError::Refused`] with the template's own words, [`TextError::TemplateBudget`],
    /// [`TextError::Conversation`] with the field at fault.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<Rendered, TextError> {
        self.check(messages, options)?;
        let program = match (&self.tool_use, &options.tools) {
            (Some(tool_use), Some(_)) => tool_use,
            _ => &self.default,
        };
        let first = self.render_guarded(program, messages, options);
        let again = options.merge_system
            && match &first {
                Ok(rendered) => drops_instructions(messages, rendered.prompt.display()),
                Err(TextError::Refused(_)) => has_late_instructions(messages),
                Err(_) => false,
            };
        if !again {
            return first;
        }
        let merged = with_merged_system(messages);
        let mut rendered = self.render_guarded(program, &merged, options)?;
        let note = "system and developer messages were merged in front: the chat template takes them nowhere else";
        rendered.notes.push(note.to_owned());
        Ok(rendered)
    }

    fn check(&self, messages: &[ChatMessage], options: &ChatOptions) -> Result<(), TextError> {
        let Some(last) = messages.last() else {
            return Err(TextError::field("messages", "the conversation is empty"));
        };
        if options.continue_final_message && options.add_generation_prompt {
            let reason = "an open last message and a new answer exclude each other";
            return Err(TextError::field("continue_final_message", reason));
        }
        if options.continue_final_message && last.content.is_none() {
            let field = format!("messages[{}].content", messages.len() - 1);
            return Err(TextError::field(field, "nothing to continue"));
        }
        for name in options.extra.keys() {
            let thinking = name == "enable_thinking" && options.enable_thinking.is_some();
            let special = self.special.contains_key(name) || name.ends_with("_token");
            if thinking || special || RESERVED.contains(&name.as_str()) {
                return Err(TextError::field(
                    name,
                    "a template variable that a request may not set",
                ));
            }
        }
        for (index, tool) in options.tools.iter().flatten().enumerate() {
            if !tool.is_object() {
                return Err(TextError::field(format!("tools[{index}]"), "not an object"));
            }
        }
        Ok(())
    }

    /// Renders plainly, as the reference does, and then with marks around what people wrote. If the marks change nothing,
    /// which is the rule, they are kept with the text.
    fn render_guarded(
        &self,
        program: &Program,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<Rendered, TextError> {
        let plain_values = values(program, messages, options)?;
        let plain = program.render(&self.special, &plain_values, options)?;
        let mut marked = Err(TextError::Refused(String::new()));
        for level in [Level::Whole, Level::Edges] {
            let marked_values = plain_values.marked(&self.control, level);
            if marked_values == plain_values {
                return Ok(Rendered {
                    prompt: Prompt::trusted(plain),
                    notes: Vec::new(),
                });
            }
            let text = program.render(&self.special, &marked_values, options);
            let prompt = text.map(|text| Prompt::from_marked(&text));
            if prompt
                .as_ref()
                .is_ok_and(|prompt| prompt.display() == plain)
            {
                return Ok(Rendered {
                    prompt: prompt?,
                    notes: Vec::new(),
                });
            }
            // Where both differ from the plain text, the stronger marks hold.
            marked = marked.or(prompt);
        }
        let note = "the chat template looked for control tokens in the text of a message; they were kept as text";
        Ok(Rendered {
            prompt: marked?,
            notes: vec![note.to_owned()],
        })
    }
}

/// What differs between a plain and a marked rendering.
#[derive(Debug, Clone, PartialEq)]
struct Values {
    messages: Vec<Map<String, Value>>,
    tools: Option<Vec<Value>>,
    extra: Map<String, Value>,
}

impl Values {
    fn marked(&self, control: &ControlTokens, level: Level) -> Self {
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

fn values(
    program: &Program,
    messages: &[ChatMessage],
    options: &ChatOptions,
) -> Result<Values, TextError> {
    let message = |(index, message): (usize, &ChatMessage)| {
        message.to_template_value(index, program.takes_parts)
    };
    Ok(Values {
        messages: messages
            .iter()
            .enumerate()
            .map(message)
            .collect::<Result<_, _>>()?,
        tools: options.tools.clone(),
        extra: options.extra.clone(),
    })
}

impl Program {
    fn compile(file: &str, source: &str, special: &Map<String, Value>) -> Result<Self, TextError> {
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
        env.add_template_owned("chat", with_generation_tags_scoped(source))
            .map_err(|error| wrong(error_text(&error)))?;
        let mut program = Program {
            env,
            takes_parts: false,
        };
        program.takes_parts = program.reads_parts(special);
        Ok(program)
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

    fn render(
        &self,
        special: &Map<String, Value>,
        values: &Values,
        options: &ChatOptions,
    ) -> Result<String, TextError> {
        let steps = STEPS_BASE
            .saturating_add(values.messages.len() as u64 * STEPS_PER_MESSAGE)
            .saturating_add(values.bytes().saturating_mul(STEPS_PER_BYTE))
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
        let template = env
            .get_template("chat")
            .map_err(|error| render_error(&error, steps))?;
        let text = template
            .render(TemplateValue::from(Serde(context)))
            .map_err(|error| render_error(&error, steps))?;
        if options.continue_final_message {
            closed_at_tag(text)
        } else {
            Ok(text)
        }
    }
}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    env.set_syntax(syntax.expect("the default delimiters are valid"));
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_recursion_limit(RECURSION_MAX);
    env.add_filter("tojson", python::to_json);
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
    TextError::Template {
        file: "chat template".to_owned(),
        reason: error_text(error),
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

/// The `chat_template` of tokenizer_config.json: a string, or a list of named ones.
fn sources_from_config(value: &Value) -> Result<(Option<&str>, Option<&str>), TextError> {
    let named = |name: &str| {
        let list = value.as_array()?;
        list.iter().find(|entry| entry["name"] == name)?["template"].as_str()
    };
    match value {
        Value::Null => Ok((None, None)),
        Value::String(source) => Ok((Some(source), None)),
        Value::Array(_) if named("default").is_some() => Ok((named("default"), named("tool_use"))),
        _ => Err(TextError::Template {
            file: "tokenizer_config.json".to_owned(),
            reason: "chat_template is neither text nor a list with a template named \"default\""
                .to_owned(),
        }),
    }
}

fn special_from_config(config: &Value) -> Map<String, Value> {
    let token = |(name, value): (&String, &Value)| {
        let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
        name.ends_with("_token")
            .then(|| (name.clone(), json!(text)))
    };
    config
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(token)
        .collect()
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

fn gives_instructions(message: &ChatMessage) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn has_late_instructions(messages: &[ChatMessage]) -> bool {
    let late = messages.iter().skip(1).any(gives_instructions);
    late || messages
        .first()
        .is_some_and(|message| message.role == Role::Developer)
}

/// Whether the template left instructions out of `text`.
fn drops_instructions(messages: &[ChatMessage], text: &str) -> bool {
    let dropped = |message: &ChatMessage| !text.contains(message.text().trim());
    has_late_instructions(messages)
        && messages
            .iter()
            .filter(|m| gives_instructions(m))
            .any(dropped)
}

/// The same conversation with one system message, in front.
fn with_merged_system(messages: &[ChatMessage]) -> Vec<ChatMessage> {
    let (instructions, others): (Vec<&ChatMessage>, Vec<&ChatMessage>) = messages
        .iter()
        .partition(|message| gives_instructions(message));
    let texts: Vec<String> = instructions.iter().map(|message| message.text()).collect();
    let system = ChatMessage::new(Role::System, texts.join("\n\n"));
    std::iter::once(system)
        .chain(others.into_iter().cloned())
        .collect()
}
