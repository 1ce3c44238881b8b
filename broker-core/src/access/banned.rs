//! Bans by Client Identifier, user name, address or block of addresses, until a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;

use super::network::{Network, NetworkError};
use crate::client::ClientInfo;
use crate::directory::{Directory, Entry, Start};

/// Whom a ban concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A Client Identifier.
    ClientId(Box<str>),
    /// A User Name.
    Username(Box<str>),
    /// An IP address.
    Address(IpAddr),
    /// A block of IP addresses.
    Network(Network),
}

/// One ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Why, if that was said.
    pub reason: Option<String>,
    /// What else there is to say.
    pub desc: Option<String>,
    /// Who says so.
    pub by: Option<String>,
    /// End, milliseconds since the Unix epoch; `u64::MAX` for never.
    pub until_ms: u64,
}

#[derive(Default)]
pub(crate) struct Banned {
    bans: RwLock<Bans>,
}

#[derive(Default)]
struct Bans {
    table: HashMap<Arc<Who>, (u64, Ban)>,
    /// By when they end, so that the first need not be searched for.
    ends: BTreeSet<(u64, Arc<Who>)>,
    /// In the order in which they came.
    order: Directory<Listed>,
    last_number: u64,
    /// How many blocks of which length there are: an address asks once for each length.
    lengths: BTreeMap<(Family, u8), usize>,
}

/// True for IPv4.
type Family = bool;

struct Listed {
    number: u64,
    who: Arc<Who>,
}

/// Bans held at most; the one that ends first makes room.
const BANS_MAX: usize = 1_000_000;

impl Entry for Listed {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.number
    }
}

impl Who {
    /// An address or a block of addresses, as `10.0.0.1` or `10.0.0.0/8` writes it.
    ///
    /// # Errors
    /// The text is neither.
    pub fn at(text: &str) -> Result<Self, NetworkError> {
        Ok(Self::Network(text.parse()?).canonical())
    }

    /// True if the client is concerned.
    #[must_use]
    pub fn concerns(&self, client: &ClientInfo) -> bool {
        let address = || client.peer.map(|peer| peer.ip().to_canonical());
        match self {
            Self::ClientId(id) => client.client_id.as_str() == &**id,
            Self::Username(name) => client.username.as_deref() == Some(name),
            Self::Address(banned) => address() == Some(banned.to_canonical()),
            Self::Network(block) => address().is_some_and(|address| block.contains(address)),
        }
    }

    /// The same in one way: an address has several.
    pub(crate) fn canonical(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.to_canonical()),
            Self::Network(block) if block.is_single() => Self::Address(block.address()),
            who => who,
        }
    }
}

impl Ban {
    /// A ban that ends at `until_ms`, with nothing said about it.
    #[must_use]
    pub const fn until(until_ms: u64) -> Self {
        Self { reason: None, desc: None, by: None, until_ms }
    }
}

impl Banned {
    /// Adds or replaces a ban. Returns the one that had to make room, if there are too many.
    pub(crate) fn add(&self, who: Who, ban: Ban) -> Option<Arc<Who>> {
        self.bans.write().add(who.canonical(), ban, BANS_MAX)
    }

    pub(crate) fn remove(&self, who: &Who) -> bool {
        self.bans.write().remove(who)
    }

    /// Removes at most `max` bans that are over by `now_ms`.
    pub(crate) fn remove_ended(&self, now_ms: u64, max: usize) -> Vec<Arc<Who>> {
        if self.first_end_ms().is_none_or(|end_ms| end_ms > now_ms) {
            return Vec::new();
        }
        let mut bans = self.bans.write();
        let ended = bans.ends.iter().take_while(|(until_ms, _)| *until_ms <= now_ms).take(max);
        let ended: Vec<_> = ended.map(|(_, who)| Arc::clone(who)).collect();
        ended.iter().for_each(|who| {
            bans.remove(who);
        });
        ended
    }

