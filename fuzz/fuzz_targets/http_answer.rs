//! `cargo +nightly fuzz run http_answer`: what a web server answers.

#![no_main]

#[path = "../http_checks.rs"]
mod http_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http_checks::http_answer(data));
