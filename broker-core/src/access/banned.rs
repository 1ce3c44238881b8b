//! Bans by Client Identifier, user name or address, until a time.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::RwLock;

/// Whom a ban concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    bans: RwLock<HashMap<Who, Ban>>,
}

/// Bans held at most; the one that ends first makes room.
const BANS_MAX: usize = 1_000_000;

impl Banned {
    pub(crate) fn add(&self, who: Who, ban: Ban, now_ms: u64) {
        let mut bans = self.bans.write();
        if bans.len() >= BANS_MAX {
            bans.retain(|_, ban| ban.until_ms > now_ms);
        }
        bans.insert(who, ban);
    }

    pub(crate) fn remove(&self, who: &Who) -> bool {
        self.bans.write().remove(who).is_some()
    }

    pub(crate) fn list(&self) -> Vec<(Who, Ban)> {
        self.bans.read().iter().map(|(who, ban)| (who.clone(), ban.clone())).collect()
    }

    pub(crate) fn is_banned(
        &self,
        client_id: &str,
        username: Option<&str>,
        address: Option<IpAddr>,
        now_ms: u64,
    ) -> bool {
        let bans = self.bans.read();
        if bans.is_empty() {
            return false;
        }
        let is_banned = |who: &Who| bans.get(who).is_some_and(|ban| ban.until_ms > now_ms);
        is_banned(&Who::ClientId(client_id.into()))
            || username.is_some_and(|name| is_banned(&Who::Username(name.into())))
            || address.is_some_and(|address| is_banned(&Who::Address(address)))
    }
}
