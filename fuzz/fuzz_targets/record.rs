//! `cargo +nightly fuzz run record`: records, and what a start makes of them.

#![no_main]

#[path = "../store_checks.rs"]
mod store_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| store_checks::record(data));
