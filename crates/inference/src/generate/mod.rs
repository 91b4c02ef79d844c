//! The one generate loop: requests in, events out.
//!
//! In: prompts as ids with their options, a [`Runner`](crate::backend::Runner), a
//! [`Tokenizer`](crate::tokenizer::Tokenizer). Out: text deltas, log probabilities, figures.
//! Every [`Generator::step`] runs one ragged batch: the next token of each running request beside pieces of
//! prompts. What requests have read is kept, and the next prompt with the same start takes
//! it over, from one that still runs as well.
//! It does not know: devices, weight formats, chat templates, HTTP.
//!
//! The text of a request is a function of the request alone: neither company, nor pieces, nor a reused
//! prefix, nor drafts can change it.

mod admit;
mod event;
mod generator;
mod job;
mod prefix;
mod request;
mod running;
mod schedule;
mod step;
mod stop;
#[cfg(test)]
mod tests;
mod text;
mod thinking;

pub use admit::{Admitted, RequestError, admit};
pub use event::{Event, Failure, Part, RequestId, StopReason, Usage};
pub use generator::{Answer, CacheUse, Generator, GeneratorOptions};
pub use request::{Constraint, Request, Thinking};
