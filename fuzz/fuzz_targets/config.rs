//! `config`.
#![no_main]

lattice_fuzz::target!("config");
