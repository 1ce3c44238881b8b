//! `cargo +nightly fuzz run jwt`: a token, and what it says where it is signed.

#![no_main]

#[path = "../plugins_checks.rs"]
mod plugins_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| plugins_checks::jwt(data));
