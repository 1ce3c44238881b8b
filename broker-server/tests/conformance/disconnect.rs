//! DISCONNECT (MQTT 5.0, 3.14).

use crate::client::{connect, raw, unique_id, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{self, Packet, Prop, V5, V31, V311, publish};

tests![
    server_closes_after_disconnect,
    nothing_is_sent_after_disconnect,
    packets_after_disconnect_are_not_processed,
    no_disconnect_before_connack,
    flags_are_checked,
    unknown_reason_code_is_refused,
    server_reason_codes_are_refused_from_a_client,
    short_forms_mean_normal_disconnection,
    body_is_refused_before_5_0,
    session_expiry_can_be_shortened,
    session_expiry_can_be_prolonged,
    session_expiry_cannot_be_revived,
    server_sends_no_session_expiry,
    reason_string_is_accepted,
];

/// [MQTT-3.14.4-2], [MQTT311-3.14.4-1]; the Server closes if the Client does not.
fn server_closes_after_disconnect() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        client.send(&wire::DISCONNECT);
        client.expect_closed();
    }
}

/// [MQTT-3.14.4-1]: after its DISCONNECT the Server sends nothing and closes [MQTT-3.14.4-2].
fn nothing_is_sent_after_disconnect() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut old = v5().id(&id).open();
    old.subscribe(&topic, 1);
    let mut new = v5().id(&id).open();
    v5().open().publish(publish(&topic, 1, "x"));
    old.expect_disconnect(&[0x8E]);
    new.expect_nothing();
}

/// [MQTT-3.14.4-1], [MQTT311-3.14.4-2] as seen by the Server.
fn packets_after_disconnect_are_not_processed() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut watcher = v5().open();
        watcher.subscribe(&topic, 1);
        let mut client = connect(version).open();
        let mut bytes = wire::DISCONNECT.to_vec();
        bytes.extend(publish(&topic, 0, "late").encode(version));
        client.send(&bytes);
        client.expect_closed();
        watcher.expect_nothing();
    }
}

/// [MQTT-3.14.0-1]
fn no_disconnect_before_connack() {
    let bad_connects =
        [v5().encode_with(0x03), wire::frame(0x10, b"\x00\x04MQTT\x05"), wire::frame(0x11, b"")];
    for bytes in bad_connects {
        let mut client = raw(V5);
        client.send(&bytes);
        match client.recv_within(5000) {
            None => {}
            Some(Packet::ConnAck { code: 0x80.., .. }) => {}
            Some(other) => panic!("{other:?}"),
        }
        client.expect_closed();
    }
}

/// [MQTT-3.14.1-1], [MQTT311-3.14.1-1]
fn flags_are_checked() {
    for version in [V311, V5] {
        for flags in [1, 2, 4, 8, 15] {
            let mut client = connect(version).open();
            client.send(&wire::frame(0xE0 | flags, b""));
            client.expect_disconnect(&[0x81]);
        }
    }
}

/// [MQTT-3.14.2-1] as seen by the Server.
fn unknown_reason_code_is_refused() {
    for code in [0x01, 0x18, 0x7F, 0xA3, 0xFF] {
        let mut client = v5().open();
        client.send(&wire::frame(0xE0, &[code]));
        client.expect_refused(&[0x81, 0x82]);
    }
}

/// [MQTT-3.14.2-1]: these are sent by a Server only.
fn server_reason_codes_are_refused_from_a_client() {
    for code in [0x8B, 0x8D, 0x8E, 0x9C, 0x9D] {
        let mut client = v5().open();
        client.send(&wire::frame(0xE0, &[code]));
        client.expect_refused(&[0x81, 0x82]);
    }
}

/// MQTT 5.0, 3.14.2.1: without a Reason Code, or without properties.
fn short_forms_mean_normal_disconnection() {
    for body in [&b""[..], b"\x00", b"\x00\x00"] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut watcher = v5().open();
        watcher.subscribe(&topic, 0);
        let will = crate::client::Will::new(&topic, "never");
        v5().id(&id).will(will).open().disconnect_with(&wire::frame(0xE0, body));
        watcher.expect_nothing();
    }
}

/// MQTT 3.1.1, 3.14: no variable header, no payload.
fn body_is_refused_before_5_0() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let will = crate::client::Will::new(&topic, "malformed");
    let mut client = v311().will(will).open();
    client.send(&wire::frame(0xE0, b"\x00"));
    client.expect_closed();
    assert_eq!(watcher.take().text(), "malformed");
}

/// MQTT 5.0, 3.14.2.2.2
fn session_expiry_can_be_shortened() {
    let id = unique_id();
    let client = v5().id(&id).expiry(60).open();
    client.disconnect_with(&wire::disconnect(0, &[Prop::SessionExpiryInterval(0)]));
    assert!(!v5().id(&id).resume().open().session_present);
}

/// MQTT 5.0, 3.14.2.2.2
fn session_expiry_can_be_prolonged() {
    let id = unique_id();
    let client = v5().id(&id).expiry(1).open();
    client.disconnect_with(&wire::disconnect(0, &[Prop::SessionExpiryInterval(60)]));
    crate::client::elapse(2500);
    assert!(v5().id(&id).resume().open().session_present);
}

/// MQTT 5.0, 3.14.2.2.2: from 0 in CONNECT to anything else is a Protocol Error.
fn session_expiry_cannot_be_revived() {
    for connect in [v5(), v5().expiry(0)] {
        let id = unique_id();
        let mut client = connect.id(&id).open();
        client.send(&wire::disconnect(0, &[Prop::SessionExpiryInterval(60)]));
        client.expect_disconnect(&[0x82]);
        assert!(!v5().id(&id).resume().open().session_present);
    }
}

/// The reader of the suite refuses a Session Expiry Interval in a DISCONNECT of the Server [MQTT-3.14.2-2], and a
/// Reason Code that is not its to send [MQTT-3.14.2-1].
fn server_sends_no_session_expiry() {
    let id = unique_id();
    let mut old = v5().id(&id).expiry(60).open();
    let mut new = v5().id(&id).resume().expiry(60).open();
    old.expect_disconnect(&[0x8E]);
    new.ping();
}

/// MQTT 5.0, 3.14.2.2.3
fn reason_string_is_accepted() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let client = v5().will(crate::client::Will::new(&topic, "x")).open();
    let props = [Prop::ReasonString("why".into()), Prop::UserProperty("k".into(), "v".into())];
    client.disconnect_with(&wire::disconnect(0x04, &props));
    assert_eq!(watcher.take().text(), "x");
}
