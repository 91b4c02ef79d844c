//! `manifest`.
#![no_main]

lattice_fuzz::target!("manifest");
