//! Groups: the table of those that have limits; a connection's way into its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use broker_codec::ReasonCode;
use parking_lot::Mutex;

use super::{Allowance, Bucket, Group};
use crate::client::{ClientInfo, Peer};
use crate::config::{BrokerConfig, GroupLimits};

/// Groups by what their connections have in common.
///
/// A group is there as long as it has a connection, or has taken what has not come back: who connects again finds
/// what was left. Memory follows the connections, and those that have just ended.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Table>);

#[derive(Default)]
struct Table {
    // The hasher of std is keyed per process: peers cannot choose colliding names.
    groups: HashMap<Key, Arc<Group>>,
    /// Size at which it is looked through for groups that are not needed any more.
    sweep_at: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Zone(Box<str>),
    User(Arc<str>),
    Address(IpAddr),
}

/// Who comes in, and whose place it takes.
pub(crate) struct Newcomer<'a> {
    pub(crate) client: &'a ClientInfo,
    pub(crate) peer: &'a Peer,
    /// The client that its session has now, if it is connected.
    pub(crate) predecessor: Option<Arc<ClientInfo>>,
}

/// Groups that nobody is in: beyond so many, even those that have something to come back are forgotten.
const IDLE_MAX: usize = 65_536;

impl Groups {
    /// Counts a connect of an address against its `max_conn_rate`, before anything is done about it.
    pub(crate) fn let_in(&self, addr: Option<IpAddr>, config: &BrokerConfig, now_ms: u64) -> bool {
        let limits = &config.address_limits;
        let (Some(addr), true) = (addr, limits.max_conn_rate > 0) else { return true };
        let group = self.group(Key::Address(subscriber_line(addr)), limits, now_ms);
        group.connects.as_ref().is_none_or(|bucket| bucket.take_one(now_ms))
    }

    /// Gives a client its place in all its groups; `None` if none of them has limits.
    ///
    /// # Errors
    /// One of them is full, or has had too many connects.
    pub(crate) fn enter(
        &self,
        newcomer: &Newcomer<'_>,
        config: &BrokerConfig,
        now_ms: u64,
    ) -> Result<Option<Arc<Allowance>>, ReasonCode> {
        let Newcomer { client, peer, predecessor } = newcomer;
        let zone = &client.zone;
        let of_listener = peer.limits.as_deref();
        let mut allowance = Allowance {
            messages_in: zone.publish_limit.map(Bucket::full),
            bytes_in: of_listener.and_then(|it| it.each_bytes_in).map(Bucket::full),
            groups: Vec::new(),
        };
        let mut enter = |group: Arc<Group>, takes_over: bool| {
            let has_room = group.enter(takes_over);
            // From here on it is given back, whatever comes.
            allowance.groups.push(group);
            if has_room { Ok(()) } else { Err(ReasonCode::QuotaExceeded) }
        };
        if let Some(listener) = of_listener {
            enter(Arc::clone(&listener.group), false)?;
        }
        let is_limited = |limits: &GroupLimits| *limits != GroupLimits::default();
        if is_limited(&zone.limits) {
            let group = self.group(Key::Zone(zone.name.as_str().into()), &zone.limits, now_ms);
            if !group.connects.as_ref().is_none_or(|bucket| bucket.take_one(now_ms)) {
                return Err(ReasonCode::ConnectionRateExceeded);
            }
            enter(group, predecessor.as_ref().is_some_and(|old| old.zone.name == zone.name))?;
        }
        if let (Some(name), true) = (&client.username, is_limited(&config.user_limits)) {
            let group = self.group(Key::User(Arc::clone(name)), &config.user_limits, now_ms);
            if !group.connects.as_ref().is_none_or(|bucket| bucket.take_one(now_ms)) {
                return Err(ReasonCode::ConnectionRateExceeded);
            }
            let same = |old: &Arc<ClientInfo>| old.username == client.username;
            enter(group, predecessor.as_ref().is_some_and(same))?;
        }
        if let (Some(line), true) = (line(client), is_limited(&config.address_limits)) {
            let group = self.group(Key::Address(line), &config.address_limits, now_ms);
            let same = |old: &Arc<ClientInfo>| self::line(old) == Some(line);
            enter(group, predecessor.as_ref().is_some_and(same))?;
        }
        let is_needed = allowance.messages_in.is_some()
            || allowance.bytes_in.is_some()
            || !allowance.groups.is_empty();
        Ok(is_needed.then(|| Arc::new(allowance)))
    }

