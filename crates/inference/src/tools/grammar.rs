//! The grammar of an answer that has to call tools, or may call them in the right form only.
//!
//! In: the form, the tools, the choice. Out: a grammar in Lark's syntax, with the schemas of the arguments in it.
//! Tags that are tokens of their own are named as such: nothing else in an answer can be taken for them.

use std::fmt::Write as _;

use serde_json::Value;

use super::values::{referred, types};
use super::{Tool, ToolError, ToolFormat};
use crate::grammar::Grammar;

/// Which tools an answer calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// Any or none.
    #[default]
    Auto,
    /// None. The template then gets no tools either.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

impl ToolChoice {
    /// The `tool_choice` of a request, as OpenAI writes it.
    ///
    /// # Errors
    /// It is neither `"auto"`, `"none"`, `"required"` nor the name of one of `tools`.
    pub fn from_json(value: &Value, tools: &[Tool]) -> Result<ToolChoice, ToolError> {
        let choice = match value {
            Value::Null => ToolChoice::Auto,
            Value::String(word) if word == "auto" => ToolChoice::Auto,
            Value::String(word) if word == "none" => ToolChoice::None,
            Value::String(word) if word == "required" => ToolChoice::Required,
            Value::Object(_) => {
                let name = value["function"]["name"].as_str().unwrap_or_default();
                ToolChoice::Named(name.to_owned())
            }
            _ => {
                let reason = format!("{value}, allowed is auto, none, required or a function");
                return Err(ToolError::new("tool_choice", reason));
            }
        };
        let known = |name: &str| tools.iter().any(|tool| tool.name == name);
        match &choice {
            ToolChoice::Named(name) if !known(name) => {
                let reason = format!("there is no tool {name:?}");
                Err(ToolError::new("tool_choice", reason))
            }
            ToolChoice::Required if tools.is_empty() => {
                let reason = "required, and there are no tools";
                Err(ToolError::new("tool_choice", reason))
            }
            _ => Ok(choice),
        }
    }
}

/// The grammar that holds an answer to a choice; `None` where nothing needs to be held: the choice is open, no tool is
/// strict, and the form's calls are only told when they are whole. Where calls are told as they are written, one that
/// has begun is held to the form, so that it cannot turn out to be none. `is_token` says whether a tag is a control token of the vocabulary; `parallel`, whether there may be
/// several calls.
///
/// # Errors
/// A strict tool whose schema the form cannot hold to.
pub fn grammar_from_tools(
    format: ToolFormat,
    tools: &[Tool],
    choice: &ToolChoice,
    parallel: bool,
    is_token: &dyn Fn(&str) -> bool,
) -> Result<Option<Grammar>, ToolError> {
    let open = match choice {
        ToolChoice::None => return Ok(None),
        ToolChoice::Auto => {
            let strict = tools.iter().any(|tool| tool.strict);
            if tools.is_empty() || !strict && format == ToolFormat::Llama3 {
                return Ok(None);
            }
            true
        }
        ToolChoice::Required | ToolChoice::Named(_) => false,
    };
    let chosen = |tool: &&Tool| match choice {
        ToolChoice::Named(name) => tool.name == *name,
        _ => true,
    };
    let mut writer = Writer {
        format,
        is_token,
        text: String::new(),
    };
    writer.start(open, parallel);
    let tools: Vec<&Tool> = tools.iter().filter(chosen).collect();
    writer.functions(&tools, open)?;
    Ok(Some(Grammar::Lark(writer.text)))
}

