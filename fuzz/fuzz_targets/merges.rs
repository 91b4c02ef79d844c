//! `merges`.
#![no_main]

lattice_fuzz::target!("merges");
