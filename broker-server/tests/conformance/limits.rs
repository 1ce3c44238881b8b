//! A listener whose zone offers little: Maximum QoS 1, no retained messages, no wildcards, no Shared
//! Subscriptions, Server Keep Alive 2, packets of 2 KB, Client Identifiers of 30 bytes.

use std::time::Instant;

use crate::broker::{broker, need};
use crate::client::{
    Client, Connect, Will, connect, elapse, tcp_to, unique_id, unique_topic, v5, v311,
};
use crate::runner::tests;
use crate::wire::{self, Packet, Prop, V5, V31, V311, publish};

tests![
    limits_are_announced,
    subscriptions_of_any_qos_are_accepted,
    publish_above_maximum_qos_is_refused,
    will_above_maximum_qos_is_refused,
    will_with_retain_is_refused,
    publish_with_retain_is_refused,
    wildcards_are_refused,
    shared_subscriptions_are_refused,
    server_keep_alive_replaces_the_clients,
    older_clients_keep_their_keep_alive,
    too_long_client_id_is_refused,
    too_large_packet_is_refused,
];

fn limited() -> Box<dyn crate::client::Transport> {
    need(broker().limited.is_some(), "a listener with limits");
    Box::new(tcp_to(broker().limited.as_deref().unwrap()))
}

#[track_caller]
fn open(connect: Connect) -> Client {
    connect.open_over(limited())
}

/// [MQTT-3.2.2-9]
fn limits_are_announced() {
    let client = open(v5());
    for limit in [
        Prop::MaximumQoS(1),
        Prop::RetainAvailable(0),
        Prop::WildcardSubscriptionAvailable(0),
        Prop::SharedSubscriptionAvailable(0),
        Prop::ServerKeepAlive(2),
        Prop::MaximumPacketSize(2048),
    ] {
        assert!(client.props.0.contains(&limit), "{limit:?} is missing in {:?}", client.props);
    }
}

/// [MQTT-3.2.2-10]
fn subscriptions_of_any_qos_are_accepted() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut client = open(connect(version));
        assert_eq!(client.subscribe_many(&[(&topic, 2)], &[]), [1]);
        v5().open().publish(publish(&topic, 2, "x"));
        assert_eq!(client.take().qos, 1);
    }
}

/// [MQTT-3.2.2-11] as seen by the Server.
fn publish_above_maximum_qos_is_refused() {
    for version in [V311, V5] {
        let mut client = open(connect(version));
        client.publish(publish(&unique_topic(), 1, "x"));
        client.send_publish(&publish(&unique_topic(), 2, "x").id(9));
        client.expect_disconnect(&[0x9B]);
    }
}

/// [MQTT-3.2.2-12]
fn will_above_maximum_qos_is_refused() {
    let will = |qos| Will::new(&unique_topic(), "x").qos(qos);
    v5().will(will(2)).begin_over(limited()).expect_refused(&[0x9B]);
    v311().will(will(2)).begin_over(limited()).expect_refused(&[5, 3]);
    open(v5().will(will(1))).ping();
}

/// [MQTT-3.2.2-13]
fn will_with_retain_is_refused() {
    let will = Will::new(&unique_topic(), "x").retain();
    v5().will(will.clone()).begin_over(limited()).expect_refused(&[0x9A]);
    v311().will(will).begin_over(limited()).expect_refused(&[5, 3]);
}

/// [MQTT-3.2.2-14] as seen by the Server.
fn publish_with_retain_is_refused() {
    let topic = unique_topic();
    let mut client = open(v5());
    client.send_publish(&publish(&topic, 1, "x").id(1).retain());
    client.expect_disconnect(&[0x9A]);
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    subscriber.expect_nothing();
}

/// [MQTT311-3.8.3-2]; MQTT 5.0, 3.9.3: 0xA2.
fn wildcards_are_refused() {
    for (version, want) in [(V311, 0x80), (V5, 0xA2)] {
        let topic = unique_topic();
        let mut client = open(connect(version));
        let (plus, hash) = (format!("{topic}/+"), format!("{topic}/#"));
        let codes = client.subscribe_many(&[(&plus, 1), (&topic, 1), (&hash, 1)], &[]);
        assert_eq!(codes, [want, 1, want]);
        v5().open().publish(publish(&format!("{topic}/a"), 1, "x"));
        client.expect_nothing();
    }
}

/// MQTT 5.0, 3.9.3: 0x9E.
fn shared_subscriptions_are_refused() {
    let mut client = open(v5());
    let id = client.packet_id();
    let filter = format!("$share/group/{}", unique_topic());
    client.send(&wire::subscribe(V5, id, &[(&filter, 1)], &[]));
    match client.recv() {
        Packet::SubAck { codes, .. } => assert_eq!(codes, [0x9E]),
        Packet::Disconnect { code, .. } => assert_eq!(code, 0x9E),
        other => panic!("{other:?}"),
    }
}

/// MQTT 5.0, 3.2.2.3.14: the Server goes by its own value.
fn server_keep_alive_replaces_the_clients() {
    let mut clients = [0, 1, 600].map(|asked| open(v5().keep_alive(asked)));
    elapse(2200);
    clients.iter_mut().for_each(Client::ping);
    let started = Instant::now();
    for client in &mut clients {
        client.expect_disconnect(&[0x8D]);
        let waited = started.elapsed().as_millis();
        assert!((2900..5000).contains(&waited), "{waited} ms");
    }
}

/// [MQTT311-3.1.2-24]: nobody told them of another.
fn older_clients_keep_their_keep_alive() {
    let mut client = open(v311().keep_alive(600));
    elapse(4500);
    client.ping();
}

/// [MQTT-3.1.3-8], [MQTT311-3.1.3-9]
fn too_long_client_id_is_refused() {
    let id = format!("{:x<31}", unique_id());
    v5().id(&id).begin_over(limited()).expect_refused(&[0x85]);
    let mut client = v311().id(&id).begin_over(limited());
    client.expect_connack(2);
    client.expect_closed();
    open(v5().id(&id[..30])).ping();
}

/// [MQTT-3.2.2-15] as seen by the Server: 0x95 (MQTT 5.0, 3.2.2.3.6).
fn too_large_packet_is_refused() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut client = open(connect(version));
        let fits = publish(&topic, 0, "x".repeat(2048 - topic.len() - 6)).encode(version);
        assert!(fits.len() <= 2048 && fits.len() > 2040);
        client.send(&fits);
        client.ping();
        client.send(&publish(&topic, 0, "x".repeat(2048)).encode(version));
        client.expect_disconnect(&[0x95]);
    }
}
