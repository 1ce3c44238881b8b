//! Sessions across a crash: subscriptions, expiry, and what ends them.

use crate::broker::Broker;
use crate::client::{Client, elapse, v5, v311};
use crate::retained::drain;
use crate::wire::{DO_NOT_SEND, NO_LOCAL, Prop, RAP, disconnect, publish};

fn resume(id: &str) -> Client {
    v5().id(id).resume().expiry(100).open()
}

/// Options and identifiers are those of the last SUBSCRIBE.
#[test]
fn subscriptions_come_back_with_options_and_identifiers() {
    let mut broker = Broker::new(&[]);
    let mut client = resume("sub");
    client.subscribe_with("a/+", 1 | NO_LOCAL | RAP, &[Prop::SubscriptionIdentifier(7)]);
    client.subscribe_with("b", 2, &[Prop::SubscriptionIdentifier(8)]);
    client.subscribe_with("b", 1 | DO_NOT_SEND, &[Prop::SubscriptionIdentifier(9)]);
    client.subscribe("c", 2);
    client.subscribe("gone", 1);
    client.unsubscribe(&["gone"]);
    broker.crash();
    let mut client = resume("sub");
    assert!(client.session_present);
    client.publish(publish("a/own", 1, "not for me"));
    let mut other = v5().open();
    other.publish(publish("gone", 1, "gone"));
    other.publish(publish("a/x", 2, "a").retain());
    other.publish(publish("b", 2, "b").retain());
    other.publish(publish("c", 2, "c"));
    let messages = drain(&mut client);
    let got: Vec<_> =
        messages.iter().map(|m| (m.text(), m.qos, m.retain, m.props.subscription_ids())).collect();
    let wanted = [
        ("a".to_owned(), 1, true, vec![7]),
        ("b".to_owned(), 1, false, vec![9]),
        ("c".to_owned(), 2, false, vec![]),
    ];
    assert_eq!(got, wanted);
}

/// SUBACK and UNSUBACK promise as well: whatever comes next finds them done.
#[test]
fn a_subscription_counts_from_its_suback() {
    let mut broker = Broker::new(&[]);
    for n in 0..20 {
        let mut client = resume("sub");
        client.subscribe(&format!("t/{n}"), 1);
        if n > 0 {
            assert_eq!(client.unsubscribe(&[&format!("t/{}", n - 1)]), [0]);
        }
        broker.crash();
        let mut publisher = v5().open();
        publisher.publish(publish(&format!("t/{n}"), 1, "yes"));
        if n > 0 {
            publisher.publish(publish(&format!("t/{}", n - 1), 1, "no"));
        }
        let mut client = resume("sub");
        assert!(client.session_present);
        assert_eq!(client.take().text(), "yes");
        client.expect_nothing();
        // The next round must not see it again.
        broker.settle();
    }
}

/// Session Expiry Interval runs on while the broker is down [MQTT-4.1.0-2].
#[test]
fn the_time_the_broker_was_down_counts_for_expiry() {
    let mut broker = Broker::new(&[]);
    v5().id("short").expiry(2).open().disconnect();
    v5().id("long").expiry(100).open().disconnect();
    let mut changed = v5().id("changed").expiry(100).open();
    changed.ping();
    changed.disconnect_with(&disconnect(0, &[Prop::SessionExpiryInterval(1)]));
    v5().id("ends").expiry(0).open().disconnect();
    let connected = v5().id("connected").expiry(30).open();
    broker.settle();
    broker.kill();
    drop(connected);
    elapse(2_300);
    broker.restart();
    for (id, is_there) in
        [("short", false), ("long", true), ("changed", false), ("ends", false), ("connected", true)]
    {
        let client = v5().id(id).resume().open();
        assert_eq!(client.session_present, is_there, "{id}");
    }
}

/// The session of a client that asked for none must not come back, nor one that was replaced.
#[test]
fn a_session_that_was_discarded_stays_away() {
    let mut broker = Broker::new(&[]);
    for id in ["fresh", "ended"] {
        let mut client = resume(id);
        client.subscribe("t", 1);
        client.disconnect();
    }
    let mut publisher = v5().open();
    publisher.publish(publish("t", 1, "old"));
    // Clean Start with a new session, and with none.
    let fresh = v5().id("fresh").clean().expiry(100).open();
    assert!(!fresh.session_present);
    let ended = v311().id("ended").clean().open();
    drop((fresh, ended));
    broker.crash();
    let mut client = resume("fresh");
    client.expect_nothing();
    v5().open().publish(publish("t", 1, "new"));
    client.expect_nothing();
    let mut client = resume("ended");
    assert!(!client.session_present);
    client.expect_nothing();
}

/// Without an expiry a session is its connection, and the broker's end is the end of both.
#[test]
fn sessions_without_expiry_are_not_kept() {
    let mut broker = Broker::new(&[]);
    let mut client = v5().id("brief").open();
    client.subscribe("t", 1);
    broker.settle();
    broker.crash();
    assert!(!v5().id("brief").resume().open().session_present);
}

/// Many of them, over several crashes.
#[test]
fn thousands_of_sessions_come_back() {
    let mut broker = Broker::new(&[]);
    for n in 0..2_000 {
        let mut client = v5().id(&format!("d{n}")).expiry(1_000).open();
        client.subscribe(&format!("d/{n}"), 1);
    }
    broker.crash();
    broker.crash();
    let mut publisher = v5().open();
    for n in (0..2_000).step_by(97) {
        publisher.publish(publish(&format!("d/{n}"), 1, n.to_string()));
        let mut client = v5().id(&format!("d{n}")).resume().expiry(1_000).open();
        assert!(client.session_present);
        assert_eq!(client.take().text(), n.to_string());
    }
}
