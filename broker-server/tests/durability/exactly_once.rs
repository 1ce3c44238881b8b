//! QoS 2 step by step, with a crash after each: what was sent under a Packet Identifier before counts after.

use crate::broker::Broker;
use crate::client::{Client, v5};
use crate::queues::by_qos;
use crate::retained::drain;
use crate::wire::{PUBCOMP, PUBREC, PUBREL, Packet, Prop, ack, publish};

fn subscriber() -> Client {
    v5().id("sub").resume().expiry(100).open()
}

fn publisher() -> Client {
    v5().id("pub").resume().expiry(100).open()
}

#[track_caller]
fn resumed(open: fn() -> Client) -> Client {
    let client = open();
    assert!(client.session_present, "the session is gone");
    client
}

fn texts(client: &mut Client) -> Vec<String> {
    drain(client).iter().map(|message| message.text()).collect()
}

/// [MQTT-4.3.3-10]: until PUBREL, the same identifier is the same message.
#[test]
fn a_message_sent_again_after_pubrec_is_not_routed_again() {
    let mut broker = Broker::new(&[]);
    subscriber().subscribe("t", 2);
    let mut client = publisher();
    client.send_publish(&publish("t", 2, "one").id(7));
    client.expect_pubrec(7);
    broker.crash();
    let mut client = resumed(publisher);
    client.send_publish(&publish("t", 2, "one").id(7).dup());
    assert_eq!(client.expect_pubrec(7), 0);
    client.send(&ack(PUBREL, 7));
    assert_eq!(client.expect_pubcomp(7), 0);
    // The identifier is free again, for a message of its own.
    client.send_publish(&publish("t", 2, "two").id(7));
    client.expect_pubrec(7);
    assert_eq!(texts(&mut resumed(subscriber)), ["one", "two"]);
}

/// A released identifier must not come back: the next message under it would be lost.
#[test]
fn a_message_under_a_released_identifier_is_a_new_one() {
    let mut broker = Broker::new(&[]);
    subscriber().subscribe("t", 2);
    let mut client = publisher();
    client.send_publish(&publish("t", 2, "one").id(7));
    client.expect_pubrec(7);
    client.send(&ack(PUBREL, 7));
    client.expect_pubcomp(7);
    broker.crash();
    let mut client = resumed(publisher);
    client.send_publish(&publish("t", 2, "two").id(7));
    client.expect_pubrec(7);
    assert_eq!(texts(&mut resumed(subscriber)), ["one", "two"]);
}

/// A PUBREL whose PUBCOMP did not come through is answered after the crash [MQTT-4.3.3-11].
#[test]
fn pubrel_is_answered_after_a_crash() {
    let mut broker = Broker::new(&[]);
    subscriber().subscribe("t", 2);
    let mut client = publisher();
    client.send_publish(&publish("t", 2, "one").id(7));
    client.expect_pubrec(7);
    broker.crash();
    let mut client = resumed(publisher);
    client.send(&ack(PUBREL, 7));
    assert_eq!(client.expect_pubcomp(7), 0);
    assert_eq!(texts(&mut resumed(subscriber)), ["one"]);
}

/// [MQTT-4.4.0-1]: the same identifier, with DUP.
#[test]
fn a_message_out_comes_again_under_its_identifier() {
    let mut broker = Broker::new(&[]);
    let mut client = subscriber();
    client.subscribe("t", 2);
    let mut sender = publisher();
    for n in 0..3 {
        sender.publish(publish("t", 2, n.to_string()));
    }
    let sent: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
    broker.crash();
    let mut client = resumed(subscriber);
    for before in &sent {
        let again = client.expect_publish();
        assert_eq!((again.id, again.text()), (before.id, before.text()));
        assert!(again.dup);
        client.acknowledge(&again);
    }
    client.expect_nothing();
}

/// After PUBREC the client may have forgotten the message: only PUBREL may come.
#[test]
fn what_was_received_comes_as_pubrel_only() {
    let mut broker = Broker::new(&[]);
    let mut client = subscriber();
    client.subscribe("t", 2);
    publisher().publish(publish("t", 2, "one"));
    let message = client.expect_publish();
    client.send(&ack(PUBREC, message.id));
    client.expect_pubrel(message.id);
    broker.crash();
    let mut client = resumed(subscriber);
    match client.recv() {
        Packet::PubRel(ack) => assert_eq!(ack.id, message.id),
        other => panic!("PUBREL expected, got {other:?}"),
    }
    client.send(&ack(PUBCOMP, message.id));
    client.expect_nothing();
    broker.settle();
    broker.crash();
    resumed(subscriber).expect_nothing();
}

/// The order of the exchanges outlives the crash, whatever state each is in [MQTT-4.6.0-1].
#[test]
fn exchanges_in_all_states_go_on_in_order() {
    let mut broker = Broker::new(&[]);
    let mut client = subscriber();
    client.subscribe("t", 2);
    let mut sender = publisher();
    for n in 0..6 {
        sender.publish(publish("t", if n % 2 == 0 { 2 } else { 1 }, n.to_string()));
    }
    let mut sent: Vec<_> = (0..6).map(|_| client.expect_publish()).collect();
    // Those of QoS 2 wait for the store, and may be passed by those of QoS 1.
    sent.sort_by_key(|message| message.text());
    client.send(&ack(PUBREC, sent[0].id));
    client.expect_pubrel(sent[0].id);
    client.send(&ack(PUBREC, sent[2].id));
    client.expect_pubrel(sent[2].id);
    client.send(&ack(PUBCOMP, sent[2].id));
    broker.settle();
    broker.crash();
    let mut client = resumed(subscriber);
    let (mut released, mut messages) = (Vec::new(), Vec::new());
    while let Some(packet) = client.recv_within(500) {
        match packet {
            Packet::PubRel(rel) => {
                released.push(rel.id);
                client.send(&ack(PUBCOMP, rel.id));
            }
            Packet::Publish(message) => {
                client.acknowledge(&message);
                messages.push(message);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(released, [sent[0].id]);
    assert_eq!(by_qos(&messages), [vec![1, 3, 5], vec![4]]);
}

/// Attack case 40: from PUBREC on, an exchange ends with PUBCOMP, however old its message is; before, what was sent is sent
/// again [MQTT-4.4.0-1]. What had not been sent is gone. The broker is down while all of it expires.
#[test]
fn f40_expiry_while_the_broker_is_down_ends_no_exchange() {
    let mut broker = Broker::new(&[]);
    let subscriber = || v5().id("sub").expiry(100).prop(Prop::ReceiveMaximum(2)).resume().open();
    let mut client = subscriber();
    client.subscribe("t", 2);
    let mut sender = publisher();
    for text in ["received", "sent", "waits"] {
        sender.publish(publish("t", 2, text).prop(Prop::MessageExpiryInterval(1)));
    }
    sender.publish(publish("t", 2, "stays").prop(Prop::MessageExpiryInterval(100)));
    let (received, sent) = (client.expect_publish(), client.expect_publish());
    client.send(&ack(PUBREC, received.id));
    client.expect_pubrel(received.id);
    broker.settle();
    broker.kill();
    crate::client::elapse(1_500);
    broker.restart();
    let mut client = subscriber();
    client.expect_pubrel(received.id);
    let again = client.expect_publish();
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "sent".to_owned()));
    client.send(&ack(PUBCOMP, received.id));
    client.acknowledge(&again);
    let last = client.take();
    assert_eq!(last.text(), "stays", "and not what had waited for too long");
    assert!((90..=99).contains(&last.props.message_expiry().unwrap()), "{last:?}");
    client.expect_nothing();
}
