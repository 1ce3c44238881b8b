//! One message to many subscribers, small and large; throughput counts deliveries.
//!
//! Run with `cargo bench -p broker-benches --bench fan_out`.

use broker_benches::{Client, World, nth_packet_id, publish};
use broker_codec::QoS;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan_out");
    for n_subscribers in [1_u64, 10, 1000] {
        for (size, payload) in [("64 B", vec![b'x'; 64]), ("16 KiB", vec![b'x'; 16 * 1024])] {
            group.throughput(Throughput::Elements(n_subscribers));
            group.bench_function(BenchmarkId::new(size, n_subscribers), |b| {
                let mut world = World::default();
                let mut publisher = world.connect("publisher");
                let subscribers = crowd(&mut world, n_subscribers);
                let bytes = publish("crowd", QoS::AtMostOnce, nth_packet_id(0), &payload);
                b.iter(|| world.feed(&mut publisher, &bytes));
                let least = subscribers.iter().map(|s| s.sink.bytes()).min();
                assert!(least > Some(payload.len()), "somebody was left out");
            });
        }
    }
    group.finish();
}

fn crowd(world: &mut World, n: u64) -> Vec<Client> {
    (0..n)
        .map(|number| {
            let mut client = world.connect(&format!("subscriber-{number}"));
            world.subscribe(&mut client, ["crowd"], QoS::AtMostOnce);
            client
        })
        .collect()
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
