//! `modules`.
#![no_main]

lattice_fuzz::target!("modules");
