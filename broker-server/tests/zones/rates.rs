//! Keys of how many connections a zone takes, and how much its clients send and are sent.

use crate::Case;
use crate::broker::elsewhere;
use crate::case;
use crate::client::{Client, unique_topic, v5};
use crate::wire::{self, PUBACK, Packet, publish};

pub(crate) const CASES: &[Case] = &[
    case("max_connections", "1", max_connections),
    case("max_conn_rate", "1", max_conn_rate),
    case("publish_limit", "\"1,1h\"", messages_in).given(CUT_OFF),
    case("rate_limit_action", "\"disconnect\"", messages_in).given("publish_limit = \"1,1h\""),
    case("messages_in", "\"1,1h\"", messages_in).given(CUT_OFF),
    case("bytes_in", "\"2KB,1h\"", messages_in).given(CUT_OFF),
    case("messages_out", "\"1,1h\"", messages_out),
    case("bytes_out", "\"2KB,1h\"", messages_out),
    case("retained_in", "\"1,1h\"", retained_in).given(CUT_OFF),
    case("max_subscriptions_total", "1", max_subscriptions_total),
    case("max_mqueue_bytes_total", "\"2KB\"", max_mqueue_bytes_total).given("max_inflight = 1"),
];

const CUT_OFF: &str = "rate_limit_action = \"disconnect\"";

fn max_connections() {
    let _first = v5().open();
    v5().begin().expect_connack(0x97);
}

fn max_conn_rate() {
    let code = |mut client: Client| match client.recv() {
        Packet::ConnAck { code, .. } => code,
        other => panic!("CONNACK expected, got {other:?}"),
    };
    assert!((0..20).any(|_| code(v5().begin()) == 0x9F));
}

fn messages_in() {
    let mut client = v5().open();
    for _ in 0..4 {
        client.try_send(&publish(&unique_topic(), 0, "x".repeat(1_500)).encode(client.version));
    }
    client.expect_disconnect(&[0x96]);
}

fn retained_in() {
    let mut client = v5().open();
    for _ in 0..2 {
        client.try_send(&publish(&unique_topic(), 0, "kept").retain().encode(client.version));
    }
    client.expect_disconnect(&[0x96]);
}

fn max_subscriptions_total() {
    let mut first = v5().open();
    first.subscribe(&unique_topic(), 0);
    let mut second = v5().open();
    assert_eq!(second.subscribe_many(&[(&unique_topic(), 0)], &[]), [0x97]);
}

fn max_mqueue_bytes_total() {
    let topic = unique_topic();
    let mut client = v5().open();
    client.subscribe(&topic, 1);
    let mut publisher = v5().open_over(elsewhere());
    for n in 0..4 {
        publisher.publish(publish(&topic, 1, n.to_string().repeat(1_500)));
    }
    let first = client.expect_publish();
    client.send(&wire::ack(PUBACK, first.id));
    let second = client.expect_publish();
    client.send(&wire::ack(PUBACK, second.id));
    assert_eq!(second.text(), "3".repeat(1_500), "the others had to go");
    client.expect_nothing();
}

fn messages_out() {
    let topic = unique_topic();
    let mut client = v5().open();
    client.subscribe(&topic, 0);
    let mut publisher = v5().open_over(elsewhere());
    for n in 0..4 {
        publisher.publish(publish(&topic, 1, n.to_string().repeat(1_500)));
    }
    client.ping();
    let mut n = 0;
    while client.recv_within(0).is_some() {
        n += 1;
    }
    assert!((1..4).contains(&n), "{n} messages came");
}
