//! User Properties (MQTT 5.0, 3.3.2.3.7) and Request Problem Information (3.1.2.11.7).

use crate::client::{unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{self, PUBREL, Packet, Prop, Props, V5, publish};

tests![
    user_properties_are_passed_on_in_order,
    many_user_properties_are_passed_on,
    user_properties_are_accepted_everywhere,
    strings_must_be_utf8,
    older_versions_get_no_properties,
    without_problem_information_acks_are_bare,
];

fn user(key: &str, value: &str) -> Prop {
    Prop::UserProperty(key.into(), value.into())
}

/// [MQTT-3.3.2-17], [MQTT-3.3.2-18]
fn user_properties_are_passed_on_in_order() {
    let pairs = [("z", "1"), ("a", "2"), ("z", "3"), ("", ""), ("\u{1F600}", " "), ("a", "2")];
    for qos in 0..=2 {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, qos);
        let mut message = publish(&topic, qos, "x");
        message.props = Props(pairs.iter().map(|(k, v)| user(k, v)).collect());
        v5().open().publish(message.clone());
        assert_eq!(subscriber.take().props, message.props);
    }
}

/// [MQTT-3.3.2-17]
fn many_user_properties_are_passed_on() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let mut message = publish(&topic, 1, "x");
    message.props = Props((0..2000).map(|n| user(&format!("key {n}"), "value")).collect());
    v5().open().publish(message.clone());
    assert!(subscriber.take().props == message.props);
}

/// MQTT 5.0, table 2-4: any packet with properties may have them.
fn user_properties_are_accepted_everywhere() {
    let topic = unique_topic();
    let props = [user("k", "v"), user("k", "v")];
    let mut client = v5().prop(user("k", "v")).prop(user("k", "w")).open();
    client.subscribe_with(&topic, 2, &props);
    let mut body = vec![0, 77];
    wire::write_props(&mut body, &props);
    wire::write_bytes(&mut body, b"a/b");
    client.send(&wire::frame(0xA2, &body));
    client.expect_unsuback(77);
    client.publish(publish(&topic, 2, "x"));
    let got = client.expect_publish();
    for (first, answer) in [(wire::PUBREC, true), (wire::PUBCOMP, false)] {
        let mut body = got.id.to_be_bytes().to_vec();
        body.push(0);
        wire::write_props(&mut body, &props);
        client.send(&wire::frame(first, &body));
        if answer {
            client.expect_pubrel(got.id);
        }
    }
    client.expect_nothing();
    client.disconnect_with(&wire::disconnect(0, &props));
}

/// [MQTT-1.5.7-1], [MQTT-1.5.4-1]
fn strings_must_be_utf8() {
    for (key, value) in
        [(&b"\xFF"[..], &b"v"[..]), (b"k", b"\xFF"), (b"\xED\xA0\x80", b"v"), (b"k", b"a\0b")]
    {
        let mut body = Vec::new();
        wire::write_bytes(&mut body, unique_topic().as_bytes());
        let mut raw = vec![0x26];
        wire::write_bytes(&mut raw, key);
        wire::write_bytes(&mut raw, value);
        wire::write_varint(&mut body, u32::try_from(raw.len()).unwrap());
        body.extend(raw);
        let mut client = v5().open();
        client.send(&wire::frame(0x30, &body));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// An older client gets the payload where it looks for it.
fn older_versions_get_no_properties() {
    let topic = unique_topic();
    let mut subscriber = v311().open();
    subscriber.subscribe(&topic, 1);
    v5().open().publish(publish(&topic, 1, "payload").prop(user("k", "v")));
    assert_eq!(subscriber.take().text(), "payload");
}

/// [MQTT-3.1.2-29]
fn without_problem_information_acks_are_bare() {
    let topic = unique_topic();
    let mut client = v5().prop(Prop::RequestProblemInformation(0)).open();
    let bare = |packet: Packet| match packet {
        Packet::PubAck(a) | Packet::PubRec(a) | Packet::PubComp(a) => assert_eq!(a.props.0, []),
        Packet::SubAck { props, .. } | Packet::UnsubAck { props, .. } => assert_eq!(props.0, []),
        other => panic!("{other:?}"),
    };
    client.send_publish(&publish(&topic, 1, "x").id(1));
    bare(client.recv());
    client.send_publish(&publish(&topic, 2, "x").id(2));
    bare(client.recv());
    client.send(&wire::ack(PUBREL, 2));
    bare(client.recv());
    client.send(&wire::ack(PUBREL, 4711));
    bare(client.recv());
    client.send(&wire::subscribe(V5, 3, &[(&topic, 1)], &[]));
    bare(client.recv());
    client.send(&wire::unsubscribe(V5, 4, &[&topic, &topic]));
    bare(client.recv());
    for value in [2, 255] {
        let mut client = v5().prop(Prop::RequestProblemInformation(value)).begin();
        client.expect_refused(&[0x81, 0x82]);
    }
}
