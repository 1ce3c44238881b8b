//! What a session does with a message: deliver and acknowledge, queue while the client is away, resume.
//!
//! Messages come from inside the process, so that no publisher's packet is decoded.
//! Run with `cargo bench -p broker-benches --bench session`.

use broker_benches::{NOW, World, ack, encode, nth_packet_id};
use broker_codec::{Packet, QoS};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn deliver(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    group.bench_function("deliver qos 0", |b| {
        let mut world = World::default();
        let mut client = world.connect("subscriber");
        world.subscribe(&mut client, [TOPIC], QoS::AtMostOnce);
        let mut publisher = world.broker.local_client("publisher");
        let receivers = publisher.publish(TOPIC, PAYLOAD, QoS::AtMostOnce, NOW);
        assert_eq!(receivers.ok(), Some(1));
        b.iter(|| publisher.publish(TOPIC, PAYLOAD, QoS::AtMostOnce, NOW));
    });
    group.bench_function("deliver qos 1 and acknowledge", |b| {
        let mut world = World::default();
        let mut client = world.connect("subscriber");
        world.subscribe(&mut client, [TOPIC], QoS::AtLeastOnce);
        let mut publisher = world.broker.local_client("publisher");
        let mut n = 0;
        b.iter(|| {
            let receivers = publisher.publish(TOPIC, PAYLOAD, QoS::AtLeastOnce, NOW);
            world.feed(&mut client, &encode(&Packet::PubAck(ack(nth_packet_id(n)))));
            n += 1;
            receivers
        });
    });
    // The window is full of them: finding the acknowledged one must not cost more for it.
    group.bench_function("acknowledge one of 1,000 in flight", |b| {
        let mut world = World::default();
        let mut client = world.connect("subscriber");
        world.subscribe(&mut client, [TOPIC], QoS::AtLeastOnce);
        let mut publisher = world.broker.local_client("publisher");
        for _ in 0..1000 {
            let _ = publisher.publish(TOPIC, PAYLOAD, QoS::AtLeastOnce, NOW);
        }
        let mut n = 0;
        b.iter(|| {
            world.feed(&mut client, &encode(&Packet::PubAck(ack(nth_packet_id(n)))));
            n += 1;
            publisher.publish(TOPIC, PAYLOAD, QoS::AtLeastOnce, NOW)
        });
    });
    group.finish();
}

fn away(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("queue 1,000 while away", |b| {
        b.iter_batched(
            absent,
            |world| {
                fill(&world);
                world
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("resume with 1,000 queued", |b| {
        b.iter_batched(
            || {
                let world = absent();
                fill(&world);
                world
            },
            |mut world| {
                let client = world.connect("subscriber");
                assert!(client.sink.bytes() > 1000 * PAYLOAD.len(), "not all were sent");
                (world, client)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A broker with one session whose client is away.
fn absent() -> World {
    let mut world = World::default();
    let mut client = world.connect("subscriber");
    world.subscribe(&mut client, [TOPIC], QoS::AtLeastOnce);
    world.close(client);
    world
}

fn fill(world: &World) {
    let mut publisher = world.broker.local_client("publisher");
    for _ in 0..MESSAGES {
        let _ = publisher.publish(TOPIC, PAYLOAD, QoS::AtLeastOnce, NOW);
    }
}

const TOPIC: &str = "plant/7/line/3/sensor/4711/temperature";
const MESSAGES: u64 = 1000;
const PAYLOAD: &[u8] = &[b'x'; 256];

criterion_group!(benches, deliver, away);
criterion_main!(benches);
