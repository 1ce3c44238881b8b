//! Clients that do not read: case 14.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::broker::{DEADLINE, MB, Target, is_silence, socket, start};
use crate::client::{Client, unique_id, unique_topic, v5};
use crate::wire::{self, Packet, Prop, V5, publish};

/// Keeps the kernel's buffers out of the count.
const SMALL_BUFFERS: &str = "sndbuf = \"32KB\"\nrecbuf = \"32KB\"\n";

/// 64 MB pass a subscriber that reads nothing, between others that do; bound 16 MB.
#[test]
fn b14_a_slow_reader_costs_its_outbox_and_slows_nobody() {
    let mut process = start("[mqtt]\nmax_outbox_bytes = \"1MB\"\n", SMALL_BUFFERS);
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let before = process.peak_bytes();
    let mut deaf: Vec<Client> = (0..3).map(|_| v5().open()).collect();
    deaf.iter_mut().for_each(|client| client.subscribe(&topic, 0));
    let mut readers: Vec<Client> = (0..3).map(|_| v5().open()).collect();
    readers.iter_mut().for_each(|client| client.subscribe(&topic, 0));
    let mut publisher = v5().open();
    let payload = vec![b'x'; 16 * 1024];
    for _ in 0..4096 {
        publisher.publish(publish(&topic, 1, &payload));
        for reader in &mut readers {
            assert_eq!(reader.take().payload.len(), payload.len());
        }
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 16 * MB);
    drop(deaf);
    process.assert_serves();
}

/// 20,000 messages for clients that acknowledge none of them, online and offline; bound 16 MB.
#[test]
fn b14_the_queue_of_who_does_not_acknowledge_is_bounded() {
    let mut process = start(
        "[mqtt]\nmax_mqueue_len = 100\nmax_mqueue_bytes = \"100KB\"\nmax_inflight = 10\n",
        SMALL_BUFFERS,
    );
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let before = process.peak_bytes();
    let (online, offline) = (unique_id(), unique_id());
    let mut mute = v5().id(&online).expiry(100).open();
    mute.subscribe(&topic, 1);
    let mut away = v5().id(&offline).expiry(100).open();
    away.subscribe(&topic, 1);
    away.disconnect();
    let mut publisher = v5().open();
    for n in 0..20_000 {
        publisher.publish(publish(&topic, 1, format!("{n:1000}")));
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 16 * MB);
    // What is left is the newest.
    let mut away = v5().id(&offline).resume().open();
    let mut last = String::new();
    while let Some(Packet::Publish(message)) = away.recv_within(500) {
        away.acknowledge(&message);
        last = message.text();
    }
    assert_eq!(last.trim(), "19999");
    drop(mute);
    process.assert_serves();
}

/// Writes `bytes` again and again until the broker stops reading or closes; the bytes it took.
fn pour(stream: &mut TcpStream, bytes: &[u8]) -> u64 {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let began = Instant::now();
    let (mut n_taken, mut at) = (0, 0);
    loop {
        match stream.write(&bytes[at..]) {
            Ok(n) => {
                n_taken += n as u64;
                at = (at + n) % bytes.len();
            }
            Err(_) => return n_taken,
        }
        assert!(began.elapsed() < DEADLINE, "the broker reads on: {} MB", n_taken / MB);
    }
}

/// Requests of which nobody reads the answers; the broker stops reading within 64 MB, and needs below 24 MB.
#[test]
fn b14_who_does_not_read_its_answers_is_not_read_from() {
    let limits = format!("{SMALL_BUFFERS}send_timeout = 0\n");
    let mut process = start("[mqtt]\nmax_outbox_bytes = \"1MB\"\n", &limits);
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let subscribe = wire::subscribe(V5, 1, &[("a/b", 0); 50], &[]);
    for request in [wire::PINGREQ.to_vec(), publish("x", 1, "").id(1).encode(V5), subscribe] {
        let mut stream = socket();
        stream.write_all(&v5().encode()).unwrap();
        let bytes: Vec<u8> = request.iter().cycle().take(request.len() * 4096).copied().collect();
        let n_taken = pour(&mut stream, &bytes);
        assert!(n_taken < 64 * MB, "{} MB were read", n_taken / MB);
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 24 * MB);
    process.assert_serves();
}

