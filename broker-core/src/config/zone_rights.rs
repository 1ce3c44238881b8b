//! What a zone says of rights now, also for clients that came when it said something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::ZoneConfig;

/// Shared by a zone and those that take its place while the broker runs, since clients hold the one they came by.
#[derive(Default)]
pub struct ZoneRights(Arc<AtomicU8>);

/// Nothing is set as long as the zone is the first of its name: its fields count.
const IS_SET: u8 = 1;
const ENABLED: u8 = 2;
const NO_MATCH_ALLOWS: u8 = 4;

impl ZoneConfig {
    /// `enable_acl` as it is now.
    pub(crate) fn asks_rules(&self) -> bool {
        match self.rights.0.load(Ordering::Acquire) {
            0 => self.enable_acl,
            set => set & ENABLED != 0,
        }
    }

    /// `acl_nomatch` as it is now.
    pub(crate) fn allows_without_match(&self) -> bool {
        match self.rights.0.load(Ordering::Acquire) {
            0 => self.acl_nomatch_allow,
            set => set & NO_MATCH_ALLOWS != 0,
        }
    }

    /// Takes the place of a zone: clients of that one have the rights of this from now on. Returns whether they are others.
    pub(crate) fn replace_rights_of(&mut self, old: &Self) -> bool {
        let are_others = (self.enable_acl, self.acl_nomatch_allow)
            != (old.asks_rules(), old.allows_without_match());
        self.rights = ZoneRights(Arc::clone(&old.rights.0));
        if are_others {
            let enabled = if self.enable_acl { ENABLED } else { 0 };
            let no_match = if self.acl_nomatch_allow { NO_MATCH_ALLOWS } else { 0 };
            self.rights.0.store(IS_SET | enabled | no_match, Ordering::Release);
        }
        are_others
    }
}

impl Clone for ZoneRights {
    /// Of another zone, which shares nothing with this.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for ZoneRights {
    /// What zones are set to is in their fields.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for ZoneRights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZoneRights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_by_an_earlier_zone_has_the_rights_of_the_last() {
        let first = ZoneConfig::default();
        let (mut second, mut third) = (first.clone(), first.clone());
        second.max_inflight += 1;
        assert!(!second.replace_rights_of(&first));
        third.acl_nomatch_allow = false;
        assert!(third.replace_rights_of(&second));
        for zone in [&first, &second, &third] {
            assert!(!zone.allows_without_match() && zone.asks_rules());
        }
        let mut fourth = ZoneConfig { enable_acl: false, ..first.clone() };
        assert!(fourth.replace_rights_of(&third));
        for zone in [&first, &second, &third, &fourth] {
            assert!(zone.allows_without_match() && !zone.asks_rules());
        }
        // A copy is another zone, with what its fields say.
        assert!(third.clone().asks_rules());
    }
}
