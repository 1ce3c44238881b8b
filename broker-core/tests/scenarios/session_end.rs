//! The end of sessions and the Wills of those who went.

use broker_codec::{Packet, Property};
use broker_core::config::BrokerConfig;
use broker_core::{Ban, CloseCause, ReasonCode, Who};

use crate::rig::*;

/// [MQTT-3.1.2-23] Attack case 43: exact to a second.
#[test]
fn a_session_ends_when_its_expiry_has_passed_and_not_before() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(10));
    rig.lose(c);
    rig.pass_ms(9_999);
    assert!(rig.broker.session("c").is_some());
    let c = rig.hello(Hello::v5("c").lasting(10));
    rig.check(c, &["CONNACK present=1 0x00"]);
    // The interval begins anew with each end of a connection.
    rig.pass_s(20);
    rig.lose(c);
    rig.pass_ms(9_999);
    assert!(rig.broker.session("c").is_some());
    rig.pass_ms(1);
    assert!(rig.broker.session("c").is_none());
}

/// The client may be faster than the timer.
#[test]
fn an_expired_session_is_not_resumed_even_before_the_timer_ran() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(10));
    rig.lose(c);
    rig.now = rig.now.plus_ms(10_000);
    let c = rig.hello(Hello::v5("c").lasting(10));
    rig.check(c, &["CONNACK present=0 0x00"]);
}

#[test]
fn an_expiry_of_all_ones_never_ends() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(u32::MAX));
    rig.lose(c);
    rig.pass_s(u64::from(u32::MAX) + 10);
    assert!(rig.broker.session("c").is_some());
}

/// [MQTT-3.14.2-2] and MQTT 5.0, 3.14.2.2.2
#[test]
fn disconnect_changes_the_session_expiry() {
    let mut rig = Rig::new();
    for (at_connect, at_disconnect, lives_s) in [(100, 5, 5), (5, 100, 100), (100, 0, 0)] {
        let c = rig.join(Hello::v5("c").lasting(at_connect));
        let expiry = [Property::SessionExpiryInterval(at_disconnect)];
        rig.disconnect(c, ReasonCode::Success, &expiry);
        if lives_s > 0 {
            rig.pass_ms(lives_s * 1000 - 1);
            assert!(rig.broker.session("c").is_some(), "{lives_s}");
            rig.pass_ms(1);
        }
        assert!(rig.broker.session("c").is_none(), "{lives_s}");
    }
    // Not from zero.
    let c = rig.join(Hello::v5("c").clean());
    rig.disconnect(c, ReasonCode::Success, &[Property::SessionExpiryInterval(5)]);
    rig.check(c, &["DISCONNECT 0x82"]);
    assert!(rig.broker.session("c").is_none());
}

#[test]
fn the_zone_bounds_the_session_expiry_and_the_client_is_told() {
    let mut rig = Rig::with_zone(|zone| zone.max_session_expiry_interval_s = 60);
    let c = rig.hello(Hello::v5("c").lasting(u32::MAX));
    rig.check(c, &["CONNACK present=0 0x00 session_expiry=60"]);
    rig.disconnect(c, ReasonCode::Success, &[Property::SessionExpiryInterval(1000)]);
    rig.pass_s(60);
    assert!(rig.broker.session("c").is_none());
}

/// MQTT 3.1.1: a session without Clean Session lasts as the zone says, one with it ends with the connection.
#[test]
fn sessions_of_older_clients_last_as_the_zone_says() {
    let mut rig = Rig::with_zone(|zone| zone.session_expiry_interval_s = 30);
    let c = rig.join(Hello::v3("c").lasting(0));
    rig.lose(c);
    rig.pass_ms(29_999);
    let c = rig.hello(Hello::v3("c").lasting(0));
    rig.check(c, &["CONNACK present=1 0x00"]);
    rig.lose(c);
    rig.pass_s(30);
    let c = rig.hello(Hello::v3("c"));
    rig.check(c, &["CONNACK present=0 0x00"]);
    rig.lose(c);
    assert!(rig.broker.session("c").is_none());
}

fn watcher(rig: &mut Rig) -> C {
    let w = rig.client("watcher");
    rig.subscribed(w, "will/#", Q1);
    w
}

const WILL: &[&str] = &["PUBLISH q1 #1 will/c=gone"];

