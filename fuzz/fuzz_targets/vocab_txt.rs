//! `vocab_txt`.
#![no_main]

lattice_fuzz::target!("vocab_txt");
