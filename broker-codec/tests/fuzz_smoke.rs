//! The fuzz targets of this crate on a stable toolchain.

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../fuzz/smoke.rs"]
#[expect(clippy::disallowed_methods, reason = "only tests measure time")]
mod smoke;

use smoke::{Language, fuzz};

#[test]
fn decode() {
    fuzz("decode", &MQTT, checks::decode);
}

#[test]
fn topic_filter() {
    fuzz("topic_filter", &MQTT, checks::topic_filter);
}

const MQTT: Language = Language {
    bytes: b"\x00\x01\x7F\x80\xFF+#/$\n",
    words: &[b"\0\x04MQTT\x05", b"\xFF\xFF\xFF\x7F", b"$share/"],
};
