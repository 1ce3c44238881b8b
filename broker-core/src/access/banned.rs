//! Bans by Client Identifier, user name or address, until a time.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;

/// Whom a ban concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A Client Identifier.
    ClientId(Box<str>),
    /// A User Name.
    Username(Box<str>),
    /// An IP address.
    Address(IpAddr),
}

/// One ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// End, milliseconds since the Unix epoch; `u64::MAX` for never.
    pub until_ms: u64,
}

#[derive(Default)]
pub(crate) struct Banned {
    bans: RwLock<Bans>,
}

#[derive(Default)]
struct Bans {
    table: HashMap<Arc<Who>, Ban>,
    /// By when they end, so that the first need not be searched for.
    ends: BTreeSet<(u64, Arc<Who>)>,
}

/// Bans held at most; the one that ends first makes room.
const BANS_MAX: usize = 1_000_000;
/// Bans that are over and that a new one clears away: more than come, so that none gather.
const CLEARED_PER_BAN: usize = 2;

impl Banned {
    pub(crate) fn add(&self, who: Who, ban: Ban, now_ms: u64) {
        self.bans.write().add(who, ban, now_ms, BANS_MAX);
    }

    pub(crate) fn remove(&self, who: &Who) -> bool {
        self.bans.write().remove(who)
    }

    pub(crate) fn list(&self) -> Vec<(Who, Ban)> {
        let bans = self.bans.read();
        bans.table.iter().map(|(who, ban)| (Who::clone(who), ban.clone())).collect()
    }

    pub(crate) fn is_banned(
        &self,
        client_id: &str,
        username: Option<&str>,
        address: Option<IpAddr>,
        now_ms: u64,
    ) -> bool {
        let bans = &self.bans.read().table;
        if bans.is_empty() {
            return false;
        }
        let is_banned = |who: &Who| bans.get(who).is_some_and(|ban| ban.until_ms > now_ms);
        is_banned(&Who::ClientId(client_id.into()))
            || username.is_some_and(|name| is_banned(&Who::Username(name.into())))
            || address.is_some_and(|address| is_banned(&Who::Address(address)))
    }
}

impl Bans {
    fn add(&mut self, who: Who, ban: Ban, now_ms: u64, max: usize) {
        self.remove(&who);
        for _ in 0..CLEARED_PER_BAN {
            let Some((until_ms, _)) = self.ends.first() else { break };
            if *until_ms > now_ms && self.table.len() < max {
                break;
            }
            if let Some((_, who)) = self.ends.pop_first() {
                self.table.remove(&who);
            }
        }
        let who = Arc::new(who);
        self.ends.insert((ban.until_ms, Arc::clone(&who)));
        self.table.insert(who, ban);
    }

    fn remove(&mut self, who: &Who) -> bool {
        let Some((who, ban)) = self.table.remove_entry(who) else { return false };
        self.ends.remove(&(ban.until_ms, who));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: u64) -> Who {
        Who::ClientId(n.to_string().into())
    }

    fn ban(until_ms: u64) -> Ban {
        Ban { reason: String::new(), by: String::new(), until_ms }
    }

    fn names(bans: &Bans) -> Vec<u64> {
        assert_eq!(bans.table.len(), bans.ends.len());
        let number = |who: &Arc<Who>| match &**who {
            Who::ClientId(id) => id.parse().unwrap(),
            other => panic!("{other:?}"),
        };
        let mut names: Vec<u64> = bans.table.keys().map(number).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_ban_that_ends_first_makes_room() {
        let mut bans = Bans::default();
        for (n, until_ms) in [(1, u64::MAX), (2, 300), (3, 200), (4, 400)] {
            bans.add(who(n), ban(until_ms), 0, 3);
        }
        assert_eq!(names(&bans), [1, 2, 4]);
        // One that is there already needs no room, and its old end counts no more.
        bans.add(who(2), ban(500), 0, 3);
        assert_eq!(names(&bans), [1, 2, 4]);
        bans.add(who(5), ban(600), 0, 3);
        assert_eq!(names(&bans), [1, 2, 5]);
        assert!(bans.remove(&who(2)) && !bans.remove(&who(2)));
        assert_eq!(names(&bans), [1, 5]);
    }

    #[test]
    fn bans_that_are_over_are_cleared_away_by_those_that_come() {
        let mut bans = Bans::default();
        for n in 0..1_000 {
            bans.add(who(n), ban(n), 0, 1_000_000);
        }
        for n in 1_000..2_000 {
            bans.add(who(n), ban(u64::MAX), 999, 1_000_000);
        }
        assert_eq!(names(&bans), (1_000..2_000).collect::<Vec<_>>());
    }
}
