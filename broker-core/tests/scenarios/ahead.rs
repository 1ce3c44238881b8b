//! Who sends faster than its receivers take, and so may be read a little later.

use broker_codec::Property;

use crate::rig::*;

/// A publisher, and a subscriber of `t` with room for one message in its window.
fn narrow() -> (Rig, C, C) {
    let mut rig = Rig::new();
    let p = rig.client("p");
    let s = rig.join(Hello::v5("s").with(Property::ReceiveMaximum(1)));
    rig.subscribed(s, "t", Q1);
    (rig, p, s)
}

#[test]
fn who_fills_queues_and_nothing_else_is_ahead() {
    let (mut rig, p, s) = narrow();
    rig.publish(p, "t", "leaves", Q1, 1);
    assert!(!rig.is_ahead(p));
    rig.publish(p, "t", "waits", Q1, 2);
    assert!(rig.is_ahead(p));
    rig.check(s, &["PUBLISH q1 #1 t=leaves"]);
    // What was said last counts, and only that: nobody is ahead who sends nothing.
    rig.send(p, &broker_codec::Packet::PingReq);
    assert!(!rig.is_ahead(p));
    rig.publish(p, "t", "waits too", Q1, 3);
    assert!(rig.is_ahead(p) && !rig.is_ahead(s));
    // The client has caught up.
    (1..=3).for_each(|id| rig.puback(s, id));
    rig.publish(p, "t", "leaves again", Q1, 4);
    assert!(!rig.is_ahead(p));
}

/// A slow client slows nobody: as long as one receiver gets a message at once, its publisher is read as it sends.
#[test]
fn who_reaches_somebody_at_once_is_not_ahead() {
    for qos in [Q0, Q1] {
        let (mut rig, p, _) = narrow();
        let quick = rig.client("quick");
        rig.subscribed(quick, "u", qos);
        rig.publish(p, "t", "leaves", Q1, 1);
        for (topic, id) in [("t", 2), ("u", 3), ("t", 4)] {
            rig.post(p, &publish(topic, "x", Q1, id));
        }
        rig.feed_all();
        assert!(!rig.is_ahead(p), "{qos:?}");
        rig.publish(p, "t", "waits", Q1, 5);
        assert!(rig.is_ahead(p), "{qos:?}");
    }
}

/// Its acknowledgements are what others wait for.
#[test]
fn who_has_something_to_acknowledge_is_not_ahead() {
    let (mut rig, p, _) = narrow();
    rig.subscribed(p, "own", Q1);
    rig.publish(p, "t", "leaves", Q1, 1);
    rig.publish(p, "own", "to itself", Q1, 2);
    rig.publish(p, "t", "waits", Q1, 3);
    assert!(!rig.is_ahead(p));
    rig.puback(p, 1);
    rig.publish(p, "t", "waits", Q1, 4);
    assert!(rig.is_ahead(p));
}

/// Nobody is there who could catch up.
#[test]
fn what_waits_for_who_is_away_makes_nobody_ahead() {
    let mut rig = Rig::new();
    let p = rig.client("p");
    let s = rig.join(Hello::v5("s").lasting(9_999));
    rig.subscribed(s, "t", Q1);
    rig.lose(s);
    rig.publish(p, "t", "kept", Q1, 1);
    assert!(!rig.is_ahead(p));
}
