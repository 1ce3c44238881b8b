//! What encode writes, decode reads; and nothing that comes in makes the decoder panic.

mod arbitrary;

use arbitrary::{Parts, VERSIONS, parts};
use broker_codec::{
    Connect, Decoder, Packet, Properties, ProtocolVersion, PublishFrames, PublishHeader, QoS,
    encode_publish, publish_len, topic,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn decode_gives_what_was_encoded(parts in parts()) {
        let packet = parts.packet();
        let bytes = encode(&packet, parts.version);
        prop_assert_eq!(bytes.len(), packet.encoded_len(parts.version));
        let mut decoder = decoder(&parts);
        prop_assert_eq!(decoder.frame_len(&bytes), Ok(Some(bytes.len())));
        prop_assert_eq!(decoder.decode(&bytes), Ok(Some((packet, bytes.len()))));
    }

    #[test]
    fn every_proper_prefix_is_incomplete(parts in parts()) {
        let bytes = encode(&parts.packet(), parts.version);
        let mut decoder = decoder(&parts);
        for len in 0..bytes.len() {
            prop_assert_eq!(decoder.decode(&bytes[..len]), Ok(None), "{} bytes", len);
        }
    }

    #[test]
    fn splitting_anywhere_gives_the_same_packets(
        all in prop::collection::vec(parts(), 1..6),
        at in any::<prop::sample::Index>(),
    ) {
        let version = all[0].version;
        let all: Vec<_> = all
            .into_iter()
            .filter(|it| it.version == version && it.is_from_client() && it.packet() != Packet::PingResp)
            .collect();
        let mut decoder = server(version);
        let mut bytes = Vec::new();
        all.iter().for_each(|it| it.packet().encode(version, &mut bytes));
        let at = at.index(bytes.len() + 1);
        let mut start = 0;
        let mut n = 0;
        for end in [at, bytes.len()] {
            while let Some((packet, len)) = decoder.decode(&bytes[start..end]).unwrap() {
                prop_assert_eq!(packet, all[n].packet());
                start += len;
                n += 1;
            }
        }
        prop_assert_eq!((start, n), (bytes.len(), all.len()));
    }

    #[test]
    fn decoder_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), strict: bool) {
        decode_all(&bytes, strict);
    }

    #[test]
    fn decoder_never_panics_on_mutated_packets(
        parts in parts(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        strict: bool,
    ) {
        let mut bytes = encode(&parts.packet(), parts.version);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        decode_all(&bytes, strict);
    }

    #[test]
    fn what_decodes_encodes_to_something_equal(
        parts in parts(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = encode(&parts.packet(), parts.version);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut reader = decoder(&parts);
        if let Ok(Some((packet, _))) = reader.decode(&bytes) {
            let version = reader.version();
            let again = encode(&packet, version);
            prop_assert_eq!(decoder(&parts).decode(&again), Ok(Some((packet, again.len()))));
        }
    }

    #[test]
    fn properties_of_garbage_just_end(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let properties = Properties::from_validated(&bytes);
        prop_assert!(properties.iter().count() <= bytes.len());
        let _ = properties.topic_alias();
    }

    #[test]
    fn publish_frame_patched_equals_publish_written(parts in parts(), id: u16) {
        let Packet::Publish(publish) = parts.packet() else { return Ok(()) };
        let mut frames = PublishFrames::default();
        for version in VERSIONS {
            let mut header = publish.header();
            if !version.is_v5() {
                header.properties = Properties::EMPTY;
            }
            let shared = PublishHeader { dup: false, retain: false, packet_id: None, ..header };
            let (frame, at) = frames.get(version, &shared, publish.topic, publish.payload);
            let mut frame = frame.to_vec();
            header.packet_id = (header.qos > QoS::AtMostOnce)
                .then(|| id.try_into().unwrap_or(std::num::NonZeroU16::MIN));
            frame[0] |= u8::from(header.dup) << 3 | u8::from(header.retain);
            if let (Some(at), Some(id)) = (at, header.packet_id) {
                frame[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
            }
            let mut written = Vec::new();
            let written_at =
                encode_publish(&mut written, version, &header, publish.topic, publish.payload.len());
            written.extend_from_slice(publish.payload);
            prop_assert_eq!(at, written_at);
            prop_assert_eq!(
                publish_len(version, &header, publish.topic.len(), publish.payload.len()),
                written.len()
            );
            prop_assert_eq!(frame, written);
        }
    }

    #[test]
    fn matches_agrees_with_a_naive_matcher(filter in topic_of("ab$+#"), name in topic_of("ab$")) {
        if topic::validate_filter(&filter).is_ok() && topic::validate_name(&name).is_ok() {
            prop_assert_eq!(topic::matches(&filter, &name), naive(&filter, &name));
        }
    }

    #[test]
    fn validate_filter_agrees_with_a_naive_check(filter in topic_of("ab$+#")) {
        let levels: Vec<_> = filter.split('/').collect();
        let is_valid = !filter.is_empty() && levels.iter().enumerate().all(|(i, &level)| {
            matches!(level, "+") || (level == "#" && i + 1 == levels.len())
                || !level.contains(['+', '#'])
        });
        prop_assert_eq!(topic::validate_filter(&filter).is_ok(), is_valid);
    }
}

/// A topic of few, short levels, so that filters and names often match.
fn topic_of(alphabet: &'static str) -> impl Strategy<Value = String> {
    let chars: Vec<char> = alphabet.chars().collect();
    let level = prop::collection::vec(prop::sample::select(chars), 0..2);
    prop::collection::vec(level.prop_map(String::from_iter), 1..5)
        .prop_map(|levels| levels.join("/"))
}

fn naive(filter: &str, name: &str) -> bool {
    fn levels_match(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, name @ ..]) => levels_match(filter, name),
            ([f, filter @ ..], [n, name @ ..]) => f == n && levels_match(filter, name),
            _ => false,
        }
    }
    let (filter, name): (Vec<_>, Vec<_>) = (filter.split('/').collect(), name.split('/').collect());
    !(name[0].starts_with('$') && ["+", "#"].contains(&filter[0])) && levels_match(&filter, &name)
}

fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

/// The end that receives such a packet.
fn decoder(parts: &Parts) -> Decoder {
    match parts.packet() {
        Packet::Connect(_) => Decoder::for_server(u32::MAX),
        _ if parts.is_from_client() => server(parts.version),
        _ => Decoder::for_client(parts.version, u32::MAX),
    }
}

/// A server's decoder that has seen CONNECT.
fn server(version: ProtocolVersion) -> Decoder {
    let connect = Packet::Connect(Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_id: "",
        will: None,
        username: None,
        password: None,
    });
    let mut decoder = Decoder::for_server(u32::MAX);
    assert!(decoder.decode(&encode(&connect, version)).unwrap().is_some());
    decoder
}

fn decode_all(bytes: &[u8], strict: bool) {
    for version in VERSIONS {
        for mut decoder in
            [Decoder::for_server(u32::MAX), server(version), Decoder::for_client(version, u32::MAX)]
        {
            decoder.set_strict(strict);
            let mut rest = bytes;
            while let Ok(Some((packet, len))) = decoder.decode(rest) {
                assert_eq!(packet.kind() as u8, rest[0] >> 4);
                rest = &rest[len..];
            }
        }
    }
}
