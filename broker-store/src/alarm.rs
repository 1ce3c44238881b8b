//! Alarms: what an operator should know of the store, told once when it begins and once when it is over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Syncs take long.
pub const STORE_SLOW: &str = "store_slow";
/// The log takes four fifths of what it may.
pub const STORE_DISK_LOW: &str = "store_disk_low";
/// No room: what must be kept is refused.
pub const STORE_FULL: &str = "store_full";
/// The disk failed once; the log went on in another file.
pub const STORE_IO_ERROR: &str = "store_io_error";
/// The disk fails: nothing more is kept.
pub const STORE_FAILED: &str = "store_failed";
/// Something that had been kept cannot be read any more.
pub const STORE_DAMAGED: &str = "store_damaged";
/// No snapshot can be written, so the log only grows.
pub const STORE_SNAPSHOT_FAILED: &str = "store_snapshot_failed";
/// The end of the log was cut: what had not been acknowledged. Cleared by hand.
pub const STORE_TAIL_CUT: &str = "store_tail_cut";

/// An alarm begins or is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmChange {
    /// Its name, `store_full`.
    pub name: &'static str,
    /// What is the matter; `None` if it is over.
    pub raised: Option<String>,
}

/// Is told of alarms. Called from threads of the store; must not wait.
pub type OnAlarm = Box<dyn Fn(AlarmChange) + Send + Sync>;

/// The alarms of one store.
#[derive(Clone, Default)]
pub struct Alarms(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    up: BTreeMap<&'static str, String>,
    on_change: Option<Arc<OnAlarm>>,
}

impl fmt::Debug for Alarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0.lock().up).finish()
    }
}

impl Alarms {
    /// Tells `on_change` of all that are up, and from now on of what changes.
    pub(crate) fn listen(&self, on_change: OnAlarm) {
        let on_change = Arc::new(on_change);
        let up = {
            let mut board = self.0.lock();
            board.on_change = Some(on_change.clone());
            board.up.clone()
        };
        for (name, why) in up {
            on_change(AlarmChange { name, raised: Some(why) });
        }
    }

    /// Raises an alarm. One that is up is told again only if it says something else.
    pub(crate) fn raise(&self, name: &'static str, why: impl Into<String>) {
        let why = why.into();
        let mut board = self.0.lock();
        if board.up.get(name) == Some(&why) {
            return;
        }
        if board.up.insert(name, why.clone()).is_none() {
            log::warn!("{name}: {why}");
        }
        let on_change = board.on_change.clone();
        drop(board);
        tell(on_change, AlarmChange { name, raised: Some(why) });
    }

    /// Raises an alarm, or adds to what it says.
    pub(crate) fn raise_more(&self, name: &'static str, why: &str) {
        let said = self.0.lock().up.get(name).cloned();
        self.raise(name, said.map_or_else(|| why.to_owned(), |said| format!("{said}; {why}")));
    }

    /// It is over.
    pub(crate) fn clear(&self, name: &'static str) {
        let mut board = self.0.lock();
        if board.up.remove(name).is_some() {
            log::info!("{name} is over");
            let on_change = board.on_change.clone();
            drop(board);
            tell(on_change, AlarmChange { name, raised: None });
        }
    }

    pub(crate) fn is_up(&self, name: &str) -> bool {
        self.0.lock().up.contains_key(name)
    }

    /// Those that are up, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(&'static str, String)> {
        self.0.lock().up.iter().map(|(name, why)| (*name, why.clone())).collect()
    }
}

/// Without a lock: who listens may let go of the broker, and with it of this store.
fn tell(on_change: Option<Arc<OnAlarm>>, change: AlarmChange) {
    if let Some(on_change) = on_change {
        on_change(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_what_is_up_and_then_what_changes() {
        let (alarms, heard) = (Alarms::default(), Arc::new(Mutex::new(Vec::new())));
        alarms.raise(STORE_FULL, "a");
        let ear = heard.clone();
        alarms.listen(Box::new(move |change| ear.lock().push((change.name, change.raised))));
        alarms.raise(STORE_FULL, "a");
        alarms.clear(STORE_SLOW);
        alarms.clear(STORE_FULL);
        let expected = [(STORE_FULL, Some("a".to_owned())), (STORE_FULL, None)];
        assert_eq!(*heard.lock(), expected);
        assert!(alarms.list().is_empty());
    }
}
