//! Topic Names and Topic Filters (MQTT 5.0, 4.7).

use crate::broker::{Bystanders, broker, need};
use crate::client::{connect, tcp_to, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{Packet, V5, V311, publish};

tests![
    filters_match_as_specified,
    leading_wildcards_do_not_match_dollar,
    dollar_filters_match_dollar,
    nothing_is_normalized,
    longest_topic_is_accepted,
    thousands_of_levels_do_no_harm,
    dollar_sys_is_not_for_clients,
    control_characters_are_refused_in_strict_mode,
];

/// [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT311-4.7.1-2], [MQTT311-4.7.1-3]
fn filters_match_as_specified() {
    let cases: [(&str, &[&str], &[&str]); 14] = [
        ("a/b", &["a/b"], &["a", "a/b/c", "a/c", "A/b", "a/b/"]),
        ("a/#", &["a", "a/b", "a/b/c", "a/"], &["b", "ab", "b/a"]),
        ("#", &["a", "a/b", "/", "/a"], &[]),
        ("+", &["a", "b"], &["a/b", "/a", "a/"]),
        ("a/+", &["a/b", "a/"], &["a", "a/b/c"]),
        ("+/+", &["a/b", "/a", "/", "a/"], &["a", "a/b/c"]),
        ("/+", &["/a", "/"], &["a", "a/b"]),
        ("+/b/#", &["a/b", "a/b/c", "/b", "x/b/"], &["b", "a/c"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c", "a/b"]),
        ("a//b", &["a//b"], &["a/b", "a///b"]),
        ("/", &["/"], &["", "//", "a"]),
        ("//", &["//"], &["/", "///"]),
        ("+/#", &["a", "a/b", "/"], &[]),
        ("a/+/#", &["a/b", "a/b/c", "a/"], &["a", "b/a"]),
    ];
    let mut publisher = v5().open();
    for (filter, hits, misses) in cases {
        // A root of its own keeps the cases apart; it takes nothing from the filters.
        let root = unique_topic();
        let mut subscriber = v311().open();
        subscriber.subscribe(&format!("{root}/{filter}"), 0);
        for topic in hits.iter().chain(misses) {
            publisher.publish(publish(&format!("{root}/{topic}"), 1, topic));
        }
        let got: Vec<String> = hits.iter().map(|_| subscriber.take().text()).collect();
        assert_eq!(got, hits, "{filter}");
        subscriber.expect_nothing();
    }
}

/// [MQTT-4.7.2-1], [MQTT311-4.7.2-1]
fn leading_wildcards_do_not_match_dollar() {
    let name = unique_topic().replace('/', "-");
    for filter in ["#", "+/#", &format!("+/{name}"), "+/+"] {
        let mut subscriber = v5().open();
        subscriber.subscribe(filter, 0);
        v5().open().publish(publish(&format!("$conformance/{name}"), 1, "hidden"));
        subscriber.send(&crate::wire::PINGREQ);
        loop {
            match subscriber.recv() {
                // Others publish as well.
                Packet::Publish(got) => assert!(!got.topic.starts_with('$'), "{}", got.topic),
                Packet::PingResp => break,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// MQTT 5.0, 4.7.2: a subscription to `$x/#` gets what is published to it.
fn dollar_filters_match_dollar() {
    let name = unique_topic().replace('/', "-");
    let topic = format!("$conformance/{name}");
    for filter in [topic.clone(), format!("$conformance/{name}/#"), "$conformance/+".into()] {
        let mut subscriber = v5().open();
        subscriber.subscribe(&filter, 0);
        v5().open().publish(publish(&topic, 1, &name));
        while subscriber.take().text() != name {}
    }
}

/// [MQTT-4.7.3-4], [MQTT311-4.7.3-4]
fn nothing_is_normalized() {
    // Precomposed and decomposed, case, spaces, dots, an emoji with and without a modifier.
    let names = [
        "\u{E4}",
        "a\u{308}",
        "A",
        "a",
        " a",
        "a ",
        "..",
        ".",
        "%20",
        "\u{1F44D}",
        "\u{1F44D}\u{1F3FD}",
    ];
    let topic = unique_topic();
    let mut publisher = v5().open();
    let mut subscribers = names.map(|name| {
        let mut subscriber = v5().open();
        subscriber.subscribe(&format!("{topic}/{name}"), 0);
        subscriber
    });
    for name in names {
        publisher.publish(publish(&format!("{topic}/{name}"), 1, name));
    }
    for (name, subscriber) in names.iter().zip(&mut subscribers) {
        let got = subscriber.take();
        assert_eq!(got.text(), *name);
        assert_eq!(got.topic, format!("{topic}/{name}"));
        subscriber.expect_nothing();
    }
}

/// [MQTT-4.7.3-3], [MQTT311-4.7.3-3]
fn longest_topic_is_accepted() {
    let root = unique_topic();
    let topic = format!("{root}/{}", "t".repeat(65_535 - root.len() - 1));
    let mut subscriber = v5().open();
    subscriber.subscribe(&format!("{root}/+"), 1);
    subscriber.subscribe(&topic, 0);
    v5().open().publish(publish(&topic, 1, "x"));
    assert_eq!(subscriber.take().topic.len(), 65_535);
}

/// Attack case 5: refused or served, but nobody else suffers.
fn thousands_of_levels_do_no_harm() {
    let mut bystanders = Bystanders::new();
    let slashes = "/".repeat(65_000);
    let pluses = "+/".repeat(32_000) + "#";
    for filter in [&slashes, &pluses] {
        let mut client = v311().open();
        client.try_send(&crate::wire::subscribe(4, 1, &[(filter, 1)], &[]));
        match client.recv_within(5000) {
            Some(Packet::SubAck { .. }) => client.ping(),
            None => client.expect_closed(),
            Some(other) => panic!("{other:?}"),
        }
        bystanders.exchange();
        let mut client = v311().open();
        client.try_send(&publish(&slashes, 1, "x").id(1).encode(4));
        match client.recv_within(5000) {
            Some(Packet::PubAck(_)) => client.ping(),
            None => client.expect_closed(),
            Some(other) => panic!("{other:?}"),
        }
        bystanders.exchange();
    }
}

/// MQTT 5.0, 4.7.2: what a client publishes there does not come out as the broker's word.
fn dollar_sys_is_not_for_clients() {
    let mut bystanders = Bystanders::new();
    let mut client = v5().open();
    client.try_send(&publish("$SYS/broker/version", 1, "forged").id(1).encode(5));
    match client.recv_within(5000) {
        Some(Packet::PubAck(_) | Packet::Disconnect { .. }) | None => {}
        Some(other) => panic!("{other:?}"),
    }
    bystanders.exchange();
}

/// MQTT 5.0, 1.5.4: a receiver may treat control characters as malformed; the zone says whether ours does.
fn control_characters_are_refused_in_strict_mode() {
    need(broker().strict.is_some(), "a listener with strict_mode");
    let topic = format!("{}/\u{1}", unique_topic());
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    for version in [V5, V311] {
        let text = format!("from {version}");
        connect(version).open().publish(publish(&topic, 1, &text));
        assert_eq!(subscriber.take().text(), text);
        let strict = || Box::new(tcp_to(broker().strict.as_deref().unwrap()));
        let mut client = connect(version).open_over(strict());
        client.publish(publish("plain", 1, "x"));
        client.send(&publish(&topic, 1, "x").id(2).encode(version));
        match version {
            V5 => client.expect_disconnect(&[0x81]),
            _ => client.expect_closed(),
        }
        connect(version).id("a\u{1}").begin_over(strict()).expect_refused(&[0x81]);
    }
    subscriber.expect_nothing();
}
