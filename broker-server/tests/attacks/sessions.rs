//! Wills and sessions without number: cases 15 and 17.

use crate::broker::{MB, eventually, start};
use crate::client::{Client, Will, unique_id, unique_topic, v5, v311};
use crate::wire::{Packet, publish};

/// 400 Wills at once to three subscribers; bound 24 MB.
#[test]
fn b15_a_storm_of_wills_reaches_its_subscribers() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let topic = unique_topic();
    let mut watchers: Vec<Client> = (0..3).map(|_| v5().open()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.subscribe(&topic, 1));
    let storm: Vec<Client> =
        (0..400).map(|_| v5().will(Will::new(&topic, "gone").qos(1)).open()).collect();
    drop(storm);
    for watcher in &mut watchers {
        for _ in 0..400 {
            assert_eq!(watcher.take().text(), "gone");
        }
        watcher.expect_nothing();
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 24 * MB);
    process.assert_serves();
}

#[test]
fn b15_wills_to_reserved_topics_are_refused_and_a_take_over_cancels_delayed_ones() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    for topic in ["$SYS/brokers", "$SYS/x", "$events/client_connected"] {
        v5().will(Will::new(topic, "x")).begin().expect_refused(&[0x87, 0x90]);
    }
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let id = unique_id();
    let mut delayed = v5().id(&id).expiry(100).will(Will::new(&topic, "delayed").delay(1)).open();
    for _ in 0..50 {
        let next = v5().id(&id).expiry(100).resume();
        let next = next.will(Will::new(&topic, "delayed").delay(1)).open();
        delayed.expect_disconnect(&[0x8E]);
        delayed = next;
    }
    delayed.disconnect();
    assert_eq!(watcher.recv_within(1_500), None, "no Will of a session that went on");
    bystanders.assert_fine();
    process.assert_serves();
}

#[test]
fn b15_the_stop_of_the_broker_is_no_storm() {
    let mut process = start("", "");
    let topic = unique_topic();
    let mut watchers: Vec<Client> = (0..100).map(|_| v5().open()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.subscribe(&topic, 1));
    let _wills: Vec<Client> =
        (0..200).map(|_| v5().will(Will::new(&topic, "gone").qos(1)).open()).collect();
    assert!(process.terminate(), "it ends with success");
    assert!(!process.has_logged("cut off"), "{}", process.log());
    for watcher in &mut watchers {
        let code = std::iter::from_fn(|| watcher.recv_within(1_000)).find_map(|packet| {
            if let Packet::Disconnect { code, .. } = packet { Some(code) } else { None }
        });
        assert_eq!(code, Some(0x8B), "every client is told");
    }
}

