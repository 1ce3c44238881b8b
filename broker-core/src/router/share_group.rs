//! Members of one shared subscription, and whose turn it is (MQTT 5.0, 4.8.2).

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use parking_lot::Mutex;

use super::Subscriber;
use crate::config::SharedStrategy;

/// The members of `$share/<name>/<filter>` (or `$queue/<filter>`, whose group has an empty name).
pub(crate) struct ShareGroup {
    name: Box<str>,
    /// Topic Filter as the router knows it.
    route: Arc<str>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    list: Vec<Subscriber>,
    /// Next member of `round_robin`; state of the generator of `random`.
    cursor: u64,
    /// Session number of the member that `sticky` stays with.
    favourite: Option<u64>,
}

impl ShareGroup {
    pub(crate) fn new(name: &str, route: &Arc<str>) -> Self {
        Self { name: name.into(), route: Arc::clone(route), members: Mutex::default() }
    }

    pub(crate) fn route(&self) -> &Arc<str> {
        &self.route
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Adds a member or replaces its options. Returns true if it is new.
    pub(super) fn join(&self, member: Subscriber) -> bool {
        let mut members = self.members.lock();
        match members.list.iter_mut().find(|m| m.number() == member.number()) {
            Some(old) => {
                *old = member;
                false
            }
            None => {
                members.list.push(member);
                true
            }
        }
    }

    pub(super) fn leave(&self, session: u64) -> bool {
        let mut members = self.members.lock();
        let Some(at) = members.list.iter().position(|m| m.number() == session) else {
            return false;
        };
        members.list.swap_remove(at);
        if members.favourite == Some(session) {
            members.favourite = None;
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.lock().list.is_empty()
    }

    /// True if somebody else than this session is a member.
    pub(crate) fn has_others_than(&self, session: u64) -> bool {
        self.members.lock().list.iter().any(|member| member.number() != session)
    }

    /// The member that gets the next message; one that is connected if there is any.
    ///
    /// `except` names a session that gave the message back.
    pub(crate) fn pick(
        &self,
        strategy: SharedStrategy,
        publisher: &str,
        topic: &str,
        except: Option<u64>,
    ) -> Option<Subscriber> {
        let mut members = self.members.lock();
        let n = members.list.len();
        if n == 0 {
            return None;
        }
        let first = match strategy {
            SharedStrategy::Random => members.random() as usize % n,
            SharedStrategy::RoundRobin => {
                members.cursor = members.cursor.wrapping_add(1);
                members.cursor as usize % n
            }
            SharedStrategy::Sticky => members
                .favourite
                .and_then(|number| members.list.iter().position(|m| m.number() == number))
                .unwrap_or_else(|| members.random() as usize % n),
            SharedStrategy::Hash => hash(publisher) % n,
            SharedStrategy::HashTopic => hash(topic) % n,
        };
        let mut chosen = None;
        for step in 0..n {
            let member = &members.list[(first + step) % n];
            if Some(member.number()) == except {
                continue;
            }
            if member.session.is_connected() {
                chosen = Some(member);
                break;
            }
            chosen.get_or_insert(member);
        }
        let chosen = chosen.cloned();
        members.favourite = chosen.as_ref().map(Subscriber::number);
        chosen
    }
}

impl Members {
    /// xorshift64: chance enough to spread load.
    fn random(&mut self) -> u64 {
        if self.cursor == 0 {
            self.cursor = 0x9E37_79B9_7F4A_7C15;
        }
        self.cursor ^= self.cursor << 13;
        self.cursor ^= self.cursor >> 7;
        self.cursor ^= self.cursor << 17;
        self.cursor >> 16
    }
}

fn hash(text: &str) -> usize {
    FixedState::with_seed(0).hash_one(text.as_bytes()) as usize
}
