//! `store`: what the store counts, and a copy of it beside the traffic.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::ports::StoreAdmin;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get, post};

pub(crate) const ROUTES: &[Route] = &[
    get("list_store_stats", "/store/stats", "What the stores of all nodes count", list)
        .unlisted()
        .lists::<NodeStoreStats>(),
    get("get_store_stats", "/nodes/:node/store/stats", "What the store of a node counts", of_node)
        .unlisted()
        .answers::<Counts>(),
    post("backup_store", "/nodes/:node/store/backup", "Copy the store beside the traffic", backup)
        .unlisted()
        .takes::<NewBackup>()
        .answers::<Counts>(),
];

/// The store of a node.
#[derive(Serialize, ToSchema)]
struct NodeStoreStats {
    node: String,
    stats: Counts,
}

/// Numbers by name, as `broker-cli store stats` prints them.
#[derive(Serialize, ToSchema)]
#[schema(value_type = BTreeMap<String, f64>)]
struct Counts(BTreeMap<String, Value>);

/// Where to copy the store to.
#[derive(Deserialize, ToSchema)]
struct NewBackup {
    /// An absolute path on the machine of the broker; empty or not there.
    target: String,
}

fn list(api: &Api, _: &Request) -> Answer {
    let stats = counts(stats(api, &**store(api)?));
    Reply::data([NodeStoreStats { node: api.node.name().to_owned(), stats }])
}

fn of_node(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(counts(stats(api, &**store(api)?)))
}

fn backup(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let NewBackup { target } = request.body()?;
    let store = store(api)?;
    if !Path::new(&target).is_absolute() {
        return Err(ApiError::bad("target", "must be an absolute path"));
    }
    let copied = store.backup(Path::new(&target));
    let copied = copied.map_err(|why| ApiError::new(Code::Unknown, why))?;
    log::info!("store backed up target={target:?}");
    Reply::data(counts(copied))
}

fn store(api: &Api) -> Result<&Arc<dyn StoreAdmin>, ApiError> {
    api.store.as_ref().ok_or_else(|| ApiError::new(Code::Unknown, "the store is off"))
}

/// What the store counts, and what it could be asked for and is in memory as well.
pub(crate) fn stats(api: &Api, store: &dyn StoreAdmin) -> Vec<(String, String)> {
    let mut stats = store.stats();
    stats.push(("bodies_in_memory_bytes".into(), api.broker.queue_bytes().to_string()));
    stats
}

/// Words and values with numbers as numbers.
fn counts(values: Vec<(String, String)>) -> Counts {
    let number = |text: &str| match text.parse::<u64>() {
        Ok(whole) => Some(Number::from(whole)),
        Err(_) => Number::from_f64(text.parse().ok()?),
    };
    let value = |text: String| number(&text).map_or_else(|| Value::String(text), Value::Number);
    Counts(values.into_iter().map(|(word, text)| (word, value(text))).collect())
}