struct Writer<'a> {
    format: ToolFormat,
    is_token: &'a dyn Fn(&str) -> bool,
    text: String,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A tag as a token, or as text.
    fn tag(&self, tag: &str) -> String {
        if (self.is_token)(tag) {
            tag.to_owned()
        } else {
            literal(tag)
        }
    }

    /// What the whole answer is.
    fn start(&mut self, open: bool, parallel: bool) {
        let divider = match self.format {
            ToolFormat::QwenXml | ToolFormat::Hermes => literal("\n"),
            ToolFormat::Llama3 => literal("; "),
        };
        let more = if parallel {
            format!("({divider} call)*")
        } else {
            String::new()
        };
        let open_tag = self.tag("<tool_call>");
        let is_token = (self.is_token)("<tool_call>");
        match (open, self.format) {
            (false, _) => self.line(&format!("start: call {more}")),
            (true, ToolFormat::Llama3) => {
                self.line(&format!("start: call {more} | TEXT"));
                self.line(r"TEXT: /([^{\s](?s:.*))?/");
            }
            // The token is no text, so that text ends where it stands.
            (true, format) if is_token => {
                self.line(&format!("start: TEXT? | TEXT? call {more}"));
                self.line(match format {
                    ToolFormat::QwenXml => r"TEXT: /(?s:.+)/ & ~/(?s:.*)<function=(?s:.*)/",
                    _ => r"TEXT: /(?s:.+)/",
                });
            }
            (true, format) => {
                let tag = match format {
                    ToolFormat::QwenXml => "<(tool_call>|function=)",
                    _ => "<tool_call>",
                };
                self.line(&format!("start: TEXT? | LEAD rest {more}"));
                self.line(&format!(r"TEXT: /(?s:.+)/ & ~/(?s:.*){tag}(?s:.*)/"));
                self.line(r"LEAD: BEFORE /<tool_call>/");
                self.line(&format!(r"BEFORE: /(?s:.*)/ & ~/(?s:.*){tag}(?s:.*)/"));
            }
        }
        if self.format != ToolFormat::Llama3 {
            let close = self.tag("</tool_call>");
            self.line(&format!("call: {open_tag} rest"));
            self.line(&format!(
                "rest: {} one {} {close}",
                literal("\n"),
                literal("\n")
            ));
        } else {
            self.line("call: one");
        }
    }

    fn functions(&mut self, tools: &[&Tool], open: bool) -> Result<(), ToolError> {
        let names: Vec<String> = (0..tools.len()).map(|at| format!("f{at}")).collect();
        self.line(&format!("one: {}", names.join(" | ")));
        for (at, tool) in tools.iter().enumerate() {
            match self.format {
                ToolFormat::QwenXml if open && !tool.strict => self.any_xml(at, tool),
                ToolFormat::QwenXml => self.xml(at, tool)?,
                ToolFormat::Hermes if open && !tool.strict => {
                    let any = serde_json::json!({"type": "object"});
                    let any = crate::grammar::bounded_white_space(any);
                    self.object(at, tool, "arguments", &any);
                }
                ToolFormat::Hermes => {
                    self.object(at, tool, "arguments", &argument_schema(tool));
                }
                ToolFormat::Llama3 => {
                    self.object(at, tool, "parameters", &argument_schema(tool));
                }
            }
        }
        if tools.iter().any(|tool| open && !tool.strict) && self.format == ToolFormat::QwenXml {
            let end = literal(PARAMETER_END);
            self.line(&format!(
                "any: {} KEY {} ANY",
                literal("<parameter="),
                literal(">\n")
            ));
            self.line(r"KEY: /[^<>\n]{1,128}/");
            self.line(&format!("ANY: ANY-TEXT {end}\nANY-TEXT: {VALUE_TEXT}"));
        }
        Ok(())
    }

    /// A call with whatever parameters, each a text.
    fn any_xml(&mut self, at: usize, tool: &Tool) {
        let open = literal(&format!("<function={}>\n", tool.name));
        self.line(&format!("f{at}: {open} any* {}", literal("</function>")));
    }

    fn object(&mut self, at: usize, tool: &Tool, arguments: &str, schema: &Value) {
        let name = Value::from(tool.name.as_str());
        let head = literal(&format!("{{\"name\": {name}, \"{arguments}\": "));
        self.line(&format!("f{at}: {head} %json {schema} {}", literal("}")));
    }

    fn xml(&mut self, at: usize, tool: &Tool) -> Result<(), ToolError> {
        let mut rule = format!("f{at}: {}", literal(&format!("<function={}>\n", tool.name)));
        let mut values = String::new();
        let properties = tool.parameters["properties"].as_object();
        let required: Vec<&str> = tool.parameters["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        for (number, (key, schema)) in properties.into_iter().flatten().enumerate() {
            if key.contains(['>', '\n']) {
                let field = format!("tools: {}: parameters.properties", tool.name);
                return Err(ToolError::new(
                    field,
                    format!("{key:?} cannot stand in a tag"),
                ));
            }
            let value = format!("f{at}-p{number}");
            let open = literal(&format!("<parameter={key}>\n"));
            let one = format!("{open} {value}");
            let optional = !required.contains(&key.as_str());
            let _ = if optional {
                write!(rule, " ({one})?")
            } else {
                write!(rule, " {one}")
            };
            values.push_str(&parameter(&value, schema, tool)?);
        }
        let _ = write!(rule, " {}", literal("</function>"));
        self.line(&rule);
        self.text.push_str(&values);
        Ok(())
    }
}

