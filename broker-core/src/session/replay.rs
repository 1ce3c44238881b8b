//! Replay: retained messages on their way to a new subscription, a page at a time.
//!
//! A subscription to `#` may match a million messages. They are not queued: the session remembers how far
//! it has come and takes the next page when its outbox has room, so memory and turns stay bounded.

use std::sync::Arc;

use broker_codec::QoS;

use super::State;
use super::deliver::Order;
use super::queue::{Delivery, Kept};
use crate::message::{Message, Publication};
use crate::retained::Cursor;
use crate::turn::Out;

/// Replays that may wait in one session; subscriptions beyond are refused.
pub(crate) const REPLAYS_MAX: usize = 65_536;

/// One subscription's retained messages.
pub(crate) struct Replay {
    /// Topic Filter as the router knows it.
    pub(crate) filter: Arc<str>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) identifiers: Option<Arc<[u32]>>,
    pub(crate) cursor: Cursor,
    /// The page at work, last message first.
    pub(crate) page: Vec<Arc<Message>>,
}

impl State {
    /// Owes the client retained messages; those still owed for the same filter are owed anew, not twice.
    pub(super) fn add_replays(&mut self, replays: Vec<Replay>) {
        for replay in replays {
            self.end_replay(&replay.filter);
            self.replays.get_or_insert_default().push_back(replay);
        }
    }

    /// The subscription is over: nothing more is sent for it [MQTT-3.10.4-2].
    pub(crate) fn end_replay(&mut self, filter: &str) {
        if let Some(replays) = &mut self.replays {
            replays.retain(|replay| *replay.filter != *filter);
        }
    }

    /// Sends the next retained message that is owed. Returns false if there is none or it must wait.
    pub(super) fn send_retained(&mut self, has_quota: bool, out: &mut Out) -> bool {
        let Some(replays) = &mut self.replays else { return false };
        let Some(replay) = replays.front_mut() else {
            self.replays = None;
            return false;
        };
        let Some(message) = replay.page.last() else {
            if replay.cursor.is_at_end() {
                replays.pop_front();
            } else if out.replay_budget == 0 {
                // A filter that matches nothing of a million topics must not keep the thread.
                self.replays_rest = true;
                return false;
            } else {
                replay.page = out.broker.retained.page(&replay.filter, &mut replay.cursor, out.now);
                replay.page.reverse();
                let looked_at = replay.cursor.looked_at();
                out.replay_budget = out.replay_budget.saturating_sub(looked_at);
            }
            return true;
        };
        let is_upgraded = self.client.zone.upgrade_qos;
        let qos = if is_upgraded { replay.qos } else { replay.qos.min(message.qos) };
        if qos > QoS::AtMostOnce && !has_quota {
            return false;
        }
        let is_own = replay.no_local && *message.publisher.client_id() == self.client.client_id;
        let Some(message) = replay.page.pop() else { return false };
        // The page may be old: what has replaced the message since went out when it was published.
        let is_due = !message.is_expired(out.now)
            && out.broker.retained.is_current(&message)
            && out.broker.may_stay_published(&message);
        if is_due && !is_own {
            let identifiers = replay.identifiers.clone();
            let kept = Kept::Here(Arc::clone(&message));
            let mut delivery = Delivery {
                message: kept,
                qos,
                retain: true,
                identifiers,
                group: None,
                step: 0,
                is_copy: true,
                frame: None,
                queued_ms: 0,
            };
            out.records.begin_message();
            self.record_ref(&mut delivery, &Publication::of(&message), out);
            self.send(delivery, Order::Free, out);
        }
        true
    }
}
