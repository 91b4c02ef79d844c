//! `safetensors`.
#![no_main]

lattice_fuzz::target!("safetensors");