/// What ends a parameter.
const PARAMETER_END: &str = "\n</parameter>\n";
/// The text of a parameter's value.
const VALUE_TEXT: &str = r"/(?s:.*)/ & ~/(?s:.*)<\/parameter>(?s:.*)/";

/// The rule of one parameter's value, with the tag behind it.
fn parameter(rule: &str, schema: &Value, tool: &Tool) -> Result<String, ToolError> {
    const END: &str = PARAMETER_END;
    let types = types(schema, &tool.parameters);
    let whole = schema;
    let schema = referred(schema, &tool.parameters);
    let texts_only = types.iter().all(|&name| name == "string");
    if !texts_only {
        if types.contains(&"string") && tool.strict {
            let field = format!("tools: {}: parameters", tool.name);
            let reason = "a parameter that is a text or something else cannot be told apart as this model writes it";
            return Err(ToolError::new(field, reason));
        }
        if !types.contains(&"string") {
            let schema = embedded(whole, &tool.parameters);
            return Ok(format!("{rule}: %json {schema} {}\n", literal(END)));
        }
    }
    let constants = schema["enum"].as_array().map(Vec::as_slice);
    let constants = constants.unwrap_or_else(|| std::slice::from_ref(&schema["const"]));
    let constants: Vec<&str> = constants.iter().filter_map(Value::as_str).collect();
    if !constants.is_empty() {
        let constant = |text: &&str| literal(&format!("{text}{END}"));
        let options: Vec<String> = constants.iter().map(constant).collect();
        return Ok(format!("{rule}: {}\n", options.join(" | ")));
    }
    let token = rule.to_uppercase();
    let mut text = VALUE_TEXT.to_owned();
    let (least, most) = (schema["minLength"].as_u64(), schema["maxLength"].as_u64());
    if least.is_some() || most.is_some() {
        let most = most.map_or_else(String::new, |most| most.to_string());
        let _ = write!(text, " & /(?s:.{{{},{most}}})/", least.unwrap_or(0));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(text, " & /{}/", searched(pattern));
    }
    Ok(format!(
        "{rule}: {token}\n{token}: {token}-TEXT {}\n{token}-TEXT: {text}\n",
        literal(END)
    ))
}

/// A pattern that is looked for anywhere, as one for the whole text.
fn searched(pattern: &str) -> String {
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => ("(?s:.*)", pattern),
    };
    let (end, pattern) = match pattern
        .strip_suffix('$')
        .filter(|rest| !rest.ends_with('\\'))
    {
        Some(rest) => ("", rest),
        None => ("(?s:.*)", pattern),
    };
    format!("{start}({}){end}", pattern.replace('/', "\\/"))
}

/// The schema of all arguments: an object always, and nothing but what it names where the tool is strict.
fn argument_schema(tool: &Tool) -> Value {
    let mut schema = tool.parameters.clone();
    if let Some(fields) = schema.as_object_mut() {
        fields
            .entry("type")
            .or_insert_with(|| Value::from("object"));
        let named = fields.contains_key("properties");
        if named {
            fields
                .entry("additionalProperties")
                .or_insert(Value::Bool(false));
        }
    }
    crate::grammar::bounded_white_space(schema)
}

/// One parameter's schema, standing alone: what it refers to comes along.
fn embedded(schema: &Value, root: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        for name in ["$defs", "definitions"] {
            if let Some(definitions) = root.get(name) {
                fields.insert(name.to_owned(), definitions.clone());
            }
        }
    }
    crate::grammar::no_white_space(schema)
}

/// A text as Lark writes it.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}
