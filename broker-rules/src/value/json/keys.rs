//! Keys of JSON objects. Messages of one kind have the same ones, so each thread remembers those it saw last.

use std::cell::RefCell;
use std::sync::Arc;

/// The keys that a thread remembers.
///
/// A place for each hash, and the last key that came has it: nothing is searched and nothing grows.
pub(super) struct Keys([Option<Arc<str>>; PLACES]);

/// Does something with the keys of this thread.
pub(super) fn with<T>(act: impl FnOnce(&mut Keys) -> T) -> T {
    KEYS.with_borrow_mut(act)
}

impl Keys {
    /// The key, as one that is shared with earlier texts if it is remembered.
    pub(super) fn shared(&mut self, key: &str) -> Arc<str> {
        let bytes = key.as_bytes();
        let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return key.into() };
        if bytes.len() > BYTES_MAX {
            return key.into();
        }
        let middle = usize::from(bytes[bytes.len() / 2]);
        let ends = (usize::from(first) * 7) ^ (usize::from(last) * 31);
        let hash = ends ^ (middle * 3) ^ (bytes.len() * 64);
        let place = &mut self.0[hash % PLACES];
        match place {
            Some(known) if **known == *key => Arc::clone(known),
            _ => Arc::clone(place.insert(key.into())),
        }
    }
}

thread_local! {
    static KEYS: RefCell<Keys> = const { RefCell::new(Keys([const { None }; PLACES])) };
}

/// 4 KiB for each thread, and the keys.
const PLACES: usize = 256;
const BYTES_MAX: usize = 64;
