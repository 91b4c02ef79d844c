//! `text`.
#![no_main]

lattice_fuzz::target!("text");
