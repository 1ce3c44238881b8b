//! Messages that wait for sessions, across a crash.

use crate::broker::Broker;
use crate::client::{Client, v5, v311};
use crate::retained::drain;
use crate::wire::{Prop, Publish, publish};

fn texts(client: &mut Client) -> Vec<String> {
    drain(client).iter().map(|message| message.text()).collect()
}

/// Numbers of the messages of QoS 1, and of QoS 2: the order holds within each (MQTT 5.0, 4.6), and those of
/// QoS 2 wait for the store before they leave.
pub(crate) fn by_qos(messages: &[Publish]) -> [Vec<u32>; 2] {
    [1, 2].map(|qos| {
        let of_qos = messages.iter().filter(|message| message.qos == qos);
        of_qos.map(|message| message.text().parse().unwrap()).collect()
    })
}

/// Of all versions: a session of MQTT 3.1.1 without Clean Session is durable too.
#[test]
fn queues_keep_what_was_acknowledged_in_order() {
    let mut broker = Broker::new(&[]);
    for connect in [v5(), v311()] {
        let id = format!("v{}", connect.version);
        connect.id(&id).expiry(100).open().subscribe("q/+", 2);
    }
    let mut publisher = v5().open();
    for n in 0..100 {
        let message = publish("q/a", 1 + n % 2, n.to_string());
        assert_eq!(publisher.publish(message.prop(Prop::ResponseTopic("r".into()))), 0);
    }
    broker.crash();
    for connect in [v5(), v311()] {
        let id = format!("v{}", connect.version);
        let is_v5 = connect.version == 5;
        let mut client = connect.id(&id).resume().expiry(100).open();
        assert!(client.session_present);
        let messages = drain(&mut client);
        assert_eq!(
            by_qos(&messages),
            [0, 1].map(|first| (first..100).step_by(2).collect::<Vec<_>>())
        );
        for message in &messages {
            assert_eq!(message.props.0.contains(&Prop::ResponseTopic("r".into())), is_v5);
        }
    }
}

/// What the client acknowledged does not come back once the record is safe.
#[test]
fn what_was_taken_does_not_come_back() {
    let mut broker = Broker::new(&[]);
    let mut client = v5().id("sub").expiry(100).open();
    client.subscribe("t", 1);
    let mut publisher = v5().open();
    for n in 0..20 {
        publisher.publish(publish("t", 1, n.to_string()));
        if n < 12 {
            client.take();
        }
    }
    client.ping();
    broker.settle();
    for _ in 0..3 {
        broker.crash();
        let mut client = v5().id("sub").resume().expiry(100).open();
        let first = client.expect_publish();
        assert_eq!(first.text(), "12");
    }
    let mut client = v5().id("sub").resume().expiry(100).open();
    assert_eq!(texts(&mut client), (12..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Bodies are larger than any buffer, and there are more of them than fit into one file of the log.
#[test]
fn large_messages_survive() {
    let mut broker = Broker::new(&[]);
    v5().id("sub").expiry(100).open().subscribe("big", 1);
    let mut publisher = v5().open();
    let payload = |n: usize| -> Vec<u8> { (0..150_000).map(|i| (i * n % 251) as u8).collect() };
    for n in 1..=30 {
        assert_eq!(publisher.publish(publish("big", 1, payload(n))), 0);
    }
    broker.crash();
    let mut client = v5().id("sub").resume().expiry(100).open();
    for n in 1..=30 {
        assert!(client.take().payload == payload(n), "message {n} is not what it was");
    }
    client.expect_nothing();
}

/// One message for many sessions is one body and as many references.
#[test]
fn a_fan_out_survives_for_every_receiver() {
    let mut broker = Broker::new(&[]);
    let ids: Vec<_> = (0..200).map(|n| format!("s{n}")).collect();
    for id in &ids {
        v5().id(id).expiry(100).open().subscribe("all", 2);
    }
    let mut publisher = v5().open();
    for n in 0..5 {
        publisher.publish(publish("all", 2, n.to_string()));
    }
    broker.crash();
    for id in &ids {
        let mut client = v5().id(id).resume().expiry(100).open();
        let got: Vec<_> = (0..5).map(|_| client.take().text()).collect();
        assert_eq!(got, ["0", "1", "2", "3", "4"]);
    }
}

/// A shared subscription's message is in the queue of one member, before and after.
#[test]
fn members_of_a_group_keep_their_shares() {
    let mut broker = Broker::new(&[]);
    for id in ["m1", "m2"] {
        v5().id(id).expiry(100).open().subscribe("$share/g/work", 1);
    }
    let mut publisher = v5().open();
    for n in 0..40 {
        publisher.publish(publish("work", 1, format!("{n:02}")));
    }
    broker.crash();
    publisher = v5().open();
    for n in 40..60 {
        publisher.publish(publish("work", 1, format!("{n:02}")));
    }
    let mut all = Vec::new();
    for id in ["m1", "m2"] {
        let mut client = v5().id(id).resume().expiry(100).open();
        assert!(client.session_present);
        all.extend(texts(&mut client));
    }
    all.sort();
    assert_eq!(all, (0..60).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

/// What was queued expires at the time it was given, the broker's downtime included [MQTT-3.3.2-5].
#[test]
fn queued_messages_expire_while_the_broker_is_down() {
    let mut broker = Broker::new(&[]);
    v5().id("sub").expiry(100).open().subscribe("t", 1);
    let mut publisher = v5().open();
    for (text, seconds) in [("short", 1), ("long", 100)] {
        publisher.publish(publish("t", 1, text).prop(Prop::MessageExpiryInterval(seconds)));
    }
    broker.kill();
    crate::client::elapse(1_200);
    broker.restart();
    let mut client = v5().id("sub").resume().expiry(100).open();
    let message = client.take();
    assert_eq!(message.text(), "long");
    assert!(message.props.message_expiry().unwrap() <= 99);
    client.expect_nothing();
}

/// Attack case 35: sessions are routable before anybody is back, by every kind of filter, from the first packet on.
#[test]
fn e35_what_is_published_before_its_subscriber_is_back_reaches_it() {
    let mut broker = Broker::new(&[]);
    let filters = ["e/a", "e/+", "e/#", "+/+", "$share/g/e/a", "+/a"];
    for (n, filter) in filters.iter().enumerate() {
        v5().id(&format!("s{n}")).expiry(100).open().subscribe(filter, 2);
    }
    v311().id("old").resume().open().subscribe("e/a", 1);
    for round in 0..3 {
        broker.crash();
        // The first client that it has.
        let mut publisher = v5().open();
        for qos in [1, 2] {
            let code = publisher.publish(publish("e/a", qos, format!("{round}/{qos}")));
            assert_eq!(code, 0, "nobody would have it");
        }
        drop(publisher);
        // And a crash before the subscribers are back takes nothing of it.
        if round == 1 {
            broker.crash();
        }
    }
    let all: Vec<_> = (0..3).flat_map(|round| [1, 2].map(|qos| format!("{round}/{qos}"))).collect();
    for (n, filter) in filters.iter().enumerate() {
        let mut client = v5().id(&format!("s{n}")).resume().expiry(100).open();
        assert!(client.session_present);
        let mut got = texts(&mut client);
        got.sort();
        assert_eq!(got, all, "{filter}");
    }
    let mut old = v311().id("old").resume().open();
    let mut got = texts(&mut old);
    got.sort();
    assert_eq!(got, all);
}
