//! AUTH and enhanced authentication (MQTT 5.0, 3.15, 4.12), as far as a broker without a method shows it.

use crate::client::{connect, raw, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, Prop, V5, V31, V311, publish};

tests![
    unknown_method_is_refused,
    nothing_is_processed_after_the_refusal,
    auth_without_method_is_a_protocol_error,
    auth_before_connect_is_refused,
    auth_before_5_0_is_refused,
    authentication_data_without_method_is_refused,
    no_method_is_announced_unasked,
    flags_are_checked,
    unknown_reason_code_is_refused,
];

fn method(name: &str) -> Prop {
    Prop::AuthenticationMethod(name.into())
}

/// [MQTT-4.12.0-1], [MQTT-4.12.0-4]
fn unknown_method_is_refused() {
    for name in ["no such method", "", "\u{1F512}"] {
        let mut client = v5().prop(method(name)).begin();
        client.expect_refused(&[0x8C, 0x87]);
        let mut client =
            v5().prop(method(name)).prop(Prop::AuthenticationData(vec![1, 2, 3])).begin();
        client.expect_refused(&[0x8C, 0x87]);
    }
}

/// [MQTT-3.1.4-6]
fn nothing_is_processed_after_the_refusal() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let mut bytes = v5().prop(method("no such method")).encode();
    bytes.extend(publish(&topic, 0, "never").encode(V5));
    let mut client = raw(V5);
    client.send(&bytes);
    client.expect_refused(&[0x8C, 0x87]);
    watcher.expect_nothing();
}

/// [MQTT-4.12.0-7] as seen by the Server.
fn auth_without_method_is_a_protocol_error() {
    for packet in [
        wire::auth(0x19, &[method("m")]),
        wire::auth(0x18, &[method("m"), Prop::AuthenticationData(vec![0])]),
        wire::auth(0x00, &[]),
        wire::frame(0xF0, b""),
    ] {
        let mut client = v5().open();
        client.send(&packet);
        client.expect_disconnect(&[0x82]);
    }
}

/// [MQTT-3.1.0-1]
fn auth_before_connect_is_refused() {
    let mut client = raw(V5);
    client.send(&wire::auth(0x18, &[method("m")]));
    client.expect_closed();
}

/// MQTT 3.1.1, table 2.1: packet type 15 is forbidden.
fn auth_before_5_0_is_refused() {
    for version in [V31, V311] {
        for packet in [wire::auth(0x18, &[method("m")]), wire::frame(0xF0, b"")] {
            let mut client = connect(version).open();
            client.send(&packet);
            client.expect_closed();
        }
    }
}

/// MQTT 5.0, 3.1.2.11.10: a Protocol Error.
fn authentication_data_without_method_is_refused() {
    let mut client = v5().prop(Prop::AuthenticationData(vec![1, 2, 3])).begin();
    client.expect_refused(&[0x81, 0x82]);
}

/// [MQTT-4.12.0-6]
fn no_method_is_announced_unasked() {
    let client = v5().open();
    let named = |p: &Prop| matches!(p, Prop::AuthenticationMethod(_) | Prop::AuthenticationData(_));
    assert!(!client.props.0.iter().any(named), "{:?}", client.props);
}

/// [MQTT-3.15.1-1]
fn flags_are_checked() {
    for flags in [1, 2, 4, 8, 15] {
        let mut client = v5().open();
        let mut packet = wire::auth(0x19, &[method("m")]);
        packet[0] |= flags;
        client.send(&packet);
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// [MQTT-3.15.2-1] as seen by the Server.
fn unknown_reason_code_is_refused() {
    for code in [0x01, 0x17, 0x1A, 0x80, 0xFF] {
        let mut client = v5().open();
        client.send(&wire::auth(code, &[method("m")]));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}
