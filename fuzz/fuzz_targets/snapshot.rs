//! `cargo +nightly fuzz run snapshot`: a snapshot, whatever it holds.

#![no_main]

#[path = "../store_checks.rs"]
mod store_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| store_checks::snapshot(data));
