//! Pace: when the next commit is due.

use std::time::{Duration, Instant};

use broker_core::store::Level;

/// A commit of less than this may be followed by the next one at once: there is little to gather.
const SMALL_BYTES: usize = 16 << 10;
/// With so much gathered the next commit starts at once.
const GATHERED_BYTES: usize = 64 << 10;
/// How long what nobody waits for may gather before it is written.
const LINGER: Duration = Duration::from_millis(5);
/// How long to wait before a full disk is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// When the log is written and synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPolicy {
    /// What is promised where no topic says otherwise. Who waits for more than that gets it.
    pub level: Level,
    /// Longest time between syncs, and at [`Level::Memory`] between writes, while there is something to
    /// sync. Without a meaning at [`Level::Fsync`].
    pub sync_interval: Duration,
    /// Least time between the starts of two commits while more comes in; 0 for none.
    pub pace: Duration,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        Self {
            level: Level::Fsync,
            sync_interval: Duration::from_secs(1),
            pace: Duration::from_millis(1),
        }
    }
}

/// What the decision rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Bytes not yet taken for writing.
    pub(crate) pending_bytes: usize,
    /// Bytes written and not synced.
    pub(crate) held_bytes: usize,
    /// When the oldest of what is pending was appended.
    pub(crate) pending_since: Option<Instant>,
    /// Somebody waits for what is pending, at the level of the policy.
    pub(crate) is_awaited: bool,
    /// Somebody waits for a sync, or for a write.
    pub(crate) wants_sync: bool,
    pub(crate) wants_write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    Commit {
        sync: bool,
    },
    /// Nothing to do until then, or until so many bytes are pending, or somebody asks for more.
    Wait {
        until: Option<Instant>,
        bytes: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Pace {
    policy: CommitPolicy,
    max_unsynced_bytes: usize,
    last_start: Option<Instant>,
    last_bytes: usize,
    last_sync: Option<Instant>,
    /// The disk was full; no attempt before.
    retry_at: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(policy: CommitPolicy, max_unsynced_bytes: usize) -> Self {
        Self {
            policy,
            max_unsynced_bytes,
            last_start: None,
            last_bytes: 0,
            last_sync: None,
            retry_at: None,
        }
    }

    /// A commit of so many bytes starts.
    pub(crate) fn start(&mut self, now: Instant, bytes: usize, syncs: bool) {
        self.last_start = Some(now);
        self.last_bytes = bytes;
        if syncs {
            self.last_sync = Some(now);
        }
        self.retry_at = None;
    }

    /// The disk was full.
    pub(crate) fn retry_later(&mut self, now: Instant) {
        self.retry_at = Some(now + RETRY);
    }

    pub(crate) fn plan(&self, now: Instant, load: Load) -> Plan {
        if let Some(at) = self.retry_at {
            return if now < at {
                Plan::Wait { until: Some(at), bytes: usize::MAX }
            } else {
                Plan::Commit { sync: true }
            };
        }
        if load.wants_sync {
            return Plan::Commit { sync: true };
        }
        if load.pending_bytes + load.held_bytes == 0 {
            return Plan::Wait { until: None, bytes: 1 };
        }
        let sync_at = self.last_sync.map_or(now, |last| last + self.policy.sync_interval);
        let unsynced = load.pending_bytes + load.held_bytes;
        let sync = self.policy.level == Level::Fsync
            || now >= sync_at
            || unsynced > self.max_unsynced_bytes / 2;
        match self.policy.level {
            Level::Memory if sync || load.wants_write => Plan::Commit { sync },
            Level::Memory => {
                let bytes = self.max_unsynced_bytes / 2 - load.held_bytes + 1;
                Plan::Wait { until: Some(sync_at), bytes }
            }
            Level::Written if load.pending_bytes == 0 && !sync => {
                Plan::Wait { until: Some(sync_at), bytes: 1 }
            }
            Level::Written | Level::Fsync => match self.gather_until(now, load) {
                Some(until) => Plan::Wait { until: Some(until), bytes: GATHERED_BYTES },
                None => Plan::Commit { sync },
            },
        }
    }

    /// Until when more should be gathered first.
    ///
    /// What nobody waits for, a subscriber's acknowledgement say, goes with the next commit that somebody
    /// does wait for: a sync of its own would only cost processor time, and wear.
    fn gather_until(&self, now: Instant, load: Load) -> Option<Instant> {
        if load.pending_bytes == 0 || load.pending_bytes >= GATHERED_BYTES {
            return None;
        }
        let until = if load.is_awaited {
            if self.last_bytes < SMALL_BYTES {
                return None;
            }
            self.last_start? + self.policy.pace
        } else {
            load.pending_since? + LINGER
        };
        (now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Load = Load {
        pending_bytes: 0,
        held_bytes: 0,
        pending_since: None,
        is_awaited: false,
        wants_sync: false,
        wants_write: false,
    };

    fn pace(level: Level) -> Pace {
        Pace::new(CommitPolicy { level, ..CommitPolicy::default() }, 1 << 20)
    }

    fn pending(pending_bytes: usize) -> Load {
        Load { pending_bytes, is_awaited: true, ..QUIET }
    }

    #[test]
    fn an_idle_log_commits_at_once_and_a_busy_one_gathers() {
        let now = Instant::now();
        let mut pace = pace(Level::Fsync);
        assert_eq!(pace.plan(now, QUIET), Plan::Wait { until: None, bytes: 1 });
        assert_eq!(pace.plan(now, pending(100)), Plan::Commit { sync: true });

        pace.start(now, 100, true);
        assert_eq!(pace.plan(now, pending(100)), Plan::Commit { sync: true });

        pace.start(now, 40_000, true);
        let until = now + Duration::from_millis(1);
        let gather = Plan::Wait { until: Some(until), bytes: GATHERED_BYTES };
        assert_eq!(pace.plan(now, pending(100)), gather);
        assert_eq!(pace.plan(now, pending(70_000)), Plan::Commit { sync: true });
        assert_eq!(pace.plan(until, pending(100)), Plan::Commit { sync: true });
    }

    #[test]
    fn what_nobody_waits_for_goes_with_the_next_commit_or_a_little_later() {
        let now = Instant::now();
        let mut pace = pace(Level::Fsync);
        pace.start(now, 100, true);
        let load = Load { is_awaited: false, pending_since: Some(now), ..pending(100) };
        let until = now + LINGER;
        let wait = Plan::Wait { until: Some(until), bytes: GATHERED_BYTES };
        assert_eq!(pace.plan(now, load), wait);
        assert_eq!(pace.plan(until, load), Plan::Commit { sync: true });
        let much = Load { pending_bytes: GATHERED_BYTES, ..load };
        assert_eq!(pace.plan(now, much), Plan::Commit { sync: true });
        let awaited = Load { is_awaited: true, ..load };
        assert_eq!(pace.plan(now, awaited), Plan::Commit { sync: true });
    }

    #[test]
    fn level_written_syncs_at_intervals_and_when_asked() {
        let now = Instant::now();
        let mut pace = pace(Level::Written);
        pace.start(now, 100, true);
        assert_eq!(pace.plan(now, pending(100)), Plan::Commit { sync: false });

        let held = Load { held_bytes: 100, ..QUIET };
        let due = now + Duration::from_secs(1);
        assert_eq!(pace.plan(now, held), Plan::Wait { until: Some(due), bytes: 1 });
        assert_eq!(pace.plan(due, held), Plan::Commit { sync: true });
        let asked = Load { wants_sync: true, ..held };
        assert_eq!(pace.plan(now, asked), Plan::Commit { sync: true });
        let much = Load { held_bytes: 600_000, ..QUIET };
        assert_eq!(pace.plan(now, much), Plan::Commit { sync: true });
    }

    #[test]
    fn level_memory_writes_at_intervals_and_when_asked() {
        let now = Instant::now();
        let mut pace = pace(Level::Memory);
        pace.start(now, 100, true);
        let due = now + Duration::from_secs(1);
        let wait = Plan::Wait { until: Some(due), bytes: (1 << 19) + 1 };
        assert_eq!(pace.plan(now, pending(100)), wait);
        assert_eq!(pace.plan(due, pending(100)), Plan::Commit { sync: true });
        assert_eq!(pace.plan(now, pending(600_000)), Plan::Commit { sync: true });
        let asked = Load { wants_write: true, ..pending(100) };
        assert_eq!(pace.plan(now, asked), Plan::Commit { sync: false });
    }

    #[test]
    fn a_full_disk_is_tried_again_after_a_second() {
        let now = Instant::now();
        let mut pace = pace(Level::Fsync);
        pace.start(now, 100, true);
        pace.retry_later(now);
        let wait = Plan::Wait { until: Some(now + RETRY), bytes: usize::MAX };
        assert_eq!(pace.plan(now, pending(1 << 19)), wait);
        assert_eq!(pace.plan(now + RETRY, pending(100)), Plan::Commit { sync: true });
    }
}