/// [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
#[test]
fn a_will_is_published_unless_the_client_says_goodbye() {
    let published = |end: &dyn Fn(&mut Rig, C)| {
        let mut rig = Rig::new();
        let w = watcher(&mut rig);
        let c = rig.join(Hello { keep_alive_s: 10, ..Hello::v5("c").will("will/c", "gone") });
        end(&mut rig, c);
        rig.out(w).len()
    };
    assert_eq!(published(&|rig, c| rig.lose(c)), 1);
    assert_eq!(published(&|rig, _| rig.pass_s(15)), 1, "keep alive");
    assert_eq!(published(&|rig, c| rig.send_bytes(c, &[0xFF, 0xFF])), 1, "malformed");
    let kick = |rig: &mut Rig, _: C| {
        assert!(rig.broker.kick("c"));
        rig.settle();
    };
    assert_eq!(published(&kick), 1);
    assert_eq!(published(&|rig, c| rig.disconnect(c, ReasonCode::Success, &[])), 0);
    assert_eq!(published(&|rig, c| rig.disconnect(c, ReasonCode::DisconnectWithWill, &[])), 1);
}

/// [MQTT-3.1.3-9] The delay counts from the end of the connection; a new one in time cancels the Will.
#[test]
fn a_delayed_will_waits_and_is_cancelled_by_a_new_connection() {
    let mut rig = Rig::new();
    let w = watcher(&mut rig);
    let hello = || Hello::v5("c").lasting(100).will("will/c", "gone").will_delay(10);
    let c = rig.join(hello());
    rig.lose(c);
    rig.pass_ms(9_999);
    rig.check(w, &[]);
    let c = rig.join(hello());
    rig.pass_s(60);
    rig.check(w, &[]);
    rig.lose(c);
    rig.pass_s(10);
    rig.check(w, WILL);
    // Published once, whatever follows.
    rig.pass_s(200);
    rig.check(w, &[]);
}

/// [MQTT-3.1.3-9] A connection that comes after the delay does not cancel, even if no timer ran between.
#[test]
fn a_will_that_is_due_is_published_even_before_the_timer_ran() {
    let mut rig = Rig::new();
    let w = watcher(&mut rig);
    let c = rig.join(Hello::v5("c").lasting(100).will("will/c", "gone").will_delay(10));
    rig.lose(c);
    rig.now = rig.now.plus_ms(10_000);
    rig.join(Hello::v5("c").lasting(100));
    rig.check(w, WILL);
}

/// [MQTT-3.1.3-9] Whichever comes first: the delay or the end of the session.
#[test]
fn a_delayed_will_does_not_outlive_its_session() {
    let mut rig = Rig::new();
    let w = watcher(&mut rig);
    let c = rig.join(Hello::v5("c").lasting(5).will("will/c", "gone").will_delay(10));
    rig.lose(c);
    rig.pass_ms(4_999);
    rig.check(w, &[]);
    rig.pass_ms(1);
    rig.check(w, WILL);
    assert!(rig.broker.session("c").is_none());
    // No session at all: at once.
    let c = rig.join(Hello::v5("c").will("will/c", "gone").will_delay(10));
    rig.lose(c);
    rig.check(w, &["PUBLISH q1 #2 will/c=gone"]);
}

/// Attack case 15: the delay, then a take-over.
#[test]
fn a_take_over_publishes_a_will_without_delay_and_cancels_one_with() {
    let mut rig = Rig::new();
    let w = watcher(&mut rig);
    rig.join(Hello::v5("c").lasting(100).will("will/c", "gone"));
    rig.join(Hello::v5("c").lasting(100).will("will/c", "later").will_delay(10));
    rig.check(w, WILL);
    let c = rig.join(Hello::v5("c").lasting(100));
    rig.pass_s(60);
    rig.check(w, &[]);
    // The last connection brought no Will.
    rig.lose(c);
    rig.pass_s(200);
    rig.check(w, &[]);
}

/// A Clean Start ends the session, and so the delay.
#[test]
fn clean_start_publishes_a_waiting_will() {
    let mut rig = Rig::new();
    let w = watcher(&mut rig);
    let c = rig.join(Hello::v5("c").lasting(100).will("will/c", "gone").will_delay(10));
    rig.lose(c);
    rig.join(Hello::v5("c").clean());
    rig.check(w, WILL);
}

