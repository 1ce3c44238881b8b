//! QoS 2, topic aliases, expiry and bridges: cases 11, 16, 18 and 20.

use crate::broker::{MB, start};
use crate::client::{unique_id, unique_topic, v5, v311};
use crate::wire::{self, Packet, Prop, V5, V311, publish};

/// 60,000 identifiers held open by each of 10 clients; bound 16 MB.
#[test]
fn b11_qos_2_without_pubrel_is_bounded_by_receive_maximum() {
    let mut process = start("[mqtt]\nmax_awaiting_rel = 50\n", "");
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 0);
    let before = process.peak_bytes();

    // MQTT 5.0: one too many ends the connection.
    let mut client = v5().open();
    for id in 1..=51 {
        client.send_publish(&publish(&topic, 2, "x").id(id));
    }
    for id in 1..=50 {
        assert_eq!(client.expect_pubrec(id), 0);
    }
    client.expect_disconnect(&[0x93]);
    for _ in 1..=50 {
        subscriber.take();
    }

    // Identifiers in use are acknowledged and not passed on.
    let mut client = v5().open();
    for _ in 0..1000 {
        client.send_publish(&publish(&topic, 2, "once").id(7).dup());
    }
    for _ in 0..1000 {
        assert_eq!(client.expect_pubrec(7), 0);
    }
    assert_eq!(subscriber.take().text(), "once");

    // Acknowledgements of what was never sent.
    for first in [wire::PUBACK, wire::PUBREC, wire::PUBCOMP, wire::PUBREL] {
        for id in 1..=5000 {
            client.send(&wire::ack(first, id));
            if first == wire::PUBREC {
                client.expect_pubrel(id);
            } else if first == wire::PUBREL {
                client.expect_pubcomp(id);
            }
        }
    }
    client.ping();

    // An older client is told nothing: what is too much is neither kept nor acknowledged.
    for _ in 0..10 {
        let mut client = v311().open();
        let mut flood = Vec::new();
        for id in 1..=60_000 {
            flood.extend(publish("nobody", 2, "x").id(id).encode(V311));
        }
        client.send(&flood);
        client.ping();
        let n_acked = std::iter::from_fn(|| client.recv_within(1)).count();
        assert!(n_acked <= 50, "{n_acked} were acknowledged");
    }
    subscriber.expect_nothing();
    bystanders.assert_fine();
    process.assert_grown_less(before, 16 * MB);
    process.assert_serves();
}

/// Aliases for 6 MB of topics; bound 16 MB.
#[test]
fn b16_topic_aliases_out_of_place_or_too_large_close() {
    let mut process = start("[mqtt]\nmax_topic_alias = 65535\n[zone.external]\n", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let alias = |topic: &str, n| publish(topic, 0, "x").prop(Prop::TopicAlias(n));
    let mut client = v5().open();
    client.send_publish(&alias("a", 0));
    client.expect_disconnect(&[0x94]);
    for n in [1, 65_535] {
        let mut client = v5().open();
        client.send_publish(&alias("", n));
        client.expect_disconnect(&[0x82]);
    }
    // Those of an earlier connection are forgotten.
    let id = unique_id();
    let mut client = v5().id(&id).expiry(100).open();
    client.send_publish(&alias("a", 1));
    client.ping();
    let mut client = v5().id(&id).resume().open();
    client.send_publish(&alias("", 1));
    client.expect_disconnect(&[0x82]);

    let mut client = v5().open();
    for n in 1..=100 {
        client.try_send(&alias(&format!("{n}/{}", "x".repeat(60_000)), n).encode(V5));
    }
    client.expect_disconnect(&[0x97]);

    // The other way: aliases that a subscriber asks for.
    let mut subscriber = v5().prop(Prop::TopicAliasMaximum(65_535)).open();
    subscriber.subscribe("long/#", 0);
    let mut publisher = v5().open();
    for n in 0..200 {
        publisher.publish(publish(&format!("long/{n}/{}", "x".repeat(60_000)), 1, "x"));
        subscriber.take();
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 48 * MB);
    process.assert_serves();
}

#[test]
fn b18_extreme_message_expiry_is_no_arithmetic_trap() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(u32::MAX).open();
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut publisher = v5().open();
    for seconds in [0, 1, u32::MAX - 1, u32::MAX] {
        let message = publish(&topic, 1, format!("{seconds}")).retain();
        publisher.publish(message.prop(Prop::MessageExpiryInterval(seconds)));
    }
    publisher.publish(
        publish(&format!("$delayed/0/{topic}"), 1, "delayed").prop(Prop::MessageExpiryInterval(0)),
    );
    for delay in ["4294967", "4294966", "18446744073709551615", "-1", ""] {
        let code = publisher.publish(publish(&format!("$delayed/{delay}/{topic}"), 1, "x"));
        assert!(code == 0 || code == 0x10 || code >= 0x80);
    }
    let mut subscriber = v5().id(&id).resume().open();
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| *text != u32::MAX.to_string()) {
        let message = subscriber.take();
        assert!(message.props.message_expiry() > Some(0), "{message:?}");
        texts.push(message.text());
    }
    assert!(!texts.contains(&"0".to_owned()), "an expired message was delivered: {texts:?}");
    let late = v5().open();
    drop(late);
    bystanders.assert_fine();
    process.assert_serves();
}

