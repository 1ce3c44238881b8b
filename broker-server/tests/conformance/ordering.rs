//! Message ordering (MQTT 5.0, 4.6).

use crate::client::{Client, connect, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, V5, V311, publish};

tests![
    order_is_kept_for_each_qos,
    order_is_kept_among_many_publishers,
    order_is_kept_through_the_queue,
    order_is_kept_from_queue_to_live,
    order_is_kept_with_a_small_window,
    split_and_merged_reads_keep_the_order,
];

fn burst(publisher: &mut Client, topic: &str, qos: u8, from: u16, n: u16) {
    let mut bytes = Vec::new();
    for i in from..from + n {
        let message = publish(topic, qos, format!("{}", i)).id(i + 1);
        bytes.extend(message.encode(publisher.version));
    }
    publisher.send(&bytes);
}

/// [MQTT-4.6.0-5], [MQTT-4.6.0-6], [MQTT311-4.6.0-5], [MQTT311-4.6.0-6]
fn order_is_kept_for_each_qos() {
    for version in [V311, V5] {
        for qos in 0..=2 {
            let topic = unique_topic();
            let mut subscriber = connect(version).open();
            subscriber.subscribe(&topic, qos);
            let mut publisher = connect(version).open();
            for round in 0..5 {
                burst(&mut publisher, &topic, qos, round * 50, 50);
                for i in round * 50..(round + 1) * 50 {
                    if qos == 2 {
                        publisher.expect_pubrec(i + 1);
                        publisher.send(&wire::ack(wire::PUBREL, i + 1));
                        publisher.expect_pubcomp(i + 1);
                    }
                }
            }
            for i in 0..250 {
                assert_eq!(subscriber.take().text(), format!("{i}"));
            }
        }
    }
}

/// [MQTT-4.6.0-5]: for each Client.
fn order_is_kept_among_many_publishers() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let mut publishers: Vec<Client> = (0..4).map(|_| v5().open()).collect();
    for i in 0..50_u16 {
        for (p, publisher) in publishers.iter_mut().enumerate() {
            publisher.send_publish(&publish(&topic, 1, format!("{p} {i}")).id(i + 1));
        }
    }
    let mut next = [0; 4];
    for _ in 0..200 {
        let text = subscriber.take().text();
        let (p, i) = text.split_once(' ').unwrap();
        let p: usize = p.parse().unwrap();
        assert_eq!(i.parse(), Ok(next[p]), "publisher {p}");
        next[p] += 1;
    }
}

/// [MQTT-4.6.0-5]
fn order_is_kept_through_the_queue() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut publisher = v5().open();
    for i in 0..100 {
        publisher.publish(publish(&topic, 1, format!("{i}")));
    }
    let mut subscriber = v5().id(&id).resume().open();
    for i in 0..100 {
        assert_eq!(subscriber.take().text(), format!("{i}"));
    }
}

/// [MQTT-4.6.0-5]: live messages may not overtake the queue.
fn order_is_kept_from_queue_to_live() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut publisher = v5().open();
    for i in 0..50 {
        publisher.publish(publish(&topic, 1, format!("{i}")));
    }
    let mut subscriber = v5().id(&id).resume().prop(wire::Prop::ReceiveMaximum(3)).open();
    for i in 50..80 {
        publisher.publish(publish(&topic, 1, format!("{i}")));
    }
    for i in 0..80 {
        assert_eq!(subscriber.take().text(), format!("{i}"));
    }
}

/// [MQTT-4.6.0-5]: with more messages than may be in flight.
fn order_is_kept_with_a_small_window() {
    for qos in 1..=2 {
        let topic = unique_topic();
        let mut subscriber = v5().prop(wire::Prop::ReceiveMaximum(2)).open();
        subscriber.subscribe(&topic, qos);
        let mut publisher = v5().open();
        for i in 0..60 {
            publisher.publish(publish(&topic, qos, format!("{i}")));
        }
        for i in 0..60 {
            assert_eq!(subscriber.take().text(), format!("{i}"));
        }
    }
}

/// [MQTT-4.2-1]: bytes arrive in any pieces.
fn split_and_merged_reads_keep_the_order() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    let mut bytes = Vec::new();
    for i in 0..60_u16 {
        bytes.extend(publish(&topic, 1, format!("{i}")).id(i + 1).encode(V5));
    }
    for piece in bytes.chunks(7) {
        publisher.send(piece);
    }
    for i in 0..60 {
        assert_eq!(subscriber.take().text(), format!("{i}"));
        publisher.expect_puback(i + 1);
    }
}
