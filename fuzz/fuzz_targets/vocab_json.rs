//! `vocab_json`.
#![no_main]

lattice_fuzz::target!("vocab_json");
