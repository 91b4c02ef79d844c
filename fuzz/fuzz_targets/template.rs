//! `template`.
#![no_main]

lattice_fuzz::target!("template");
