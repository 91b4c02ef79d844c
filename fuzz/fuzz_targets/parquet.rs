//! `parquet`.
#![no_main]

lattice_fuzz::target!("parquet");
