//! What the store is opened with: `[store]`, and those of `[durability]` that the core does not need to know.

use std::path::PathBuf;

use broker_core::store::Level;

use super::field::{Field, Refusal, Word, check_topic_filter};
use super::value::{Value, quote};

/// Settings of the store.
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    /// `store.enabled`: without it nothing is kept and nothing waits.
    pub(crate) enabled: bool,
    /// `node.data_dir`: the store lives there.
    pub(crate) dir: PathBuf,
    /// `durability.sync_interval` in milliseconds.
    pub(crate) sync_interval_ms: u64,
    /// `durability.on_failure`.
    pub(crate) on_failure: OnFailure,
    /// `durability.on_damage`.
    pub(crate) on_damage: OnDamage,
    /// `store.segment_bytes`; at least four times the largest packet of any zone.
    pub(crate) segment_bytes: u64,
    /// `store.spare_segments`.
    pub(crate) spare_segments: u32,
    /// `store.snapshot_log_bytes`.
    pub(crate) snapshot_log_bytes: u64,
    /// `store.log_min_bytes`.
    pub(crate) log_min_bytes: u64,
    /// `store.max_log_bytes`.
    pub(crate) max_log_bytes: u64,
    /// `store.min_free_bytes`.
    pub(crate) min_free_bytes: u64,
    /// `store.compact_bytes_per_s`.
    pub(crate) compact_bytes_per_s: u64,
    /// `store.memory_bytes`; 0 for a quarter of the machine's memory.
    pub(crate) memory_bytes: u64,
    /// `store.max_unsynced_bytes`.
    pub(crate) max_unsynced_bytes: u64,
    /// `store.commit_pace` in milliseconds; 0 for none.
    pub(crate) commit_pace_ms: u64,
    /// `store.slow_sync` in milliseconds.
    pub(crate) slow_sync_ms: u64,
}

/// What follows when nothing can be written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// What would have to be kept is refused; the rest goes on.
    ReadOnly,
    /// The broker ends.
    Exit,
}

/// What follows when data that had been safe is found damaged at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDamage {
    /// The broker starts without it, and says what is missing.
    Start,
    /// The broker does not start.
    Stop,
}

impl StoreConfig {
    /// Bytes of a segment that one packet, or the table of sessions, may take.
    pub(crate) fn piece_bytes(&self) -> u64 {
        self.segment_bytes / PIECES_PER_SEGMENT
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: PathBuf::new(),
            sync_interval_ms: 1_000,
            on_failure: OnFailure::ReadOnly,
            on_damage: OnDamage::Start,
            segment_bytes: 64 << 20,
            spare_segments: 8,
            snapshot_log_bytes: 256 << 20,
            log_min_bytes: 1 << 30,
            max_log_bytes: 16 << 30,
            min_free_bytes: 1 << 30,
            compact_bytes_per_s: 32 << 20,
            memory_bytes: 0,
            max_unsynced_bytes: 64 << 20,
            commit_pace_ms: 1,
            slow_sync_ms: 100,
        }
    }
}

/// One item of `durability.topics`: a Topic Filter and a level.
impl Word for (String, Level) {
    fn to_word(&self) -> String {
        format!("{} {}", self.0, self.1.to_word())
    }

    /// The level is the last word: a Topic Filter may hold spaces, but for its ends here.
    fn from_word(word: &str) -> Result<Self, String> {
        let (filter, level) = word.trim_end().rsplit_once(' ').ok_or("names no level")?;
        let level = Level::from_word(level).map_err(|_| format!("{} is no level", quote(level)))?;
        let filter = filter.trim();
        check_topic_filter(filter)?;
        if filter.starts_with("$share/") {
            return Err(format!(
                "{}: messages are published to topics, not to groups",
                quote(filter)
            ));
        }
        Ok((filter.to_owned(), level))
    }
}

/// `durability.topics` as the field takes it: each filter once.
pub(crate) fn parse_topics(value: Value) -> Result<Vec<(String, Level)>, Vec<Refusal>> {
    let topics: Vec<(String, Level)> = Field::parse(value)?;
    let twice = topics
        .iter()
        .enumerate()
        .filter(|(i, (filter, _))| topics[..*i].iter().any(|(earlier, _)| earlier == filter));
    let refusals: Vec<_> = twice
        .map(|(i, (filter, _))| Refusal {
            item: Some(i),
            detail: format!("{} is there twice", quote(filter)),
        })
        .collect();
    if refusals.is_empty() { Ok(topics) } else { Err(refusals) }
}

/// A packet lies in one frame, and a frame may take half a segment; the other half leaves room beside it.
const PIECES_PER_SEGMENT: u64 = 4;
