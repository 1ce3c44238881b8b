//! Connection: the half of a session that is there while a client is connected.

use std::collections::HashMap;
use std::sync::Arc;

use broker_codec::ProtocolVersion;
use foldhash::fast::RandomState;

use crate::channel::CloseCause;
use crate::client::ClientInfo;
use crate::limits::Allowance;
use crate::outbox::{Outbox, Sink};
use crate::store::Dependency;
use crate::traffic::Tally;
use crate::turn::Out;

/// The connected half of a session. In this order: what each delivery looks at lies together, in two cache lines.
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) outbox: Outbox,
    /// What was written for it.
    pub(crate) sent: Tally,
    /// Bytes the outbox may hold before more must wait; of the zone, here because each delivery asks.
    pub(super) max_outbox_bytes: usize,
    /// What it may be sent, subscribe to and have queued, if that is limited.
    pub(super) holdings: Option<Box<Holdings>>,
    /// Topic aliases given to this client, if it takes any.
    pub(super) aliases: Option<Box<Aliases>>,
    /// Maximum Packet Size of the client.
    pub(super) max_packet_size: u32,
    pub(crate) version: ProtocolVersion,
    /// The client's topics have a prefix it does not know of.
    pub(super) has_mountpoint: bool,
    /// The channel stopped reading because its outbox is at its bound: it is woken once that holds less.
    pub(super) wants_room: bool,
    /// The shell knows that the socket refused bytes and looks after it.
    pub(super) is_watched: bool,
    /// PUBLISH packets of QoS 1 and 2 that may still be sent (MQTT 5.0, 4.9).
    pub(super) quota: u16,
    pub(super) window: u16,
    /// Bytes of the outbox and the window as they were accounted for last.
    pub(super) charged: usize,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) id: u64,
    /// When the socket last refused bytes, on the monotonic clock; of no meaning unless the outbox is blocked.
    pub(super) stalled_at_ms: u64,
    /// Why the channel is asked to close.
    pub(crate) close: Option<CloseCause>,
    /// What its CONNACK waits for.
    #[expect(
        clippy::box_collection,
        reason = "most connections wait for nothing, and pay a pointer"
    )]
    pub(super) held: Option<Box<Vec<Dependency>>>,
}

/// What a connection has of the limits of its groups: messages it may be sent, subscriptions, room for its queue.
pub(super) struct Holdings {
    pub(super) allowance: Arc<Allowance>,
    /// Nothing may be sent until then, on the monotonic clock.
    pub(super) until_ms: u64,
    /// Subscriptions that are counted in its groups, until the connection goes.
    subscriptions: u32,
    /// Bytes of its queue that are.
    queue_bytes: u64,
}

impl Holdings {
    /// The queue takes so many bytes of memory. Returns true if it and those of others take more than they may.
    pub(super) fn tell_queue(&mut self, bytes: usize) -> bool {
        let before = std::mem::replace(&mut self.queue_bytes, bytes as u64);
        self.allowance.tell_queue(before, bytes as u64)
    }

    /// The session comes with so many subscriptions.
    pub(super) fn bring_subscriptions(&mut self, n: usize) {
        self.subscriptions = u32::try_from(n).unwrap_or(u32::MAX);
        self.allowance.bring_subscriptions(self.subscriptions);
    }

    /// Counts one more, if there is room.
    pub(super) fn take_subscription(&mut self) -> bool {
        let has_room = self.allowance.take_subscription();
        self.subscriptions += u32::from(has_room);
        has_room
    }

    pub(super) fn give_subscription(&mut self) {
        self.subscriptions -= 1;
        self.allowance.give_subscriptions(1);
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        self.allowance.give_subscriptions(self.subscriptions);
        self.tell_queue(0);
    }
}

pub(super) struct Aliases {
    pub(super) maximum: u16,
    /// Bytes of the topics.
    pub(super) bytes: usize,
    pub(super) by_topic: HashMap<Box<str>, u16, RandomState>,
}

/// What a client asked for in CONNECT.
pub(crate) struct ConnectionLimits {
    /// Receive Maximum, bounded by the zone's `max_inflight`.
    pub(crate) window: u16,
    pub(crate) max_packet_size: u32,
    /// Topic Alias Maximum, bounded by the zone's.
    pub(crate) topic_alias_maximum: u16,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        sink: Arc<dyn Sink>,
        client: &ClientInfo,
        limits: &ConnectionLimits,
        sent: Tally,
    ) -> Self {
        let aliases = (limits.topic_alias_maximum > 0).then(|| {
            Box::new(Aliases {
                maximum: limits.topic_alias_maximum,
                bytes: 0,
                by_topic: HashMap::default(),
            })
        });
        Self {
            id,
            sink,
            outbox: Outbox::default(),
            version: client.version,
            max_outbox_bytes: client.zone.max_outbox_bytes,
            has_mountpoint: !client.mountpoint.is_empty(),
            quota: limits.window,
            window: limits.window,
            max_packet_size: limits.max_packet_size,
            charged: 0,
            holdings: None,
            aliases,
            wants_room: false,
            stalled_at_ms: 0,
            is_watched: false,
            close: None,
            sent,
            held: None,
        }
    }

    /// Has its messages paced, if their number or bytes are limited, and its subscriptions and queue counted if those are.
    pub(crate) fn limited_by(self, allowance: Option<&Arc<Allowance>>) -> Self {
        let limiting = allowance
            .filter(|it| it.limits_sending() || it.limits_subscriptions() || it.limits_queues());
        let holdings = |allowance: &Arc<Allowance>| {
            let allowance = Arc::clone(allowance);
            Box::new(Holdings { allowance, until_ms: 0, subscriptions: 0, queue_bytes: 0 })
        };
        Self { holdings: limiting.map(holdings), ..self }
    }

    /// True if nothing may be sent to it now: what can wait does, and its channel is woken to look when it may.
    pub(super) fn is_paced(&mut self, now_ms: u64) -> bool {
        let Some(holdings) = &mut self.holdings else { return false };
        if now_ms < holdings.until_ms {
            return true;
        }
        let Some(until_ms) = holdings.allowance.wait_to_send(now_ms) else { return false };
        holdings.until_ms = until_ms;
        self.sink.wake();
        true
    }

    /// Lets the CONNACK go, and all that has gathered behind it, if the store has what it waits for.
    pub(super) fn open(&mut self, out: &Out) {
        if let (Some(held), Some(store)) = (&mut self.held, out.records.store()) {
            held.retain(|held| !held.is_safe(&**store));
            if held.is_empty() {
                self.held = None;
                self.outbox.release();
            }
        }
    }

    /// The socket refused bytes. The shell is woken for it once, and looks again by itself then.
    pub(super) fn stall(&mut self, now_ms: u64) {
        self.stalled_at_ms = now_ms;
        if !std::mem::replace(&mut self.is_watched, true) {
            self.sink.wake();
        }
    }

    /// A PUBLISH was acknowledged [MQTT-4.9.0-2]: the quota grows, never beyond its start.
    pub(super) fn grant(&mut self) {
        self.quota = (self.quota + 1).min(self.window);
    }
}
