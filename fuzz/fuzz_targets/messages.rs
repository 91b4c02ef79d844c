//! `messages`.
#![no_main]

lattice_fuzz::target!("messages");
