//! `lattice launch`: a coding agent on a server's model.
//!
//! Each agent is told by its own means, for this one run: nothing is written into anybody's settings. What each of them
//! reads: Claude Code variables of the environment, Codex `-c` overrides of its config.toml, OpenCode a configuration in
//! a variable.

use std::io::Write as _;
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Client, ServerArgs};
use crate::visible::visible;

/// Tokens that the first prompt of an agent takes with its tools: 8,000 to 26,000 of those that were tried.
const CONTEXT_LITTLE: u64 = 32_768;

/// `lattice launch`
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// Which agent
    #[arg(value_enum)]
    pub(crate) agent: Agent,
    /// The model that it works with [default: the server's first that writes]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Print the command with its variables, for a shell, and run nothing
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// What the agent gets as its arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// A coding agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Agent {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
    /// OpenCode
    #[value(name = "opencode")]
    OpenCode,
}

/// What an agent is run with.
struct Recipe {
    program: &'static str,
    /// The package that has it.
    package: &'static str,
    set: Vec<(&'static str, String)>,
    /// The variable with a file of certificates to believe.
    ca: &'static str,
    /// Variables that would lead it elsewhere.
    unset: &'static [&'static str],
    args: Vec<String>,
}

/// The model as the server describes it.
struct Known<'a> {
    url: &'a str,
    key: &'a str,
    model: String,
    context_tokens: Option<u64>,
}

pub(crate) fn run(args: &LaunchArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let url = client.url();
    anyhow::ensure!(
        url.starts_with("http"),
        "{url}: agents reach a server by an address, not by a socket"
    );
    let listed = client.get("/v1/models")?;
    let (model, context_tokens) = chosen(&listed, args.model.as_deref())?;
    let known = Known {
        url,
        // They insist on one, and the server asks for none.
        key: client.key().unwrap_or("none"),
        model,
        context_tokens,
    };
    if let Some(words) = short(&known) {
        writeln!(std::io::stderr(), "{}", visible(&words))?;
    }
    let mut recipe = match args.agent {
        Agent::Claude => claude(&known),
        Agent::Codex => codex(&known),
        Agent::OpenCode => opencode(&known),
    };
    if let Some(ca) = &args.server.ca {
        let ca = std::path::absolute(ca).unwrap_or_else(|_unknown| ca.clone());
        recipe.set.push((recipe.ca, ca.display().to_string()));
    }
    recipe.args.extend(args.args.iter().cloned());
    if args.print {
        writeln!(std::io::stdout(), "{}", recipe.in_shell())?;
        return Ok(ExitCode::SUCCESS);
    }
    let words = format!("lattice: {} with {} of {url}", recipe.program, known.model);
    writeln!(std::io::stderr(), "{}", visible(&words))?;
    let error = match start(&mut recipe.command()) {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    let (program, package) = (recipe.program, recipe.package);
    if error.kind() == std::io::ErrorKind::NotFound {
        anyhow::bail!(
            "{program} is not on the path (`npm install -g {package}` gets it); where it is, run\n{}",
            recipe.in_shell()
        );
    }
    Err(anyhow::Error::new(error).context(format!("cannot run {program}")))
}

/// Words about a context that agents do not get far with.
fn short(known: &Known<'_>) -> Option<String> {
    let tokens = known
        .context_tokens
        .filter(|tokens| *tokens < CONTEXT_LITTLE)?;
    Some(format!(
        "lattice: {} reads {tokens} tokens here, and the first prompt of an agent alone may take {CONTEXT_LITTLE}; \
         `lattice serve --context` asks for more, where the model was made for it",
        known.model
    ))
}

/// The name and the context of the model that is asked for, or of the first that writes.
fn chosen(listed: &Value, wanted: Option<&str>) -> anyhow::Result<(String, Option<u64>)> {
    let models = listed["data"].as_array().map_or(&[][..], Vec::as_slice);
    let called = |model: &Value, name: &str| {
        let aliases = model["aliases"].as_array();
        let aliased = aliases.is_some_and(|names| names.iter().any(|alias| alias == name));
        model["id"] == name || aliased
    };
    let writes = |model: &&Value| model["kind"] == "text";
    let found = match wanted {
        Some(name) => models
            .iter()
            .filter(writes)
            .find(|model| called(model, name)),
        None => models.iter().find(writes),
    };
    let Some(found) = found else {
        let ids = models.iter().filter_map(|model| model["id"].as_str());
        let ids = ids.collect::<Vec<_>>().join(", ");
        match wanted {
            Some(name) => {
                anyhow::bail!("the server has no model {name:?} that writes; it has {ids}")
            }
            None => anyhow::bail!("the server has no model that writes; it has {ids}"),
        }
    };
    let name = wanted.or(found["id"].as_str()).unwrap_or_default();
    Ok((name.to_owned(), found["context_length"].as_u64()))
}

fn claude(known: &Known<'_>) -> Recipe {
    let mut set = vec![
        ("ANTHROPIC_BASE_URL", known.url.to_owned()),
        ("ANTHROPIC_AUTH_TOKEN", known.key.to_owned()),
    ];
    // One model does all of its work, the small one's too.
    for name in [
        "ANTHROPIC_MODEL",
        "ANTHROPIC_DEFAULT_OPUS_MODEL",
        "ANTHROPIC_DEFAULT_SONNET_MODEL",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL",
        "ANTHROPIC_SMALL_FAST_MODEL",
        "CLAUDE_CODE_SUBAGENT_MODEL",
    ] {
        set.push((name, known.model.clone()));
    }
    set.push(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()));
    // A model on a processor takes its time with a long prompt.
    set.push(("API_TIMEOUT_MS", "3600000".to_owned()));
    Recipe {
        program: "claude",
        package: "@anthropic-ai/claude-code",
        set,
        ca: "NODE_EXTRA_CA_CERTS",
        unset: &["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"],
        args: Vec::new(),
    }
}

