//! `lattice ps`: what a server has loaded, and what is at work.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Client, ServerArgs};
use crate::show::bytes;
use crate::visible::visible;

/// `lattice ps`
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const HEADS: [&str; 7] = [
    "MODEL",
    "KIND",
    "STATE",
    "MEMORY",
    "CONTEXT",
    "AT WORK",
    "LAST USED",
];

pub(crate) fn run(args: &PsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let listed = client.get("/v1/models")?;
    let models = listed["data"].as_array().cloned().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({"url": client.url(), "models": models}))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", visible(client.url()))?;
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(models.iter().map(row));
    let wide: Vec<usize> = (0..HEADS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells = row.iter().zip(&wide);
        let line: Vec<String> = cells
            .map(|(cell, &wide)| format!("{cell:<wide$}"))
            .collect();
        writeln!(out, "{}", visible(line.join("  ").trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(model: &Value) -> [String; HEADS.len()] {
    let text = |name: &str| model[name].as_str().unwrap_or("?").to_owned();
    let number = |name: &str| model[name].as_u64();
    let memory = match (number("model_bytes"), number("cache_bytes")) {
        (Some(model), Some(cache)) if model + cache > 0 => {
            format!("{} + up to {}", bytes(model), bytes(cache))
        }
        _ => "-".to_owned(),
    };
    let or_dash = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let used = match (number("requests"), number("idle_s")) {
        (Some(1..), _) => "now".to_owned(),
        (_, Some(seconds)) => ago(seconds),
        _ => "never".to_owned(),
    };
    [
        text("id"),
        text("kind"),
        text("state"),
        memory,
        or_dash(number("context_length")),
        or_dash(number("requests")),
        used,
    ]
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}
