//! Will Messages (MQTT 5.0, 3.1.2.5 and 3.1.3.2).

use crate::client::{Client, Will, connect, elapse, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, Prop, RAP, V5, V31, V311, publish};

tests![
    will_is_published_when_the_connection_is_lost,
    will_is_not_published_after_disconnect,
    will_is_published_after_disconnect_with_will,
    will_is_published_after_disconnect_with_an_error,
    will_is_published_after_a_protocol_error,
    without_will_flag_nothing_is_published,
    will_is_published_once,
    will_has_its_qos,
    will_without_retain_is_not_retained,
    will_with_retain_is_retained,
    will_with_empty_payload_is_published,
    will_reaches_offline_sessions,
    will_properties_are_published,
    will_delay_holds_the_will_back,
    will_delay_ends_with_the_session,
    will_is_cancelled_by_resuming,
    will_is_sent_when_clean_start_ends_the_session,
    delayed_will_may_not_be_sent_twice,
    will_without_delay_is_sent_on_take_over,
    new_connection_has_a_new_will,
];

fn watch(topic: &str) -> Client {
    let mut watcher = v5().open();
    watcher.subscribe(topic, 2 | RAP);
    watcher
}

/// [MQTT-3.1.2-7], [MQTT-3.1.2-8], [MQTT311-3.1.2-8]
fn will_is_published_when_the_connection_is_lost() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut watcher = watch(&topic);
        let client = connect(version).will(Will::new(&topic, "lost")).open();
        watcher.expect_nothing();
        client.lose();
        let got = watcher.take();
        assert_eq!(got.text(), "lost");
        assert!(!got.retain && !got.dup && got.props.0.is_empty());
    }
}

/// [MQTT-3.1.2-10], [MQTT-3.14.4-3], [MQTT311-3.1.2-10], [MQTT311-3.14.4-3]
fn will_is_not_published_after_disconnect() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut watcher = watch(&topic);
        connect(version).will(Will::new(&topic, "never")).open().disconnect();
        watcher.expect_nothing();
    }
}

/// MQTT 5.0, 3.14.2.1
fn will_is_published_after_disconnect_with_will() {
    let topic = unique_topic();
    let mut watcher = watch(&topic);
    let client = v5().will(Will::new(&topic, "on purpose")).open();
    client.disconnect_with(&wire::frame(0xE0, &[0x04]));
    assert_eq!(watcher.take().text(), "on purpose");
}

/// [MQTT-3.1.2-8], [MQTT-3.1.2-10]: only 0x00 removes it.
fn will_is_published_after_disconnect_with_an_error() {
    for code in [0x80, 0x81, 0x82, 0x83, 0x93, 0x95, 0x99] {
        let topic = unique_topic();
        let mut watcher = watch(&topic);
        let client = v5().will(Will::new(&topic, "on purpose")).open();
        client.disconnect_with(&wire::frame(0xE0, &[code]));
        assert_eq!(watcher.take().text(), "on purpose", "{code:#04x}");
    }
}

/// [MQTT-3.1.2-8], [MQTT311-3.1.2-8]
fn will_is_published_after_a_protocol_error() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut watcher = watch(&topic);
        let mut client = connect(version).will(Will::new(&topic, "error")).open();
        client.send_publish(&publish("a/#", 0, "x"));
        client.expect_disconnect(&[0x81, 0x82, 0x90]);
        assert_eq!(watcher.take().text(), "error");
    }
}

/// [MQTT311-3.1.2-12]
fn without_will_flag_nothing_is_published() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut watcher = watch(&topic);
    for version in [V311, V5] {
        connect(version).id(&id).will(Will::new(&topic, "first")).open().disconnect();
        connect(version).id(&id).open().lose();
        watcher.expect_nothing();
    }
}

/// [MQTT-3.1.2-10]
fn will_is_published_once() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut watcher = watch(&topic);
    v5().id(&id).expiry(60).will(Will::new(&topic, "once")).open().lose();
    assert_eq!(watcher.take().text(), "once");
    v5().id(&id).resume().expiry(60).open().lose();
    v5().id(&id).open().lose();
    watcher.expect_nothing();
}

/// [MQTT-3.1.2-12], [MQTT311-3.1.2-14]
fn will_has_its_qos() {
    for version in [V31, V311, V5] {
        for qos in 0..=2 {
            let topic = unique_topic();
            let mut watcher = watch(&topic);
            connect(version).will(Will::new(&topic, "x").qos(qos)).open().lose();
            assert_eq!(watcher.take().qos, qos);
        }
    }
}

/// [MQTT-3.1.2-14], [MQTT311-3.1.2-16]
fn will_without_retain_is_not_retained() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut watcher = watch(&topic);
        connect(version).will(Will::new(&topic, "x")).open().lose();
        assert!(!watcher.take().retain);
        watch(&topic).expect_nothing();
    }
}

/// [MQTT-3.1.2-15], [MQTT311-3.1.2-17]
fn will_with_retain_is_retained() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut watcher = watch(&topic);
        connect(version).will(Will::new(&topic, "kept").qos(1).retain()).open().lose();
        assert!(watcher.take().retain, "as published");
        assert_eq!(watch(&topic).take().text(), "kept");
    }
}

/// MQTT 5.0, 3.1.3.4: the Will Payload may be empty.
fn will_with_empty_payload_is_published() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut watcher = watch(&topic);
        connect(version).will(Will::new(&topic, "").qos(1)).open().lose();
        assert!(watcher.take().payload.is_empty());
    }
}

