//! `sentencepiece`.
#![no_main]

lattice_fuzz::target!("sentencepiece");
