//! A way into the router for the benches: what a match costs without the delivery that follows it.
//!
//! Hidden from the documentation and no part of the interface. Through public items the walk could only be
//! measured together with a delivery, which costs more than most matches, and behind a cache.

use std::sync::Arc;

use broker_codec::SubscriptionOptions;

use crate::client::ClientInfo;
use crate::config::ZoneConfig;
use crate::router::match_cache::MatchCache;
use crate::router::{Router, Subscriber};
use crate::session::Session;

/// A router and sessions that subscribe in it.
pub struct Routes {
    router: Router,
    sessions: Vec<Arc<Session>>,
}

/// The cache of matches of one thread.
#[derive(Default)]
pub struct Cache(MatchCache);

impl Routes {
    /// A router without subscriptions.
    #[must_use]
    pub fn new(n_sessions: usize) -> Self {
        let zone = Arc::new(ZoneConfig::default());
        let session = |number: usize| {
            let named = ClientInfo::named(&format!("client-{number}"));
            // One zone for all, as a listener has it.
            let client = ClientInfo { zone: Arc::clone(&zone), ..named };
            Arc::new(Session::new(number as u64, Arc::new(client), 0, 0))
        };
        Self { router: Router::new(), sessions: (0..n_sessions).map(session).collect() }
    }

    /// Subscribes a session.
    pub fn subscribe(&self, session: usize, filter: &Arc<str>) {
        let session = Arc::clone(&self.sessions[session]);
        let options = SubscriptionOptions::default();
        self.router.subscribe(filter, Subscriber { session, options, identifier: 0 });
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, session: usize, filter: &str) {
        self.router.unsubscribe(filter, session as u64);
    }

    /// Receivers of a topic, by a walk.
    #[must_use]
    pub fn matches(&self, topic: &str) -> usize {
        self.router.matches(topic).0.targets.len()
    }

    /// A cache that is still empty.
    #[must_use]
    pub fn cache(&self) -> Cache {
        Cache::default()
    }
}

impl Cache {
    /// Receivers of a topic, by the cache if it knows them.
    pub fn look_up(&mut self, routes: &Routes, topic: &str) -> usize {
        self.0.look_up(&routes.router, topic).targets.len()
    }
}
