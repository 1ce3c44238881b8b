//! `cargo +nightly fuzz run topic_filter`: whatever a client subscribes to.

#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::topic_filter(data));
