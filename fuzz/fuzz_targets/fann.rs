//! `fann`: small networks in every format.
#![no_main]

#[path = "../../crates/fann/tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::every_reader(data));
