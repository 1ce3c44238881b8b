//! Alarms: named conditions that stay up until they are over, and a bounded history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// An alarm that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Name, `too_many_open_files`.
    pub id: String,
    /// What is the matter.
    pub description: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// An alarm that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAlarm {
    /// The alarm.
    pub alarm: Alarm,
    /// When it was cleared, milliseconds since the Unix epoch.
    pub cleared_ms: u64,
}

/// The alarms of a broker.
#[derive(Default)]
pub struct Alarms {
    board: Mutex<Board>,
    /// Rises with every change, so that who publishes alarms knows when to look.
    changes: AtomicU64,
}

#[derive(Default)]
struct Board {
    up: BTreeMap<String, Alarm>,
    history: VecDeque<PastAlarm>,
}

const HISTORY: usize = 1000;

impl Alarms {
    /// Raises an alarm, or refreshes the description of one that is up. Returns true if it is new.
    pub fn raise(&self, id: &str, description: impl Into<String>, now_ms: u64) -> bool {
        let description = description.into();
        let mut board = self.board.lock();
        if let Some(alarm) = board.up.get_mut(id) {
            alarm.description = description;
            return false;
        }
        log::warn!("alarm raised id={id} {description}");
        let alarm = Alarm { id: id.to_owned(), description, since_ms: now_ms };
        board.up.insert(id.to_owned(), alarm);
        self.changes.fetch_add(1, Ordering::Release);
        true
    }

    /// Clears an alarm. Returns true if it was up.
    pub fn clear(&self, id: &str, now_ms: u64) -> bool {
        let mut board = self.board.lock();
        let Some(alarm) = board.up.remove(id) else { return false };
        log::info!("alarm cleared id={id}");
        if board.history.len() >= HISTORY {
            board.history.pop_front();
        }
        board.history.push_back(PastAlarm { alarm, cleared_ms: now_ms });
        self.changes.fetch_add(1, Ordering::Release);
        true
    }

    /// Alarms that are up, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Alarm> {
        self.board.lock().up.values().cloned().collect()
    }

    /// Alarms that are over, oldest first; the last thousand.
    #[must_use]
    pub fn history(&self) -> Vec<PastAlarm> {
        self.board.lock().history.iter().cloned().collect()
    }

    /// Forgets the alarms that are over.
    pub fn forget_history(&self) {
        self.board.lock().history.clear();
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_latched_and_its_history_bounded() {
        let alarms = Alarms::default();
        assert!(alarms.raise("a", "first", 1));
        assert!(!alarms.raise("a", "again", 2));
        assert_eq!(alarms.list()[0].description, "again");
        assert_eq!(alarms.list()[0].since_ms, 1);
        for n in 0..HISTORY as u64 + 5 {
            alarms.raise("a", "x", n);
            assert!(alarms.clear("a", n));
        }
        assert!(!alarms.clear("a", 0));
        assert_eq!(alarms.history().len(), HISTORY);
        alarms.forget_history();
        assert_eq!(alarms.history(), []);
    }
}
