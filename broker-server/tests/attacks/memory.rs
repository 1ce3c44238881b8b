//! More than memory holds: `node.memory_limit` of 64 MB under loads that would take a multiple of it.
//!
//! What counts against the limit is what the broker keeps for its clients. The program itself and buffers of its threads come on
//! top: what the process has at its start. [`SLACK`] is for what the allocator cannot give back. The system ends the process
//! that asks for more address space than [`Limited`] leaves it, of which the allocator takes more than it uses.

use std::io::Write;
use std::time::Duration;

use crate::broker::{DEADLINE, MB, Target, end_of, eventually, socket};
use crate::client::{Client, PATIENCE, unique_topic, v5, v311};
use crate::wire::{Packet, publish};

/// Nobody is closed for the time he takes: what is shown must not hang on the speed of the machine.
const TABLES: &str = "[mqtt]\nidle_timeout = \"5m\"\nmax_mqueue_len = 0\nmax_mqueue_bytes = 0\nmax_inflight = 1000\n\
                      mqueue_store_qos0 = true\n[store]\nenabled = false\n";
const SMALL_BUFFERS: &str = "sndbuf = \"32KB\"\nrecbuf = \"32KB\"\nsend_timeout = 0\n";
const LIMIT: u64 = 64 * MB;
const SLACK: u64 = 8 * MB;

/// A broker with that limit, and what it had resident before anybody came.
struct Limited {
    process: Target,
    at_start: u64,
    files_at_start: usize,
}

impl Limited {
    fn start() -> Self {
        let process = Target::with_node_keys("memory_limit = \"64MB\"\n", TABLES, SMALL_BUFFERS);
        let at_start = process.peak_bytes();
        let files_at_start = process.n_files();
        process.limit_data(process.data_bytes() + 2 * LIMIT);
        Self { process, at_start, files_at_start }
    }

    #[track_caller]
    fn assert_bounded(&self) {
        let (peak, bound) = (self.process.peak_bytes(), self.at_start + LIMIT + SLACK);
        assert!(peak < bound, "{} MB were resident, {} MB allowed", peak / MB, bound / MB);
    }

    /// The same, and the limit was reached: else nothing would have been shown.
    #[track_caller]
    fn assert_bounded_at_the_limit(&self) {
        eventually(|| self.process.has_logged("id=memory_limit").then_some(()));
        self.assert_bounded();
    }

    /// The broker lets clients in again, when what others held is gone.
    fn assert_serves_again(&mut self) {
        // While the others still go, there is room for one now and then, and none for the next.
        eventually(|| (self.process.n_files() <= self.files_at_start + 4).then_some(()));
        eventually(|| {
            let mut client = v5().begin();
            let answer = client.recv_within(Duration::from_secs(5).as_millis() as u64);
            matches!(answer, Some(Packet::ConnAck { code: 0, .. })).then_some(())
        });
        self.process.assert_serves();
    }
}

/// Publishes until the broker has refused or dropped enough, or `n` messages are out; each waits for its answer.
fn flood(publisher: &mut Client, n: usize, mut make: impl FnMut(usize) -> (String, u8, usize)) {
    let began = std::time::Instant::now();
    for at in 0..n {
        let (topic, qos, bytes) = make(at);
        publisher.publish(publish(&topic, qos, vec![b'x'; bytes]));
        if began.elapsed() > DEADLINE / 2 {
            return;
        }
    }
}

/// 500 connections that begin a CONNECT of 400 KB each and never end it.
#[test]
fn a02_connects_without_end_do_not_exhaust_the_memory() {
    let mut broker = Limited::start();
    let bystanders = broker.process.bystanders();
    let begun = [&[0x10, 0x80, 0x80, 0x1E][..], &[b'x'; 400_000]].concat();
    let began = std::time::Instant::now();
    let mut open = Vec::new();
    for _ in 0..500 {
        let mut connecting = socket();
        // It may be cut off before all is sent.
        let _ = connecting.write_all(&begun);
        open.push(connecting);
        if began.elapsed() > DEADLINE / 2 {
            break;
        }
    }
    bystanders.assert_fine();
    broker.assert_bounded();
    let last = open.last_mut().unwrap();
    end_of(last, PATIENCE).expect("cut off, since others hold as much as there is");
    drop(open);
    broker.assert_serves_again();
}

