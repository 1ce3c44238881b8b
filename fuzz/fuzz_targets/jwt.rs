//! `cargo +nightly fuzz run jwt`: a token, and what it says where it is signed.

#![no_main]

#[path = "../plugins_checks.rs"]
#[allow(dead_code, reason = "it has the checks of other targets too")]
mod plugins_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| plugins_checks::jwt(data));
