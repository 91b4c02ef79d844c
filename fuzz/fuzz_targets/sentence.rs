//! `sentence`.
#![no_main]

lattice_fuzz::target!("sentence");
