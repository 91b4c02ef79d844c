//! `gguf`.
#![no_main]

lattice_fuzz::target!("gguf");
