//! An HTTP server for language models with OpenAI's interface, over one generator.
//!
//! In: models with a way to open each, options, a listener. Out: answers over HTTP, and one event for each request.
//! The way of a request: connection (`http`) -> strict fields (`wire`) -> tokens and grammar, beside the models' threads
//! (`api`) -> the thread that owns the model (`worker`) -> pieces -> JSON or a stream.
//! It does not know: arguments, environment, terminals, which device a model runs on.

mod api;
mod app;
mod counters;
mod event;
mod http;
mod id;
mod keep;
mod models;
mod options;
mod wire;
mod worker;

pub use app::App;
pub use event::{ModelReport, RequestReport, ServeEvent};
pub use http::{Listener, Tls, TlsError, router, serve};
pub use models::{ModelEntry, ModelKind, ModelMemory, ModelState, Opener};
pub use options::{Clock, Hook, ServeOptions, Sink};
pub use wire::ApiError;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
