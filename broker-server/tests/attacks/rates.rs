//! Clients that send, or are sent, more than their share.

use std::time::{Duration, Instant};

use crate::broker::start;
use crate::client::{unique_topic, v5, v311};
use crate::wire::{PINGREQ, Packet, V5, publish};

const LIMITS: &str = "[limits.user]\nmax_connections = 2\nmessages_in = \"100,1s\"\nbytes_in = \"1MB,1s\"\n\
                      messages_out = \"200,1s\"\n";

/// 300 messages of one user take the two seconds that its rate asks for, and none is lost; the others do not wait.
#[test]
fn b14_a_flood_is_paced_to_the_rate_of_its_user() {
    let mut process = start(LIMITS, "");
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let mut flood = v5().username("u").open();
    let began = Instant::now();
    let bytes: Vec<u8> = (0..300).flat_map(|_| publish(&topic, 0, "x").encode(V5)).collect();
    flood.send(&bytes);
    flood.send(&PINGREQ);
    assert_eq!(flood.recv(), Packet::PingResp);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    for _ in 0..300 {
        watcher.take();
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// 4 MB at 1 MB a second take three seconds; memory does not follow what the client would send.
#[test]
fn b14_bytes_that_may_not_be_read_yet_stay_with_their_sender() {
    let mut process = start("", "rate_limit = \"1MB,1s\"\n");
    let before = process.peak_bytes();
    let mut flood = v5().username("u").open();
    let payload = vec![b'x'; 64 * 1024];
    let began = Instant::now();
    for _ in 0..64 {
        flood.publish(publish("bytes", 1, &payload));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_900), "{took:?}");
    process.assert_grown_less(before, 4 << 20);
    process.assert_serves();
}

/// What a user may not be sent yet waits in its queue, in order; acknowledgements and pings go on.
#[test]
fn b14_what_is_sent_to_a_user_keeps_its_rate() {
    let mut process = start(LIMITS, "");
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let mut reader = v5().username("u").open();
    reader.subscribe(&topic, 0);
    let mut publisher = v5().open();
    let began = Instant::now();
    for n in 0..600 {
        publisher.publish(publish(&topic, 1, n.to_string()));
    }
    for n in 0..600 {
        assert_eq!(reader.take().text(), n.to_string());
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    bystanders.assert_fine();
    process.assert_serves();
}

/// A third connection of a user is told that it is one too many, and the others stay.
#[test]
fn b17_connections_of_a_user_are_bounded() {
    let mut process = start(LIMITS, "");
    let bystanders = process.bystanders();
    let (mut first, second) = (v5().username("u").open(), v5().username("u").open());
    v5().username("u").begin().expect_refused(&[0x97]);
    v311().username("u").begin().expect_refused(&[3]);
    first.ping();
    second.disconnect();
    crate::broker::eventually(|| {
        let mut client = v5().username("u").begin();
        match client.recv() {
            Packet::ConnAck { code: 0, .. } => Some(()),
            _ => None,
        }
    });
    bystanders.assert_fine();
    process.assert_serves();
}
