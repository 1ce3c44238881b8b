//! What rules cost a message: those on other topics, one that matches, and one that republishes.
//!
//! Run with `cargo bench -p broker-benches --bench rules`.
#![expect(clippy::print_stdout, reason = "criterion counts no allocations")]

use std::alloc::System;
use std::sync::Arc;

use broker_benches::{World, nth_packet_id, publish};
use broker_codec::QoS;
use broker_rules::action::Catalogue;
use broker_rules::compiler;
use broker_rules::engine::{EngineOptions, RuleEngine, RuleSpec};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value as Json, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A rule on each topic filter, with what it selects of the messages it wants.
fn engine(
    world: &World,
    filters: impl Iterator<Item = String>,
    fields: &str,
    action: &Json,
) -> RuleEngine {
    let options = EngineOptions::default();
    let compile = compiler(Arc::clone(&options.limits), Box::new(|_| {}));
    let engine = RuleEngine::new(&world.broker, Catalogue::built_in(), compile, options);
    for filter in filters {
        let sql = format!("SELECT {fields} FROM \"{filter}\" WHERE payload.x > 10");
        let request = json!({ "name": "r", "rawsql": sql, "actions": [action] });
        let request = request.as_object().expect("it is one");
        let spec = RuleSpec::from_json(request).expect("a request in order");
        let (..) = engine.create_rule(spec, 1).expect("a rule in order");
    }
    engine
}

fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    let payload = br#"{"x":42,"temperature":21.5,"unit":"C"}"#;
    let bytes = publish("load/1", QoS::AtMostOnce, nth_packet_id(0), payload);
    let nothing = json!({ "name": "do_nothing" });
    let republish =
        json!({ "name": "republish", "params": { "target_topic": "out", "payload_tmpl": "${x}" } });
    let elsewhere = || (0..1000).map(|n| format!("elsewhere/{n}/#"));
    let here = || std::iter::once("load/#".to_owned());
    let mut allocations = Vec::new();
    let (x, all) = ("payload.x AS x, clientid", "*");
    for (name, filters, fields, action) in [
        ("a message without rules", Vec::new(), x, &nothing),
        ("a message beside 1000 rules on other topics", elsewhere().collect(), x, &nothing),
        (
            "a message that one rule matches, SELECT payload.x AS x, clientid",
            here().collect(),
            x,
            &nothing,
        ),
        ("a message that one rule matches, SELECT *", here().collect(), all, &nothing),
        ("a message that one rule republishes", here().collect(), x, &republish),
    ] {
        let mut world = World::default();
        let mut publisher = world.connect("publisher");
        let mut subscriber = world.connect("subscriber");
        world.subscribe(&mut subscriber, ["load/#", "out"], QoS::AtMostOnce);
        let _engine = engine(&world, filters.into_iter(), fields, action);
        // Caches and buffers are filled once.
        (0..3).for_each(|_| world.feed(&mut publisher, &bytes));
        let region = Region::new(ALLOCATOR);
        world.feed(&mut publisher, &bytes);
        allocations.push(region.change().allocations);
        group.bench_function(name, |b| b.iter(|| world.feed(&mut publisher, &bytes)));
    }
    group.finish();
    println!("allocations per message: {allocations:?}");
    assert_eq!(allocations[0], allocations[1], "a rule on another topic allocates");
}

criterion_group!(benches, rules);
criterion_main!(benches);
