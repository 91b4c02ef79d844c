//! `tokenizer_config`.
#![no_main]

lattice_fuzz::target!("tokenizer_config");
