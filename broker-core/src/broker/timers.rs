//! Timers: what is due by time alone, and the schedule of sessions without a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Broker;
use super::ending::route_will;
use crate::channel::SessionEnd;
use crate::metrics::Metric;
use crate::record::Record;
use crate::session::{Session, State};
use crate::sys_topics::SysTopics;
use crate::turn::Turn;

impl Broker {
    /// When [`handle_timeout`](Self::handle_timeout) has something to do, on the monotonic clock.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let scheduled = self.schedule.lock().first_key_value().map(|((due_ms, _), _)| *due_ms);
        let (delayed, sys) = (self.delayed.next_due_ms(), self.sys.next_due_ms());
        let queues =
            self.wants_queues_stored().then(|| self.queue_sweep_ms.load(Ordering::Relaxed));
        let (retained, bans) = (self.retained.next_sweep_ms(), self.next_ban_sweep_ms());
        let looks = self.client_alarms.next_look_ms();
        let alarms = if self.alarms.has_news() { Some(0) } else { looks };
        let (traces, rights) = (self.traces.next_due_ms(), self.rights.next_due_ms());
        let due = [scheduled, delayed, sys, queues, retained, bans, alarms, traces, rights];
        due.into_iter().flatten().min()
    }

    /// Does what is due: ends sessions, fires Wills and delayed messages, publishes `$SYS` topics.
    pub fn handle_timeout(self: &Arc<Self>, turn: &mut Turn) {
        while let Some(session) = self.next_scheduled(turn.now.mono_ms) {
            self.look_at(&session, turn);
        }
        for _ in 0..DELAYED_PER_PASS {
            let Some((of, message)) = self.delayed.pop_due(turn.now) else { break };
            turn.out.memory -= message.weight() as isize;
            turn.out.records.begin_message();
            let step = self.next_kept_step();
            turn.out.records.put(&Record::DelayedDone { step, of });
            if message.is_expired(turn.now) {
                turn.out.counters.inc(Metric::MessagesExpired);
            } else {
                turn.publish_message(&message);
            }
        }
        let n_expired = self.retained.sweep(turn.now);
        turn.out.counters.add(Metric::MessagesExpired, n_expired as u64);
        self.sweep_bans(turn.now);
        self.sweep_rights(turn);
        self.traces.sweep(turn.now);
        self.sweep_queues(turn.now.mono_ms);
        self.look_at_clients(turn.now);
        SysTopics::publish_due(turn);
        SysTopics::publish_alarms(turn);
    }

    fn next_scheduled(&self, now_ms: u64) -> Option<Arc<Session>> {
        let mut schedule = self.schedule.lock();
        while let Some(first) = schedule.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let session = first.remove().upgrade();
            if session.is_some() {
                return session;
            }
        }
        None
    }

    /// Fires the Will of an offline session, ends it, or looks again when that is due.
    fn look_at(&self, session: &Arc<Session>, turn: &mut Turn) {
        let mut state = session.lock();
        state.scheduled_ms = u64::MAX;
        if state.ended || state.connection.is_some() {
            return;
        }
        let now_ms = turn.now.mono_ms;
        let is_over = state.is_expired(now_ms);
        let will = if is_over || state.will_due_ms().is_some_and(|due| due <= now_ms) {
            state.will.take()
        } else {
            None
        };
        let client = Arc::clone(&state.client);
        self.schedule(session, &mut state);
        if will.is_some() {
            state.record_will_done(&mut turn.out);
        }
        drop(state);
        if let Some(will) = will {
            route_will(&client, &will, turn);
        }
        if is_over {
            self.end_session(session, SessionEnd::Expired, turn);
        }
    }

    /// Puts an offline session on the schedule for what it waits for next.
    ///
    /// Where an earlier entry stands already, it will do.
    pub(crate) fn schedule(&self, session: &Arc<Session>, state: &mut State) {
        let due = [state.will_due_ms(), state.expires_at_ms()].into_iter().flatten().min();
        if let Some(due_ms) = due.filter(|due_ms| *due_ms < state.scheduled_ms) {
            let mut schedule = self.schedule.lock();
            schedule.remove(&(state.scheduled_ms, session.number()));
            schedule.insert((due_ms, session.number()), Arc::downgrade(session));
            state.scheduled_ms = due_ms;
        }
    }

    pub(super) fn unschedule(&self, session: &Session, state: &mut State) {
        let scheduled_ms = std::mem::replace(&mut state.scheduled_ms, u64::MAX);
        if scheduled_ms < u64::MAX {
            self.schedule.lock().remove(&(scheduled_ms, session.number()));
        }
    }
}

/// Delayed messages published in one pass.
const DELAYED_PER_PASS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::SessionEnd;
    use crate::client::ClientInfo;

    fn offline(broker: &Broker, expiry_s: u32) -> Arc<Session> {
        let client = ClientInfo::named("c");
        let number = broker.sessions.next_number();
        let session = Arc::new(Session::new(number, Arc::new(client), expiry_s, 0));
        let mut state = session.lock();
        state.disconnected_at_ms = 1;
        broker.schedule(&session, &mut state);
        drop(state);
        session
    }

    #[test]
    fn the_schedule_holds_a_session_once_and_lets_go_of_it_when_it_ends() {
        let broker = Broker::builder().build().unwrap();
        let mut turn = broker.turn();
        let session = offline(&broker, 1_000_000);
        for expiry_s in (1..1_000).rev() {
            let mut state = session.lock();
            state.expiry_s = expiry_s;
            broker.schedule(&session, &mut state);
        }
        let due: Vec<_> = broker.schedule.lock().keys().map(|(due_ms, _)| *due_ms).collect();
        assert_eq!(due, [1_001], "only the earliest counts");
        broker.end_session(&session, SessionEnd::Expired, &mut turn);
        assert!(broker.schedule.lock().is_empty());
        assert_eq!(Arc::weak_count(&session), 0, "nothing keeps its memory");
    }
}
