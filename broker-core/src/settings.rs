//! Settings: what the control plane has decided and the store keeps, by kind and key.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::broker::Broker;
use crate::record::Record;
use crate::store::{Level, Lsn};

/// Values by kind and key.
#[derive(Default)]
pub(crate) struct Settings(Mutex<BTreeMap<(Box<str>, Box<str>), Arc<[u8]>>>);

/// A change that was made. Whether it would survive is for [`Broker::is_saved`] to say; by default, nothing was
/// changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "an answer to an operator waits until the change is saved"]
pub struct Saved(pub(crate) Option<Lsn>);

impl Settings {
    /// Puts a setting in place that the store had.
    pub(crate) fn restore(&self, kind: &str, key: &str, value: &[u8]) {
        self.0.lock().insert((kind.into(), key.into()), value.into());
    }

    pub(crate) fn all(&self) -> Vec<((Box<str>, Box<str>), Arc<[u8]>)> {
        let settings = self.0.lock();
        settings.iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
    }
}

impl Broker {
    /// Keeps a value of the control plane under a kind (`ban`, `rule`) and a key of that kind.
    pub fn put_setting(&self, kind: &str, key: &str, value: &[u8]) -> Saved {
        self.change_setting(kind, key, Some(value))
    }

    /// Forgets a value. Without one nothing is changed.
    pub fn remove_setting(&self, kind: &str, key: &str) -> Saved {
        self.change_setting(kind, key, None)
    }

    fn change_setting(&self, kind: &str, key: &str, value: Option<&[u8]>) -> Saved {
        let mut settings = self.settings.0.lock();
        let place = (kind.into(), key.into());
        if value.is_none() && !settings.contains_key(&place) {
            return Saved(None);
        }
        // In the log before anybody can see it.
        let mut recorder = self.recorder();
        let step = self.next_kept_step();
        recorder.put(&Record::Setting { step, kind, key, value });
        let saved = Saved(recorder.hand_over());
        match value {
            Some(value) => settings.insert(place, value.into()),
            None => settings.remove(&place),
        };
        saved
    }

    /// The value under a kind and a key.
    #[must_use]
    pub fn setting(&self, kind: &str, key: &str) -> Option<Arc<[u8]>> {
        self.settings.0.lock().get(&(kind.into(), key.into()) as &(Box<str>, Box<str>)).cloned()
    }

    /// All values of a kind, by key.
    #[must_use]
    pub fn settings(&self, kind: &str) -> Vec<(Box<str>, Arc<[u8]>)> {
        let of_kind = |((its_kind, key), value): ((Box<str>, Box<str>), _)| {
            (*its_kind == *kind).then_some((key, value))
        };
        self.settings.all().into_iter().filter_map(of_kind).collect()
    }

    /// True once a change would survive a power cut, or if the broker has no store.
    #[must_use]
    pub fn is_saved(&self, saved: Saved) -> bool {
        match (saved.0, self.store()) {
            (Some(end), Some(store)) => end <= store.safe(Level::Fsync),
            _ => true,
        }
    }
}
