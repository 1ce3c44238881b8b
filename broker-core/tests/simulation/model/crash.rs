//! Crash: the process dies, and of what it did only what is in the first frames of the log is left.

use std::collections::BTreeMap;

use broker_core::{Now, SubscriptionOptions};

use super::{Expected, Fate, FreshKind, Model, Passes, Session, State};
use crate::rig::Q0;

/// A session as it must be after the restart.
#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    pub expiry_s: u32,
    pub created_at_ms: u64,
    /// By filter.
    pub subscriptions: BTreeMap<String, (SubscriptionOptions, u32)>,
}

impl Model {
    /// The first `frames` frames of the log are left, and it is `now`. `dropped` says what a queue has had no
    /// room for.
    pub fn crash(&mut self, frames: usize, now: Now, dropped: impl Fn(&str) -> u64) {
        self.life += 1;
        self.now = now;
        self.passes.lose(frames);
        for fate in self.wills.values_mut() {
            if let Fate::Published(pass) | Fate::Dropped(pass) = *fate
                && !self.passes.is_kept(pass)
            {
                *fate = Fate::Pending;
            }
        }
        let mut all: BTreeMap<String, Vec<Session>> = BTreeMap::new();
        for (id, session) in std::mem::take(&mut self.past) {
            all.entry(id).or_default().push(session);
        }
        for (id, mut session) in std::mem::take(&mut self.sessions) {
            session.dropped += dropped(&id);
            all.entry(id).or_default().push(session);
        }
        for (id, sessions) in all {
            self.settle_sessions(id, sessions);
        }
        let mut pending: Vec<_> =
            self.sessions.values().filter_map(|s| s.state.will.as_ref()).collect();
        pending.sort_unstable_by_key(|will| &will.payload);
        for (payload, fate) in &mut self.wills {
            let is_pending = pending.binary_search_by_key(&payload, |w| &w.payload).is_ok();
            if *fate == Fate::Pending && !is_pending {
                *fate = Fate::Gone;
            }
        }
        self.settle_fresh();
        self.settle_retained();
        for share in &mut self.shares {
            let is_kept = self.passes.is_kept(share.pass);
            share.is_lost |= !is_kept;
            share.is_open |= !share.lasts;
        }
    }

    /// Who comes back of the sessions of one client, the newest last.
    fn settle_sessions(&mut self, id: String, sessions: Vec<Session>) {
        let mut newest = None;
        for mut session in sessions.into_iter().rev() {
            session.history.retain(|(pass, _)| self.passes.is_kept(*pass));
            let last = session.history.last().map(|(_, state)| state.clone());
            let is_over = session.ended.is_some_and(|pass| self.passes.is_kept(pass));
            // A session that does not last leaves nothing but a Will that is to be retained.
            let leaves = |state: &State| {
                state.lasts() || state.will.as_ref().is_some_and(|will| will.is_retained)
            };
            let Some(state) = last.filter(|state| !is_over && leaves(state)) else {
                self.n_lost += u64::from(!is_over);
                self.leave_groups(&session);
                continue;
            };
            self.n_lost += u64::from(session.ended.take().is_some());
            session.state = state;
            if newest.is_some() {
                // The end of the older one was lost, which another thread had yet to record.
                if let Some(will) = &session.state.will {
                    self.wills.insert(will.payload.clone(), Fate::Open);
                }
                self.leave_groups(&session);
                continue;
            }
            newest = Some(session);
        }
        let Some(mut session) = newest else { return };
        session.state.connection = None;
        session.state.disconnected_at_ms.get_or_insert(self.now.wall_ms);
        if session.state.lasts() {
            self.roll_back(&mut session);
            self.n_restored += 1;
        } else {
            // Only its Will is left, and due at once; what its client has yet to read is nobody's.
            self.incarnations += 1;
            session.incarnation = self.incarnations;
            self.leave_groups(&session);
            session.subscriptions.clear();
            session.changes.clear();
            session.expected.clear();
            session.order.clear();
            session.grants.clear();
        }
        self.sessions.insert(id, session);
    }