#[test]
fn b20_bridges_do_not_loop_and_what_the_far_side_cannot_take_is_skipped() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    // Two bridges that copy everything, as brokers that are bridged both ways would.
    let mut bridge = v311();
    bridge.version = 0x84;
    let mut here = crate::client::raw(V311);
    here.send(&bridge.encode());
    here.expect_connack(0);
    here.subscribe("loop/#", 1);
    let mut peer = v5().open();
    peer.subscribe("loop/#", 1 | wire::NO_LOCAL);
    here.publish(publish("loop/a", 1, "from here"));
    here.expect_nothing();
    assert_eq!(peer.take().text(), "from here");
    peer.publish(publish("loop/a", 1, "from there"));
    peer.expect_nothing();
    assert_eq!(here.take().text(), "from there");

    let mut narrow = v5().prop(Prop::MaximumPacketSize(100)).open();
    narrow.subscribe("large/#", 2);
    let mut publisher = v5().open();
    for qos in 0..=2 {
        for n in 0..50 {
            let size = if n % 2 == 0 { 1000 } else { 10 };
            publisher.publish(publish("large/x", qos, vec![b'x'; size]));
            if size == 10 {
                assert_eq!(narrow.take().payload.len(), 10);
            }
        }
    }
    assert!(!matches!(narrow.recv_within(1), Some(Packet::Publish(_))));
    bystanders.assert_fine();
    process.assert_serves();
}

/// A mountpoint makes topics longer: what would be longer than a topic can be is refused, not cut or wrapped around.
#[test]
fn b20_what_a_mountpoint_makes_too_long_is_refused() {
    let zones = "[zone.mounted]\nmountpoint = \"tenants/%c/\"\n\
                 [listener.tcp.mounted]\nbind = \"127.0.0.1:0\"\nzone = \"mounted\"\n";
    let mut process = start(zones, "");
    let bystanders = process.bystanders();
    let address = process.address("mqtt:tcp:mounted").to_owned();
    let mounted = |connect: crate::client::Connect| {
        connect.begin_over(Box::new(crate::client::tcp_to(&address)))
    };
    let mut outside = v5().open();
    outside.subscribe("tenants/#", 0);
    for extra in [1, 10, 100, 10_000] {
        // With `tenants/c/` before it, it is `extra` bytes longer than two bytes can say.
        let long = "x".repeat((65_535 - 10 + extra).min(65_535));
        let mut client = mounted(v5().id("c"));
        client.expect_connack(0);
        client.try_send(&publish(&long, 1, "x").id(1).encode(V5));
        let refused = match client.recv() {
            Packet::PubAck(ack) => ack.code >= 0x80,
            Packet::Disconnect { code, .. } => code >= 0x80,
            other => panic!("{other:?}"),
        };
        assert!(refused, "{extra} bytes too many");
        let mut client = mounted(v5().id("c"));
        client.expect_connack(0);
        client.try_send(&wire::subscribe(V5, 1, &[(&long, 0)], &[]));
        let refused = match client.recv() {
            Packet::SubAck { codes, .. } => codes.iter().all(|code| *code >= 0x80),
            Packet::Disconnect { code, .. } => code >= 0x80,
            other => panic!("{other:?}"),
        };
        assert!(refused, "{extra} bytes too many in a filter");
        let mut client = mounted(v5().id("c").will(crate::client::Will::new(&long, "x")));
        client.expect_refused(&[0x90]);
    }
    // As long as may be.
    let mut client = mounted(v5().id("c"));
    client.expect_connack(0);
    let longest = "x".repeat(65_535 - 10);
    client.publish(publish(&longest, 1, "fits"));
    let got = outside.take();
    assert_eq!((got.topic.len(), got.text().as_str()), (65_535, "fits"));
    outside.expect_nothing();
    bystanders.assert_fine();
    process.assert_serves();
}
