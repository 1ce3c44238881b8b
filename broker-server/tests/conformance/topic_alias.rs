//! Topic Alias (MQTT 5.0, 3.3.2.3.4).

use crate::broker::{announced, need};
use crate::client::{Client, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{Packet, Prop, publish};

tests![
    alias_stands_for_the_topic,
    all_announced_aliases_are_accepted,
    alias_can_be_remapped,
    mappings_end_with_the_connection,
    mappings_belong_to_one_direction,
    alias_0_is_refused,
    alias_above_the_maximum_is_refused,
    unknown_alias_is_refused,
    without_maximum_the_server_sends_no_alias,
    server_aliases_stay_within_the_maximum,
    aliased_message_is_retained_under_its_topic,
    refused_alias_maps_nothing,
];

fn need_aliases() -> u16 {
    let max = announced().topic_alias_maximum;
    need(max >= 2, "Topic Aliases");
    max
}

/// [MQTT-3.3.2-12]
fn alias_stands_for_the_topic() {
    need_aliases();
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 2);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "set").prop(Prop::TopicAlias(1)));
    for qos in 0..=2 {
        publisher.publish(publish("", qos, "used").prop(Prop::TopicAlias(1)));
    }
    assert_eq!(subscriber.take().text(), "set");
    for qos in 0..=2 {
        let got = subscriber.take();
        assert_eq!((got.topic, got.qos, got.props.0), (topic.clone(), qos, vec![]));
    }
}

/// [MQTT-3.3.2-12]
fn all_announced_aliases_are_accepted() {
    let max = need_aliases();
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&format!("{topic}/+"), 0);
    let mut publisher = v5().open();
    for alias in 1..=max {
        publisher
            .publish(publish(&format!("{topic}/{alias}"), 1, "").prop(Prop::TopicAlias(alias)));
    }
    for alias in (1..=max).rev() {
        publisher.publish(publish("", 1, "").prop(Prop::TopicAlias(alias)));
    }
    for alias in (1..=max).chain((1..=max).rev()) {
        assert_eq!(subscriber.take().topic, format!("{topic}/{alias}"));
    }
}

/// MQTT 5.0, 3.3.2.3.4
fn alias_can_be_remapped() {
    need_aliases();
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&format!("{topic}/+"), 0);
    let mut publisher = v5().open();
    for level in ["a", "b", "a"] {
        let aliased = publish(&format!("{topic}/{level}"), 1, "").prop(Prop::TopicAlias(2));
        publisher.publish(aliased);
        publisher.publish(publish("", 1, "").prop(Prop::TopicAlias(2)));
        for _ in 0..2 {
            assert_eq!(subscriber.take().topic, format!("{topic}/{level}"));
        }
    }
}

/// [MQTT-3.3.2-7]
fn mappings_end_with_the_connection() {
    need_aliases();
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v5().id(&id).expiry(60).open();
    client.publish(publish(&topic, 1, "x").prop(Prop::TopicAlias(1)));
    client.disconnect();
    let mut client = v5().id(&id).resume().expiry(60).open();
    client.send_publish(&publish("", 1, "x").id(9).prop(Prop::TopicAlias(1)));
    client.expect_disconnect(&[0x82, 0x94]);
}

/// MQTT 5.0, 3.3.2.3.4: those of the Client and of the Server are apart.
fn mappings_belong_to_one_direction() {
    need_aliases();
    let (own, other) = (unique_topic(), unique_topic());
    let mut client = v5().prop(Prop::TopicAliasMaximum(1)).open();
    client.subscribe(&own, 0);
    let mut watcher = v5().open();
    watcher.subscribe(&other, 0);
    client.publish(publish(&other, 1, "set").prop(Prop::TopicAlias(1)));
    v5().open().publish(publish(&own, 1, "down"));
    client.take();
    client.publish(publish("", 1, "used").prop(Prop::TopicAlias(1)));
    assert_eq!([watcher.take().text(), watcher.take().text()], ["set", "used"]);
}