/// 3,000 ids that want to stay for ever, 500 let in; bound 16 MB.
#[test]
fn b17_sessions_are_bounded() {
    let process = start("[broker]\nmax_sessions = 500\n", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let first = unique_id();
    let mut n_refused = 0;
    for n in 0..3_000 {
        let id = if n == 0 { first.clone() } else { unique_id() };
        let mut client = v5().id(&id).expiry(u32::MAX).begin();
        match client.recv() {
            Packet::ConnAck { code: 0, .. } => {
                client.subscribe(&format!("flood/{n}"), 1);
                client.disconnect();
            }
            Packet::ConnAck { code: 0x97, .. } => {
                n_refused += 1;
                client.expect_closed();
            }
            other => panic!("CONNACK expected, got {other:?}"),
        }
    }
    assert!((2_500..2_510).contains(&n_refused), "{n_refused} were refused");
    // Those who have a session may come back, and its messages wait for them.
    let again = v5().id(&first).expiry(0).resume().open();
    assert!(again.session_present);
    bystanders.assert_fine();
    process.assert_grown_less(before, 16 * MB);
    again.disconnect();
    eventually(|| {
        let mut client = v5().begin();
        matches!(client.recv(), Packet::ConnAck { code: 0, .. }).then_some(())
    });
}

/// A user that wants 300 ids to stay for ever gets 20, and the others all they ask for; bound 4 MB.
#[test]
fn b17_sessions_of_a_user_are_bounded() {
    let mut process = start("[limits.user]\nmax_sessions = 20\n", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let wish = |user| v5().username(user).expiry(u32::MAX);
    let mut held = Vec::new();
    for _ in 0..300 {
        let id = unique_id();
        let mut client = wish("greedy").id(&id).begin();
        match client.recv() {
            Packet::ConnAck { code: 0, .. } => {
                client.disconnect();
                held.push(id);
            }
            Packet::ConnAck { code: 0x97, .. } => client.expect_closed(),
            other => panic!("CONNACK expected, got {other:?}"),
        }
    }
    assert_eq!(held.len(), 20);
    v311().username("greedy").resume().begin().expect_refused(&[3]);
    wish("modest").open().ping();
    // Those it has are its own still, and one that is given up makes room for one.
    assert!(wish("greedy").id(&held[0]).resume().open().session_present);
    v5().username("greedy").id(&held[0]).open().disconnect();
    eventually(|| {
        let mut client = wish("greedy").begin();
        matches!(client.recv(), Packet::ConnAck { code: 0, .. }).then_some(())
    });
    wish("greedy").begin().expect_refused(&[0x97]);
    bystanders.assert_fine();
    process.assert_grown_less(before, 4 * MB);
    process.assert_serves();
}

/// 5,000 sessions of one id, each discarded by the next; bound 4 MB.
#[test]
fn b17_sessions_that_are_discarded_leave_nothing_behind() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let id = unique_id();
    let mut publisher = v5().open();
    let mut round = |n: u32| {
        let mut client = v5().id(&id).expiry(u32::MAX - 1 - n).open();
        client.subscribe("discarded/+", 1);
        client.disconnect();
        if n.is_multiple_of(100) {
            publisher.publish(publish("discarded/x", 1, "x"));
        }
    };
    (0..500).for_each(&mut round);
    let before = process.peak_bytes();
    (500..5_500).for_each(&mut round);
    process.assert_grown_less(before, 4 * MB);
    bystanders.assert_fine();
    process.assert_serves();
}

/// What means something to another broker's plugins is a topic here, which no wildcard at its beginning matches.
#[test]
fn b15_a_will_to_a_control_topic_orders_nothing() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let topic = "$CONTROL/dynamic-security/v1";
    let order = r#"{"commands":[{"command":"createClient","username":"eve","password":"x"}]}"#;
    let [mut everything, mut named] = ["#", "$CONTROL/#"].map(|filter| {
        let mut watcher = v5().open();
        watcher.subscribe(filter, 1);
        watcher
    });
    v5().will(Will::new(topic, order).qos(1)).open().lose();
    let will = named.take();
    assert_eq!((will.topic.as_str(), will.text().as_str()), (topic, order));
    named.expect_nothing();
    while let Some(packet) = everything.recv_within(200) {
        let Packet::Publish(message) = packet else { panic!("{packet:?}") };
        assert!(!message.topic.starts_with('$'), "{}", message.topic);
        everything.acknowledge(&message);
        if message.topic == "last" {
            break;
        }
        v5().open().publish(publish("last", 1, "x"));
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// A delayed Will comes once its session is over, be it by Clean Start [MQTT-3.1.3-9], and only once.
#[test]
fn b15_a_take_over_that_starts_clean_ends_the_session_and_sends_its_will() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 1);
    let id = unique_id();
    let with_will = |n: u32| {
        let will = Will::new(&topic, &n.to_string()).delay(600).qos(1);
        v5().id(&id).expiry(1_000).will(will).open()
    };
    let mut old = with_will(0);
    for n in 1..=20 {
        let new = with_will(n);
        old.expect_disconnect(&[0x8E]);
        assert_eq!(watcher.take().text(), (n - 1).to_string());
        old = new;
    }
    old.disconnect();
    watcher.expect_nothing();
    bystanders.assert_fine();
    process.assert_serves();
}
