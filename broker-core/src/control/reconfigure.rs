//! Other settings for a broker that runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::broker::{Broker, BuildError};
use crate::config::{BrokerConfig, ZoneConfig};
use crate::modules::rewrite::Rewrite;

impl Broker {
    /// Puts other settings in force. Connections that are accepted from now on get the new limits of their zones;
    /// those that are there, and sessions whose clients are away, keep what they were told. What a zone says of rights
    /// counts for all of its clients, and what they were granted is asked about again. The other settings count from now on.
    ///
    /// What stands fast from the start stays as it is: `node_name`, `memory_limit_bytes`, `durability`, `topic_metrics`. For `retained`
    /// and `delayed` there are [`configure_retained`](Self::configure_retained) and
    /// [`configure_delayed`](Self::configure_delayed). Every zone that a listener names must be there.
    ///
    /// # Errors
    /// A rewrite rule whose pattern is no regular expression. Nothing has changed then.
    pub fn reconfigure(&self, config: BrokerConfig) -> Result<(), BuildError> {
        let rewrite = Rewrite::new(&config.rewrite_rules)?;
        let mut current = self.config.write();
        let (zones, are_rights_others) = replacing(config.zones, &current.zones);
        let config = BrokerConfig {
            node_name: current.node_name.clone(),
            durability: current.durability.clone(),
            memory_limit_bytes: current.memory_limit_bytes,
            topic_metrics: current.topic_metrics.clone(),
            retained: current.retained.clone(),
            delayed: current.delayed.clone(),
            zones,
            ..config
        };
        self.shared_strategy.store(config.shared_strategy as u8, Ordering::Relaxed);
        self.publish_bounds.follow(&config);
        self.sys.configure(&config);
        self.slow_subscribers.configure(&config.slow_subscribers);
        if config.rewrite_rules != current.rewrite_rules {
            self.set_rewrite(rewrite);
        }
        *current = Arc::new(config);
        drop(current);
        if are_rights_others {
            self.forget_rights();
        }
        Ok(())
    }
}

/// Zones as they are, where nothing is changed: clients hold them. Returns as well whether rights are others.
fn replacing(
    mut zones: BTreeMap<String, Arc<ZoneConfig>>,
    current: &BTreeMap<String, Arc<ZoneConfig>>,
) -> (BTreeMap<String, Arc<ZoneConfig>>, bool) {
    let mut are_rights_others = false;
    for (name, zone) in &mut zones {
        let Some(old) = current.get(name) else { continue };
        if old == zone {
            *zone = Arc::clone(old);
        } else {
            are_rights_others |= Arc::make_mut(zone).replace_rights_of(old);
        }
    }
    (zones, are_rights_others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::config::{RewriteRule, SharedStrategy};

    fn rule(pattern: &str) -> RewriteRule {
        RewriteRule { filter: "a/#".into(), pattern: pattern.into(), target: "b/$1".into() }
    }

    fn now(mono_ms: u64) -> Now {
        Now { mono_ms, us: 0, wall_ms: 1_000_000 + mono_ms }
    }

    #[test]
    fn what_stands_fast_stays_and_the_rest_is_taken() {
        let broker = Broker::builder().build().unwrap();
        let mut wanted = BrokerConfig {
            node_name: "other@host".into(),
            topic_metrics: vec!["t".into()],
            max_sessions: 7,
            shared_strategy: SharedStrategy::Sticky,
            presence: None,
            ..BrokerConfig::default()
        };
        wanted.retained.max_messages = 1;
        let before = broker.config();
        let zone = ZoneConfig { max_inflight: 3, ..ZoneConfig::default() };
        wanted.zones.insert("external".into(), Arc::new(zone));
        broker.reconfigure(wanted).unwrap();
        let config = broker.config();
        assert_eq!(config.node_name, before.node_name);
        assert_eq!(config.retained, before.retained);
        assert!(config.topic_metrics.is_empty());
        assert_eq!((config.max_sessions, config.zones["external"].max_inflight), (7, 3));
        assert_eq!(broker.shared_strategy(), SharedStrategy::Sticky);
        assert_eq!(broker.sys.presence(), None);
        assert!(Arc::ptr_eq(&config.zones["internal"], &before.zones["internal"]));
    }

    #[test]
    fn rewrite_rules_count_from_the_next_turn_on_and_a_wrong_one_changes_nothing() {
        let broker = Broker::builder().build().unwrap();
        let mut turn = broker.turn();
        let rewritten = |turn: &mut crate::turn::Turn| {
            turn.begin(now(1));
            let to = turn.rewrite.as_ref().and_then(|rewrite| rewrite.apply("a/1"));
            turn.finish();
            to
        };
        assert_eq!(rewritten(&mut turn), None);
        let with = |rules| BrokerConfig { rewrite_rules: rules, ..BrokerConfig::default() };
        broker.reconfigure(with(vec![rule("^a/(.+)$")])).unwrap();
        assert_eq!(rewritten(&mut turn).as_deref(), Some("b/1"));
        let wrong = BrokerConfig { max_sessions: 1, ..with(vec![rule("(")]) };
        assert!(broker.reconfigure(wrong).is_err());
        assert_ne!(broker.config().max_sessions, 1);
        assert_eq!(rewritten(&mut turn).as_deref(), Some("b/1"));
        broker.reconfigure(with(Vec::new())).unwrap();
        assert_eq!(rewritten(&mut turn), None);
    }

    #[test]
    fn the_period_of_sys_topics_may_change_and_begin() {
        let quiet = BrokerConfig { sys_interval_ms: 0, ..BrokerConfig::default() };
        let broker = Broker::builder().config(quiet.clone()).build().unwrap();
        let uptime = format!("$SYS/brokers/{}/uptime", broker.config().node_name);
        let inbox = broker.subscribe_local(&uptime, 10, now(0)).unwrap();
        let mut turn = broker.turn();
        let mut pass = |mono_ms| {
            turn.begin(now(mono_ms));
            broker.handle_timeout(&mut turn);
            turn.finish();
            let text = |message: Arc<crate::Message>| message.payload.to_vec();
            inbox
                .receiver()
                .try_recv()
                .ok()
                .map(|message| String::from_utf8(text(message)).unwrap())
        };
        assert_eq!(pass(1_000), None);
        let every = |sys_interval_ms| BrokerConfig { sys_interval_ms, ..quiet.clone() };
        broker.reconfigure(every(60_000)).unwrap();
        assert_eq!(pass(3_000).as_deref(), Some("2 seconds"), "since the broker began");
        assert_eq!(pass(13_000), None);
        broker.reconfigure(every(10_000)).unwrap();
        assert_eq!(pass(13_000).as_deref(), Some("12 seconds"));
        broker.reconfigure(every(0)).unwrap();
        assert_eq!(pass(99_000), None);
    }
}
