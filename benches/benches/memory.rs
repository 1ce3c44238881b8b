//! Bytes, not time: what a subscription costs in the router, and what an idle client costs in the core.
//!
//! Counts what the allocator is asked for, without its own overhead of some 8 bytes an allocation.
//! Run with `cargo bench -p broker-benches --bench memory`.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::alloc::System;

use broker_benches::filters::filter;
use broker_benches::{World, is_smoke};
use broker_codec::QoS;
use broker_core::bench::Routes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let sizes: &[u64] = if is_smoke() { &[1_000] } else { &[10_000, 100_000, 1_000_000] };
    println!("{:<34} {:>9} {:>12} {:>12}", "", "count", "bytes each", "allocations");
    for &size in sizes {
        let routes = Routes::new(1000);
        let filters: Vec<_> = (0..size).map(|n| filter(n).into()).collect();
        row("subscription, its text excluded", size, || {
            for (n, filter) in filters.iter().enumerate() {
                routes.subscribe(n % 1000, filter);
            }
            routes
        });
    }
    for &size in sizes.iter().take(2) {
        let mut world = World::default();
        let ids: Vec<_> = (0..size).map(|n| format!("client-{n}")).collect();
        row("idle client", size, || {
            let clients: Vec<_> = ids.iter().map(|id| world.connect(id)).collect();
            (clients, world)
        });
        let mut world = World::default();
        row("idle client, one subscription", size, || {
            let subscribe = |(n, id): (usize, &String)| {
                let mut client = world.connect(id);
                world.subscribe(&mut client, [format!("i/{n}").as_str()], QoS::AtMostOnce);
                client
            };
            let clients: Vec<_> = ids.iter().enumerate().map(subscribe).collect();
            (clients, world)
        });
    }
}

/// Prints what `make` leaves allocated, for each of `count`.
fn row<T>(name: &str, count: u64, make: impl FnOnce() -> T) {
    let region = Region::new(GLOBAL);
    let kept = make();
    let change = region.change();
    // Growth in place is counted apart, as what came on top.
    let bytes = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    let each = bytes as f64 / count as f64;
    let allocations = (change.allocations - change.deallocations) as f64 / count as f64;
    println!("{name:<34} {count:>9} {each:>12.1} {allocations:>12.2}");
    drop(kept);
}
