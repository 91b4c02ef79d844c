//! `tokenizer`.
#![no_main]

lattice_fuzz::target!("tokenizer");
