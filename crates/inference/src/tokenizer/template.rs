//! The checkpoint's own chat template.
//!
//! In: a Jinja template and a conversation. Out: a [`Prompt`] whose text is, byte for byte, what transformers renders.
//! It does not know Jinja, nor tokens, except for the spellings that must not come from people.

use serde_json::{Map, Value, json};

use super::deep::on_deep_stack;
use super::guard::Level;
use super::jinja::{Program, Values};
use super::{ChatMessage, ChatOptions, Content, ControlTokens, Prompt, Role, TextError};

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
        let compile = |source: &str| Program::compile(file, source, &special);
        let (default, tool_use) =
            on_deep_stack(|| (compile(default), tool_use.map(compile).transpose()))?;
        let (default, tool_use) = (default?, tool_use?);
        Ok(Some(ChatTemplate {
            default,
            tool_use,
            special,
            control,
        }))
    }

    /// The source of the template that conversations with tools are rendered by.
    pub fn tools_source(&self) -> &str {
        self.tool_use.as_ref().unwrap_or(&self.default).source()
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
        on_deep_stack(|| self.render_checked(messages, options))?
    }

    fn render_checked(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<Rendered, TextError> {
        let program = match (&self.tool_use, &options.tools) {
            (Some(tool_use), Some(_)) => tool_use,
            _ => &self.default,
        };
        let first = self.render_guarded(program, messages, options);
        let again = options.merge_system
            && match &first {
                Ok(_) => self.drops_instructions(program, messages, options),
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

    /// Whether the template leaves instructions out. Words that stand nowhere else are put in their place, as the
    /// instructions' own may also stand in another message.
    fn drops_instructions(
        &self,
        program: &Program,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> bool {
        if !has_late_instructions(messages) {
            return false;
        }
        let probe = |index: usize| format!("instruction-{index}-5f3a9c71");
        let mut probed = messages.to_vec();
        for (index, message) in probed.iter_mut().enumerate() {
            if gives_instructions(message) {
                message.content = Some(Content::Text(probe(index)));
            }
        }
        let Ok(rendered) = self.render_guarded(program, &probed, options) else {
            return false;
        };
        let text = rendered.prompt.display();
        (0..messages.len())
            .filter(|index| gives_instructions(&messages[*index]))
            .any(|index| !text.contains(&probe(index)))
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
        for (index, message) in messages.iter().enumerate() {
            if message.content.is_none() && message.role != Role::Assistant {
                let field = format!("messages[{index}].content");
                return Err(TextError::field(field, "is missing"));
            }
        }
        for name in options.extra.keys() {
            let thinking = name == "enable_thinking" && options.enable_thinking.is_some();
            let special = self.special.contains_key(name) || name.ends_with("_token");
            if thinking || special || RESERVED.contains(&name.as_str()) {
                return Err(TextError::field(
                    format!("chat_template_kwargs.{name}"),
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

fn gives_instructions(message: &ChatMessage) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn has_late_instructions(messages: &[ChatMessage]) -> bool {
    let late = messages.iter().skip(1).any(gives_instructions);
    late || messages
        .first()
        .is_some_and(|message| message.role == Role::Developer)
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
