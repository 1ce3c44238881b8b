//! End: all is quiet, and everything promised has been kept.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::Now;

use super::routing::DELAYED;
use super::{Expected, Fate, Model, Session, Share};
use crate::rig::{Q0, Q2};

impl Model {
    /// How often a Will or a delayed message was routed, as the disk has it.
    fn routed_for_good(&self, payload: &str) -> u32 {
        let routed = self.routings.get(payload).map_or(0, |(n, ..)| *n);
        routed - self.undone.get(payload).copied().unwrap_or(0)
    }

    /// True while delayed messages wait for their time.
    pub fn waits_for_delayed(&self) -> bool {
        self.accepted
            .iter()
            .filter(|(payload, _)| payload.trim_end().ends_with(DELAYED))
            .any(|(payload, a)| self.routed_for_good(payload) < a.count - a.lost)
    }

    /// All is quiet. `dropped` says what a queue had no room for.
    pub fn check_end(&self, dropped: impl Fn(&str) -> u64, retained: &BTreeMap<String, String>) {
        for (payload, fate) in &self.wills {
            let expected = match fate {
                Fate::Open => continue,
                Fate::Published(_) => 1,
                Fate::Pending | Fate::Dropped(_) | Fate::Gone => 0,
            };
            assert_eq!(self.routed_for_good(payload), expected, "Will {payload} {fate:?}");
        }
        for (payload, a) in &self.accepted {
            if payload.trim_end().ends_with(DELAYED) {
                assert_eq!(self.routed_for_good(payload), a.count - a.lost, "{payload}");
            }
        }
        let dropped = |id: &str, session: &Session| dropped(id) + session.dropped;
        for (id, session) in &self.sessions {
            let mut missing = Vec::new();
            for (payload, e) in &session.expected {
                if e.qos.contains(&Q0) || e.is_excused(session, self.now) {
                    continue;
                }
                if e.got[0] < e.plain[0] || e.got[1] < e.plain[1] {
                    missing.push(payload.trim_end());
                }
            }
            assert!(
                missing.len() as u64 <= dropped(id, session),
                "{id} (incarnation {}) never got {missing:?}",
                session.incarnation
            );
        }
        self.check_shares(&dropped);
        self.check_retained(retained);
    }

    /// What is retained is what should be.
    pub fn check_retained(&self, retained: &BTreeMap<String, String>) {
        let alive: BTreeMap<_, _> = self
            .retained
            .iter()
            .filter_map(|(topic, values)| Some((topic, values.last()?.1.as_ref()?)))
            .filter(|(_, kept)| kept.is_alive(self.now))
            .map(|(topic, kept)| (topic.clone(), kept.payload.clone()))
            .collect();
        assert_eq!(*retained, alive, "retained messages");
    }

    fn check_shares(&self, dropped: &impl Fn(&str, &Session) -> u64) {
        // A member of two groups gets a copy for each: the sum over the groups of a message counts.
        let mut shares: BTreeMap<&str, Vec<&Share>> = BTreeMap::new();
        for share in self.shares.iter().filter(|share| !share.is_lost) {
            shares.entry(&share.payload).or_default().push(share);
        }
        for (payload, list) in shares {
            if list.iter().any(|share| share.is_open) {
                continue;
            }
            let n = list.len();
            let candidates =
                || list.iter().flat_map(|s| s.candidates.iter().map(|c| (&s.filter, c)));
            let mut got = self.handed_on.get(payload).copied().unwrap_or(0);
            let mut is_steady = list.iter().all(|s| {
                self.changed.get(&s.filter).is_none_or(|at| *at < s.n)
                    && !self.lossy_groups.contains(&s.filter)
            });
            let mut seen = BTreeSet::new();
            for (filter, (id, incarnation, serial, qos)) in candidates() {
                let session = self.sessions.get(id).filter(|s| {
                    s.incarnation == *incarnation
                        && s.subscriptions.get(filter).is_some_and(|s| s.serial == *serial)
                });
                let Some(session) = session else {
                    is_steady = false;
                    continue;
                };
                let e = &session.expected[payload];
                let is_dropped = dropped(id, session) > 0;
                is_steady &= *qos > Q0 && !e.is_excused(session, self.now) && !is_dropped;
                if seen.insert(id) {
                    got += e.got[0] + e.got[1];
                }
            }
            let what = payload.trim_end();
            assert!(!is_steady || got >= n, "{what} reached {got} members of {n} groups");
            // Below QoS 2 a member may have got what a crash has undone since.
            let routed = || self.shares.iter().filter(|share| share.payload == payload);
            let all_q2 = routed().flat_map(|s| &s.candidates).all(|(.., qos)| *qos == Q2)
                && routed().all(|s| !self.groups_below_q2.contains(&s.filter));
            assert!(!all_q2 || got <= n, "{what} reached {got} members of {n} groups");
        }
    }
}

impl Expected {
    fn is_excused(&self, session: &Session, now: Now) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now.wall_ms)
            || self.size > session.max_packet_size
    }
}
