//! `cargo +nightly fuzz run acl_file`: access rules in each of their forms.

#![no_main]

#[path = "../plugins_checks.rs"]
#[allow(dead_code, reason = "it has the checks of other targets too")]
mod plugins_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| plugins_checks::acl_file(data));
