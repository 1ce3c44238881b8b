//! `cargo +nightly fuzz run psk_file`: identities and secrets of TLS-PSK.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_plugins::check_psk_file(data));
