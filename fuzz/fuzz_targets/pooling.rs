//! `pooling`.
#![no_main]

lattice_fuzz::target!("pooling");