/// A Will Message is an Application Message like others [MQTT-4.5.0-1].
fn will_reaches_offline_sessions() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut sleeper = v5().id(&id).expiry(60).open();
    sleeper.subscribe(&topic, 1);
    sleeper.disconnect();
    let mut watcher = watch(&topic);
    v5().will(Will::new(&topic, "x").qos(1)).open().lose();
    watcher.take();
    assert_eq!(v5().id(&id).resume().open().take().text(), "x");
}

/// [MQTT-3.1.3-10], [MQTT-3.3.2-17]
fn will_properties_are_published() {
    let topic = unique_topic();
    let mut watcher = watch(&topic);
    let props = [
        Prop::PayloadFormatIndicator(1),
        Prop::MessageExpiryInterval(600),
        Prop::ContentType("text/plain".into()),
        Prop::ResponseTopic("answers/here".into()),
        Prop::CorrelationData(vec![9, 0, 9]),
        Prop::UserProperty("z".into(), "1".into()),
        Prop::UserProperty("a".into(), "2".into()),
        Prop::UserProperty("z".into(), "3".into()),
    ];
    let mut will = Will::new(&topic, "x").delay(0);
    will.props.extend(props.clone());
    v5().will(will).open().lose();
    let got = watcher.take().props;
    for prop in &props[..1] {
        assert!(got.0.contains(prop), "{prop:?} is missing in {got:?}");
    }
    assert!(matches!(got.message_expiry(), Some(598..=600)), "{got:?}");
    for prop in &props[2..] {
        assert!(got.0.contains(prop), "{prop:?} is missing in {got:?}");
    }
    assert_eq!(got.user(), [("z", "1"), ("a", "2"), ("z", "3")]);
    assert_eq!(got.0.len(), props.len(), "no Will Delay Interval: {got:?}");
}

/// [MQTT-3.1.2-8]
fn will_delay_holds_the_will_back() {
    let topic = unique_topic();
    let mut watcher = watch(&topic);
    v5().expiry(60).will(Will::new(&topic, "late").delay(2)).open().lose();
    elapse(1200);
    watcher.expect_nothing();
    let got = watcher.recv_within(3000);
    assert!(matches!(got, Some(wire::Packet::Publish(p)) if p.text() == "late"));
}

/// [MQTT-3.1.2-8]: the Session ends first.
fn will_delay_ends_with_the_session() {
    let topic = unique_topic();
    let mut watcher = watch(&topic);
    v5().will(Will::new(&topic, "at once").delay(600)).open().lose();
    assert_eq!(watcher.take().text(), "at once", "no Session Expiry Interval: it ends now");

    v5().expiry(1).will(Will::new(&topic, "soon").delay(600)).open().lose();
    watcher.expect_nothing();
    let got = watcher.recv_within(4000);
    assert!(matches!(got, Some(wire::Packet::Publish(p)) if p.text() == "soon"));
}

/// [MQTT-3.1.3-9], [MQTT-3.1.2-8]
fn will_is_cancelled_by_resuming() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut watcher = watch(&topic);
    v5().id(&id).expiry(60).will(Will::new(&topic, "never").delay(1)).open().lose();
    let mut client = v5().id(&id).resume().expiry(60).open();
    assert!(client.session_present);
    elapse(2500);
    watcher.expect_nothing();
    client.ping();
}

/// MQTT 5.0, 3.1.4: a take-over with Clean Start 1 ends the Session, and with it the wait.
fn will_is_sent_when_clean_start_ends_the_session() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut watcher = watch(&topic);
    let will = Will::new(&topic, "session over").delay(600);
    let mut old = v5().id(&id).expiry(60).will(will).open();
    let mut new = v5().id(&id).clean().open();
    old.expect_disconnect(&[0x8E]);
    assert_eq!(watcher.take().text(), "session over");
    new.ping();
}

/// [MQTT-3.1.2-8] leaves open whether a Clean Start after the connection was lost sends the Will Message (the
/// Session ends) or not (a new connection is opened); never both.
fn delayed_will_may_not_be_sent_twice() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut watcher = watch(&topic);
    v5().id(&id).expiry(60).will(Will::new(&topic, "x").delay(1)).open().lose();
    watcher.expect_nothing();
    let mut client = v5().id(&id).clean().open();
    elapse(2000);
    if let Some(wire::Packet::Publish(_)) = watcher.recv_within(200) {}
    watcher.expect_nothing();
    client.ping();
}

/// MQTT 5.0, 3.1.4: the Will Message of the connection that is taken over.
fn will_without_delay_is_sent_on_take_over() {
    for version in [V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut watcher = watch(&topic);
        let mut old = connect(version).id(&id).will(Will::new(&topic, "taken over")).open();
        let mut new = connect(version).id(&id).open();
        old.expect_disconnect(&[0x8E]);
        assert_eq!(watcher.take().text(), "taken over");
        new.ping();
    }
}

/// The Will Message belongs to the connection, not to the Client Identifier.
fn new_connection_has_a_new_will() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut watcher = watch(&topic);
    v5().id(&id).expiry(60).will(Will::new(&topic, "old").delay(600)).open().lose();
    v5().id(&id).resume().expiry(60).will(Will::new(&topic, "new")).open().lose();
    assert_eq!(watcher.take().text(), "new");
    watcher.expect_nothing();
}
