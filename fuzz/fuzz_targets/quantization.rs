//! `quantization`.
#![no_main]

lattice_fuzz::target!("quantization");
