//! Maximum Packet Size (MQTT 5.0, 3.1.2.11.4, 3.2.2.3.6).

use crate::broker::{Bystanders, announced, need};
use crate::client::{unique_id, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{self, Prop, V5, publish};

tests![
    too_large_messages_are_skipped,
    too_large_messages_are_skipped_in_the_queue,
    too_large_retained_messages_are_skipped,
    large_properties_count,
    exact_size_is_sent,
    acknowledgements_stay_within,
    large_subacks_and_unsubacks_are_not_sent,
    connack_stays_within,
    others_get_what_is_too_large_for_one,
    maximum_packet_size_0_is_refused,
    server_refuses_what_is_too_large,
    remaining_length_does_not_reserve_memory,
];

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]
fn too_large_messages_are_skipped() {
    for qos in 0..=2 {
        let topic = unique_topic();
        let mut subscriber = v5().prop(Prop::MaximumPacketSize(200)).open();
        subscriber.subscribe(&topic, qos);
        let mut publisher = v5().open();
        publisher.publish(publish(&topic, qos, "x".repeat(300)));
        publisher.publish(publish(&topic, qos, "fits"));
        assert_eq!(subscriber.take().text(), "fits");
        subscriber.expect_nothing();
    }
}

/// [MQTT-3.1.2-25]: "behave as if it had completed sending", so nothing waits behind it.
fn too_large_messages_are_skipped_in_the_queue() {
    let (id, topic) = (unique_id(), unique_topic());
    let connect = || {
        v5().id(&id)
            .resume()
            .expiry(60)
            .prop(Prop::MaximumPacketSize(200))
            .prop(Prop::ReceiveMaximum(1))
            .open()
    };
    let mut subscriber = connect();
    subscriber.subscribe(&topic, 2);
    subscriber.disconnect();
    let mut publisher = v5().open();
    for qos in [1, 2] {
        publisher.publish(publish(&topic, qos, "x".repeat(300)));
        publisher.publish(publish(&topic, qos, format!("fits {qos}")));
    }
    let mut subscriber = connect();
    assert_eq!(subscriber.take().text(), "fits 1");
    assert_eq!(subscriber.take().text(), "fits 2");
    subscriber.expect_nothing();
    subscriber.lose();
    v5().id(&id).resume().open().expect_nothing();
}

/// [MQTT-3.1.2-25]
fn too_large_retained_messages_are_skipped() {
    let topic = unique_topic();
    let mut publisher = v5().open();
    publisher.publish(publish(&format!("{topic}/large"), 1, "x".repeat(300)).retain());
    publisher.publish(publish(&format!("{topic}/small"), 1, "fits").retain());
    let mut subscriber = v5().prop(Prop::MaximumPacketSize(200)).open();
    subscriber.subscribe(&format!("{topic}/#"), 1);
    assert_eq!(subscriber.take().text(), "fits");
    subscriber.expect_nothing();
}

/// [MQTT-3.1.2-24]: the whole packet counts, not the payload.
fn large_properties_count() {
    let topic = unique_topic();
    let mut subscriber = v5().prop(Prop::MaximumPacketSize(200)).open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    let user = Prop::UserProperty("k".repeat(100), "v".repeat(100));
    publisher.publish(publish(&topic, 1, "x").prop(user));
    publisher.publish(publish(&topic, 1, "fits"));
    assert_eq!(subscriber.take().text(), "fits");
    subscriber.expect_nothing();
}

/// [MQTT-3.1.2-24]: not exceeding means up to and including.
fn exact_size_is_sent() {
    let topic = unique_topic();
    let fits = publish(&topic, 1, "y".repeat(50)).id(1);
    let len = u32::try_from(fits.encode(V5).len()).unwrap();
    let mut subscriber = v5().prop(Prop::MaximumPacketSize(len)).open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "x".repeat(51)));
    publisher.publish(fits.clone());
    assert_eq!(subscriber.take().payload, fits.payload);
    subscriber.expect_nothing();
}

