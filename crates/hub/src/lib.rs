//! A small client of the model hub's protocol.
//!
//! In: a model's name, a directory to keep models in. Out: that model's files in a directory of its own, each compared
//! with the hash that the hub has for it; the directory is complete or absent, whatever ends the program on the way.
//! The way of the data: [`ModelName`] -> [`Hub::listing`] -> [`Choice`] -> [`Pull`] -> [`Record`].
//! Everything blocks; a callback hears how far it is, and stops it. What a server says is checked before it is believed.
//! It knows HTTP, files and hashes. It does not know: what a model is, terminals, the environment.
//!
//! ```no_run
//! use lattice_hub::{Choice, Hub, HubOptions, ModelName, Taken};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), lattice_hub::HubError> {
//! let hub = Hub::new(HubOptions::default())?;
//! let name: ModelName = "smollm2-135m".parse()?; // or org/name, or org/name@revision
//! let listing = hub.listing(&name)?;
//! let choice = Choice::of(&listing, &[])?;
//! let watch = &mut |_event: lattice_hub::Event<'_>| ControlFlow::Continue(());
//! let record = match hub.take("models".as_ref(), listing, choice, watch)? {
//!     Taken::There(record) => record,
//!     Taken::Pull(pull) => pull.fetch(watch)?,
//! };
//! println!("{} at {}", record.name, record.commit);
//! # Ok(())
//! # }
//! ```

mod alias;
mod choice;
mod client;
mod error;
mod fetch;
mod hash;
mod listing;
mod name;
mod part;
mod pull;
mod record;
mod tls;
mod url;
mod work;

pub use alias::{ALIASES, Alias, alias_of};
pub use choice::{Choice, Skipped};
pub use client::{Hub, HubOptions, Proxy, Token};
pub use error::HubError;
pub use hash::Hash;
pub use listing::{Listing, RemoteFile};
pub use name::ModelName;
pub use pull::{Pull, Room, Taken};
pub use record::{Record, RecordedFile};
pub use tls::https_missing;
pub use work::{Event, Watch};
