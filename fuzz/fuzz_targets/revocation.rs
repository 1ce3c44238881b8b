//! `cargo +nightly fuzz run revocation`: revocation lists, and answers of OCSP.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_net::fuzzing::revocation(data));
