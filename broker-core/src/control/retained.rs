//! Retained messages as an operator sees and clears them.

use std::sync::Arc;

use broker_codec::QoS;

use super::cursors::{Begin, List, Position};
use super::pages::{BATCH, Page, PageRequest};
use crate::broker::Broker;
use crate::clock::Now;
use crate::directory::Start;
use crate::message::Message;
use crate::turn::Turn;

impl Broker {
    /// A page of the retained messages, those of the broker itself (`$SYS/…`) included, in the order of their
    /// topics. What has expired is dropped first.
    pub fn retained_page(&self, request: &PageRequest, turn: &mut Turn) -> Page<Arc<Message>> {
        turn.drop_expired_retained();
        let rows = self.rows(List::Retained, request, turn.now, |begin, n, rows| {
            let start = match begin {
                Begin::Rank(rank) => Start::Rank(*rank),
                Begin::Behind(Position { filter, .. }) => {
                    Start::Behind(filter.as_deref().unwrap_or_default())
                }
            };
            let topics = self.retained.topics(start, n);
            rows.extend(topics.iter().filter_map(|topic| self.retained.get(topic)));
            topics.into_iter().next_back().map(|last| Position { number: 0, filter: Some(last) })
        });
        Page { rows, count: self.retained.len() }
    }

    /// The retained message of a topic.
    #[must_use]
    pub fn retained_message(&self, topic: &str, now: Now) -> Option<Arc<Message>> {
        self.retained.get(topic).filter(|message| !message.is_expired(now))
    }

    /// Forgets the retained message of a topic. Returns false if there is none, which is no truth to be told
    /// before it is saved either.
    pub fn clear_retained(&self, topic: &str, turn: &mut Turn) -> bool {
        turn.out.records.begin_message();
        turn.forget_retained(topic, QoS::AtLeastOnce)
    }

    /// Forgets all retained messages but those of the broker itself (`$SYS/…`), which come again. Returns how
    /// many it were.
    pub fn clear_all_retained(&self, turn: &mut Turn) -> usize {
        let mut n_cleared = 0;
        let mut last: Option<Arc<str>> = None;
        loop {
            let start = last.as_deref().map_or(Start::Rank(0), Start::Behind);
            let topics = self.retained.topics(start, BATCH);
            let others = topics.iter().filter(|topic| !topic.starts_with("$SYS/"));
            n_cleared += others.filter(|topic| self.clear_retained(topic, turn)).count();
            match topics.into_iter().next_back() {
                Some(topic) => last = Some(topic),
                None => return n_cleared,
            }
        }
    }
}