/// The presence message of a client's end, with its reason.
#[track_caller]
fn expect_end(watcher: &mut Client, id: &str) -> String {
    let topic = format!("/clients/{id}/disconnected");
    let message = watcher.take();
    assert!(message.topic.ends_with(&topic), "{}", message.topic);
    message.text()
}

fn watch(id: &str) -> Client {
    let mut watcher = v5().open();
    watcher.subscribe(&format!("$SYS/brokers/+/clients/{id}/disconnected"), 0);
    watcher
}

#[test]
fn b14_a_socket_that_takes_nothing_for_send_timeout_is_closed() {
    let limits = format!("{SMALL_BUFFERS}send_timeout = \"1s\"\n");
    let mut process = start("", &limits);
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let id = unique_id();
    let mut watcher = watch(&id);
    let mut deaf = v5().id(&id).expiry(100).open();
    deaf.subscribe(&topic, 0);
    let mut publisher = v5().open();
    let payload = vec![b'x'; 64 * 1024];
    for _ in 0..200 {
        publisher.publish(publish(&topic, 1, &payload));
    }
    assert!(expect_end(&mut watcher, &id).contains("send_timeout"));

    // Acknowledgements that are not read: likewise, though the broker does not read either.
    let id = unique_id();
    let mut watcher = watch(&id);
    let mut stream = socket();
    stream.write_all(&v5().id(&id).encode()).unwrap();
    pour(&mut stream, &wire::PINGREQ.repeat(4096));
    assert!(expect_end(&mut watcher, &id).contains("send_timeout"));
    bystanders.assert_fine();
    process.assert_serves();
}

/// Slow is not dead: who takes a little now and then stays longer than send_timeout.
#[test]
fn b14_a_socket_that_takes_a_little_is_kept() {
    let limits = format!("{SMALL_BUFFERS}send_timeout = \"1s\"\n");
    let mut process = start("[mqtt]\nmax_outbox_bytes = \"8MB\"\n", &limits);
    let topic = unique_topic();
    let mut slow = v5().open();
    slow.subscribe(&topic, 0);
    let mut publisher = v5().open();
    let payload = vec![b'x'; 64 * 1024];
    for _ in 0..100 {
        publisher.publish(publish(&topic, 1, &payload));
    }
    let began = Instant::now();
    let mut n_read = 0;
    while began.elapsed() < Duration::from_secs(3) {
        // One message each 50 ms: more than the kernel's buffers hold in a second.
        publisher.recv_within(50);
        n_read += usize::from(matches!(slow.recv_within(1), Some(Packet::Publish(_))));
    }
    for _ in n_read..100 {
        assert_eq!(slow.take().payload.len(), payload.len());
    }
    slow.ping();
    process.assert_serves();
}

/// With an outbox of 1 KB a burst of requests is answered nevertheless, and the next one too.
#[test]
fn b14_a_small_outbox_is_no_trap_for_who_reads() {
    let mut process = start("[mqtt]\nmax_outbox_bytes = 1024\n", "");
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let mut client = v5().prop(Prop::ReceiveMaximum(65_535)).open();
    client.subscribe(&topic, 1);
    for _ in 0..20 {
        client.send(&wire::PINGREQ.repeat(5000));
        for _ in 0..5000 {
            assert_eq!(client.recv(), Packet::PingResp);
        }
        client.send_publish(&publish(&topic, 1, vec![b'x'; 20_000]).id(9));
        client.expect_puback(9);
        assert_eq!(client.take().payload.len(), 20_000);
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// Sockets whose peer is gone without a word look like slow readers: a process that was stopped.
#[test]
fn b14_a_zero_window_is_a_slow_reader() {
    let limits = format!("{SMALL_BUFFERS}send_timeout = \"1s\"\n");
    let mut process: Target = start("", &limits);
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut stream = socket();
        stream.write_all(&v5().encode()).unwrap();
        stream.write_all(&wire::subscribe(V5, 1, &[("zero/#", 1)], &[])).unwrap();
        held.push(stream);
    }
    let mut publisher = v5().open();
    for n in 0..300 {
        publisher.publish(publish(&format!("zero/{n}"), (n % 2) as u8, vec![b'x'; 16 * 1024]));
    }
    for stream in &mut held {
        stream.set_nonblocking(true).unwrap();
        crate::broker::eventually(|| {
            let written = stream.write_all(&wire::PINGREQ);
            written.is_err_and(|error| !is_silence(&error)).then_some(())
        });
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 96 * MB);
    process.assert_serves();
}
