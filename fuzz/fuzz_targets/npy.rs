//! `npy`.
#![no_main]

lattice_fuzz::target!("npy");