    fn roll_back(&mut self, session: &mut Session) {
        session.crashes += 1;
        let n_changes = session.changes.len();
        session.changes.retain(|(when, ..)| when.is_kept(&self.passes));
        self.n_lost += (n_changes - session.changes.len()) as u64;
        let mut subscriptions = BTreeMap::new();
        for (_, filter, subscribed) in &session.changes {
            match subscribed {
                Some(subscribed) => drop(subscriptions.insert(filter.clone(), *subscribed)),
                None => drop(subscriptions.remove(filter)),
            }
        }
        for filter in session.ever_shared.iter() {
            if subscriptions.get(filter) != session.subscriptions.get(filter) {
                self.changed.insert(filter.clone(), self.n_routed);
            }
        }
        session.subscriptions = subscriptions;
        for (payload, e) in &mut session.expected {
            self.n_lost += e.roll_back(payload, &self.passes, self.life);
        }
        for order in session.order.values_mut() {
            for (_, when, until) in &mut order.list {
                if !when.is_kept(&self.passes) {
                    *until = self.life.min(*until);
                }
            }
        }
    }

    /// The restored broker has recorded its start: what it found is noted.
    pub fn restarted(&mut self) {
        let pass = self.passes.now;
        self.sessions.values_mut().for_each(|session| session.note(pass));
    }

    fn settle_fresh(&mut self) {
        for fresh in std::mem::take(&mut self.fresh) {
            let is_kept = self.passes.is_kept(fresh.pass);
            self.n_lost += u64::from(!is_kept);
            match fresh.kind {
                FreshKind::Routed if is_kept => {}
                FreshKind::Routed => *self.undone.entry(fresh.payload).or_insert(0) += 1,
                FreshKind::Taken { is_recorded, publisher_lasts } => {
                    let accepted = self.accepted.entry(fresh.payload).or_default();
                    match is_recorded {
                        Some(true) if !is_kept => accepted.lost += 1,
                        Some(true) if publisher_lasts => {}
                        _ => accepted.unsure += 1,
                    }
                }
            }
        }
    }

    fn settle_retained(&mut self) {
        for values in self.retained.values_mut() {
            for (pass, kept) in values.iter() {
                if let Some(retention) =
                    kept.as_ref().and_then(|kept| self.retentions.get_mut(&kept.payload))
                    && !self.passes.is_kept(*pass)
                {
                    retention.until = retention.until.min(self.n_routed);
                }
            }
            values.retain(|(pass, _)| self.passes.is_kept(*pass));
            if let Some((_, Some(kept))) = values.last()
                && let Some(retention) = self.retentions.get_mut(&kept.payload)
            {
                retention.until = u64::MAX;
            }
        }
    }

    /// What must be there after the restart.
    pub fn must_be_restored(&self) -> BTreeMap<String, Restored> {
        let restored = |session: &Session| Restored {
            expiry_s: session.state.expiry_s,
            created_at_ms: session.created_at_ms,
            subscriptions: session
                .subscriptions
                .iter()
                .map(|(filter, s)| (filter.clone(), (s.options, s.identifier)))
                .collect(),
        };
        self.sessions.iter().map(|(id, session)| (id.clone(), restored(session))).collect()
    }
}

impl Expected {
    /// Takes back what is lost. Returns how much that was.
    fn roll_back(&mut self, payload: &str, passes: &Passes, life: u32) -> u64 {
        let mut n_lost = 0;
        for routing in self.routings.iter_mut().filter(|r| !r.is_lost && r.qos > Q0) {
            let flag = routing.flag;
            if routing.when.is_kept(passes) {
                // It may come again: at least once.
                self.spare[flag] += usize::from(!self.is_once);
                continue;
            }
            routing.is_lost = true;
            n_lost += 1;
            self.plain[flag] -= 1;
            self.spare[flag] += usize::from(!self.is_once);
            let (got, most) = (self.got[flag], self.plain[flag]);
            assert!(!self.is_once || got <= most, "{payload} got before it was safe");
        }
        self.done.retain(|when| when.is_kept(passes));
        if !self.done.is_empty() && self.routings.len() == 1 && !self.was_copied {
            self.finished_in.get_or_insert(life);
        }
        n_lost
    }
}
