//! What the router promises of overlapping filters, shared subscriptions and caches.

use super::*;
use crate::client::ClientInfo;
use crate::config::SharedStrategy;
use broker_codec::{QoS, SubscriptionOptions};

fn session(number: u64) -> Arc<Session> {
    let client = ClientInfo::named(&format!("c{number}"));
    Arc::new(Session::new(number, Arc::new(client), 0, 0))
}

fn subscriber(session: &Arc<Session>, qos: QoS, identifier: u32) -> Subscriber {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Subscriber { session: Arc::clone(session), options, identifier }
}

/// [MQTT-3.3.4-2] [MQTT-3.3.4-4]
#[test]
fn overlapping_subscriptions_of_a_session_are_one_target() {
    let router = Router::new();
    let (a, b) = (session(1), session(2));
    for (filter, session, qos, identifier) in [
        ("x/+", &a, QoS::AtMostOnce, 5),
        ("#", &a, QoS::ExactlyOnce, 7),
        ("x/y", &a, QoS::AtLeastOnce, 0),
        ("x/#", &b, QoS::AtLeastOnce, 0),
    ] {
        assert!(router.subscribe(&filter.into(), subscriber(session, qos, identifier)));
    }
    let (fan_out, _) = router.matches("x/y");
    assert_eq!(fan_out.targets.len(), 2);
    assert!(router.has_receivers("x/y") && router.has_receivers("elsewhere"));
    assert!(!router.has_receivers("$x/y"), "[MQTT-4.7.2-1]");
    let target = fan_out.targets.iter().find(|t| t.session.number() == 1).unwrap();
    assert_eq!(target.terms.qos, QoS::ExactlyOnce);
    let mut identifiers = target.terms.identifiers.as_deref().unwrap().to_vec();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [5, 7]);
}

#[test]
fn a_change_voids_cached_matches_of_its_corner_only() {
    let router = Router::new();
    let mut cache = match_cache::MatchCache::default();
    let (a, b) = (session(1), session(2));
    router.subscribe(&"x/y".into(), subscriber(&a, QoS::AtMostOnce, 0));
    assert_eq!(cache.look_up(&router, "x/y").targets.len(), 1);
    let before = router.generation("x/y");
    router.subscribe(&"elsewhere/#".into(), subscriber(&b, QoS::AtMostOnce, 0));
    let far =
        shard_of_level("x") == shard_of_level("elsewhere") || before == router.generation("x/y");
    assert!(far);
    router.subscribe(&"+/y".into(), subscriber(&b, QoS::AtMostOnce, 0));
    assert_eq!(cache.look_up(&router, "x/y").targets.len(), 2);
    assert!(router.unsubscribe("x/y", 1));
    assert!(!router.unsubscribe("x/y", 1));
    assert_eq!(cache.look_up(&router, "x/y").targets.len(), 1);
    assert_eq!(router.counts().routes.now(), 2);
}

#[test]
fn a_crowd_can_come_and_go() {
    let router = Router::new();
    let sessions: Vec<_> = (0..1000).map(session).collect();
    let filter: Arc<str> = "crowd".into();
    for session in &sessions {
        router.subscribe(&filter, subscriber(session, QoS::AtMostOnce, 0));
    }
    assert_eq!(router.matches("crowd").0.targets.len(), 1000);
    for number in 0..1000 {
        assert!(router.unsubscribe("crowd", number));
    }
    assert!(router.matches("crowd").0.targets.is_empty());
    assert_eq!(router.counts().subscriptions.now(), 0);
}

#[test]
fn a_group_is_left_with_its_last_member() {
    let router = Router::new();
    let (a, b) = (session(1), session(2));
    for member in [&a, &b] {
        assert!(router.join(&"q/+".into(), "g", subscriber(member, QoS::AtLeastOnce, 0)));
    }
    let (fan_out, _) = router.matches("q/1");
    assert_eq!((fan_out.targets.len(), fan_out.groups.len()), (0, 1));
    let pick = |strategy, topic| {
        let member = fan_out.groups[0].pick(strategy, "publisher", topic, None).unwrap();
        member.number()
    };
    let turns: Vec<_> = (0..4).map(|_| pick(SharedStrategy::RoundRobin, "q/1")).collect();
    assert_eq!(turns[0], turns[2]);
    assert_ne!(turns[0], turns[1]);
    for strategy in [SharedStrategy::Sticky, SharedStrategy::Hash, SharedStrategy::HashTopic] {
        let first = pick(strategy, "q/1");
        assert!((0..50).all(|_| pick(strategy, "q/1") == first), "{strategy:?}");
    }
    let chance: std::collections::HashSet<_> =
        (0..50).map(|_| pick(SharedStrategy::Random, "q/1")).collect();
    assert_eq!(chance.len(), 2);
    assert!(router.leave("q/+", "g", 1).is_some());
    assert!(router.leave("q/+", "g", 1).is_none());
    assert!(router.leave("q/+", "g", 2).is_some());
    assert!(router.matches("q/1").0.groups.is_empty());
}

#[test]
fn the_match_cache_is_bounded_in_bytes_and_stays_right() {
    let router = Router::new();
    let sessions: Vec<_> = (0..100).map(session).collect();
    for session in &sessions {
        router.subscribe(&"#".into(), subscriber(session, QoS::AtMostOnce, 0));
    }
    let mut cache = match_cache::MatchCache::default();
    for n in 0..2_000 {
        let topic = format!("{n}/{}", "x".repeat(20_000));
        assert_eq!(cache.look_up(&router, &topic).targets.len(), 100);
        assert!(cache.bytes() < 33 << 20, "at topic {n}");
    }
    // What is matched again after a change takes the place of what was matched before.
    let before = cache.bytes();
    for n in 0..1_000 {
        router.unsubscribe("#", n % 100);
        router.subscribe(&"#".into(), subscriber(&sessions[n as usize % 100], QoS::AtMostOnce, 0));
        assert_eq!(cache.look_up(&router, "again").targets.len(), 100);
    }
    assert!(cache.bytes() < before + (64 << 10));
}