/// [MQTT-3.3.2-8] as seen by the Server.
fn alias_0_is_refused() {
    let mut client = v5().open();
    client.send_publish(&publish(&unique_topic(), 1, "x").id(1).prop(Prop::TopicAlias(0)));
    client.expect_disconnect(&[0x81, 0x82, 0x94]);
}

/// [MQTT-3.2.2-17], [MQTT-3.2.2-18], [MQTT-3.3.2-9] as seen by the Server.
fn alias_above_the_maximum_is_refused() {
    let max = announced().topic_alias_maximum;
    need(max < u16::MAX, "a Topic Alias Maximum that can be exceeded");
    for alias in [max + 1, u16::MAX] {
        let mut client = v5().open();
        client.send_publish(&publish(&unique_topic(), 1, "x").id(1).prop(Prop::TopicAlias(alias)));
        client.expect_disconnect(&[0x94]);
    }
}

/// MQTT 5.0, 3.3.2.3.4: a Protocol Error.
fn unknown_alias_is_refused() {
    need_aliases();
    let mut client = v5().open();
    client.send_publish(&publish("", 1, "x").id(1).prop(Prop::TopicAlias(2)));
    client.expect_disconnect(&[0x82, 0x94]);
}

/// [MQTT-3.1.2-27]
fn without_maximum_the_server_sends_no_alias() {
    for connect in [v5(), v5().prop(Prop::TopicAliasMaximum(0))] {
        let topic = unique_topic();
        let mut subscriber = connect.open();
        subscriber.subscribe(&topic, 1);
        let mut publisher = v5().open();
        for _ in 0..3 {
            publisher.publish(publish(&topic, 1, "x"));
            let got = subscriber.take();
            assert_eq!((got.topic, got.props.topic_alias()), (topic.clone(), None));
        }
    }
}

/// [MQTT-3.1.2-26], [MQTT-3.3.2-11], [MQTT-3.3.2-3]
fn server_aliases_stay_within_the_maximum() {
    let topic = unique_topic();
    let mut subscriber = v5().prop(Prop::TopicAliasMaximum(2)).open();
    subscriber.subscribe(&format!("{topic}/+"), 1);
    let mut publisher = v5().open();
    let mut aliases = std::collections::HashMap::new();
    for n in 0..12 {
        let sent = format!("{topic}/{}", n % 4);
        publisher.publish(publish(&sent, n % 2, "x"));
        let got = subscriber.take();
        let topic = match got.props.topic_alias() {
            Some(alias) => {
                assert!((1..=2).contains(&alias), "{alias}");
                if !got.topic.is_empty() {
                    aliases.insert(alias, got.topic);
                }
                aliases[&alias].clone()
            }
            None => got.topic,
        };
        assert_eq!(topic, sent);
    }
}

/// A mapping is resolved before anything else looks at the topic.
fn aliased_message_is_retained_under_its_topic() {
    need_aliases();
    let topic = unique_topic();
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "first").prop(Prop::TopicAlias(1)));
    publisher.publish(publish("", 1, "kept").retain().prop(Prop::TopicAlias(1)));
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let got = subscriber.take();
    assert_eq!((got.text(), got.props.topic_alias()), ("kept".to_owned(), None));
    assert_eq!(got.topic, topic);
}

/// Others are served after the refusal, and nothing was published.
fn refused_alias_maps_nothing() {
    let topic = unique_topic();
    let mut watcher: Client = v5().open();
    watcher.subscribe(&topic, 0);
    let mut client = v5().open();
    client.send_publish(&publish(&topic, 0, "x").prop(Prop::TopicAlias(u16::MAX)));
    if announced().topic_alias_maximum < u16::MAX {
        match client.recv_within(5000) {
            None | Some(Packet::Disconnect { code: 0x94, .. }) => client.expect_closed(),
            Some(other) => panic!("{other:?}"),
        }
        watcher.expect_nothing();
    }
}
