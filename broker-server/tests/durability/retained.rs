//! Retained messages across a crash.

use crate::broker::{Broker, settle};
use crate::client::{Client, elapse, v5};
use crate::wire::{Packet, Prop, RAP, publish};

/// The acknowledged state is there: set, replaced and cleared, with properties.
#[test]
fn retained_messages_are_as_they_were_acknowledged() {
    let mut broker = Broker::new(&[]);
    let mut client = v5().open();
    let kept = publish("state/kept", 1, "kept")
        .retain()
        .prop(Prop::ContentType("text/plain".into()))
        .prop(Prop::UserProperty("a".into(), "1".into()));
    client.publish(kept);
    client.publish(publish("state/replaced", 1, "old").retain());
    client.publish(publish("state/replaced", 2, "new").retain());
    client.publish(publish("state/cleared", 2, "gone").retain());
    client.publish(publish("state/cleared", 1, "").retain());
    client.publish(publish("state/again", 1, "first").retain());
    client.publish(publish("state/again", 1, "").retain());
    client.publish(publish("state/again", 1, "second").retain());
    for _ in 0..2 {
        broker.crash();
        let mut messages = retained("state/#");
        messages.sort_by(|a, b| a.topic.cmp(&b.topic));
        let texts: Vec<_> = messages.iter().map(|m| (m.topic.as_str(), m.text())).collect();
        let wanted = [("state/again", "second"), ("state/kept", "kept"), ("state/replaced", "new")];
        assert_eq!(texts, wanted.map(|(topic, text)| (topic, text.to_owned())));
        assert!(messages.iter().all(|message| message.retain));
        let kept = &messages[1];
        assert!(kept.props.0.contains(&Prop::ContentType("text/plain".into())));
        assert_eq!(kept.props.user(), [("a", "1")]);
        assert_eq!(messages[2].qos, 2);
    }
}

/// What was acknowledged last is kept, however often the topic changed.
#[test]
fn the_last_of_many_values_is_kept() {
    let mut broker = Broker::new(&[]);
    let mut client = v5().open();
    for n in 0..500 {
        client.publish(publish(&format!("many/{}", n % 7), 1, n.to_string()).retain());
    }
    broker.crash();
    let mut texts: Vec<u32> =
        retained("many/#").iter().map(|m| m.text().parse().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, (493..500).collect::<Vec<_>>());
}

/// Message Expiry Interval runs on while the broker is down [MQTT-3.3.2-6].
#[test]
fn the_time_the_broker_was_down_counts_for_expiry() {
    let mut broker = Broker::new(&[]);
    let mut client = v5().open();
    for (topic, seconds) in [("expiry/short", 2), ("expiry/long", 100)] {
        let message = publish(topic, 1, "x").retain();
        client.publish(message.prop(Prop::MessageExpiryInterval(seconds)));
    }
    broker.kill();
    elapse(2_100);
    broker.restart();
    let messages = retained("expiry/#");
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0].topic, "expiry/long");
    let left = messages[0].props.message_expiry().unwrap();
    assert!((90..=98).contains(&left), "{left} s left of 100 after 2 s");
}

/// All retained messages of a filter.
fn retained(filter: &str) -> Vec<crate::wire::Publish> {
    let mut client = v5().open();
    client.subscribe(filter, 2 | RAP);
    drain(&mut client)
}

/// What waits, acknowledged. It is all there when nothing comes before and after the store has settled, for
/// which a message of QoS 2 may have to wait, and a round trip: both take longer the busier the machine is.
pub(crate) fn drain(client: &mut Client) -> Vec<crate::wire::Publish> {
    let mut messages = Vec::new();
    let mut is_over = false;
    loop {
        match client.recv_within(300) {
            Some(Packet::Publish(message)) => {
                client.acknowledge(&message);
                messages.push(message);
                is_over = false;
            }
            Some(other) => panic!("PUBLISH expected, got {other:?}"),
            None if is_over => return messages,
            None => {
                settle();
                client.ping();
                is_over = true;
            }
        }
    }
}
