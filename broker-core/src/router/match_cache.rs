//! Match cache of one thread: topic to fan-out, valid for one generation of the router.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::fan_out::FanOut;
use super::{Generation, Router};

/// Topics one thread remembers; a full cache starts over.
const TOPICS: usize = 16 * 1024;
/// Bytes of them and of their receivers: topics may be 64 KB long, and have a thousand receivers each.
const BYTES: usize = 32 << 20;

#[derive(Default)]
pub(crate) struct MatchCache {
    topics: HashMap<Box<str>, Cached, RandomState>,
    bytes: usize,
}

struct Cached {
    generation: Generation,
    fan_out: Arc<FanOut>,
}

impl MatchCache {
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The fan-out of a topic: a hash lookup and two loads, unless subscriptions changed.
    pub(crate) fn look_up(&mut self, router: &Router, topic: &str) -> Arc<FanOut> {
        let generation = router.generation(topic);
        if let Some(cached) = self.topics.get(topic)
            && cached.generation == generation
        {
            return Arc::clone(&cached.fan_out);
        }
        if self.topics.len() >= TOPICS || self.bytes >= BYTES {
            self.topics.clear();
            self.bytes = 0;
        }
        let (fan_out, generation) = router.matches(topic);
        self.bytes += fan_out.weight();
        let fan_out = Arc::new(fan_out);
        let fresh = Cached { generation, fan_out: Arc::clone(&fan_out) };
        match self.topics.get_mut(topic) {
            Some(old) => {
                self.bytes -= old.fan_out.weight();
                *old = fresh;
            }
            None => drop(self.topics.insert(topic.into(), fresh)),
        }
        fan_out
    }
}
