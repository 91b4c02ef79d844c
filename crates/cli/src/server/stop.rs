//! `lattice stop`: unloads a model of a server, or ends the server.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::client::SHUTDOWN;
use super::{Client, ServerArgs};
use crate::visible::visible;

/// How long a server may take until its address is free.
const FREE_WITHIN: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// `lattice stop`
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The model to unload, once the requests that it is at work with are answered; the next request loads it again
    /// [default: end the server]
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

pub(crate) fn run(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let words = match &args.model {
        Some(model) => {
            let state = client.post("/v1/models/unload", &json!({"model": model}))?;
            format!("{model}: {}", state["state"].as_str().unwrap_or("?"))
        }
        None => {
            client.post(SHUTDOWN, &json!({}))?;
            wait(&client)?;
            let url = client.url();
            format!("{url} takes no requests any more; answers under way are finished")
        }
    };
    writeln!(std::io::stdout(), "{}", visible(&words))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until nobody listens any more, so that another server may.
fn wait(client: &Client) -> anyhow::Result<()> {
    let began = Instant::now();
    while client.is_there() {
        let late = began.elapsed() > FREE_WITHIN;
        anyhow::ensure!(!late, "{} still listens", client.url());
        std::thread::sleep(LOOK);
    }
    Ok(())
}
