//! `cargo +nightly fuzz run sql`: the statement of a rule, and what it makes of a message.

#![no_main]

#[path = "../rules_checks.rs"]
mod rules_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules_checks::sql(data));
