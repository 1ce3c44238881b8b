//! What must hold for any bytes; the fuzz targets and `broker-codec/tests/fuzz_smoke.rs` share it.

#![allow(dead_code, reason = "each target uses one of the checks")]

use broker_codec::topic::{self, TopicFilter};
use broker_codec::{Decoder, Packet, ProtocolVersion};

/// A byte that chooses the decoder, then what the peer sends.
pub(crate) fn decode(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let version = match mode & 3 {
        0 => ProtocolVersion::V3_1,
        1 => ProtocolVersion::V3_1_1,
        _ => ProtocolVersion::V5,
    };
    let new = || {
        let mut decoder = if mode & 4 == 0 {
            Decoder::for_server(100_000)
        } else {
            Decoder::for_client(version, 100_000)
        };
        decoder.set_strict(mode & 8 != 0);
        decoder
    };
    let mut decoder = new();
    let mut rest = bytes;
    loop {
        let frame_len = decoder.frame_len(rest);
        match decoder.decode(rest) {
            Ok(Some((packet, len))) => {
                assert_eq!(frame_len, Ok(Some(len)));
                check_packet(&decoder, &packet);
                rest = &rest[len..];
            }
            Ok(None) => {
                assert!(frame_len.is_ok_and(|len| len.is_none_or(|len| len > rest.len())));
                return;
            }
            Err(error) => {
                assert!(error.reason_code().is_error());
                return;
            }
        }
    }
}

/// What was decoded can be written and is read again as the same.
fn check_packet(decoder: &Decoder, packet: &Packet<'_>) {
    // A second CONNECT may have another version than the decoder, which goes by the first.
    if matches!(packet, Packet::Connect(_)) {
        return;
    }
    let version = decoder.version();
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    assert_eq!(bytes.len(), packet.encoded_len(version));
    // Lengths that can be written in more than one way make the copy shorter, never longer.
    let again = decoder.clone().decode(&bytes);
    assert_eq!(again, Ok(Some((packet.clone(), bytes.len()))));
}

/// A filter, a line break, a name.
pub(crate) fn topic_filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (filter, name) = text.split_once('\n').unwrap_or((text, "a"));
    let is_name = topic::validate_name(name).is_ok();
    match topic::validate_filter(filter) {
        Err(error) => assert!(error.at <= filter.len()),
        Ok(()) => {
            assert!(TopicFilter::try_from(filter).is_ok());
            let plain = topic::parse_share(filter).map_or(filter, |(_, plain)| plain);
            assert!(!plain.is_empty() && topic::levels(plain) <= topic::levels(filter));
            if is_name && topic::matches(plain, name) && !topic::has_wildcard(plain) {
                assert_eq!(plain, name);
            }
            if topic::validate_name(plain).is_ok() {
                assert!(topic::matches(plain, plain));
            }
        }
    }
}
