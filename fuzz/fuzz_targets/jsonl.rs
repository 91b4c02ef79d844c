//! `jsonl`.
#![no_main]

lattice_fuzz::target!("jsonl");