/// 60 clients that read nothing and queue what they are sent: 4 MB and more for each of them.
#[test]
fn b14_slow_consumers_do_not_exhaust_the_memory() {
    let mut broker = Limited::start();
    let bystanders = broker.process.bystanders();
    let topic = unique_topic();
    let mut deaf: Vec<Client> = (0..60).map(|_| v5().expiry(100).open()).collect();
    deaf.iter_mut().enumerate().for_each(|(n, client)| client.subscribe(&topic, (n % 2) as u8));
    let mut publisher = v5().open();
    flood(&mut publisher, 2_000, |n| (topic.clone(), 1, 1_000 + n % 1_000));
    bystanders.assert_fine();
    broker.assert_bounded_at_the_limit();
    // Who is there is served on; newcomers come in again once the slow ones are gone.
    deaf.clear();
    drop(publisher);
    broker.assert_serves_again();
}

/// 100,000 topics and more, each with a message of its own.
#[test]
fn b13_a_storm_of_retained_messages_does_not_exhaust_the_memory() {
    let broker = Limited::start();
    let bystanders = broker.process.bystanders();
    let mut publisher = v5().open();
    let mut n_sent = 0;
    let began = std::time::Instant::now();
    while n_sent < 400_000 && began.elapsed() < DEADLINE / 2 {
        let bytes: Vec<u8> = (n_sent..n_sent + 500)
            .flat_map(|n| publish(&format!("storm/{n}/of/retained"), 0, "x").retain().encode(5))
            .collect();
        publisher.send(&bytes);
        publisher.ping();
        n_sent += 500;
    }
    bystanders.assert_fine();
    broker.assert_bounded_at_the_limit();
}

/// Filters without end, deep ones among them, by clients that each ask for thousands.
#[test]
fn b12_a_flood_of_subscriptions_does_not_exhaust_the_memory() {
    let mut broker = Limited::start();
    let bystanders = broker.process.bystanders();
    let (mut n_granted, mut n_refused) = (0, 0);
    let began = std::time::Instant::now();
    let mut clients = Vec::new();
    'flood: for c in 0..20 {
        let mut client = v5().begin();
        if !matches!(client.recv(), Packet::ConnAck { code: 0, .. }) {
            break;
        }
        for batch in 0..20 {
            let filters: Vec<String> = (0..500)
                .map(|n| match n % 10 {
                    0 => format!("{c}/{batch}/{n}/{}#", "+/".repeat(200)),
                    _ => format!("flood/{c}/{batch}/{n}/+"),
                })
                .collect();
            let wanted: Vec<(&str, u8)> = filters.iter().map(|f| (f.as_str(), 0)).collect();
            let codes = client.subscribe_many(&wanted, &[]);
            n_granted += codes.iter().filter(|code| **code == 0).count();
            n_refused += codes.iter().filter(|code| **code == 0x97).count();
            if n_refused > 2_000 || began.elapsed() > DEADLINE / 2 {
                clients.push(client);
                break 'flood;
            }
        }
        clients.push(client);
    }
    assert!(n_granted > 1_000, "{n_granted} granted");
    assert!(n_refused > 0, "{n_granted} granted, none refused");
    v5().begin().expect_refused(&[0x97]);
    v311().begin().expect_refused(&[3]);
    bystanders.assert_fine();
    broker.assert_bounded_at_the_limit();
    drop(clients);
    broker.assert_serves_again();
}

/// All of it at a time, and further on once the limit is reached.
#[test]
fn e37_all_loads_together_do_not_exhaust_the_memory() {
    let broker = Limited::start();
    let bystanders = broker.process.bystanders();
    let topic = unique_topic();
    let mut deaf: Vec<Client> = (0..20).map(|_| v5().expiry(100).open()).collect();
    deaf.iter_mut().for_each(|client| client.subscribe(&topic, 1));
    let connected: Vec<Client> = (0..3).map(|_| v5().open()).collect();
    let until = std::time::Instant::now() + DEADLINE / 2;
    let mut loads = Vec::new();
    for (kind, mut client) in connected.into_iter().enumerate() {
        let topic = topic.clone();
        loads.push(broker.process.spawn(move || {
            let mut n = 0;
            while std::time::Instant::now() < until {
                match kind {
                    0 => drop(client.publish(publish(&topic, 1, vec![b'x'; 2_000]))),
                    1 => drop(
                        client.publish(publish(&format!("storm/{n}"), 1, vec![b'x'; 500]).retain()),
                    ),
                    _ => {
                        let filters: Vec<_> =
                            (0..100).map(|at| (format!("flood/{n}/{at}/+"), 0)).collect();
                        let wanted: Vec<_> =
                            filters.iter().map(|(f, qos)| (f.as_str(), *qos)).collect();
                        client.subscribe_many(&wanted, &[]);
                    }
                }
                n += 1;
            }
        }));
    }
    loads.into_iter().for_each(|load| load.join().unwrap());
    bystanders.assert_fine();
    broker.assert_bounded_at_the_limit();
    drop(deaf);
}
