//! `tool_calls`.
#![no_main]

lattice_fuzz::target!("tool_calls");
