//! `cargo +nightly fuzz run store_frame`: the segments of a log, whatever they hold.

#![no_main]

#[path = "../store_checks.rs"]
mod store_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| store_checks::store_frame(data));
