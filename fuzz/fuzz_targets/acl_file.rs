//! `cargo +nightly fuzz run acl_file`: access rules in each of their forms.

#![no_main]

#[path = "../plugins_checks.rs"]
mod plugins_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| plugins_checks::acl_file(data));
