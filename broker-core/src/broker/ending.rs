//! Ending: connections that close, sessions that end, and what they leave to others.

use std::convert::Infallible;
use std::sync::Arc;

use super::Broker;
use crate::access::recheck::may_still_publish;
use crate::channel::{CloseCause, SessionEnd};
use crate::client::ClientInfo;
use crate::message::{Publication, Publisher};
use crate::metrics::Metric;
use crate::record::Removal;
use crate::router::share_group::ShareGroup;
use crate::session::queue::{Delivery, Kept};
use crate::session::subscriptions::Subscription;
use crate::session::{Session, State};
use crate::store::{BodyPlace, Dependency};
use crate::traces::{Happening, TraceEventKind};
use crate::turn::Turn;
use crate::will::Will;

impl Broker {
    /// Ends a session: its connection is told why, its Will published, its subscriptions removed. Returns false if
    /// somebody else has.
    pub(crate) fn end_session(
        &self,
        session: &Arc<Session>,
        why: SessionEnd,
        turn: &mut Turn,
    ) -> bool {
        let Ok(ended) = self.end_session_if(session, why, turn, |_| Ok::<(), Infallible>(()));
        ended
    }

    /// The same for a session that `may_end`.
    pub(crate) fn end_session_if<E>(
        &self,
        session: &Arc<Session>,
        why: SessionEnd,
        turn: &mut Turn,
        may_end: impl FnOnce(&State) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut state = session.lock();
        may_end(&state)?;
        if std::mem::replace(&mut state.ended, true) {
            let owner = Arc::clone(&state.client);
            drop(state);
            self.sessions.remove(session, owner.username.as_deref());
            return Ok(false);
        }
        let end = self.announce_end(&state, turn);
        self.unschedule(session, &mut state);
        let was_connected = state.connection.is_some();
        if was_connected {
            self.sessions.note_disconnected(session.number(), &state.client);
        }
        session.expel(&mut state, why.cause(), &mut turn.out);
        let will = state.will.take();
        if will.is_some() {
            state.record_will_done(&mut turn.out);
        }
        let client = Arc::clone(&state.client);
        let subscriptions: Vec<_> = state.subscriptions.iter().cloned().collect();
        let back = state.give_back(|_| true);
        state.discard(self);
        drop(state);
        self.sessions.remove(session, client.username.as_deref());
        for subscription in &subscriptions {
            self.unroute(session, subscription);
        }
        turn.trace(&Happening::to(&client, TraceEventKind::Session), format_args!("ended"));
        if was_connected {
            turn.client_disconnected(&client, "discarded");
        }
        // Of one that ends with its connection the end of that is told first.
        if !matches!(why, SessionEnd::Closed(_)) {
            turn.session_terminated(&client, why);
        }
        if let Some(will) = will {
            route_will(&client, &will, turn);
        }
        self.deal_out_again(back, session, turn);
        // Last, so that a crash in between leaves its messages with it.
        session.lock().record_end(&mut turn.out);
        end.into_iter().for_each(|end| turn.out.records.bind(end));
        Ok(true)
    }

    /// A durable session is about to end, or to be no longer durable: until the store has the record of that,
    /// its client is told nothing.
    pub(super) fn announce_end(&self, state: &State, turn: &Turn) -> Option<Dependency> {
        let store = self.store.as_ref().filter(|_| state.is_durable)?;
        let end = turn.out.records.dependency_to_come()?;
        self.ends.add(&state.client.client_id, end.clone(), &**store);
        Some(end)
    }

    /// Removes a subscription from the router.
    pub(crate) fn unroute(
        &self,
        session: &Arc<Session>,
        subscription: &Subscription,
    ) -> Option<Arc<ShareGroup>> {
        match subscription.share() {
            Some(name) => self.router.leave(subscription.route(), name, session.number()),
            None => {
                self.router.unsubscribe(subscription.route(), session.number());
                None
            }
        }
    }

