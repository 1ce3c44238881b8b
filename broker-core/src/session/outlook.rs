//! Outlook: what would become of a message for a session now, and what has become of others of its topic. It asks
//! what a delivery asks, and changes nothing.

use std::sync::Arc;

use broker_codec::{PacketId, PublishHeader, QoS, publish_len};

use super::deliver::unmounted;
use super::drops::{DropReason, Loss};
use super::inflight::Phase;
use super::queue::Delivery;
use super::{Session, State};
use crate::client::ClientInfo;
use crate::clock::Now;
use crate::message::weight;
use crate::router::fan_out::Terms;
use crate::session::subscriptions::Subscription;

/// A message that might be published.
pub(crate) struct Probe<'a> {
    /// Client Identifier of its publisher.
    pub(crate) from: &'a str,
    /// As it is routed.
    pub(crate) topic: &'a str,
    pub(crate) qos: QoS,
    /// Bytes of its payload, if that matters.
    pub(crate) size: Option<usize>,
}

/// What a session holds against a message, or for it.
pub(crate) struct Outlook {
    pub(crate) client: Arc<ClientInfo>,
    pub(crate) is_connected: bool,
    /// Milliseconds since the last connection ended.
    pub(crate) away_ms: u64,
    /// The session is over, though nobody has looked yet.
    pub(crate) is_expired: bool,
    pub(crate) subscriptions: usize,
    /// Those that match, in the client's words.
    pub(crate) filters: Vec<Subscription>,
    pub(crate) fate: Option<Fate>,
    /// Messages of that topic and publisher that were sent and not acknowledged.
    pub(crate) unacknowledged: usize,
    /// Those that wait.
    pub(crate) queued: usize,
    /// Those among them whose Message Expiry Interval has passed.
    pub(crate) expired: usize,
    /// The last loss of the topic, unless something has been written for the client since.
    pub(crate) loss: Option<Loss>,
    pub(crate) queue_len: usize,
    pub(crate) queue_max: u32,
    pub(crate) inflight: usize,
    /// Messages that may be in flight, while a client is connected.
    pub(crate) window: Option<u16>,
    /// Bytes in the outbox, and those it may hold, likewise.
    pub(crate) outbox: Option<(usize, usize)>,
    /// Maximum Packet Size of the client, likewise.
    pub(crate) packet_max: Option<u32>,
    pub(crate) delivered: u64,
    pub(crate) all_unacknowledged: usize,
    pub(crate) drops: Vec<(DropReason, u64)>,
}

/// What the terms of the session's subscriptions make of it.
pub(crate) struct Fate {
    pub(crate) qos: QoS,
    /// The client wants none of its own, and this is one.
    pub(crate) is_own: bool,
    /// Nobody is connected, and it may not wait.
    pub(crate) is_offline: bool,
    /// Bytes of the packet, if the size is known, and whether the client takes that many.
    pub(crate) packet: Option<(usize, bool)>,
    /// It would have to wait, and drive another message out.
    pub(crate) is_queue_full: bool,
    /// It would have to wait.
    pub(crate) waits: bool,
    /// It goes straight into the outbox, or nowhere.
    pub(crate) is_passed_on: bool,
    pub(crate) is_window_full: bool,
    pub(crate) is_outbox_full: bool,
}

/// Messages of a queue that are looked at for those of a topic.
const LOOKED_AT: usize = 10_000;

impl Session {
    /// What would become of a message on these terms; without any, the rest.
    pub(crate) fn outlook(&self, probe: &Probe<'_>, terms: Option<&Terms>, now: Now) -> Outlook {
        let state = self.lock();
        let connection = state.connection.as_ref();
        let is_it = |delivery: &&Delivery| {
            let message = delivery.message.here();
            message.is_some_and(|message| {
                *message.topic == *probe.topic
                    && message.publisher.client_id().as_str() == probe.from
            })
        };
        let unacknowledged = state.inflight.deliveries().filter(is_it).count();
        let (mut queued, mut expired) = (0, 0);
        for delivery in state.queue.iter().take(LOOKED_AT).filter(is_it) {
            queued += 1;
            expired += usize::from(delivery.message.is_expired(now));
        }
        let delivered = state.total_delivered();
        let loss = state.drops.latest_of(probe.topic);
        let matches = |subscription: &&Subscription| {
            broker_codec::topic::matches(subscription.route(), probe.topic)
        };
        Outlook {
            is_connected: connection.is_some(),
            away_ms: now.wall_ms.saturating_sub(state.disconnected_wall_ms),
            is_expired: state.is_expired(now.mono_ms),
            subscriptions: state.subscriptions.len(),
            filters: state.subscriptions.iter().filter(matches).cloned().collect(),
            fate: terms.map(|terms| state.fate(probe, terms)),
            unacknowledged,
            queued,
            expired,
            loss: loss.filter(|loss| loss.delivered == delivered),
            queue_len: state.queue.len(),
            queue_max: state.client.zone.max_mqueue_len,
            inflight: state.inflight.len(),
            window: connection.map(|connection| connection.window),
            outbox: connection.map(|it| (it.outbox.len(), it.max_outbox_bytes)),
            packet_max: connection.map(|connection| connection.max_packet_size),
            delivered,
            all_unacknowledged: state
                .inflight
                .iter()
                .filter(|entry| matches!(entry.phase, Phase::Published(_)) && entry.was_sent)
                .count(),
            drops: state.drops.counts().collect(),
            client: Arc::clone(&state.client),
        }
    }
}

impl State {
    fn fate(&self, probe: &Probe<'_>, terms: &Terms) -> Fate {
        let qos = self.effective_qos(terms, probe.qos);
        let is_passed_on = self.is_passed_on(qos);
        let waits = !is_passed_on && !self.has_room(qos);
        let connection = self.connection.as_ref();
        let packet = connection.zip(probe.size).map(|(connection, size)| {
            let header = PublishHeader {
                qos,
                packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
                subscription_identifiers: terms.identifiers.as_deref().unwrap_or_default(),
                ..PublishHeader::default()
            };
            let topic = unmounted(probe.topic, &self.client.mountpoint);
            let len = publish_len(connection.version, &header, topic.len(), size);
            (len, connection.fits(len))
        });
        let weight = weight(probe.topic, probe.size.unwrap_or(0), 0);
        Fate {
            qos,
            is_own: self.skips_own(terms) && probe.from == self.client.client_id.as_str(),
            is_offline: connection.is_none() && !self.keeps(qos),
            packet,
            is_queue_full: waits && self.queue.is_full(weight, &self.client.zone),
            waits,
            is_passed_on,
            is_window_full: connection.is_some_and(|connection| connection.quota == 0),
            is_outbox_full: connection.is_some_and(|connection| connection.is_outbox_full()),
        }
    }
}
