//! Limits: groups of connections and what they may do together; what one connection has of all its groups.

mod bucket;
mod groups;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::config::{GroupLimits, Rate};
pub use bucket::Bucket;
pub use groups::subscriber_line;
pub(crate) use groups::{Groups, Newcomer};

/// The connections of a zone, a listener, a user or an address, and what is left of what they may do.
#[derive(Debug)]
pub(crate) struct Group {
    limits: GroupLimits,
    n_connections: AtomicU32,
    n_subscriptions: AtomicU32,
    /// Of queues.
    queue_bytes: AtomicU64,
    connects: Option<Bucket>,
    messages_in: Option<Bucket>,
    bytes_in: Option<Bucket>,
    messages_out: Option<Bucket>,
    bytes_out: Option<Bucket>,
    retained_in: Option<Bucket>,
}

impl Group {
    pub(crate) fn new(limits: &GroupLimits) -> Self {
        let bucket = |rate: Option<Rate>| rate.map(Bucket::full);
        Self {
            n_connections: AtomicU32::new(0),
            n_subscriptions: AtomicU32::new(0),
            queue_bytes: AtomicU64::new(0),
            connects: bucket(per_second(limits.max_conn_rate)),
            messages_in: bucket(limits.messages_in),
            bytes_in: bucket(limits.bytes_in),
            messages_out: bucket(limits.messages_out),
            bytes_out: bucket(limits.bytes_out),
            retained_in: bucket(limits.retained_in),
            limits: limits.clone(),
        }
    }

    /// Counts one more connection, or one that takes the place of another. Returns whether there was room for it.
    fn enter(&self, takes_over: bool) -> bool {
        let n_before = self.n_connections.fetch_add(1, Ordering::Relaxed);
        let max = self.limits.max_connections;
        max == 0 || n_before < max.saturating_add(u32::from(takes_over))
    }

    /// Counts one more subscription if there is room for it.
    fn take_subscription(&self) -> bool {
        let max = self.max_subscriptions();
        let one_more = |n: u32| (n < max).then_some(n + 1);
        self.n_subscriptions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn give_subscriptions(&self, n: u32) {
        self.n_subscriptions.fetch_sub(n, Ordering::Relaxed);
    }

    fn max_subscriptions(&self) -> u32 {
        match self.limits.max_subscriptions_total {
            0 => u32::MAX,
            max => max,
        }
    }

    /// True if a group made anew would be the same.
    fn is_at_rest(&self, now_ms: u64) -> bool {
        let buckets = [
            &self.connects,
            &self.messages_in,
            &self.bytes_in,
            &self.messages_out,
            &self.bytes_out,
            &self.retained_in,
        ];
        buckets.into_iter().flatten().all(|bucket| bucket.is_full(now_ms))
    }
}

/// The rate that `max_conn_rate` stands for: as many at once as in a second. `None` for 0, no limit.
#[must_use]
pub fn per_second(rate: u32) -> Option<Rate> {
    (rate > 0).then(|| Rate::in_ms(rate.into(), 1_000))
}

/// What a listener adds to the limits of its clients.
#[derive(Debug)]
pub struct ListenerLimits {
    /// `rate_limit`: bytes that each connection may send.
    each_bytes_in: Option<Rate>,
    group: Arc<Group>,
}

impl ListenerLimits {
    /// The limits of a listener; `None` if there are none. `each_bytes_in` is what each connection may send, `all`
    /// what all may do together.
    #[must_use]
    pub fn new(each_bytes_in: Option<Rate>, all: &GroupLimits) -> Option<Arc<Self>> {
        let is_limited = each_bytes_in.is_some() || *all != GroupLimits::default();
        is_limited.then(|| Arc::new(Self { each_bytes_in, group: Arc::new(Group::new(all)) }))
    }
}

/// A connection's place in its groups, given back when it is dropped, and what it takes from them.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// `publish_limit`
    messages_in: Option<Bucket>,
    /// `rate_limit`
    bytes_in: Option<Bucket>,
    groups: Vec<Arc<Group>>,
}

/// A PUBLISH that a client sends, as far as limits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    Plain,
    /// Its message is to be retained.
    Retained,
}

impl Allowance {
    /// When the client may send one more PUBLISH, if that is not now.
    pub(crate) fn wait_to_publish(&self, what: Sending, now_ms: u64) -> Option<u64> {
        latest(self.messages_in(what), 1, now_ms)
    }

    pub(crate) fn take_published(&self, what: Sending, now_ms: u64) {
        self.messages_in(what).for_each(|bucket| bucket.take(1, now_ms));
    }

    /// Bytes that may be read of the client now.
    pub(crate) fn readable(&self, now_ms: u64) -> u64 {
        self.bytes_in().map(|bucket| bucket.available(now_ms)).min().unwrap_or(u64::MAX)
    }

