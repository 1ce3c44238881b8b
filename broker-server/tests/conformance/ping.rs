//! PINGREQ and PINGRESP (MQTT 5.0, 3.12, 3.13).

use crate::client::{connect, v5};
use crate::runner::tests;
use crate::wire::{PINGREQ, Packet, V5, V31, V311, frame};

tests![
    pingreq_is_answered,
    each_pingreq_is_answered,
    pingreq_flags_are_checked,
    pingreq_has_no_body
];

/// [MQTT-3.12.4-1], [MQTT311-3.12.4-1]
fn pingreq_is_answered() {
    for version in [V31, V311, V5] {
        connect(version).open().ping();
    }
}

/// [MQTT-3.12.4-1]
fn each_pingreq_is_answered() {
    let mut client = v5().open();
    client.send(&PINGREQ.repeat(20));
    for _ in 0..20 {
        assert_eq!(client.recv(), Packet::PingResp);
    }
}

/// [MQTT-2.1.3-1], [MQTT311-2.2.2-1], [MQTT311-2.2.2-2]
fn pingreq_flags_are_checked() {
    for version in [V311, V5] {
        for flags in [1, 2, 4, 8, 15] {
            let mut client = connect(version).open();
            client.send(&frame(0xC0 | flags, b""));
            client.expect_disconnect(&[0x81]);
        }
    }
}

/// MQTT 5.0, 3.12.3
fn pingreq_has_no_body() {
    let mut client = v5().open();
    client.send(&frame(0xC0, b"x"));
    client.expect_disconnect(&[0x81]);
}
