//! Everything that a caller may choose about the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_inference::generate::Request;

use crate::event::ServeEvent;
use crate::http::Tls;

/// Hears what happens: one event for each request that was answered, and warnings. It must not block.
pub type Sink = Arc<dyn Fn(ServeEvent) + Send + Sync>;

/// Sees each request for the generator before it is handed over, and may add to it: drafts, guides.
pub type Hook = Arc<dyn Fn(&mut Request) + Send + Sync>;

/// The time since some moment, by a clock that is never set.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The choices. [`Default`] is what a server on one's own machine wants.
#[derive(Clone)]
pub struct ServeOptions {
    /// Keys of which a request must show one; empty: none is asked for.
    pub api_keys: Vec<String>,
    /// Host names, beside those of this machine and addresses in numbers, that requests may be sent to.
    pub allowed_hosts: Vec<String>,
    /// Origins, beside those of pages on this machine, that browsers may send requests from.
    pub allowed_origins: Vec<String>,
    /// The certificate of https; `None`: plain http.
    pub tls: Option<Tls>,
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Time for the whole body to come.
    pub body_timeout: Duration,
    /// Time for the headers to come; and how long a connection may lie idle.
    pub header_timeout: Duration,
    /// Time that a client may take to read before it is cut off.
    pub write_timeout: Duration,
    /// Time for a request, from when it was read to its last token.
    pub request_timeout: Duration,
    /// Silence after which a stream gets a comment.
    pub keep_alive: Duration,
    /// Time that answers under way get to end when the server stops.
    pub drain_timeout: Duration,
    /// Connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// Choices that one request may ask for.
    pub choices_max: usize,
    /// Responses that are kept to be read again and gone on from; the one that was longest not asked for goes first.
    pub responses_max: usize,
    /// Bytes that the kept responses and their conversations take.
    pub responses_bytes_max: usize,
    /// Time without a request after which a model is unloaded; `None`: never.
    pub idle_unload: Option<Duration>,
    /// Bytes that all loaded models may take, each counted with the most that it takes; `None`: no bound.
    pub memory_bytes_max: Option<u64>,
    /// How often what models keep of texts is written into their folders, where they have any and something is new;
    /// `None`: when a model is unloaded, and by [`App::save`](crate::App::save).
    pub save_every: Option<Duration>,
    /// Called when a program on the same machine asks the server to stop; `None`: nobody may ask that.
    pub shutdown: Option<Arc<dyn Fn() + Send + Sync>>,
    /// What tells how long models were not used.
    pub clock: Clock,
    /// What hears of requests.
    pub sink: Sink,
    /// What sees requests before the generator does.
    pub hook: Option<Hook>,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            api_keys: Vec::new(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            tls: None,
            body_bytes_max: 64 << 20,
            body_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            connections_max: 16_384,
            choices_max: 64,
            responses_max: 1024,
            responses_bytes_max: 64 << 20,
            idle_unload: None,
            memory_bytes_max: None,
            save_every: Some(Duration::from_secs(300)),
            shutdown: None,
            clock: monotonic(),
            sink: Arc::new(|_event| {}),
            hook: None,
        }
    }
}

/// The system's clock that is never set.
fn monotonic() -> Clock {
    let began = Instant::now();
    Arc::new(move || began.elapsed())
}
