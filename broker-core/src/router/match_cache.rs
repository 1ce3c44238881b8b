//! Match cache of one thread: topic to fan-out, valid for one generation of the router.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::fan_out::FanOut;
use super::{Generation, Router};

/// Topics one thread remembers; a full cache starts over.
const TOPICS: usize = 16 * 1024;

#[derive(Default)]
pub(crate) struct MatchCache {
    topics: HashMap<Box<str>, Cached, RandomState>,
}

struct Cached {
    generation: Generation,
    fan_out: Arc<FanOut>,
}

impl MatchCache {
    /// The fan-out of a topic: a hash lookup and two loads, unless subscriptions changed.
    pub(crate) fn look_up(&mut self, router: &Router, topic: &str) -> Arc<FanOut> {
        let generation = router.generation(topic);
        if let Some(cached) = self.topics.get_mut(topic) {
            if cached.generation != generation {
                let (fan_out, generation) = router.matches(topic);
                *cached = Cached { generation, fan_out: Arc::new(fan_out) };
            }
            return Arc::clone(&cached.fan_out);
        }
        if self.topics.len() >= TOPICS {
            self.topics.clear();
        }
        let (fan_out, generation) = router.matches(topic);
        let fan_out = Arc::new(fan_out);
        let cached = Cached { generation, fan_out: Arc::clone(&fan_out) };
        self.topics.insert(topic.into(), cached);
        fan_out
    }
}
