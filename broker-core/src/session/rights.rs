//! Rights that a session holds: which it was looked at by, and what becomes of messages whose right is gone.

use std::sync::Arc;

use super::drops::DropReason;
use super::queue::Delivery;
use super::subscriptions::Subscription;
use super::{Session, State};
use crate::access::nobody_decides;
use crate::client::ClientInfo;
use crate::metrics::Metric;
use crate::record::Removal;
use crate::turn::{Out, Turn};

impl Session {
    /// Has the channel look at what has changed.
    pub(crate) fn wake(&self) {
        if let Some(connection) = &self.lock().connection {
            connection.sink.wake();
        }
    }

    /// All that the session was granted holds by those rights; what was kept back until then is sent. Another client
    /// may have taken the session over meanwhile, and is asked about itself.
    pub(crate) fn open_to_rights(
        self: &Arc<Self>,
        client: &Arc<ClientInfo>,
        generation: u64,
        out: &mut Out,
    ) {
        let mut state = self.lock();
        if !Arc::ptr_eq(&state.client, client) {
            return;
        }
        // What was granted since the first question may have been so by older rights.
        state.rights_generation = generation.min(state.oldest_grant);
        if std::mem::take(&mut state.is_unchecked) {
            self.pump(&mut state, out);
            self.touch(&mut state, out);
        }
    }
}

impl State {
    /// A client comes back to the session: if rights may have changed since it was looked at, nothing is sent that they
    /// are about before its channel, which is woken, has asked.
    pub(crate) fn close_to_rights(&mut self, client: &Arc<ClientInfo>, turn: &Turn) {
        let is_checked = self.rights_generation >= turn.rights_generation
            || self.subscriptions.len() == 0
            || nobody_decides(&turn.extensions.authorizers, client).is_some();
        if is_checked {
            // Not above: by those its Will was asked about.
            self.rights_generation = turn.rights_generation;
        }
        self.is_unchecked = !is_checked;
    }

    /// The right to the Will was asked about again.
    pub(crate) fn note_will_right(&mut self, turn: &Turn) {
        if let Some(will) = &mut self.will {
            will.rights_generation = turn.rights_generation;
        }
    }

    /// The right to a subscription is gone, and so is the subscription: what waits and came by it alone is dropped. What
    /// was begun to be sent is completed, as after UNSUBSCRIBE [MQTT-3.10.4-3].
    pub(crate) fn forget_revoked(&mut self, subscription: &Subscription, out: &mut Out) {
        if self.queue.is_empty() || subscription.share().is_some() {
            return;
        }
        let (route, zone) = (Arc::clone(subscription.route()), Arc::clone(&self.client.zone));
        let mut queue = std::mem::take(&mut self.queue);
        let revoked = std::slice::from_ref(&route);
        let lost = queue.extract(|delivery| self.is_revoked(delivery, revoked), &zone);
        self.queue = queue;
        for delivery in lost {
            out.counters.inc(Metric::DroppedRevoked);
            self.note_loss(&delivery, DropReason::Revoked, out);
            self.record_removed(delivery.step, Removal::Revoked, out);
        }
        if self.queue.iter().any(|delivery| delivery.message.here().is_none()) {
            self.revoked.get_or_insert_default().push(route);
        }
        let growth = self.queue.growth();
        out.broker.queues_grew(growth);
    }

    pub(super) fn is_revoked(&self, delivery: &Delivery, revoked: &[Arc<str>]) -> bool {
        let message = delivery.message.here();
        delivery.group.is_none()
            && message.is_some_and(|message| self.has_lost_right(revoked, &message.topic))
    }

    /// The client has subscribed, and may.
    pub(crate) fn forget_revocation(&mut self, route: &str) {
        if let Some(revoked) = &mut self.revoked {
            revoked.retain(|it| **it != *route);
        }
    }
}