/// [MQTT-3.1.2-14] [MQTT-3.1.2-15]
#[test]
fn a_retained_will_is_retained_with_its_properties() {
    let mut rig = Rig::new();
    let mut hello = Hello::v5("c").will("will/c", "gone");
    hello.will = Some(("will/c", "gone", Q2, true));
    hello.will_properties =
        vec![Property::MessageExpiryInterval(30), Property::UserProperty("k", "v")];
    let c = rig.join(hello);
    rig.lose(c);
    rig.pass_s(10);
    let w = rig.client("w");
    rig.subscribe(w, "will/c", Q2);
    rig.check(w, &["SUBACK #77 02", "PUBLISH retain q2 #1 will/c=gone k:v expiry=20"]);
}

/// Attack case 15: a Will to a topic no client may publish to.
#[test]
fn a_will_to_a_reserved_topic_is_refused() {
    let mut rig = Rig::new();
    for topic in ["$SYS/brokers", "$events/client_connected"] {
        let c = rig.hello(Hello::v5("c").will(topic, "x"));
        rig.check(c, &["CONNACK present=0 0x90"]);
        assert_eq!(rig.cause(c), Some(CloseCause::Refused(ReasonCode::TopicNameInvalid)));
    }
}

#[test]
fn a_kick_says_0x98_and_keeps_a_lasting_session() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(100));
    assert!(rig.broker.kick("c"));
    rig.settle();
    rig.check(c, &["DISCONNECT 0x98"]);
    assert!(rig.broker.session("c").is_some_and(|view| !view.is_connected));
    assert!(!rig.broker.kick("c"));
    assert!(!rig.broker.kick("nobody"));
}

#[test]
fn discarding_a_session_says_0x98_and_forgets_it() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(100));
    assert!(rig.broker.discard_session("c", &mut rig.turn));
    rig.settle();
    rig.check(c, &["DISCONNECT 0x98"]);
    assert!(rig.broker.session("c").is_none());
    assert_eq!(rig.broker.stats()[0], ("connections/count", 0));
}

#[test]
fn a_ban_closes_who_is_there_and_refuses_who_comes() {
    let mut rig = Rig::new();
    let now_ms = rig.now.wall_ms;
    let at = |text| Who::at(text).unwrap();
    for who in [
        Who::ClientId("c".into()),
        Who::Username("bob".into()),
        at("192.0.2.1"),
        at("::ffff:192.0.2.1"),
        at("192.0.0.0/16"),
    ] {
        let c = rig.join(Hello::v5("c").user("bob"));
        let other = rig.join(Hello::v5("other"));
        let _ = rig.broker.ban(&who, Ban::until(now_ms + 1000), now_ms);
        rig.settle();
        // 0x8A is a code of CONNACK alone.
        rig.check(c, &["DISCONNECT 0x98"]);
        let again = rig.hello(Hello::v5("c").user("bob"));
        rig.check(again, &["CONNACK present=0 0x8a ReasonString(\"banned\")"]);
        let older = rig.hello(Hello::v3("c").user("bob"));
        assert_eq!(rig.out(older).len(), 1);
        assert!(rig.broker.unban(&who).is_some());
        assert!(rig.broker.unban(&who).is_none());
        let is_address = matches!(who, Who::Address(_) | Who::Network(_));
        assert_eq!(rig.cause(other).is_some(), is_address, "{who:?}");
    }
    let _ = rig.broker.ban(&Who::ClientId("c".into()), Ban::until(now_ms + 1000), now_ms);
    rig.pass_s(1);
    rig.client("c");
}

#[test]
fn a_flapping_client_is_banned_for_a_while() {
    let mut rig = Rig::with_zone(|zone| {
        zone.flapping = Some(broker_core::config::FlappingConfig {
            count: 3,
            window_ms: 60_000,
            banned_ms: 10_000,
        });
    });
    for _ in 0..3 {
        let c = rig.client("c");
        rig.lose(c);
    }
    let c = rig.hello(Hello::v5("c"));
    rig.check(c, &["CONNACK present=0 0x8a ReasonString(\"banned\")"]);
    rig.client("other");
    rig.pass_s(10);
    rig.client("c");
}

