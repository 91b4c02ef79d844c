//! `grammar`.
#![no_main]

lattice_fuzz::target!("grammar");
