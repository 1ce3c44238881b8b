//! The fuzz targets of this crate on a stable toolchain.

#[path = "../../fuzz/smoke.rs"]
mod smoke;
#[path = "../../fuzz/store_checks.rs"]
mod store_checks;

use smoke::{Language, fuzz};

#[test]
fn store_frame() {
    fuzz("store_frame", &RECORDS, store_checks::store_frame);
}

#[test]
fn record() {
    fuzz("record", &RECORDS, store_checks::record);
}

#[test]
fn snapshot() {
    fuzz("snapshot", &RECORDS, store_checks::snapshot);
}

const RECORDS: Language = Language {
    bytes: b"\0\x01\x7F\x80\xFF",
    words: &[b"\0\0\0\0\0\0\0\0", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"],
};
