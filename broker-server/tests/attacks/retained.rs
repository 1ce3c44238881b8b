//! Retained messages without number: case 13.

use crate::broker::{MB, eventually, start};
use crate::client::{Client, unique_topic, v5};
use crate::wire::{self, Packet, Prop, V5, publish};

/// Publishes `n` retained messages of QoS 0 to `prefix/0`, `prefix/1`, …
fn retain(prefix: &str, n: usize) {
    let mut publisher = v5().open();
    for part in (0..n).collect::<Vec<_>>().chunks(1000) {
        let bytes: Vec<u8> = part
            .iter()
            .flat_map(|n| publish(&format!("{prefix}/{n}"), 0, "x").retain().encode(V5))
            .collect();
        publisher.send(&bytes);
        publisher.ping();
    }
}

/// 100,000 topics wanted, 20,000 kept; ten subscribers to `#` get all of them. Bound 64 MB.
#[test]
fn b13_retained_topics_are_bounded_and_replayed_at_the_subscribers_pace() {
    let mut process = start("[retainer]\nmax_retained_messages = 20000\n", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    retain("flood", 100_000);
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..20 {
        // They subscribe and read nothing.
        let mut client = v5().open();
        client.send(&wire::subscribe(V5, 1, &[("#", 1)], &[]));
        idle.push(client);
    }
    for _ in 0..5 {
        let mut subscriber = v5().open();
        subscriber.subscribe("flood/#", 1);
        for _ in 0..19_000 {
            assert!(subscriber.expect_publish().retain);
        }
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 64 * MB);
    process.assert_serves();
}

/// 1,000 filters that match none of 20,000 topics: twenty million comparisons that nobody waits for.
#[test]
fn b13_filters_that_match_nothing_do_not_hold_up_others() {
    let mut process = start("", "");
    retain("haystack", 20_000);
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let mut attackers: Vec<Client> = (0..2).map(|_| v5().open()).collect();
    for attacker in &mut attackers {
        let filters: Vec<String> = (0..500).map(|n| format!("+/+/needle/{n}")).collect();
        let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
        attacker.subscribe_many(&filters, &[]);
        attacker.ping();
    }
    // They go on being served, and so does who comes now.
    process.assert_serves();
    attackers.iter_mut().for_each(Client::expect_nothing);
    // Subscribing again and again while nothing is acknowledged does not pile up.
    let mut publisher = v5().open();
    for n in 0..10 {
        publisher.publish(publish(&format!("pile/{n}"), 1, "x").retain());
    }
    let mut piling = v5().prop(Prop::ReceiveMaximum(1)).open();
    for _ in 0..200 {
        let filters = [("pile/+", 1); 100];
        piling.subscribe_many(&filters, &[]);
    }
    drop((attackers, piling));
    bystanders.assert_fine();
    process.assert_grown_less(before, 64 * MB);
    process.assert_serves();
}

/// 50 messages of 1 MB to 100 subscribers that read nothing: shared, not copied. Bound 160 MB.
#[test]
fn b13_large_retained_messages_are_shared_by_their_receivers() {
    let mut process = start("[mqtt]\nmax_outbox_bytes = \"1MB\"\nmax_packet_size = \"2MB\"\n", "");
    let before = process.peak_bytes();
    let mut publisher = v5().open();
    for n in 0..50 {
        publisher.publish(publish(&format!("large/{n}"), 1, vec![b'x'; 1_000_000]).retain());
    }
    let bystanders = process.bystanders();
    let idle: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = v5().open();
            client.send(&wire::subscribe(V5, 1, &[("large/#", 0)], &[]));
            client
        })
        .collect();
    let mut reader = v5().open();
    reader.subscribe("large/#", 1);
    for _ in 0..50 {
        assert_eq!(reader.take().payload.len(), 1_000_000);
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 160 * MB);
    drop(idle);
    process.assert_serves();
}

/// 1 MB of each wanted, 64 KB kept.
#[test]
fn b13_bytes_of_retained_and_delayed_messages_are_bounded() {
    let limits =
        "[retainer]\nmax_retained_bytes = \"64KB\"\n[delayed]\nmax_delayed_bytes = \"64KB\"\n";
    let mut process = start(limits, "");
    let bystanders = process.bystanders();
    let (topic, payload) = (unique_topic(), "x".repeat(10_000));
    let filter = format!("{topic}/#");
    let mut live = v5().open();
    live.subscribe(&filter, 1);
    let mut publisher = v5().open();
    let mut retain = |name: String, payload: &str| {
        let code = publisher.publish(publish(&format!("{topic}/{name}"), 1, payload).retain());
        assert!(code < 0x80, "{code:#04x}");
        assert_eq!(live.take().topic, format!("{topic}/{name}"), "it is delivered all the same");
    };
    (0..100).for_each(|n| retain(n.to_string(), &payload));
    let kept = || {
        let mut client = v5().open();
        client.subscribe(&filter, 0);
        client.ping();
        let mut topics = Vec::new();
        while let Some(Packet::Publish(message)) = client.recv_within(1_000) {
            topics.push(message.topic.rsplit_once('/').unwrap().1.to_owned());
        }
        topics.sort();
        topics
    };
    let first = kept();
    assert!((4..=6).contains(&first.len()) && first[0] == "0", "{first:?}");
    // One goes, and there is room for one again.
    retain("0".into(), "");
    retain("later".into(), &payload);
    assert_eq!(kept(), [&first[1..], &["later".to_owned()]].concat());

    let delay = |_| publisher.publish(publish("$delayed/3600/later", 1, &payload));
    let codes: Vec<u8> = (0..100).map(delay).collect();
    let n_taken = codes.iter().filter(|code| **code < 0x80).count();
    assert!((4..=6).contains(&n_taken), "{n_taken} were taken");
    assert!(codes[n_taken..].iter().all(|code| *code == 0x97), "{codes:02x?}");
    bystanders.assert_fine();
    process.assert_serves();
}

#[test]
fn b13_expired_retained_messages_go_without_sys_topics_too() {
    let mut process = start("[broker]\nsys_interval = 0\n", "");
    let bystanders = process.bystanders();
    let mut publisher = v5().open();
    for n in 0..1000 {
        let message = publish(&format!("short/{n}"), 0, "x").retain();
        publisher.send_publish(&message.prop(Prop::MessageExpiryInterval(1)));
    }
    publisher.ping();
    eventually(|| {
        let mut subscriber = v5().open();
        subscriber.subscribe("short/#", 0);
        subscriber.ping();
        subscriber.recv_within(1).is_none().then_some(())
    });
    bystanders.assert_fine();
    process.assert_serves();
}
