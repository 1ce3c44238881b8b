//! Rules and resources that survive the process: settings of the kinds `rule` and `rule_resource`.

use std::sync::Arc;

use broker_core::{Broker, Saved};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::spec::{ResourceSpec, RuleSpec};

/// What is kept of one.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    /// Its place among the others.
    created_ns: u64,
    spec: T,
}

pub(super) fn put_rule(broker: &Broker, id: &str, created_ns: u64, spec: &RuleSpec) -> Saved {
    put(broker, RULE, id, created_ns, spec)
}

pub(super) fn remove_rule(broker: &Broker, id: &str) -> Saved {
    broker.remove_setting(RULE, id)
}

pub(super) fn put_resource(
    broker: &Broker,
    id: &str,
    created_ns: u64,
    spec: &ResourceSpec,
) -> Saved {
    put(broker, RESOURCE, id, created_ns, spec)
}

pub(super) fn remove_resource(broker: &Broker, id: &str) -> Saved {
    broker.remove_setting(RESOURCE, id)
}

/// Rules in the order of their creation.
pub(super) fn rules(broker: &Broker) -> Vec<(u64, RuleSpec)> {
    all(broker, RULE)
}

/// Resources likewise.
pub(super) fn resources(broker: &Broker) -> Vec<(u64, ResourceSpec)> {
    all(broker, RESOURCE)
}

fn put<T: Serialize>(broker: &Broker, kind: &str, id: &str, created_ns: u64, spec: &T) -> Saved {
    let json = serde_json::to_vec(&Record { created_ns, spec }).expect("texts and JSON are JSON");
    broker.put_setting(kind, id, &json)
}

fn all<T: DeserializeOwned>(broker: &Broker, kind: &str) -> Vec<(u64, T)> {
    let read = |(id, json): (Box<str>, Arc<[u8]>)| {
        let record = serde_json::from_slice::<Record<T>>(&json)
            .inspect_err(|error| log::error!("unreadable {kind} id={id:?}: {error}"));
        record.ok().map(|record| (record.created_ns, record.spec))
    };
    let mut all: Vec<_> = broker.settings(kind).into_iter().filter_map(read).collect();
    all.sort_by_key(|(created_ns, _)| *created_ns);
    all
}

const RULE: &str = "rule";
const RESOURCE: &str = "rule_resource";