fn codex(known: &Known<'_>) -> Recipe {
    // A JSON string is a TOML one.
    let text = |value: &str| Value::from(value).to_string();
    let provider = format!(
        "model_providers.lattice={{name=\"Lattice\",base_url={},env_key=\"LATTICE_API_KEY\",wire_api=\"responses\",\
         stream_idle_timeout_ms=3600000}}",
        text(&format!("{}/v1", known.url))
    );
    let mut args = vec!["-c".to_owned(), provider];
    args.extend(["-c".to_owned(), "model_provider=\"lattice\"".to_owned()]);
    args.extend(["-c".to_owned(), format!("model={}", text(&known.model))]);
    if let Some(tokens) = known.context_tokens {
        args.extend(["-c".to_owned(), format!("model_context_window={tokens}")]);
    }
    Recipe {
        program: "codex",
        package: "@openai/codex",
        set: vec![("LATTICE_API_KEY", known.key.to_owned())],
        ca: "SSL_CERT_FILE",
        unset: &["OPENAI_BASE_URL"],
        args,
    }
}

fn opencode(known: &Known<'_>) -> Recipe {
    let mut model = json!({"name": known.model, "tool_call": true});
    if let Some(tokens) = known.context_tokens {
        model["limit"] = json!({"context": tokens, "output": tokens / 4});
    }
    let whole = format!("lattice/{}", known.model);
    let config = json!({
        "$schema": "https://opencode.ai/config.json",
        "provider": {"lattice": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Lattice",
            "options": {
                "baseURL": format!("{}/v1", known.url), "apiKey": known.key, "timeout": 3_600_000,
            },
            "models": {known.model.clone(): model},
        }},
        "model": whole,
        "small_model": whole,
    });
    Recipe {
        program: "opencode",
        package: "opencode-ai",
        set: vec![("OPENCODE_CONFIG_CONTENT", config.to_string())],
        ca: "NODE_EXTRA_CA_CERTS",
        unset: &[],
        args: Vec::new(),
    }
}

impl Recipe {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.args);
        command.envs(self.set.iter().map(|(name, value)| (name, value)));
        for name in self.unset {
            command.env_remove(name);
        }
        command
    }

    /// For a shell of POSIX.
    fn in_shell(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        if !self.unset.is_empty() {
            lines.push(format!("unset {}", self.unset.join(" ")));
        }
        let set = self.set.iter();
        lines.extend(set.map(|(name, value)| format!("export {name}={}", quoted(value))));
        let words = std::iter::once(self.program.to_owned());
        let words: Vec<String> = words
            .chain(self.args.iter().map(|arg| quoted(arg)))
            .collect();
        lines.push(words.join(" "));
        lines.join("\n")
    }
}

/// A word that no shell makes anything of.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Becomes the agent: it has the terminal and the signals for itself.
#[cfg(unix)]
fn start(command: &mut Command) -> std::io::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec())
}

#[cfg(not(unix))]
fn start(command: &mut Command) -> std::io::Result<ExitCode> {
    let code = command.status()?.code();
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
