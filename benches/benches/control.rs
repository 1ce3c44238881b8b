//! What an operator's questions cost beside 100,000 clients: a page of each list, the counts, one client of
//! many; and what it costs clients to stand in those lists.
//!
//! Run with `cargo bench -p broker-benches --bench control`.

use std::hint::black_box;

use broker_benches::{NOW, World, is_smoke};
use broker_codec::QoS;
use broker_core::{Ban, Broker, Now, Page, PageRequest, Who};
use criterion::{Criterion, criterion_group, criterion_main};

/// Rows of a page.
const LIMIT: usize = 100;

fn control(c: &mut Criterion) {
    let size: usize = if is_smoke() { 1_000 } else { 100_000 };
    let mut world = World::default();
    let mut clients = Vec::with_capacity(size);
    for n in 0..size {
        let name = format!("user-{}", n / 10);
        let mut client = world.connect_as(&format!("client-{n}"), Some(&name));
        let filters = [format!("own/{n}"), format!("some/{}/+", n % 1000)];
        world.subscribe(&mut client, filters.iter().map(String::as_str), QoS::AtMostOnce);
        let who = Who::ClientId(format!("banned-{n}").into());
        let _ = world.broker.ban(&who, Ban::until(u64::MAX), NOW.wall_ms);
        clients.push(client);
    }
    let broker = &world.broker;
    let mut group = c.benchmark_group("control");
    let mut list = |name: &str, page: &dyn Fn(&PageRequest) -> usize| {
        // Half-way, by its number; and then behind the page before it, as a reader of the whole list gets it.
        let mut caller = 0;
        let half = size / LIMIT / 2;
        group.bench_function(format!("{name}, a page by its number"), |b| {
            b.iter(|| {
                caller += 1;
                page(black_box(&PageRequest { page: half, limit: LIMIT, caller }))
            });
        });
        let next = |page| PageRequest { page, limit: LIMIT, caller: u64::MAX };
        let n_rows = page(&next(half)) + page(&next(half + 1));
        assert_eq!(n_rows, 2 * LIMIT);
        group.bench_function(format!("{name}, the next page"), |b| {
            b.iter(|| page(black_box(&next(half + 1))));
        });
    };
    list("connections", &|request| rows(broker, request, Broker::connections_page));
    list("sessions", &|request| rows(broker, request, Broker::sessions_page));
    list("subscriptions", &|request| rows(broker, request, Broker::subscriptions_page));
    list("routes", &|request| rows(broker, request, Broker::routes_page));
    list("bans", &|request| rows(broker, request, Broker::bans_page));
    group.bench_function("all counts", |b| b.iter(|| broker.stats()));
    group.bench_function("ten connections by user name", |b| {
        b.iter(|| assert_eq!(broker.connections_of(black_box("user-7"), 100).len(), 10));
    });
    group.bench_function("connect and disconnect", |b| {
        let mut n = 0;
        b.iter(|| {
            n += 1;
            let client = world.connect_as(&format!("visitor-{}", n % 1000), Some("visitor"));
            world.close(client);
        });
    });
    group.bench_function("subscribe and unsubscribe", |b| {
        let mut n = 0;
        b.iter(|| {
            n = (n + 7919) % size;
            world.subscribe(&mut clients[n], ["another"], QoS::AtMostOnce);
            world.unsubscribe(&mut clients[n], ["another"]);
        });
    });
    group.finish();
}

fn rows<T>(
    broker: &Broker,
    request: &PageRequest,
    page: impl Fn(&Broker, &PageRequest, Now) -> Page<T>,
) -> usize {
    page(broker, request, NOW).rows.len()
}

criterion_group!(benches, control);
criterion_main!(benches);