    pub(crate) fn take_read(&self, bytes: u64, now_ms: u64) {
        self.bytes_in().for_each(|bucket| bucket.take(bytes, now_ms));
    }

    /// When reading is worth its while again, if that is not now.
    pub(crate) fn wait_to_read(&self, now_ms: u64) -> Option<u64> {
        let worth = |bucket: &Bucket| READ_BYTES.min(bucket.rate().amount.div_ceil(2));
        self.bytes_in().filter_map(|bucket| bucket.wait_for(worth(bucket), now_ms)).max()
    }

    /// When the client may be sent one more PUBLISH, if that is not now.
    pub(crate) fn wait_to_send(&self, now_ms: u64) -> Option<u64> {
        let of_groups = |group: &Arc<Group>| {
            let buckets = [&group.messages_out, &group.bytes_out].into_iter().flatten();
            latest(buckets, 1, now_ms)
        };
        self.groups.iter().filter_map(of_groups).max()
    }

    /// A PUBLISH of so many bytes was sent.
    pub(crate) fn take_sent(&self, bytes: u64, now_ms: u64) {
        for group in &self.groups {
            group.messages_out.iter().for_each(|bucket| bucket.take(1, now_ms));
            group.bytes_out.iter().for_each(|bucket| bucket.take(bytes, now_ms));
        }
    }

    /// True if what is sent to the client is limited.
    pub(crate) fn limits_sending(&self) -> bool {
        self.groups.iter().any(|group| group.messages_out.is_some() || group.bytes_out.is_some())
    }

    /// True if the number of the client's subscriptions is.
    pub(crate) fn limits_subscriptions(&self) -> bool {
        self.groups.iter().any(|group| group.limits.max_subscriptions_total > 0)
    }

    /// True if the bytes of its queue are.
    pub(crate) fn limits_queues(&self) -> bool {
        self.groups.iter().any(|group| group.limits.max_mqueue_bytes_total > 0)
    }

    /// The queue of the client takes so many bytes, and took others before. Returns true if those of one of its groups take
    /// more than they may.
    pub(crate) fn tell_queue(&self, before: u64, bytes: u64) -> bool {
        let is_over = |group: &Arc<Group>| {
            // A difference below zero wraps, and so does the addition.
            let by = bytes.wrapping_sub(before);
            let all = group.queue_bytes.fetch_add(by, Ordering::Relaxed).wrapping_add(by);
            let max = group.limits.max_mqueue_bytes_total;
            max > 0 && all > max
        };
        self.groups.iter().map(is_over).fold(false, |one, other| one | other)
    }

    /// Counts one more subscription of the client, if all of its groups have room for it.
    pub(crate) fn take_subscription(&self) -> bool {
        let full = self.groups.iter().position(|group| !group.take_subscription());
        self.groups[..full.unwrap_or(0)].iter().for_each(|group| group.give_subscriptions(1));
        full.is_none()
    }

    /// Counts those that a session comes with, whether there is room for them or not.
    pub(crate) fn bring_subscriptions(&self, n: u32) {
        for group in &self.groups {
            group.n_subscriptions.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// So many are the client's no more.
    pub(crate) fn give_subscriptions(&self, n: u32) {
        self.groups.iter().for_each(|group| group.give_subscriptions(n));
    }

    /// How many more there may be.
    pub(crate) fn room_for_subscriptions(&self) -> u32 {
        let room = |group: &Arc<Group>| {
            group.max_subscriptions().saturating_sub(group.n_subscriptions.load(Ordering::Relaxed))
        };
        self.groups.iter().map(room).min().unwrap_or(u32::MAX)
    }

    fn messages_in<'a>(&'a self, what: Sending) -> impl Iterator<Item = &'a Bucket> {
        let of_retained = move |group: &'a Arc<Group>| match what {
            Sending::Plain => None,
            Sending::Retained => group.retained_in.as_ref(),
        };
        let of_groups = self.groups.iter().filter_map(|group| group.messages_in.as_ref());
        self.messages_in.iter().chain(of_groups).chain(self.groups.iter().filter_map(of_retained))
    }

    fn bytes_in(&self) -> impl Iterator<Item = &Bucket> {
        self.bytes_in.iter().chain(self.groups.iter().filter_map(|g| g.bytes_in.as_ref()))
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        for group in &self.groups {
            group.n_connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn latest<'a>(buckets: impl Iterator<Item = &'a Bucket>, amount: u64, now_ms: u64) -> Option<u64> {
    buckets.filter_map(|bucket| bucket.wait_for(amount, now_ms)).max()
}

/// Bytes that must have come back before a paced client is read from: a read for each of them would be a waste.
const READ_BYTES: u64 = 1024;
