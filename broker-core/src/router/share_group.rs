//! Members of one shared subscription, and whose turn it is (MQTT 5.0, 4.8.2).
//!
//! A group may have a hundred thousand members, most of them away: joining, leaving and picking cost the same
//! however many there are.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use parking_lot::Mutex;

use super::Subscriber;
use crate::config::SharedStrategy;

/// The members of `$share/<name>/<filter>` (or `$queue/<filter>`, whose group has an empty name).
pub(crate) struct ShareGroup {
    /// Its place on the list of destinations.
    number: u64,
    name: Box<str>,
    /// Topic Filter as the router knows it.
    route: Arc<str>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    list: Vec<Member>,
    /// Place in `list` by session number.
    places: HashMap<u64, usize, RandomState>,
    /// Places of those who are not known to be away.
    ///
    /// Who turns out to have no connection is taken out when it is picked, and put back by
    /// [`ShareGroup::wake`] when it connects.
    awake: Vec<usize>,
    /// Next member of `round_robin`; state of the generator of `random`.
    cursor: u64,
    /// Session number of the member that `sticky` stays with.
    favourite: Option<u64>,
}

struct Member {
    subscriber: Subscriber,
    /// Place in `awake`.
    awake_at: Option<usize>,
}

impl ShareGroup {
    pub(crate) fn new(name: &str, route: &Arc<str>, number: u64) -> Self {
        Self { number, name: name.into(), route: Arc::clone(route), members: Mutex::default() }
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
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
        let number = member.number();
        if let Some(place) = members.places.get(&number).copied() {
            members.list[place].subscriber = member;
            members.wake(place);
            return false;
        }
        let place = members.list.len();
        members.list.push(Member { subscriber: member, awake_at: None });
        members.places.insert(number, place);
        members.wake(place);
        true
    }

    pub(super) fn leave(&self, session: u64) -> bool {
        self.members.lock().remove(session)
    }

    /// A session of the group has a connection again.
    pub(super) fn wake(&self, session: u64) {
        let mut members = self.members.lock();
        if let Some(place) = members.places.get(&session).copied() {
            members.wake(place);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.lock().list.is_empty()
    }

    /// True if somebody else than this session is a member.
    pub(crate) fn has_others_than(&self, session: u64) -> bool {
        self.members.lock().list.iter().any(|member| member.subscriber.number() != session)
    }

    /// The session as a member, if it is one, and how many there are.
    pub(crate) fn membership(&self, session: u64) -> Option<(Subscriber, usize)> {
        let members = self.members.lock();
        let place = *members.places.get(&session)?;
        Some((members.list[place].subscriber.clone(), members.list.len()))
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
        // Hashes choose among all members: who goes away and comes back does not shift the others.
        let (first, start) = match strategy {
            SharedStrategy::Random => (None, members.random() as usize),
            SharedStrategy::RoundRobin => {
                members.cursor = members.cursor.wrapping_add(1);
                (None, members.cursor as usize)
            }
            SharedStrategy::Sticky => {
                let favourite = members.favourite;
                let place = favourite.and_then(|number| members.places.get(&number).copied());
                (place, members.random() as usize)
            }
            SharedStrategy::Hash => (Some(hash(publisher) % n), hash(publisher)),
            SharedStrategy::HashTopic => (Some(hash(topic) % n), hash(topic)),
        };
        let place = first
            .filter(|place| members.list[*place].takes(except))
            .or_else(|| members.next_awake(start, except))
            .or_else(|| members.any(first.unwrap_or(start), except));
        let chosen = place.map(|place| members.list[place].subscriber.clone());
        members.favourite = chosen.as_ref().map(Subscriber::number);
        chosen
    }
}

impl Member {
    fn is(&self, session: Option<u64>) -> bool {
        Some(self.subscriber.number()) == session
    }

    /// True if it is connected and may be chosen.
    fn takes(&self, except: Option<u64>) -> bool {
        self.subscriber.session.is_connected() && !self.is(except)
    }
}

impl Members {
    /// The first connected member from `start` on. Those found to be away are passed over once.
    fn next_awake(&mut self, start: usize, except: Option<u64>) -> Option<usize> {
        let mut at = start;
        loop {
            let n = self.awake.len();
            let place = *self.awake.get(at.checked_rem(n)?)?;
            let member = &self.list[place];
            if member.takes(except) {
                return Some(place);
            }
            if !member.subscriber.session.is_connected() {
                self.fall_asleep(place);
            } else if n > 1 {
                // The one that must not be chosen; the next one is another.
                at = at % n + 1;
            } else {
                return None;
            }
        }
    }

