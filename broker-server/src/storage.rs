//! Storage: the embedded store of this broker, opened, restored from and closed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use broker_core::store::{Level, State, Store};
use broker_core::{Broker, Report, Severity};
use broker_mgmt::ports::{StoreAdmin, StoreDurations};
use broker_net::clock;
use broker_store::alarm::{
    AlarmChange, STORE_DAMAGED, STORE_FAILED, STORE_FULL, STORE_IO_ERROR, STORE_SNAPSHOT_FAILED,
};
use broker_store::files::RealFiles;
use broker_store::inspect::Inspection;
use broker_store::stats::Durations;
use broker_store::{EmbeddedStore, FolderLock, StoreOptions, StoreStats};
use parking_lot::Mutex;

use crate::config::{OnDamage, OnFailure, StoreConfig};
use crate::monitor::machine;

/// The store, until the broker stops.
pub(crate) struct Storage {
    store: Arc<EmbeddedStore>,
    exits_on_failure: bool,
}

impl Storage {
    /// Opens the store, if there is to be one.
    pub(crate) fn open(config: &StoreConfig, level: Level) -> anyhow::Result<Option<Self>> {
        if !config.enabled {
            log::warn!("store.enabled = false: nothing survives the process");
            return Ok(None);
        }
        let store = EmbeddedStore::open(options(config), level)?;
        Ok(Some(Self { store, exits_on_failure: config.on_failure == OnFailure::Exit }))
    }

    /// What the broker is built with.
    pub(crate) fn port(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Gives the broker back what was kept, and begins the housekeeping.
    pub(crate) fn start(&self, broker: &Arc<Broker>) -> anyhow::Result<()> {
        let (opened, restored) = self.store.restore(broker, clock::now())?;
        log::info!(
            "restored sessions={} subscriptions={} queued={} retained={} delayed={} lost={} frames={} time_ms={}",
            restored.sessions,
            restored.subscriptions,
            restored.queued,
            restored.retained,
            restored.delayed,
            restored.lost,
            opened.recovery.frames,
            opened.took.as_millis()
        );
        let as_state: Arc<dyn State> = broker.clone();
        let weak = Arc::downgrade(broker);
        let exits = self.exits_on_failure;
        let on_alarm = move |AlarmChange { name, raised }: AlarmChange| {
            let now_ms = clock::now().wall_ms;
            if let Some(broker) = weak.upgrade() {
                match raised {
                    Some(why) => {
                        let report = Report::new(severity(name), "", why);
                        broker.alarms().raise(name, report, now_ms);
                    }
                    None => drop(broker.alarms().clear(name, now_ms)),
                }
            }
            if exits && name == STORE_FAILED {
                log::error!("the store has failed and durability.on_failure is exit");
                std::process::exit(1);
            }
        };
        self.store.start(Arc::downgrade(&as_state), Box::new(on_alarm))?;
        Ok(())
    }

    /// What the management API may ask of it.
    pub(crate) fn admin(&self) -> Arc<dyn StoreAdmin> {
        Arc::new(Orders { store: self.store.clone(), backup: Mutex::default() })
    }

    /// Ends backups at work, before whoever waits for them is waited for.
    pub(crate) fn cancel_backups(&self) {
        self.store.cancel_backups();
    }

    /// Makes everything firm and gives the folder up, after the broker has stopped.
    pub(crate) fn close(&self) -> anyhow::Result<()> {
        self.store.close().context("closing the store")
    }
}

/// How bad an alarm of the store is.
fn severity(name: &str) -> Severity {
    match name {
        STORE_FAILED | STORE_FULL => Severity::Critical,
        STORE_DAMAGED | STORE_IO_ERROR | STORE_SNAPSHOT_FAILED => Severity::Error,
        _ => Severity::Warning,
    }
}

struct Orders {
    store: Arc<EmbeddedStore>,
    /// Held while a backup is made: two would only make each other slow.
    backup: Mutex<()>,
}

impl StoreAdmin for Orders {
    fn stats(&self) -> Vec<(String, String)> {
        self.store.stats().map(|stats| stats.values()).unwrap_or_default()
    }

    fn durations(&self) -> Vec<StoreDurations> {
        let Some(StoreStats { log, .. }) = self.store.stats() else { return Vec::new() };
        vec![
            durations("sync", "Of each sync of the log.", &log.sync_us),
            durations(
                "commit_wait",
                "From the first record of each sync to the end of that sync.",
                &log.commit_wait_us,
            ),
        ]
    }

    fn backup(&self, target: &Path) -> Result<Vec<(String, String)>, String> {
        let Some(_one) = self.backup.try_lock() else {
            return Err("another backup is at work".to_owned());
        };
        let made = self.store.backup(target);
        made.map(|manifest| manifest.values()).map_err(|error| error.to_string())
    }
}

fn durations(name: &'static str, help: &'static str, of: &Durations) -> StoreDurations {
    let last = of.buckets.len() - 1;
    let bound = |at: usize| (at < last).then_some(1 << at);
    let buckets = of.buckets.iter().enumerate().map(|(at, n)| (bound(at), *n)).collect();
    StoreDurations { name, help, buckets, sum_us: of.sum_us }
}

/// Reads every checksum of the store that no broker is at work on. What is wrong is the error.
pub(crate) fn check(config: &StoreConfig) -> anyhow::Result<String> {
    // A folder that nobody has run a broker on stays as it is: a backup knows itself by that.
    let _lock = FolderLock::take_existing(&config.dir)?;
    let inspection = Inspection::open(Arc::new(RealFiles), &config.dir)?;
    let found = inspection.verify()?;
    let mut text = format!(
        "{}: {} snapshots, {} frames, {} bytes\n",
        config.dir.display(),
        found.snapshots,
        found.frames,
        found.frame_bytes
    );
    for (kind, count) in &found.records {
        text.push_str(&format!("{kind:<16} {count:>10}\n"));
    }
    for cut in &found.cut {
        text.push_str(&format!(
            "the end of the log was not finished: segment {} offset {} bytes {}\n",
            cut.segment, cut.offset, cut.bytes
        ));
    }
    if !found.faults.is_empty() {
        bail!("{text}{}", found.faults.join("\n"));
    }
    Ok(text)
}

/// Bytes that queued messages may take in memory: as configured, or a quarter of what there is.
pub(crate) fn queue_memory_bytes(config: &StoreConfig) -> anyhow::Result<u64> {
    if config.memory_bytes > 0 {
        return Ok(config.memory_bytes);
    }
    machine::memory().map(|(_, bytes)| bytes / 4).ok_or_else(|| {
        anyhow!("store.memory_bytes: how much memory there is cannot be found out; give a number")
    })
}

fn options(config: &StoreConfig) -> StoreOptions {
    StoreOptions {
        segment_bytes: config.segment_bytes,
        spare_segments: config.spare_segments as usize,
        snapshot_log_bytes: config.snapshot_log_bytes,
        log_min_bytes: config.log_min_bytes,
        max_log_bytes: config.max_log_bytes,
        min_free_bytes: config.min_free_bytes,
        compact_bytes_per_s: config.compact_bytes_per_s,
        max_unsynced_bytes: config.max_unsynced_bytes as usize,
        commit_pace_us: config.commit_pace_ms * 1000,
        slow_sync_ms: config.slow_sync_ms,
        sync_interval_ms: config.sync_interval_ms,
        stop_on_damage: config.on_damage == OnDamage::Stop,
        ..StoreOptions::new(&config.dir)
    }
}