    /// A connection of the session has ended.
    pub(crate) fn connection_closed(
        &self,
        session: &Arc<Session>,
        connection: u64,
        cause: CloseCause,
        turn: &mut Turn,
    ) -> Left {
        let mut state = session.lock();
        let Some(_connection) = session.detach(&mut state, connection) else {
            return Left::AnothersSession;
        };
        self.sessions.note_disconnected(session.number(), &state.client);
        state.disconnected_at_ms = turn.now.mono_ms as i64;
        state.disconnected_wall_ms = turn.now.wall_ms;
        if !cause.publishes_will() {
            state.will = None;
        }
        session.charge(&mut state, &mut turn.out);
        let ends = state.expiry_s == 0;
        let will_now = state.will.take_if(|will| will.delay_s == 0 || ends);
        let client = Arc::clone(&state.client);
        // Will and its end in one frame.
        turn.out.records.begin_message();
        if !ends {
            state.record_detached(&mut turn.out);
        } else if will_now.is_some() {
            state.record_will_done(&mut turn.out);
        }
        let back = if !ends && self.config.read().shared_dispatch_ack {
            state.give_back(|group| group.has_others_than(session.number()))
        } else {
            Vec::new()
        };
        if !ends {
            self.schedule(session, &mut state);
            let happening = Happening::to(&client, TraceEventKind::Session);
            let expiry_s = state.expiry_s;
            turn.trace(&happening, format_args!("stays without connection expiry_s={expiry_s}"));
        }
        drop(state);
        if let Some(will) = will_now {
            route_will(&client, &will, turn);
        }
        let has_ended = ends && self.end_session(session, SessionEnd::Closed(cause), turn);
        self.deal_out_again(back, session, turn);
        if has_ended { Left::Nothing } else { Left::Session }
    }

    /// Gives messages of a member that went to the others of its group.
    pub(crate) fn deal_out_again(
        &self,
        messages: Vec<Delivery>,
        from: &Arc<Session>,
        turn: &mut Turn,
    ) {
        for delivery in messages {
            let Some(group) = delivery.group.clone() else { continue };
            // Taken from one and given to the other in one frame.
            turn.out.records.begin_message();
            // Nothing is begun with it any more [MQTT-3.3.2-5].
            if delivery.message.is_expired(turn.now) {
                turn.out.counters.inc(Metric::MessagesExpired);
                from.lock().record_removed(delivery.step, Removal::Expired, &mut turn.out);
                continue;
            }
            from.lock().record_removed(delivery.step, Removal::HandedOver, &mut turn.out);
            match &delivery.message {
                Kept::Here(message) => {
                    turn.deal_out(&group, &Publication::of(message), Some(from.number()));
                }
                Kept::Stored(place) => {
                    let place = BodyPlace::clone(place);
                    turn.deal_out_stored(&group, &delivery, &place, from.number());
                }
                Kept::Lost => turn.out.counters.inc(Metric::DroppedDamaged),
            }
        }
        turn.out.records.begin_message();
    }
}

/// What a connection that has ended leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its session, or what somebody else makes of it.
    Session,
    /// Nothing: its session has ended with it.
    Nothing,
    /// A session that was another connection's already.
    AnothersSession,
}

pub(super) fn route_will(client: &Arc<ClientInfo>, will: &Will, turn: &mut Turn) {
    if will.rights_generation != turn.rights_generation
        && !may_still_publish(&turn.extensions.authorizers, client, &will.topic)
    {
        turn.out.counters.inc(Metric::PublishDenied);
        log::debug!("will not published: its right is gone client_id={:?}", client.client_id);
        return;
    }
    let publisher = Publisher::Client(Arc::clone(client));
    let now = turn.now;
    let publication =
        Publication::new(&will.topic, &will.payload, will.qos, will.retain, &publisher, now)
            .with_properties(will.properties.as_properties(), will.message_expiry_s, now);
    turn.publish(&publication);
}
