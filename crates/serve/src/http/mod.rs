//! From connections to handlers: who may come in, how large and how slow they may be, what they are told where there is
//! nothing.
//!
//! In: connections. Out: requests for the handlers of `api`, responses with an id each. It does not know models.

mod body;
mod entry;
mod guard;
mod io;
mod router;
mod serve;
mod tls;

pub(crate) use body::read_body;
pub(crate) use guard::OPEN_PATHS;
pub use router::router;
pub(crate) use serve::Peer;
pub use serve::{Listener, serve};
pub use tls::{Tls, TlsError};
