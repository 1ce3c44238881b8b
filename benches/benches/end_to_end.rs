//! One message from a publisher's bytes to a subscriber's bytes: decode, route, encode, acknowledge.
//!
//! Channels and sessions are the real ones; where a socket would be, the bytes are dropped.
//! Run with `cargo bench -p broker-benches --bench end_to_end`.

use std::sync::Arc;

use broker_benches::{World, ack, encode, nth_packet_id, publish};
use broker_codec::{Packet, QoS};
use broker_core::ClientInfo;
use broker_core::extension::{Action, Answer, Authorizer, Verdict};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn end_to_end(c: &mut Criterion) {
    let mut group = c.benchmark_group("end_to_end");
    group.throughput(Throughput::Elements(1));
    group.bench_function("qos 0", |b| {
        let (mut world, mut publisher, subscriber) = pair(QoS::AtMostOnce);
        let bytes = publish(TOPIC, QoS::AtMostOnce, nth_packet_id(0), &PAYLOAD);
        let before = subscriber.sink.bytes();
        b.iter(|| world.feed(&mut publisher, &bytes));
        assert!(subscriber.sink.bytes() > before, "nothing was delivered");
    });
    // Access rules that have said what they say of the topic: of one, and of two in turn.
    for (name, topics) in [("one topic", &[TOPIC, TOPIC]), ("two topics", &[TOPIC, OTHER])] {
        group.bench_function(format!("qos 0, rights of {name} remembered"), |b| {
            let (mut world, mut publisher, mut subscriber) = pair(QoS::AtMostOnce);
            let authorizers: Vec<Arc<dyn Authorizer>> = vec![Arc::new(AllowAll)];
            world.broker.change_extensions(|extensions| extensions.authorizers = authorizers);
            world.turn.begin(broker_benches::NOW);
            world.subscribe(&mut subscriber, [OTHER], QoS::AtMostOnce);
            let packets =
                topics.map(|topic| publish(topic, QoS::AtMostOnce, nth_packet_id(0), &PAYLOAD));
            let mut n = 0;
            b.iter(|| {
                n ^= 1;
                world.feed(&mut publisher, &packets[n]);
            });
        });
    }
    // What a busy publisher does: one read brings many messages, one write carries them on.
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("qos 0, 64 in one turn", |b| {
        let (mut world, mut publisher, _subscriber) = pair(QoS::AtMostOnce);
        let bytes = publish(TOPIC, QoS::AtMostOnce, nth_packet_id(0), &PAYLOAD);
        let bytes = bytes.repeat(BATCH as usize);
        b.iter(|| world.feed(&mut publisher, &bytes));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("qos 1", |b| {
        let (mut world, mut publisher, mut subscriber) = pair(QoS::AtLeastOnce);
        let bytes = publish(TOPIC, QoS::AtLeastOnce, nth_packet_id(0), &PAYLOAD);
        let mut n = 0;
        b.iter(|| {
            world.feed(&mut publisher, &bytes);
            world.feed(&mut subscriber, &encode(&Packet::PubAck(ack(nth_packet_id(n)))));
            n += 1;
        });
    });
    group.bench_function("qos 2", |b| {
        let (mut world, mut publisher, mut subscriber) = pair(QoS::ExactlyOnce);
        let id = nth_packet_id(0);
        let bytes = publish(TOPIC, QoS::ExactlyOnce, id, &PAYLOAD);
        let release = encode(&Packet::PubRel(ack(id)));
        let mut n = 0;
        b.iter(|| {
            world.feed(&mut publisher, &bytes);
            world.feed(&mut publisher, &release);
            let theirs = nth_packet_id(n);
            world.feed(&mut subscriber, &encode(&Packet::PubRec(ack(theirs))));
            world.feed(&mut subscriber, &encode(&Packet::PubComp(ack(theirs))));
            n += 1;
        });
    });
    group.finish();
}

/// Rules that let everything pass.
struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _: &Arc<ClientInfo>, _: Action, _: &str) -> Answer<Verdict> {
        Answer::Now(Verdict::Allow)
    }
}

fn pair(qos: QoS) -> (World, broker_benches::Client, broker_benches::Client) {
    let mut world = World::default();
    let publisher = world.connect("publisher");
    let mut subscriber = world.connect("subscriber");
    world.subscribe(&mut subscriber, [TOPIC], qos);
    (world, publisher, subscriber)
}

const OTHER: &str = "plant/7/line/3/sensor/4712/temperature";
const TOPIC: &str = "plant/7/line/3/sensor/4711/temperature";
const BATCH: u64 = 64;
static PAYLOAD: [u8; 256] = [b'x'; 256];

criterion_group!(benches, end_to_end);
criterion_main!(benches);
