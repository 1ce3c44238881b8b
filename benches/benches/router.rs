//! Who gets a message, at 10 thousand, 100 thousand and a million subscriptions, one in ten with a wildcard.
//!
//! The walk is measured without the cache of matches and without delivery, and once through the cache.
//! Bytes are in `memory.rs`. Run with `cargo bench -p broker-benches --bench router`.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use broker_benches::filters::{filter, topic};
use broker_benches::is_smoke;
use broker_core::bench::Routes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn router(c: &mut Criterion) {
    let mut group = c.benchmark_group("router");
    let sizes: &[u64] = if is_smoke() { &[1_000] } else { &[10_000, 100_000, 1_000_000] };
    for &size in sizes {
        let routes = Routes::new(SESSIONS);
        for n in 0..size {
            routes.subscribe(n as usize % SESSIONS, &filter(n).into());
        }
        let mut n = 0;
        // A step that visits all topics in no order, so that neither caches nor branches can learn them.
        let mut next = move || {
            n = (n + 0x9E37_79B1) % size;
            n
        };
        let topics: Vec<_> = (0..4096).map(|_| topic(next())).collect();
        let misses: Vec<_> = topics.iter().map(|topic| format!("{topic}/deeper")).collect();
        for (n, topic) in topics.iter().enumerate().take(100) {
            assert!(routes.matches(topic) >= 1, "{n} {topic}");
        }
        let mut at = 0;
        let mut index = move || {
            at = (at + 1) % 4096;
            at
        };
        group.bench_function(BenchmarkId::new("match", size), |b| {
            b.iter(|| routes.matches(black_box(&topics[index()])));
        });
        group.bench_function(BenchmarkId::new("miss", size), |b| {
            b.iter(|| routes.matches(black_box(&misses[index()])));
        });
        let mut cache = routes.cache();
        group.bench_function(BenchmarkId::new("match, cached", size), |b| {
            b.iter(|| cache.look_up(&routes, black_box(&topics[index() % 64])));
        });
        group.bench_function(BenchmarkId::new("subscribe and unsubscribe", size), |b| {
            let new = |n: u64| filter(size + n % 1000).into();
            let mut n = 0;
            b.iter(|| {
                let filter = new(n);
                n += 1;
                routes.subscribe(0, &filter);
                routes.unsubscribe(0, &filter);
            });
        });
        group.bench_function(BenchmarkId::new("match while others come and go", size), |b| {
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for n in (size..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                        let filter = filter(n).into();
                        routes.subscribe(0, &filter);
                        routes.unsubscribe(0, &filter);
                    }
                });
                b.iter(|| routes.matches(black_box(&topics[index()])));
                stop.store(true, Ordering::Relaxed);
            });
        });
    }
    group.finish();
}

/// Sessions that share the subscriptions.
const SESSIONS: usize = 1000;

criterion_group!(benches, router);
criterion_main!(benches);
