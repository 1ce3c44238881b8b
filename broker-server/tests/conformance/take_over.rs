//! A second connection with the same Client Identifier (MQTT 5.0, 3.1.4).

use crate::client::{connect, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, PUBREC, V5, V31, V311, publish};

tests![
    old_connection_is_told_and_closed,
    old_connection_is_closed_across_versions,
    session_goes_to_the_new_connection,
    clean_start_takes_nothing_over,
    unacknowledged_messages_go_to_the_new_connection,
    many_take_overs_leave_one_connection,
    old_connection_publishes_nothing_more,
];

/// [MQTT-3.1.4-3], [MQTT311-3.1.4-2]
fn old_connection_is_told_and_closed() {
    for version in [V31, V311, V5] {
        let id = unique_id();
        let mut old = connect(version).id(&id).open();
        let mut new = connect(version).id(&id).open();
        old.expect_disconnect(&[0x8E]);
        new.ping();
    }
}

/// [MQTT-3.1.4-3], [MQTT311-3.1.4-2]
fn old_connection_is_closed_across_versions() {
    for (old, new) in [(V5, V311), (V311, V5), (V31, V311), (V5, V31)] {
        let id = unique_id();
        let mut old = connect(old).id(&id).open();
        let mut new = connect(new).id(&id).open();
        old.expect_disconnect(&[0x8E]);
        new.ping();
    }
}

/// [MQTT-3.1.2-5], [MQTT-3.2.2-3]
fn session_goes_to_the_new_connection() {
    for version in [V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut old = connect(version).id(&id).resume().expiry(60).open();
        old.subscribe(&topic, 1);
        let mut new = connect(version).id(&id).resume().expiry(60).open();
        assert!(new.session_present);
        old.expect_disconnect(&[0x8E]);
        v5().open().publish(publish(&topic, 1, "x"));
        assert_eq!(new.take().text(), "x");
        new.expect_nothing();
    }
}

/// [MQTT-3.1.2-4], [MQTT-3.2.2-2]
fn clean_start_takes_nothing_over() {
    for version in [V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut old = connect(version).id(&id).resume().expiry(60).open();
        old.subscribe(&topic, 1);
        let mut new = connect(version).id(&id).clean().open();
        assert!(!new.session_present);
        v5().open().publish(publish(&topic, 1, "x"));
        new.expect_nothing();
        old.expect_disconnect(&[0x8E]);
    }
}

/// [MQTT-4.4.0-1]
fn unacknowledged_messages_go_to_the_new_connection() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut old = v5().id(&id).expiry(60).open();
    old.subscribe(&topic, 2);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 2, "released"));
    publisher.publish(publish(&topic, 1, "sent"));
    let (released, sent) = (old.expect_publish(), old.expect_publish());
    old.send(&wire::ack(PUBREC, released.id));
    old.expect_pubrel(released.id);
    let mut new = v5().id(&id).resume().expiry(60).open();
    new.expect_pubrel(released.id);
    let again = new.take();
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "sent".to_owned()));
}

/// [MQTT-3.1.4-3]: the last one stays.
fn many_take_overs_leave_one_connection() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut first = v5().id(&id).expiry(60).open();
    first.subscribe(&topic, 1);
    let mut clients = vec![first];
    for _ in 0..10 {
        clients.push(v5().id(&id).resume().expiry(60).open());
    }
    let mut last = clients.pop().unwrap();
    for mut old in clients {
        old.expect_disconnect(&[0x8E]);
    }
    v5().open().publish(publish(&topic, 1, "x"));
    assert_eq!(last.take().text(), "x");
    last.expect_nothing();
}

/// [MQTT-3.1.4-3]
fn old_connection_publishes_nothing_more() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let mut old = v5().id(&id).open();
    let mut new = v5().id(&id).open();
    new.ping();
    let late = publish(&topic, 0, "late").encode(V5);
    old.try_send(&late);
    old.expect_disconnect(&[0x8E]);
    watcher.expect_nothing();
}
