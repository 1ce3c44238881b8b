//! Passwords that were right: a slow hash need not be made again as long as the process lives and the account
//! stays as it is. Kept are MACs under a key that nobody else has.

use std::collections::HashMap;

use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;

pub(super) struct Proven {
    key: hmac::Key,
    /// By name.
    tags: Mutex<HashMap<Box<str>, hmac::Tag>>,
}

impl Proven {
    /// `None` if the system gives no random numbers.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { key, tags: Mutex::default() })
    }

    /// Whether the password was right for what is stored now.
    pub(super) fn knows(&self, name: &str, stored: &[u8], password: &[u8]) -> bool {
        // Copied out, so that nobody waits for the MAC.
        let Some(tag) = self.tags.lock().get(name).copied() else { return false };
        hmac::verify(&self.key, &message(stored, password), tag.as_ref()).is_ok()
    }

    pub(super) fn learn(&self, name: &str, stored: &[u8], password: &[u8]) {
        let tag = hmac::sign(&self.key, &message(stored, password));
        let mut tags = self.tags.lock();
        if tags.len() >= PROVEN_MAX && !tags.contains_key(name) {
            // Any: it will be hashed again.
            let any = tags.keys().next().cloned();
            any.and_then(|name| tags.remove(&name));
        }
        tags.insert(name.into(), tag);
    }

    pub(super) fn forget(&self, name: &str) {
        self.tags.lock().remove(name);
    }
}

/// What is stored has its salt in it, so it stands for its account. Its length keeps the two apart.
fn message(stored: &[u8], password: &[u8]) -> Vec<u8> {
    [&(stored.len() as u64).to_be_bytes(), stored, password].concat()
}

/// Some 10 MB.
const PROVEN_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proven_holds_for_what_is_stored() {
        let proven = Proven::new().unwrap();
        assert!(!proven.knows("a", b"stored", b"secret"));
        proven.learn("a", b"stored", b"secret");
        assert!(proven.knows("a", b"stored", b"secret"));
        assert!(!proven.knows("a", b"stored", b"Secret"));
        assert!(!proven.knows("a", b"storedsecret", b""));
        assert!(!proven.knows("a", b"other", b"secret"), "the account was changed");
        assert!(!proven.knows("b", b"stored", b"secret"));
        proven.forget("a");
        assert!(!proven.knows("a", b"stored", b"secret"));
    }

    #[test]
    fn the_table_is_bounded() {
        let proven = Proven::new().unwrap();
        for n in 0..PROVEN_MAX + 2 {
            proven.tags.lock().insert(n.to_string().into(), hmac::sign(&proven.key, b""));
        }
        proven.learn("a", b"stored", b"secret");
        assert_eq!(proven.tags.lock().len(), PROVEN_MAX + 2);
        assert!(proven.knows("a", b"stored", b"secret"));
    }
}
