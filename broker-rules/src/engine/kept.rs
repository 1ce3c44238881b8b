//! Rules and resources that survive the process: settings of the kinds `rule` and `rule_resource`.

use std::sync::Arc;

use broker_core::{Broker, Saved};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::fault::EngineError;
use super::spec::{ResourceSpec, RuleSpec};

/// What is kept of one.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    /// Its place among the others.
    created_ns: u64,
    spec: T,
}

/// Something as it is kept, once it is made.
pub(super) struct Keep {
    kind: &'static str,
    json: Vec<u8>,
}

impl Keep {
    /// # Errors
    /// It is too large.
    pub(super) fn rule(created_ns: u64, spec: &RuleSpec) -> Result<Self, EngineError> {
        Self::new(RULE, created_ns, spec)
    }

    /// # Errors
    /// It is too large.
    pub(super) fn resource(created_ns: u64, spec: &ResourceSpec) -> Result<Self, EngineError> {
        Self::new(RESOURCE, created_ns, spec)
    }

    fn new<T: Serialize>(
        kind: &'static str,
        created_ns: u64,
        spec: &T,
    ) -> Result<Self, EngineError> {
        let record = Record { created_ns, spec };
        let json = serde_json::to_vec(&record).expect("texts and JSON are JSON");
        if json.len() > BYTES_MAX {
            return Err(EngineError::bad(format!("it takes more than {BYTES_MAX} bytes")));
        }
        // It lies deeper here than in the request, and what cannot be read again would be lost.
        let read: Result<Json, _> = serde_json::from_slice(&json);
        read.map_err(|error| EngineError::bad(format!("it cannot be kept: {error}")))?;
        Ok(Self { kind, json })
    }

    pub(super) fn put(self, broker: &Broker, id: &str) -> Saved {
        broker.put_setting(self.kind, id, &self.json)
    }
}

pub(super) fn remove_rule(broker: &Broker, id: &str) -> Saved {
    broker.remove_setting(RULE, id)
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

/// Of a rule or a resource: nobody writes so much by hand, and all of it is in memory twice.
const BYTES_MAX: usize = 1 << 20;
const RULE: &str = "rule";
const RESOURCE: &str = "rule_resource";
