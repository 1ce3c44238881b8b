//! `cargo +nightly fuzz run decode`: whatever a peer sends.

#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::decode(data));
