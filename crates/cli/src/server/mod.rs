//! Commands for a server that runs: what it has loaded, unload it, stop it, let other programs use it.
//!
//! In: where it listens. Out: what it says, as words or JSON. It knows the server by its HTTP interface alone.

mod client;
pub(crate) mod launch;
pub(crate) mod ps;
pub(crate) mod stop;

use std::path::PathBuf;

use clap::Args;

pub(crate) use client::Client;

/// Which server.
#[derive(Debug, Args, Clone)]
pub(crate) struct ServerArgs {
    /// Where the server listens
    #[arg(
        long,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        env = "LATTICE_URL"
    )]
    pub(crate) url: String,
    /// The server listens on a socket at PATH
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) socket: Option<PathBuf>,
    /// The key that it asks for
    #[arg(
        long,
        value_name = "KEY",
        env = "LATTICE_API_KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
    /// For https: believe the certificates in FILE (PEM) as well
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}
