//! Keep Alive (MQTT 5.0, 3.1.2.10).

use std::time::Instant;

use crate::client::{Client, Will, connect, elapse, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, Prop, V5, V31, V311, publish};

tests![
    silent_client_is_disconnected,
    will_follows_the_timeout,
    any_packet_keeps_the_connection,
    packets_to_the_client_do_not_count,
    keep_alive_0_is_never_disconnected,
    largest_keep_alive_is_accepted,
    server_keep_alive_is_used_if_announced,
    half_a_packet_is_no_packet,
];

/// The Keep Alive in force, in seconds.
fn in_force(client: &Client, asked: u16) -> u16 {
    let server = |p: &Prop| if let Prop::ServerKeepAlive(v) = p { Some(*v) } else { None };
    client.props.find(server).unwrap_or(asked)
}

/// [MQTT-3.1.2-22], [MQTT-3.2.2-22], [MQTT311-3.1.2-24]: after one and a half times, not before.
fn silent_client_is_disconnected() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).keep_alive(2).open();
        let started = Instant::now();
        assert_eq!(in_force(&client, 2), 2);
        client.expect_disconnect(&[0x8D]);
        let waited = started.elapsed().as_millis();
        assert!((2900..5000).contains(&waited), "{waited} ms");
    }
}

/// [MQTT-3.1.2-22]: "as if the network had failed".
fn will_follows_the_timeout() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let mut client = v5().keep_alive(1).will(Will::new(&topic, "silent")).open();
    client.expect_disconnect(&[0x8D]);
    assert_eq!(watcher.take().text(), "silent");
}

/// [MQTT-3.1.2-22]: any Control Packet, not PINGREQ alone.
fn any_packet_keeps_the_connection() {
    let topic = unique_topic();
    let mut client = v5().keep_alive(1).open();
    for n in 0..4 {
        elapse(900);
        match n {
            0 => client.send(&wire::PINGREQ),
            1 => client.send_publish(&publish(&topic, 0, "x")),
            2 => client.send(&wire::subscribe(V5, 1, &[(&topic, 0)], &[])),
            _ => client.send(&wire::unsubscribe(V5, 2, &[&topic])),
        }
    }
    client.expect_suback(1);
    client.expect_unsuback(2);
    client.ping();
}

/// [MQTT-3.1.2-22]: what counts is what the Client sends.
fn packets_to_the_client_do_not_count() {
    let topic = unique_topic();
    let mut client = v5().keep_alive(1).open();
    client.subscribe(&topic, 0);
    let mut publisher = v5().open();
    for _ in 0..5 {
        publisher.publish(publish(&topic, 0, "x"));
        elapse(600);
    }
    // Connected for three seconds, silent for as long.
    while let Some(packet) = client.recv_within(1000) {
        if matches!(packet, wire::Packet::Disconnect { code: 0x8D, .. }) {
            break;
        }
        assert!(matches!(packet, wire::Packet::Publish(_)), "{packet:?}");
    }
    client.expect_closed();
}

/// MQTT 5.0, 3.1.2.10
fn keep_alive_0_is_never_disconnected() {
    for version in [V311, V5] {
        let mut client = connect(version).keep_alive(0).open();
        elapse(2500);
        client.ping();
    }
}

/// MQTT 5.0, 3.1.2.10: 18 hours, 12 minutes, 15 seconds.
fn largest_keep_alive_is_accepted() {
    let mut client = v5().keep_alive(u16::MAX).open();
    client.ping();
}

/// [MQTT-3.2.2-22]: without Server Keep Alive, the Client's value stands.
fn server_keep_alive_is_used_if_announced() {
    for asked in [30, 60, 600] {
        let client = v5().keep_alive(asked).open();
        assert!(in_force(&client, asked) > 0);
    }
}

/// Attack case 8: a packet that never ends is silence.
fn half_a_packet_is_no_packet() {
    let mut client = v5().keep_alive(1).open();
    client.send(&publish(&unique_topic(), 0, "x".repeat(100)).encode(V5)[..50]);
    for _ in 0..3 {
        elapse(400);
        client.try_send(b"x");
    }
    let started = Instant::now();
    client.expect_disconnect(&[0x8D]);
    assert!(started.elapsed().as_millis() < 4000);
}