    /// Any member from `start` on, connected or not.
    fn any(&self, start: usize, except: Option<u64>) -> Option<usize> {
        let n = self.list.len();
        (0..n.min(2)).map(|step| (start % n + step) % n).find(|place| !self.list[*place].is(except))
    }

    fn wake(&mut self, place: usize) {
        let member = &mut self.list[place];
        if member.awake_at.is_none() {
            member.awake_at = Some(self.awake.len());
            self.awake.push(place);
        }
    }

    fn fall_asleep(&mut self, place: usize) {
        let Some(at) = self.list[place].awake_at.take() else { return };
        self.awake.swap_remove(at);
        if let Some(moved) = self.awake.get(at) {
            self.list[*moved].awake_at = Some(at);
        }
    }

    fn remove(&mut self, session: u64) -> bool {
        let Some(place) = self.places.remove(&session) else { return false };
        self.fall_asleep(place);
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(moved.subscriber.number(), place);
            if let Some(at) = moved.awake_at {
                self.awake[at] = place;
            }
        }
        if self.favourite == Some(session) {
            self.favourite = None;
        }
        true
    }

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use broker_codec::SubscriptionOptions;

    use super::*;
    use crate::client::ClientInfo;
    use crate::session::Session;

    fn client() -> Arc<ClientInfo> {
        Arc::new(ClientInfo::named("c"))
    }

    /// One that has no connection.
    fn member(number: u64, client: &Arc<ClientInfo>) -> Subscriber {
        Subscriber {
            session: Arc::new(Session::new(number, Arc::clone(client), 0, 0)),
            options: SubscriptionOptions::default(),
            identifier: 0,
        }
    }

    #[test]
    fn places_stay_right_whoever_goes_away_or_leaves() {
        let client = client();
        let group = ShareGroup::new("g", &"t".into(), 1);
        let mut present = Vec::new();
        let mut random = Members::default();
        for number in 0..2_000 {
            match random.random() % 4 {
                0 | 1 => {
                    assert!(group.join(member(number, &client)));
                    present.push(number);
                }
                2 if !present.is_empty() => {
                    let at = random.random() as usize % present.len();
                    assert!(group.leave(present.swap_remove(at)));
                }
                _ => {
                    // Nobody is connected: all who are awake fall asleep.
                    let chosen = group.pick(SharedStrategy::Random, "p", "t", None);
                    assert_eq!(chosen.is_some(), !present.is_empty());
                    assert!(group.members.lock().awake.is_empty());
                    present.iter().step_by(2).for_each(|number| group.wake(*number));
                }
            }
            let members = group.members.lock();
            assert_eq!(members.list.len(), present.len());
            for (place, member) in members.list.iter().enumerate() {
                assert_eq!(members.places[&member.subscriber.number()], place);
                assert!(member.awake_at.is_none_or(|at| members.awake[at] == place));
            }
            let awake = members.list.iter().filter(|member| member.awake_at.is_some());
            assert_eq!(awake.count(), members.awake.len());
        }
        assert!(!group.leave(5_000));
    }

    #[test]
    fn who_gave_a_message_back_does_not_get_it_again() {
        let client = client();
        let group = ShareGroup::new("g", &"t".into(), 1);
        for strategy in [SharedStrategy::Random, SharedStrategy::Sticky, SharedStrategy::Hash] {
            group.join(member(1, &client));
            assert!(group.pick(strategy, "p", "t", Some(1)).is_none());
            group.join(member(2, &client));
            for _ in 0..10 {
                let chosen = group.pick(strategy, "p", "t", Some(1));
                assert_eq!(chosen.map(|m| m.number()), Some(2));
            }
            group.leave(2);
        }
    }

    /// With a search for each of them these were ten thousand million steps; this takes a moment.
    #[test]
    fn a_hundred_thousand_members_come_and_go() {
        let client = client();
        let group = ShareGroup::new("g", &"t".into(), 1);
        let list: Vec<_> = (0..100_000).map(|number| member(number, &client)).collect();
        for member in &list {
            assert!(group.join(member.clone()));
        }
        for _ in 0..100_000 {
            assert!(group.pick(SharedStrategy::RoundRobin, "p", "t", None).is_some());
        }
        for member in &list {
            assert!(group.leave(member.number()));
        }
        assert!(group.is_empty());
    }
}