/// [MQTT-3.1.2-22]: one and a half times the Keep Alive; any packet counts.
#[test]
fn a_silent_client_is_gone_after_one_and_a_half_keep_alives() {
    let mut rig = Rig::new();
    let c = rig.join(Hello { keep_alive_s: 10, ..Hello::v5("c") });
    rig.pass_s(14);
    rig.send(c, &Packet::PingReq);
    rig.check(c, &["PINGRESP"]);
    rig.pass_ms(14_999);
    rig.check(c, &[]);
    rig.pass_ms(1);
    rig.check(c, &["DISCONNECT 0x8d"]);
    let silent = rig.client("silent");
    rig.pass_s(100_000);
    assert_eq!(rig.cause(silent), None);
}

/// Attack case 8: the time for CONNECT is bounded.
#[test]
fn a_connection_without_connect_is_closed_in_time() {
    let mut rig = Rig::with_zone(|zone| zone.idle_timeout_ms = 5_000);
    let c = rig.open(V5);
    rig.send_bytes(c, &[0x10]);
    rig.pass_ms(4_999);
    assert_eq!(rig.cause(c), None);
    rig.pass_ms(1);
    assert_eq!(rig.cause(c), Some(CloseCause::ConnectTimeout));
    rig.check(c, &[]);
}

/// [MQTT-3.1.0-2] A second CONNECT.
#[test]
fn a_second_connect_closes_the_connection() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    rig.say_hello(c, &Hello::v5("c"));
    rig.check(c, &["DISCONNECT 0x82"]);
}

/// Attack case 17: sessions are bounded as a whole.
#[test]
fn sessions_are_bounded() {
    let mut rig = Rig::build(|config, _| config.max_sessions = 2, Default::default(), None);
    for id in ["a", "b"] {
        let c = rig.join(Hello::v5(id).lasting(u32::MAX));
        rig.lose(c);
    }
    let c = rig.hello(Hello::v5("c"));
    rig.check(c, &["CONNACK present=0 0x97"]);
    rig.join(Hello::v5("a").lasting(10));
    rig.join(Hello::v5("b").clean());
}

/// Attack case 17: and for each user. Who has a session comes back to it, and may have another in its place.
#[test]
fn sessions_of_a_user_are_bounded() {
    let mut rig = Rig::build(|config, _| config.user_max_sessions = 2, Default::default(), None);
    let hello = |id| Hello::v5(id).user("u").lasting(u32::MAX);
    for id in ["a", "b"] {
        let c = rig.join(hello(id));
        rig.lose(c);
    }
    let c = rig.hello(hello("c"));
    rig.check(c, &["CONNACK present=0 0x97"]);
    let old = rig.hello(Hello { version: V3, ..hello("c") });
    rig.check(old, &["CONNACK present=0 0x88"]);
    assert!(rig.broker.session("c").is_none());
    rig.join(Hello::v5("other").user("v"));
    rig.join(Hello::v5("nobody"));

    let a = rig.hello(hello("a"));
    rig.check(a, &["CONNACK present=1 0x00"]);
    rig.join(hello("b").clean());
    let c = rig.hello(hello("c"));
    rig.check(c, &["CONNACK present=0 0x97"]);
    // One ends, and there is room for one.
    rig.disconnect(a, ReasonCode::Success, &[Property::SessionExpiryInterval(0)]);
    rig.join(hello("c"));
    let d = rig.hello(hello("d"));
    rig.check(d, &["CONNACK present=0 0x97"]);
}

/// A bound that is lowered takes nobody's session; one that is raised counts those that are there.
#[test]
fn another_bound_on_the_sessions_of_a_user_is_for_those_to_come() {
    let mut rig = Rig::new();
    let hello = |id| Hello::v5(id).user("u").lasting(u32::MAX);
    for id in ["a", "b", "c"] {
        rig.join(hello(id));
    }
    let set = |rig: &Rig, max| {
        let config = BrokerConfig { user_max_sessions: max, ..(*rig.broker.config()).clone() };
        rig.broker.reconfigure(config).unwrap();
    };
    set(&rig, 1);
    let a = rig.hello(hello("a"));
    rig.check(a, &["CONNACK present=1 0x00"]);
    let b = rig.hello(hello("b").clean());
    rig.check(b, &["CONNACK present=0 0x00"]);
    let d = rig.hello(hello("d"));
    rig.check(d, &["CONNACK present=0 0x97"]);
    set(&rig, 4);
    rig.join(hello("d"));
    let e = rig.hello(hello("e"));
    rig.check(e, &["CONNACK present=0 0x97"]);
}
