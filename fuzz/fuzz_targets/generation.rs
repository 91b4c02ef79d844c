//! `generation`.
#![no_main]

lattice_fuzz::target!("generation");