    /// The group of that key. One whose limits have been changed is made anew; who is in the old one stays there.
    fn group(&self, key: Key, limits: &GroupLimits, now_ms: u64) -> Arc<Group> {
        let mut table = self.0.lock();
        if let Some(group) = table.groups.get(&key).filter(|group| group.limits == *limits) {
            return Arc::clone(group);
        }
        table.make_room(now_ms);
        let group = Arc::new(Group::new(limits));
        table.groups.insert(key, Arc::clone(&group));
        group
    }
}

impl Table {
    fn make_room(&mut self, now_ms: u64) {
        if self.groups.len() < self.sweep_at {
            return;
        }
        let is_idle = |group: &Arc<Group>| Arc::strong_count(group) == 1;
        self.groups.retain(|_, group| !is_idle(group) || !group.is_at_rest(now_ms));
        if self.groups.values().filter(|group| is_idle(group)).count() >= IDLE_MAX {
            self.groups.retain(|_, group| !is_idle(group));
        }
        // As many more must come before the next: each pays for a look at two.
        self.sweep_at = (self.groups.len() * 2).max(1024);
    }
}

fn line(client: &ClientInfo) -> Option<IpAddr> {
    client.peer.map(|addr| subscriber_line(addr.ip()))
}

/// What one subscriber line holds: an IPv4 address, or an IPv6 /64, of which every host has 2^64 addresses to try.
#[must_use]
pub fn subscriber_line(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;

    fn key(n: usize) -> Key {
        Key::User(n.to_string().as_str().into())
    }

    fn len(groups: &Groups) -> usize {
        groups.0.lock().groups.len()
    }

    fn limits() -> GroupLimits {
        let rate = Rate::in_ms(1, 1_000);
        GroupLimits { messages_in: Some(rate), ..GroupLimits::default() }
    }

    #[test]
    fn groups_at_rest_are_forgotten_and_those_in_use_or_in_debt_are_kept() {
        let groups = Groups::default();
        let used = groups.group(key(0), &limits(), 0);
        let in_debt = groups.group(key(1), &limits(), 0);
        in_debt.messages_in.as_ref().unwrap().take(10, 0);
        drop(in_debt);
        for n in 2..50_000 {
            groups.group(key(n), &limits(), 0);
        }
        assert!(len(&groups) <= 1024, "{}", len(&groups));
        assert!(Arc::ptr_eq(&used, &groups.group(key(0), &limits(), 0)));
        let found = groups.group(key(1), &limits(), 0);
        assert_eq!(found.messages_in.as_ref().unwrap().wait_for(1, 0), Some(10_000));
    }

    #[test]
    fn those_in_debt_are_bounded() {
        let groups = Groups::default();
        for n in 0..10 * IDLE_MAX {
            let group = groups.group(key(n), &limits(), 0);
            group.messages_in.as_ref().unwrap().take(10, 0);
        }
        assert!(len(&groups) <= 2 * IDLE_MAX, "{}", len(&groups));
    }

    #[test]
    fn other_limits_are_another_group() {
        let groups = Groups::default();
        let before = groups.group(key(0), &limits(), 0);
        let other = GroupLimits { max_connections: 1, ..GroupLimits::default() };
        let after = groups.group(key(0), &other, 0);
        assert!(!Arc::ptr_eq(&before, &after));
        assert!(Arc::ptr_eq(&after, &groups.group(key(0), &other, 0)));
    }
}
