//! Which plugins are loaded, as far as the configuration does not say: kept in the broker's settings.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker_core::{Broker, Saved};
use serde::{Deserialize, Serialize};

/// What was decided about one plugin while the broker ran; goes before the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub(crate) is_loaded: bool,
    /// Later ones are asked later.
    pub(crate) order: u64,
}

/// The names to be loaded, in order: those of the configuration, then those loaded since.
pub(crate) fn loaded(broker: &Broker, configured: &[String]) -> Vec<String> {
    let decisions = decisions(broker);
    let mut names: Vec<_> =
        configured.iter().filter(|name| !decisions.contains_key(*name)).cloned().collect();
    let mut since: Vec<_> = decisions.iter().filter(|(_, decision)| decision.is_loaded).collect();
    since.sort_by_key(|(_, decision)| decision.order);
    names.extend(since.into_iter().map(|(name, _)| name.clone()));
    names
}

/// Notes a decision, as the last one of all.
pub(crate) fn decide(broker: &Broker, name: &str, is_loaded: bool) -> Saved {
    let last = decisions(broker).values().map(|decision| decision.order).max();
    let decision = Decision { is_loaded, order: last.map_or(0, |last| last + 1) };
    let json = serde_json::to_vec(&decision).expect("a flag and a number are JSON");
    broker.put_setting(KIND, name, &json)
}

/// Waits until a change would survive a power cut. False if that takes too long.
pub(crate) fn wait(broker: &Broker, saved: Saved) -> bool {
    let until = Instant::now() + SAVE_TIMEOUT;
    while !broker.is_saved(saved) {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

fn decisions(broker: &Broker) -> BTreeMap<String, Decision> {
    let read = |(name, json): (Box<str>, std::sync::Arc<[u8]>)| {
        let decision = serde_json::from_slice(&json)
            .inspect_err(|error| log::error!("unreadable state of a plugin name={name}: {error}"));
        Some((name.into_string(), decision.ok()?))
    };
    broker.settings(KIND).into_iter().filter_map(read).collect()
}

const KIND: &str = "plugin";
/// Longer than a disk takes that is alive.
pub(crate) const SAVE_TIMEOUT: Duration = Duration::from_secs(5);
