//! The flags of `lattice serve`.

use std::path::PathBuf;

use clap::Args;

use crate::args::{ModelArgs, RunArgs, bytes, within};

/// `lattice serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Directories with config.json, or names under --model-dir; the first is meant where a request names none [default:
    /// the bundled lattice-tiny]
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    /// Address to listen on; other machines reach only those that are not 127.0.0.1, ::1 or localhost, and need a key
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: String,
    /// Port to listen on; 0: one that is free
    #[arg(long, short, default_value_t = 8080, value_name = "PORT")]
    pub(crate) port: u16,
    /// Listen on a socket at PATH instead
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    pub(crate) socket: Option<PathBuf>,
    /// Speak https: the server's certificate, and those up to an authority, in FILE (PEM); a renewed one is taken up while
    /// it runs
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM, without a password)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A key that requests must show; may be given several times
    #[arg(
        long,
        value_name = "KEY",
        env = "LATTICE_API_KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Vec<String>,
    /// A file with keys, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Let other machines in without a key
    #[arg(long, conflicts_with_all = ["api_key", "api_key_file"])]
    pub(crate) no_auth: bool,
    /// A host name that requests may be sent to, beside localhost and addresses in numbers
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// An origin (scheme, name, port) whose pages may send requests; *: any [default: pages on this machine]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
    /// Another name of the first model, for clients that insist on one
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Vec<String>,
    /// Answers at a time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = within::<1, 1024>)]
    pub(crate) parallel: usize,
    /// Requests that may wait for their turn
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = within::<0, 65536>)]
    pub(crate) queue: usize,
    /// Bytes of recurrent states that are kept for prompts that start alike
    #[arg(long, default_value = "1GiB", value_name = "BYTES", value_parser = bytes::<usize>)]
    pub(crate) cache_bytes: usize,
    /// Tokens whose keys and values lie in memory, over all answers and all kept beginnings [default: --parallel times
    /// --context]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) cache_tokens: Option<usize>,
    /// Seconds that a request may take [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Seconds that answers under way get when the server is stopped
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) drain: u64,
    /// Megabytes of a request
    #[arg(long, default_value_t = 64, value_name = "MB", value_parser = within::<1, 1024>)]
    pub(crate) body_mb: usize,
    /// Keep what was read in files of DIR, for the next start
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Bytes of these files
    #[arg(long, default_value = "4GiB", value_name = "BYTES", requires = "cache_dir", value_parser = bytes::<u64>)]
    pub(crate) cache_dir_bytes: u64,
    /// Seconds between two times that what is new is written there; it is written when the server stops as well
    #[arg(long, default_value = "300", value_name = "SECONDS", requires = "cache_dir", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cache_save: Option<u64>,
    /// Unload a model that nobody asked for so long; the next request loads it again [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) idle_unload: Option<u64>,
    /// Bytes that all loaded models may take, the texts that they may keep counted in; to load one that would take more,
    /// those used longest ago are unloaded, and loaded when they are asked for again [default: no bound]
    #[arg(long, value_name = "BYTES", value_parser = bytes::<u64>)]
    pub(crate) memory_budget: Option<u64>,
    /// Answers of /v1/responses that are kept to be read and gone on from
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = within::<0, 1_000_000>)]
    pub(crate) responses: usize,
    /// Megabytes of them
    #[arg(long, default_value_t = 64, value_name = "MB", value_parser = within::<0, 65536>)]
    pub(crate) responses_mb: usize,
    /// Load models when they are first asked for, not at the start
    #[arg(long)]
    pub(crate) lazy: bool,
    /// Print events for programs: `@@lattice {"ev":...}` lines
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) source: ModelArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
