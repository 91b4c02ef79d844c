//! Conversations over HTTP with the bundled model, each test on a port of the system's choice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chat;
mod client;
mod completions;
mod crowd;
mod errors;
mod grammars;
mod guard;
mod lifecycle;
mod messages;
mod openapi;
mod plan;
mod responses;
mod server;
mod stream;
mod templates;
mod values;
mod vectors;
