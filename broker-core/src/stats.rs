//! Statistics: how many there are of what the broker holds, and how many there have been at most.

use crate::broker::Broker;

impl Broker {
    /// Statistics with EMQ X 3.1's names: each `…/count` and, behind it, the highest it has been, `…/max`.
    ///
    /// Cost: a few loads, whatever the broker holds.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, usize)> {
        let counts = self.router.counts();
        let sessions = &self.sessions;
        let gauges = [
            ("connections/count", "connections/max", sessions.connected()),
            ("sessions/count", "sessions/max", sessions.gauge()),
            ("sessions/persistent/count", "sessions/persistent/max", sessions.persistent()),
            // A topic of the original's is a route, not a Topic Name that somebody has published to.
            ("topics/count", "topics/max", &counts.routes),
            ("routes/count", "routes/max", &counts.routes),
            ("subscribers/count", "subscribers/max", &counts.subscribers),
            ("subscriptions/count", "subscriptions/max", &counts.subscriptions),
            ("subscriptions/shared/count", "subscriptions/shared/max", &counts.shared),
            ("retained/count", "retained/max", self.retained.gauge()),
            ("suboptions/count", "suboptions/max", &counts.subscriptions),
        ];
        gauges.iter().flat_map(|(n, max, gauge)| [(*n, gauge.now()), (*max, gauge.max())]).collect()
    }

    /// Messages that wait in the queues of sessions.
    ///
    /// Cost: the lock of each session for a moment. For threads that serve no clients, every few seconds.
    #[must_use]
    pub fn queued_messages(&self) -> usize {
        let shards = (0..).map_while(|shard| self.sessions.snapshot(shard));
        shards.flatten().map(|session| session.lock().queue.len()).sum()
    }
}
