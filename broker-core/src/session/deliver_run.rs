//! Delivery of a run: many messages of QoS 0 in one step, to a client for which nothing speaks against it.

use std::sync::Arc;

use broker_codec::QoS;

use super::sending::SHARE_FROM_BYTES;
use super::{Connection, Session, State};
use crate::metrics::Metric;
use crate::router::fan_out::Terms;
use crate::run::Packets;
use crate::turn::Out;

impl Session {
    /// Gives the session the messages of a run: all at once if it takes them all as they are, else each by itself.
    pub(crate) fn deliver_run(
        self: &Arc<Self>,
        terms: &Terms,
        packets: &mut Packets,
        out: &mut Out,
    ) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.takes_all(terms, packets, out)
            && let Some(connection) = &mut state.connection
        {
            connection.send_all(packets, out);
            self.touch(state, out);
            return;
        }
        drop(guard);
        for publication in packets.publications(out.now) {
            self.deliver(terms, &publication, None, out);
        }
    }
}

impl State {
    /// True if each message of the run would go into the outbox, and look there as it does for others.
    fn takes_all(&self, terms: &Terms, packets: &mut Packets, out: &Out) -> bool {
        let Some(connection) = &self.connection else { return false };
        let is_own = || packets.publisher().is_client(&self.client.client_id);
        !self.ended
            && self.effective_qos(terms, QoS::AtMostOnce) == QoS::AtMostOnce
            && self.is_passed_on(QoS::AtMostOnce)
            && terms.identifiers.is_none()
            && !(self.skips_own(terms) && is_own())
            && connection.takes_all(packets, out)
    }
}

impl Connection {
    fn takes_all(&self, packets: &mut Packets, out: &Out) -> bool {
        self.holdings.is_none()
            && self.aliases.is_none()
            && !self.has_mountpoint
            && self.fits(packets.longest())
            && self.outbox.len() + packets.bytes(self.version).len() <= self.max_outbox_bytes
            && !(out.pressure.is_near() && self.outbox.is_blocked())
    }

    fn send_all(&mut self, packets: &mut Packets, out: &mut Out) {
        out.fates.one_has_left = true;
        let n = packets.count() as u64;
        let bytes = packets.bytes(self.version);
        out.dirty_bytes += bytes.len();
        if bytes.len() >= SHARE_FROM_BYTES {
            self.outbox.append_shared(bytes.clone());
        } else {
            self.outbox.append(bytes, &mut out.pool);
        }
        self.sent.packets += n;
        self.sent.messages += n;
        out.counters.add(Metric::message_sent(QoS::AtMostOnce), n);
    }
}
