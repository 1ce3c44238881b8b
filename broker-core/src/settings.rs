//! Settings: what the control plane has decided and the store keeps, by kind and key.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::broker::Broker;
use crate::outbox::Sink;
use crate::record::Record;
use crate::store::{Level, Lsn};

/// Values by kind and key.
#[derive(Default)]
pub(crate) struct Settings(RwLock<BTreeMap<Box<str>, Kind>>);

/// Values of one kind by key. Accounts are settings, and looked up at each login.
type Kind = BTreeMap<Box<str>, Arc<[u8]>>;

/// A change that was made. Whether it is as safe as it has to be is for [`Broker::is_saved`] to say; by default,
/// nothing was changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "an answer to an operator waits until the change is saved"]
pub struct Saved(pub(crate) Option<(Lsn, Level)>);

/// What waits for the settings of the store.
pub(crate) type SettingsBack = Box<dyn FnOnce(&Broker) + Send>;

impl Settings {
    /// Puts a setting in place that the store had.
    pub(crate) fn restore(&self, kind: &str, key: &str, value: &[u8]) {
        self.0.write().entry(kind.into()).or_default().insert(key.into(), value.into());
    }

    pub(crate) fn all(&self) -> Vec<((Box<str>, Box<str>), Arc<[u8]>)> {
        let mut all = Vec::new();
        for (kind, values) in self.0.read().iter() {
            let placed =
                |(key, value): (&_, &_)| ((kind.clone(), Box::clone(key)), Arc::clone(value));
            all.extend(values.iter().map(placed));
        }
        all
    }
}

impl Broker {
    /// Calls `then` when a store gives the settings back, before it gives back sessions and messages: what settings
    /// say of limits can hold for these too. Without a store to be restored from it is never called.
    pub fn when_settings_are_back(&self, then: impl FnOnce(&Self) + Send + 'static) {
        *self.settings_back.lock() = Some(Box::new(then));
    }

    pub(crate) fn settings_are_back(&self) {
        let then = self.settings_back.lock().take();
        if let Some(then) = then {
            then(self);
        }
    }

    /// Keeps a value of the control plane under a kind (`ban`, `rule`) and a key of that kind.
    pub fn put_setting(&self, kind: &str, key: &str, value: &[u8]) -> Saved {
        self.change_setting(kind, key, Some(value))
    }

    /// Forgets a value. Without one nothing is changed.
    pub fn remove_setting(&self, kind: &str, key: &str) -> Saved {
        self.change_setting(kind, key, None)
    }

    fn change_setting(&self, kind: &str, key: &str, value: Option<&[u8]>) -> Saved {
        let mut settings = self.settings.0.write();
        if value.is_none() && !settings.get(kind).is_some_and(|values| values.contains_key(key)) {
            return Saved(None);
        }
        // In the log before anybody can see it.
        let mut recorder = self.recorder();
        let step = self.next_kept_step();
        recorder.put(&Record::Setting { step, kind, key, value });
        // What an operator decides is worth a sync, whatever messages are.
        let saved = Saved(recorder.hand_over().map(|end| (end, Level::Fsync)));
        let values = settings.entry(kind.into()).or_default();
        match value {
            Some(value) => values.insert(key.into(), value.into()),
            None => values.remove(key),
        };
        saved
    }

    /// The value under a kind and a key.
    #[must_use]
    pub fn setting(&self, kind: &str, key: &str) -> Option<Arc<[u8]>> {
        self.settings.0.read().get(kind)?.get(key).cloned()
    }

    /// All values of a kind, by key.
    #[must_use]
    pub fn settings(&self, kind: &str) -> Vec<(Box<str>, Arc<[u8]>)> {
        let settings = self.settings.0.read();
        let values = settings.get(kind).into_iter().flatten();
        values.map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
    }

    /// How many values a kind has.
    #[must_use]
    pub fn settings_len(&self, kind: &str) -> usize {
        self.settings.0.read().get(kind).map_or(0, Kind::len)
    }

    /// True once a change is safe, or if the broker has no store. A setting is when it would survive a power
    /// cut, anything else when it is as safe as the configuration asks.
    #[must_use]
    pub fn is_saved(&self, saved: Saved) -> bool {
        match (saved.0, self.store()) {
            (Some((end, level)), Some(store)) => end <= store.safe(level),
            _ => true,
        }
    }

    /// Wakes `sink` once a change [is saved](Self::is_saved), perhaps before this returns. If the store fails
    /// it never does.
    pub fn wake_when_saved(&self, saved: Saved, sink: &Arc<dyn Sink>) {
        match (saved.0, self.store()) {
            (Some((end, level)), Some(store)) => {
                store.wake_at(end, level, &mut vec![Arc::clone(sink)]);
            }
            _ => sink.wake(),
        }
    }
}
