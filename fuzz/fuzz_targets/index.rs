//! `index`.
#![no_main]

lattice_fuzz::target!("index");
