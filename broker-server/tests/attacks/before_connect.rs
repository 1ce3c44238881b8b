//! Bytes before and around CONNECT: cases 1 to 6 and 10.

use std::io::Write;
use std::time::Duration;

use crate::broker::{MB, end_of, eventually, socket, start};
use crate::client::{PATIENCE, Will, connect, raw, unique_id, unique_topic, v5, v311};
use crate::wire::{self, Prop, V5, V31, V311, publish};

#[test]
fn a01_a_remaining_length_of_five_bytes_or_longer_than_needed_is_refused() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    for head in [
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F][..],
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x10, 0x80, 0x00],
        &[0x10, 0x8D, 0x80, 0x00],
    ] {
        for _ in 0..20 {
            raw(V5).try_send(head);
            let mut client = raw(V5);
            client.try_send(head);
            client.expect_refused(&[0x81]);
            let mut client = v5().open();
            client.try_send(head);
            client.expect_disconnect(&[0x81, 0x82]);
        }
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// 400 connections announce 50 GB and send 13 MB: bound 64 MB, four times what came and was kept.
#[test]
fn a02_memory_follows_the_bytes_received_not_those_announced() {
    // Also where the machine is so busy that the bytes take their time.
    let config =
        "[mqtt]\nmax_packet_size = 268435455\nidle_timeout = \"5m\"\n[store]\nenabled = false\n";
    let mut process = start(config, "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    // As much as may be, header included; a first packet may have less.
    let announced = [0xFA, 0xFF, 0xFF, 0x7F];
    let announced_first = [0x80, 0x80, 0x1E];
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut connecting = socket();
        connecting.write_all(&[&[0x10][..], &announced_first].concat()).unwrap();
        let mut publishing = v5().open();
        publishing.send(&[&[0x30][..], &announced, &[0, 1, b'a', 0]].concat());
        slow.push((connecting, publishing));
    }
    for _ in 0..64 {
        for (connecting, publishing) in &mut slow {
            connecting.write_all(&[b'x'; 8]).unwrap();
            publishing.send(&[b'x'; 1024]);
        }
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 64 * MB);
    drop(slow);
    process.assert_serves();
}

#[test]
fn a02_what_is_larger_than_allowed_is_refused_by_its_header() {
    let mut process = start("[mqtt]\nmax_packet_size = \"64KB\"\n", "");
    let bystanders = process.bystanders();
    let mut client = raw(V5);
    client.try_send(&[0x10, 0x81, 0x80, 0x04]);
    client.expect_refused(&[0x95]);
    let mut client = v5().open();
    client.try_send(&[0x30, 0x81, 0x80, 0x04]);
    client.expect_disconnect(&[0x95]);
    bystanders.assert_fine();
    process.assert_serves();
}

/// Of somebody of whom nothing is known no more is kept, whatever later packets may have.
#[test]
fn a02_a_first_packet_has_512_kb_at_most() {
    let mut process = start("[mqtt]\nmax_packet_size = 268435455\n[store]\nenabled = false\n", "");
    let mut client = raw(V5);
    client.try_send(&[0x10, 0xFD, 0xFF, 0x1F]);
    client.expect_refused(&[0x95]);
    process.assert_serves();
}

#[test]
fn a03_what_is_no_connect_or_a_second_one_closes() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    for first in 0..=255_u8 {
        if first >> 4 == 1 {
            continue;
        }
        let mut client = raw(V5);
        client.try_send(&[first, 2, 0, 1]);
        client.expect_closed();
    }
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        client.send(&connect(version).encode());
        client.expect_disconnect(&[0x82]);
    }
    // CONNACK, SUBACK, UNSUBACK, PINGRESP, and packets of type 0.
    for packet in
        [&[0x20, 3, 0, 0, 0][..], &[0x90, 3, 0, 1, 0], &[0xB0, 3, 0, 1, 0], &[0xD0, 0], &[0, 0]]
    {
        for version in [V311, V5] {
            let mut client = connect(version).open();
            client.send(packet);
            client.expect_disconnect(&[0x81, 0x82]);
        }
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// Ids of 64 KB under a watch of all presence messages; bound 32 MB.
#[test]
fn a04_connects_with_extreme_fields_disturb_nobody() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let mut watcher = v5().open();
    watcher.subscribe_many(&[("$SYS/#", 0), ("$events/#", 0)], &[]);
    let before = process.peak_bytes();
    let long = "x".repeat(65_535);
    for _ in 0..20 {
        v5().id(&long).open().disconnect();
        v5().username(&long).password(long.as_bytes()).open().disconnect();
    }
    for id in ["+", "#", "a/b", "a/+/#", "$SYS", "", "\u{FEFF}", "\"\\\n\t\u{1}", &unique_id()] {
        v5().id(id).will(Will::new("will", "")).open().lose();
    }
    v311().id("").open().disconnect();
    let mut nameless = v311().id("").resume().begin();
    nameless.expect_refused(&[2, 0x85]);
    for will in [
        Will::new("a/+", "x"),
        Will::new("", "x"),
        Will::new("x", "x").qos(3),
        Will::new("x", "x").prop(Prop::TopicAlias(1)),
        Will::new("x", "x").prop(Prop::PayloadFormatIndicator(2)),
        Will::new("x", "x").delay(1).delay(1),
        Will::new("$SYS/brokers", "x"),
    ] {
        v5().will(will).begin().expect_refused(&[0x81, 0x82, 0x90]);
    }
    // The end of the packet within each of its fields.
    let whole = v5().will(Will::new("topic", "text")).username("name").password(b"word").encode();
    for len in 2..whole.len() {
        let mut client = raw(V5);
        client.try_send(&wire::frame(0x10, &whole[2..len]));
        client.expect_refused(&[0x81, 0x82, 0x84]);
    }
    bystanders.assert_fine();
    watcher.ping();
    process.assert_grown_less(before, 32 * MB);
    process.assert_serves();
}