    /// When the first of them ends, milliseconds since the Unix epoch; `None` if none does.
    pub(crate) fn first_end_ms(&self) -> Option<u64> {
        let bans = self.bans.read();
        bans.ends.first().map(|(until_ms, _)| *until_ms).filter(|until_ms| *until_ms < u64::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.bans.read().table.len()
    }

    /// At most `n` bans in order.
    pub(crate) fn page(&self, start: Start<'_, u64>, n: usize) -> Vec<(u64, Arc<Who>, Ban)> {
        let bans = self.bans.read();
        let listed = bans.order.from(start).take(n);
        let with_ban = |listed: &Listed| {
            let (number, ban) = bans.table.get(&listed.who)?;
            Some((*number, Arc::clone(&listed.who), ban.clone()))
        };
        listed.filter_map(with_ban).collect()
    }

    pub(crate) fn is_banned(
        &self,
        client_id: &str,
        username: Option<&str>,
        address: Option<IpAddr>,
        now_ms: u64,
    ) -> bool {
        let bans = self.bans.read();
        if bans.table.is_empty() {
            return false;
        }
        let is_banned =
            |who: Who| bans.table.get(&who).is_some_and(|(_, ban)| ban.until_ms > now_ms);
        let is_banned_at = |address: IpAddr| {
            let address = address.to_canonical();
            let family = (address.is_ipv4(), 0)..=(address.is_ipv4(), u8::MAX);
            let mut lengths = bans.lengths.range(family).map(|((_, length), _)| *length);
            is_banned(Who::Address(address))
                || lengths.any(|length| {
                    Network::new(address, length)
                        .is_some_and(|block| is_banned(Who::Network(block)))
                })
        };
        is_banned(Who::ClientId(client_id.into()))
            || username.is_some_and(|name| is_banned(Who::Username(name.into())))
            || address.is_some_and(is_banned_at)
    }

    /// The same of a client that is known.
    pub(crate) fn is_client_banned(&self, client: &ClientInfo, now_ms: u64) -> bool {
        let address = client.peer.map(|peer| peer.ip());
        self.is_banned(client.client_id.as_str(), client.username.as_deref(), address, now_ms)
    }
}

impl Bans {
    fn add(&mut self, who: Who, ban: Ban, max: usize) -> Option<Arc<Who>> {
        if let Some((who, (_, old))) = self.table.get_key_value(&who) {
            // It keeps its place.
            let who = Arc::clone(who);
            self.ends.remove(&(old.until_ms, Arc::clone(&who)));
            self.ends.insert((ban.until_ms, Arc::clone(&who)));
            self.table.entry(who).and_modify(|(_, old)| *old = ban);
            return None;
        }
        let first = self.ends.first().filter(|_| self.table.len() >= max);
        let first = first.map(|(_, who)| Arc::clone(who));
        if let Some(first) = &first {
            self.remove(first);
        }
        let who = Arc::new(who);
        self.last_number += 1;
        let number = self.last_number;
        if let Some(length) = length_of(&who) {
            *self.lengths.entry(length).or_default() += 1;
        }
        self.ends.insert((ban.until_ms, Arc::clone(&who)));
        self.order.insert(Listed { number, who: Arc::clone(&who) });
        self.table.insert(who, (number, ban));
        first
    }

    fn remove(&mut self, who: &Who) -> bool {
        let Some((who, (number, ban))) = self.table.remove_entry(who) else { return false };
        if let Some(length) = length_of(&who)
            && let Some(n) = self.lengths.get_mut(&length)
        {
            *n -= 1;
            if *n == 0 {
                self.lengths.remove(&length);
            }
        }
        self.ends.remove(&(ban.until_ms, who));
        self.order.remove(&number);
        true
    }
}

fn length_of(who: &Who) -> Option<(Family, u8)> {
    match who {
        Who::Network(block) => Some((block.address().is_ipv4(), block.prefix())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: u64) -> Who {
        Who::ClientId(n.to_string().into())
    }

    /// Those held, in order.
    fn names(bans: &Bans) -> Vec<String> {
        assert_eq!(bans.table.len(), bans.ends.len());
        assert_eq!(bans.table.len(), bans.order.len());
        let name = |listed: &Listed| match &*listed.who {
            Who::ClientId(id) => id.to_string(),
            other => panic!("{other:?}"),
        };
        bans.order.iter().map(name).collect()
    }

    #[test]
    fn the_ban_that_ends_first_makes_room() {
        let mut bans = Bans::default();
        for (n, until_ms) in [(1, u64::MAX), (2, 300), (3, 200), (4, 400)] {
            bans.add(who(n), Ban::until(until_ms), 3);
        }
        assert_eq!(names(&bans), ["1", "2", "4"]);
        // One that is there already needs no room and keeps its place; its old end counts no more.
        assert_eq!(bans.add(who(2), Ban::until(500), 3), None);
        assert_eq!(names(&bans), ["1", "2", "4"]);
        assert_eq!(bans.add(who(5), Ban::until(600), 3), Some(Arc::new(who(4))));
        assert_eq!(names(&bans), ["1", "2", "5"]);
        assert!(bans.remove(&who(2)) && !bans.remove(&who(2)));
        assert_eq!(names(&bans), ["1", "5"]);
    }

    #[test]
    fn bans_that_are_over_are_cleared_away_a_few_at_a_time() {
        let banned = Banned::default();
        for n in 0..1_000 {
            banned.add(who(n), Ban::until(if n % 2 == 0 { n } else { u64::MAX }));
        }
        assert_eq!(banned.first_end_ms(), Some(0));
        assert_eq!(banned.remove_ended(99, 30).len(), 30);
        assert_eq!(banned.remove_ended(99, 30).len(), 20);
        assert_eq!(banned.remove_ended(99, 30).len(), 0);
        assert_eq!((banned.len(), banned.first_end_ms()), (950, Some(100)));
        assert_eq!(banned.remove_ended(1_000, 1_000).len(), 450);
        assert_eq!(banned.first_end_ms(), None, "what is left never ends");
    }

    #[test]
    fn addresses_are_found_by_any_block_they_lie_in_however_they_are_written() {
        let banned = Banned::default();
        let is_banned =
            |address: &str| banned.is_banned("c", None, Some(address.parse().unwrap()), 5);
        for text in ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:198.51.100.0/120"] {
            banned.add(Who::at(text).unwrap(), Ban::until(6));
        }
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8:1::", "198.51.100.9"]
        {
            assert!(is_banned(address), "{address}");
        }
        for address in ["11.1.2.3", "192.0.2.8", "2001:db9::", "::a01:203", "198.51.101.0"] {
            assert!(!is_banned(address), "{address}");
        }
        assert!(!banned.is_banned("c", None, Some("10.1.2.3".parse().unwrap()), 6), "over");
        assert!(banned.remove(&Who::at("10.9.9.9/8").unwrap()));
        assert!(!is_banned("10.1.2.3"));
        assert!(is_banned("192.0.2.7"));
        assert_eq!(banned.bans.read().lengths.len(), 2);
    }
}