/// Reason Strings and User Properties give way: the client of the suite asserts the size of each packet.
///
/// [MQTT-3.4.2-2], [MQTT-3.4.2-3], [MQTT-3.5.2-2], [MQTT-3.5.2-3], [MQTT-3.6.2-2], [MQTT-3.6.2-3],
/// [MQTT-3.7.2-2], [MQTT-3.7.2-3], [MQTT-3.9.2-1], [MQTT-3.9.2-2], [MQTT-3.11.2-1], [MQTT-3.11.2-2],
/// [MQTT-3.14.2-3], [MQTT-3.14.2-4]
fn acknowledgements_stay_within() {
    let topic = unique_topic();
    let connect = || {
        let mut client = v5().prop(Prop::MaximumPacketSize(64)).open();
        // What an acknowledgement needs without Reason String and User Properties.
        client.limit_packets(12);
        client
    };
    let mut client = connect();
    client.publish(publish(&topic, 1, "x"));
    client.publish(publish(&topic, 2, "x"));
    client.send(&wire::ack(wire::PUBREL, 4711));
    client.expect_pubcomp(4711);
    client.subscribe(&topic, 1);
    client.unsubscribe(&[&topic, "a"]);
    client.send(&v5().encode());
    client.expect_refused(&[0x82]);
    let mut client = connect();
    client.send_publish(&publish("a/#", 1, "x").id(1));
    client.expect_refused(&[0x81, 0x82, 0x90]);
}

/// [MQTT-3.1.2-24]: a Reason Code for each filter is more than the client takes, and none can be left out.
fn large_subacks_and_unsubacks_are_not_sent() {
    let filters: Vec<_> = (0..60).map(|n| format!("{}/{n}", unique_topic())).collect();
    let few: Vec<_> = filters[..50].iter().map(|filter| (filter.as_str(), 0)).collect();
    let many: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    let names: Vec<_> = filters.iter().map(String::as_str).collect();
    let connect = || v5().prop(Prop::MaximumPacketSize(60)).open();
    let mut client = connect();
    assert_eq!(client.subscribe_many(&few, &[]).len(), 50);
    assert_eq!(client.unsubscribe(&names[..50]).len(), 50);
    client.send(&wire::subscribe(V5, 7, &many, &[]));
    client.expect_disconnect(&[0x95]);
    let mut client = connect();
    client.send(&wire::unsubscribe(V5, 8, &names));
    client.expect_disconnect(&[0x95]);
}

/// [MQTT-3.1.2-24]: no CONNACK rather than one that is larger; closing without a word is always lawful.
fn connack_stays_within() {
    for max in 1..=40 {
        let ask = Prop::RequestResponseInformation(1);
        let mut client = v5().prop(Prop::MaximumPacketSize(max)).prop(ask).begin();
        client.limit_packets(max as usize);
        // Asserted where it is read.
        client.recv_within(5_000);
    }
}

/// [MQTT-3.1.2-25]: the other subscribers get it (MQTT 5.0, 3.1.2.11.4).
fn others_get_what_is_too_large_for_one() {
    let topic = unique_topic();
    let mut small = v5().prop(Prop::MaximumPacketSize(100)).open();
    let (mut large, mut old) = (v5().open(), v311().open());
    for subscriber in [&mut small, &mut large, &mut old] {
        subscriber.subscribe(&topic, 1);
    }
    v5().open().publish(publish(&topic, 1, "x".repeat(300)));
    assert_eq!(large.take().payload.len(), 300);
    assert_eq!(old.take().payload.len(), 300);
    small.expect_nothing();
}

/// MQTT 5.0, 3.1.2.11.4: a Protocol Error.
fn maximum_packet_size_0_is_refused() {
    v5().prop(Prop::MaximumPacketSize(0)).begin().expect_refused(&[0x81, 0x82]);
}

/// [MQTT-3.2.2-15] as seen by the Server: 0x95 (MQTT 5.0, 3.2.2.3.6).
fn server_refuses_what_is_too_large() {
    let max = announced().maximum_packet_size;
    need(max.is_some_and(|max| max <= 16 << 20), "a Maximum Packet Size small enough to exceed");
    let mut bystanders = Bystanders::new();
    let mut client = v5().open();
    let payload = vec![0; max.unwrap() as usize];
    let packet = publish(&unique_topic(), 0, payload).encode(V5);
    client.send(&packet[..1000]);
    client.expect_disconnect(&[0x95]);
    bystanders.exchange();
}

/// Attack case 2: a PUBLISH that announces 256 MB and brings few.
fn remaining_length_does_not_reserve_memory() {
    let mut bystanders = Bystanders::new();
    let mut clients: Vec<_> = (0..50).map(|_| v311().open()).collect();
    for client in &mut clients {
        client.try_send(b"\x30\xFF\xFF\xFF\x7F\x00\x01a");
    }
    bystanders.exchange();
    for client in &mut clients {
        client.try_send(&[b'x'; 1000]);
    }
    bystanders.exchange();
}
