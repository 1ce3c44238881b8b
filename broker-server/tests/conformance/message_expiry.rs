//! Message Expiry Interval (MQTT 5.0, 3.3.2.3.3).

use crate::client::{elapse, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, PUBREL, Prop, publish};

tests![
    interval_is_passed_on,
    without_interval_none_is_passed_on,
    expired_messages_are_deleted,
    waiting_time_is_subtracted,
    expired_retained_messages_are_not_sent,
    waiting_time_of_retained_messages_is_subtracted,
    expiry_does_not_kill_a_sent_message,
    receiver_completes_the_exchange_of_an_expired_message,
    expired_messages_do_not_hold_up_others,
    interval_0_does_no_harm,
];

fn expiring(topic: &str, qos: u8, text: &str, seconds: u32) -> wire::Publish {
    publish(topic, qos, text).prop(Prop::MessageExpiryInterval(seconds))
}

/// [MQTT-3.3.2-6]
fn interval_is_passed_on() {
    for qos in 0..=2 {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, qos);
        for seconds in [100, u32::MAX] {
            v5().open().publish(expiring(&topic, qos, "x", seconds));
            let got = subscriber.take().props.message_expiry();
            assert!(matches!(got, Some(v) if v >= seconds - 1), "{got:?}");
        }
    }
}

/// MQTT 5.0, 3.3.2.3.3: absent means that it does not expire.
fn without_interval_none_is_passed_on() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    v5().open().publish(publish(&topic, 1, "x"));
    assert_eq!(subscriber.take().props.message_expiry(), None);
}

/// [MQTT-3.3.2-5]
fn expired_messages_are_deleted() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 2);
    subscriber.disconnect();
    let mut publisher = v5().open();
    for qos in [1, 2] {
        publisher.publish(expiring(&topic, qos, "expires", 1));
        publisher.publish(expiring(&topic, qos, "stays", 60));
    }
    elapse(2200);
    let mut subscriber = v5().id(&id).resume().open();
    assert_eq!([subscriber.take().text(), subscriber.take().text()], ["stays", "stays"]);
    subscriber.expect_nothing();
}

/// [MQTT-3.3.2-6]
fn waiting_time_is_subtracted() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    v5().open().publish(expiring(&topic, 1, "x", 100));
    elapse(2200);
    let got = v5().id(&id).resume().open().take().props.message_expiry();
    assert!(matches!(got, Some(97..=98)), "{got:?}");
}

/// [MQTT-3.3.2-5]
fn expired_retained_messages_are_not_sent() {
    let topic = unique_topic();
    v5().open().publish(expiring(&topic, 1, "expires", 1).retain());
    let mut early = v5().open();
    early.subscribe(&topic, 1);
    assert_eq!(early.take().text(), "expires");
    elapse(2200);
    let mut late = v5().open();
    late.subscribe(&topic, 1);
    late.expect_nothing();
}

/// [MQTT-3.3.2-6]: for retained messages, too.
fn waiting_time_of_retained_messages_is_subtracted() {
    let topic = unique_topic();
    v5().open().publish(expiring(&topic, 1, "x", 100).retain());
    elapse(2200);
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let got = subscriber.take().props.message_expiry();
    assert!(matches!(got, Some(97..=98)), "{got:?}");
}

/// [MQTT-4.3.3-7], [MQTT-4.4.0-1]
fn expiry_does_not_kill_a_sent_message() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 2);
    let mut publisher = v5().open();
    publisher.publish(expiring(&topic, 2, "released", 1));
    publisher.publish(expiring(&topic, 2, "sent", 1));
    let (released, sent) = (subscriber.expect_publish(), subscriber.expect_publish());
    subscriber.send(&wire::ack(wire::PUBREC, released.id));
    subscriber.expect_pubrel(released.id);
    subscriber.lose();
    elapse(2200);
    let mut subscriber = v5().id(&id).resume().expiry(60).open();
    subscriber.expect_pubrel(released.id);
    let again = subscriber.take();
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "sent".to_owned()));
}

/// [MQTT-4.3.3-13]
fn receiver_completes_the_exchange_of_an_expired_message() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 2);
    subscriber.disconnect();
    let mut publisher = v5().open();
    publisher.send_publish(&expiring(&topic, 2, "x", 1).id(5));
    publisher.expect_pubrec(5);
    elapse(2200);
    publisher.send_publish(&expiring(&topic, 2, "x", 1).id(5).dup());
    publisher.expect_pubrec(5);
    publisher.send(&wire::ack(PUBREL, 5));
    assert_eq!(publisher.expect_pubcomp(5), 0);
}

/// [MQTT-3.3.2-5]: behind a full window.
fn expired_messages_do_not_hold_up_others() {
    let topic = unique_topic();
    let mut subscriber = v5().prop(Prop::ReceiveMaximum(1)).open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "in flight"));
    publisher.publish(expiring(&topic, 1, "expires", 1));
    publisher.publish(publish(&topic, 1, "stays"));
    let open = subscriber.expect_publish();
    elapse(2200);
    subscriber.acknowledge(&open);
    assert_eq!(subscriber.take().text(), "stays");
    subscriber.expect_nothing();
}

/// Attack case 18: delivered at once, with what is left of the interval [MQTT-3.3.2-6], or not at all.
fn interval_0_does_no_harm() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    publisher.publish(expiring(&topic, 1, "zero", 0));
    publisher.publish(expiring(&topic, 1, "zero", 0).retain());
    publisher.publish(publish(&topic, 1, "x"));
    let mut got = subscriber.take();
    while got.text() == "zero" {
        assert_eq!(got.props.message_expiry(), Some(0));
        got = subscriber.take();
    }
    assert_eq!(got.text(), "x");
}