#[test]
fn a05_what_is_no_topic_is_refused() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    for topic in [
        &b""[..],
        b"a\0b",
        b"a/+",
        b"#",
        b"\xFF",
        b"\xC0\xAF",
        b"\xED\xA0\x80",
        b"\xF4\x90\x80\x80",
        b"\xE2\x82",
    ] {
        let mut body = Vec::new();
        wire::write_bytes(&mut body, topic);
        body.extend([0, b'x']);
        let mut client = v5().open();
        client.send(&wire::frame(0x30, &body));
        client.expect_disconnect(&[0x81, 0x82, 0x90]);
    }
    for filter in [
        "",
        "a/b#",
        "a+",
        "#/a",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$queue/",
    ] {
        let mut client = v5().open();
        let id = client.packet_id();
        client.send(&wire::subscribe(V5, id, &[(filter, 0)], &[]));
        match client.recv() {
            wire::Packet::SubAck { codes, .. } => assert!(codes[0] >= 0x80, "{filter:?}"),
            wire::Packet::Disconnect { code, .. } => assert!(code >= 0x80, "{filter:?}"),
            other => panic!("{filter:?} got {other:?}"),
        }
    }
    // Levels without end are topics: whoever asks for them gets them, and nobody recurses.
    let slashes = "/".repeat(65_000);
    let mut client = v5().open();
    client.subscribe_many(&[(&slashes, 0), (&"+/".repeat(32_000), 0), ("/#", 0)], &[]);
    client.publish(publish(&slashes, 1, "deep"));
    assert_eq!(client.take().topic.len(), 65_000);
    client.disconnect();
    bystanders.assert_fine();
    process.assert_serves();
}

/// Ten thousand User Properties, a hundred times, to a subscriber: bound 64 MB.
#[test]
fn a06_properties_without_number_pass_and_wrong_ones_close() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    let mut many = publish(&topic, 1, "x");
    many.props.0 = (0..10_000).map(|n| Prop::UserProperty(format!("k{n}"), "v".into())).collect();
    for _ in 0..100 {
        publisher.publish(many.clone());
        assert_eq!(subscriber.take().props.user().len(), 10_000);
    }
    for properties in [
        // Twice, unknown, of other packets, of a wrong value, longer than the packet, cut off.
        &[0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1][..],
        &[0x7E, 0],
        &[0x00],
        &[0x11, 0, 0, 0, 1],
        &[0x21, 0, 1],
        &[0x01, 2],
        &[0x0B, 1],
        &[0x08, 0xFF, 0xFF, b'x'],
        &[0x26, 0, 1, b'k'],
        &[0x03, 0, 1, 0xFF],
    ] {
        let mut body = vec![0, 1, b'a', properties.len() as u8];
        body.extend(properties);
        let mut client = v5().open();
        client.send(&wire::frame(0x30, &body));
        client.expect_disconnect(&[0x81, 0x82]);
    }
    for len in [
        &[0x7F][..],
        &[0xFF, 0x7F],
        &[0xFF, 0xFF, 0xFF, 0x7F],
        &[0xFF, 0xFF, 0xFF, 0xFF, 1],
        &[0x80, 0],
    ] {
        let mut client = v5().open();
        client.send(&wire::frame(0x30, &[&[0, 1, b'a'], len, b"xx"].concat()));
        client.expect_disconnect(&[0x81, 0x82]);
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 64 * MB);
    process.assert_serves();
}

/// Refusals leave neither sockets nor memory behind; bound 8 MB.
#[test]
fn a10_a_refused_connect_closes_its_socket() {
    let mut process = start("[mqtt]\nmax_clientid_len = 10\n", "");
    let bystanders = process.bystanders();
    let n_files = process.n_files();
    let before = process.peak_bytes();
    let too_long = v5().id("01234567890").encode();
    let wrong_level = v5().id("x").header("MQTT", 6, 2);
    for bytes in [
        too_long,
        wire::frame(0x10, &wrong_level),
        vec![0xC0, 0],
        vec![0x10, 0x80, 0x80, 0x80, 0x80],
    ] {
        for _ in 0..100 {
            let mut client = socket();
            client.write_all(&bytes).unwrap();
            end_of(&mut client, PATIENCE).expect("the broker closes");
        }
    }
    bystanders.assert_fine();
    // Two of them are the bystanders'.
    eventually(|| (process.n_files() + 2 <= n_files).then_some(()));
    process.assert_grown_less(before, 8 * MB);
    process.assert_serves();
    end_of(&mut socket(), Duration::from_millis(1));
}
