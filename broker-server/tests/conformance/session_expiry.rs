//! Session Expiry Interval (MQTT 5.0, 3.1.2.11.2, 4.1).

use crate::client::{elapse, unique_id, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::publish;

tests![
    without_interval_the_session_ends_with_the_connection,
    session_is_kept_until_it_expires,
    interval_counts_from_the_end_of_the_connection,
    interval_is_that_of_the_last_connect,
    never_expires,
    open_connection_keeps_the_session,
    expired_session_gets_no_messages,
    clean_session_0_is_kept,
    clean_session_1_is_not_kept,
];

/// [MQTT-4.1.0-2]
fn without_interval_the_session_ends_with_the_connection() {
    for connect in [v5(), v5().expiry(0)] {
        let id = unique_id();
        connect.id(&id).open().lose();
        assert!(!v5().id(&id).resume().open().session_present);
    }
}

/// [MQTT-3.1.2-23], [MQTT-4.1.0-2]: exact to a second.
fn session_is_kept_until_it_expires() {
    let (short, long) = (unique_id(), unique_id());
    v5().id(&short).expiry(2).open().disconnect();
    v5().id(&long).expiry(4).open().lose();
    elapse(1000);
    let client = v5().id(&short).resume().expiry(1).open();
    assert!(client.session_present, "one second of two");
    client.disconnect();
    elapse(1950);
    assert!(!v5().id(&short).resume().open().session_present, "two seconds of one");
    assert!(v5().id(&long).resume().open().session_present, "three seconds of four");
}

/// [MQTT-4.1.0-2]
fn interval_counts_from_the_end_of_the_connection() {
    let id = unique_id();
    let mut client = v5().id(&id).expiry(1).open();
    elapse(2200);
    client.ping();
    client.lose();
    assert!(v5().id(&id).resume().open().session_present);
}

/// MQTT 5.0, 3.1.2.11.2: stored with each CONNECT; absent means 0.
fn interval_is_that_of_the_last_connect() {
    let id = unique_id();
    v5().id(&id).expiry(60).open().lose();
    v5().id(&id).resume().open().lose();
    assert!(!v5().id(&id).resume().open().session_present);
}

/// MQTT 5.0, 3.1.2.11.2: 0xFFFFFFFF. A Server that keeps it shorter says so in CONNACK.
fn never_expires() {
    let id = unique_id();
    let client = v5().id(&id).expiry(u32::MAX).open();
    if let Some(granted) = client.props.session_expiry() {
        assert!(granted > 3, "{granted}");
    }
    client.lose();
    elapse(1500);
    assert!(v5().id(&id).resume().expiry(0).open().session_present);
}

/// [MQTT-4.1.0-1], [MQTT311-4.1.0-1], [MQTT311-4.1.0-2]
fn open_connection_keeps_the_session() {
    for connect in [v5(), v5().expiry(1), v311()] {
        let topic = unique_topic();
        let mut client = connect.open();
        client.subscribe(&topic, 1);
        elapse(2200);
        v5().open().publish(publish(&topic, 1, "x"));
        assert_eq!(client.take().text(), "x");
    }
}

/// [MQTT-4.1.0-2]
fn expired_session_gets_no_messages() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v5().id(&id).expiry(1).open();
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "queued"));
    elapse(2200);
    publisher.publish(publish(&topic, 1, "too late"));
    let mut client = v5().id(&id).resume().open();
    assert!(!client.session_present);
    client.expect_nothing();
}

/// [MQTT311-3.1.2-4], [MQTT311-3.1.2-5]
fn clean_session_0_is_kept() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v311().id(&id).resume().open();
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "one"));
    publisher.publish(publish(&topic, 2, "two"));
    elapse(1500);
    let mut client = v311().id(&id).resume().open();
    assert!(client.session_present);
    assert_eq!([client.take().text(), client.take().text()], ["one", "two"]);
}

/// [MQTT311-3.1.2-6]
fn clean_session_1_is_not_kept() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v311().id(&id).open();
    client.subscribe(&topic, 1);
    client.lose();
    v5().open().publish(publish(&topic, 1, "x"));
    let mut client = v311().id(&id).resume().open();
    assert!(!client.session_present);
    client.expect_nothing();
}
