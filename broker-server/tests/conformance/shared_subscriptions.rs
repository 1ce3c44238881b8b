//! Shared Subscriptions (MQTT 5.0, 4.8.2).

use crate::broker::{announced, is_ours, need};
use crate::client::{Client, connect, unique_id, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{self, NO_LOCAL, PUBACK, Packet, Prop, Publish, V5, V311, publish};

tests![
    each_message_goes_to_one_member,
    groups_are_independent,
    granted_qos_is_respected,
    members_have_their_own_options,
    no_retained_messages_are_sent,
    no_local_is_refused,
    invalid_share_names_are_refused,
    member_that_leaves_gets_nothing_more,
    unsubscribed_member_gets_nothing_more,
    message_in_flight_waits_for_its_member,
    ended_session_takes_its_message_along,
    refused_message_goes_to_nobody_else,
    shared_and_own_subscription_are_apart,
    subscribing_again_is_not_a_second_member,
    queue_prefix_is_a_group,
    subscription_identifier_comes_with_the_message,
    wildcards_work_in_shared_filters,
];

fn need_shared() {
    need(announced().shared, "Shared Subscriptions");
}

fn members(n: usize, filter: &str) -> Vec<Client> {
    (0..n)
        .map(|_| {
            let mut member = v5().open();
            member.subscribe(filter, 1);
            member
        })
        .collect()
}

/// All PUBLISH packets that reached a client so far, acknowledged.
fn drain(client: &mut Client) -> Vec<Publish> {
    client.send(&wire::PINGREQ);
    let mut got = Vec::new();
    loop {
        match client.recv() {
            Packet::Publish(publish) => {
                client.acknowledge(&publish);
                got.push(publish);
            }
            Packet::PingResp => return got,
            other => panic!("{other:?}"),
        }
    }
}

/// [MQTT-4.8.2-1]
fn each_message_goes_to_one_member() {
    need_shared();
    for version in [V311, V5] {
        let topic = unique_topic();
        let filter = format!("$share/group/{topic}");
        let mut members: Vec<Client> = (0..3).map(|_| connect(version).open()).collect();
        for member in &mut members {
            member.subscribe(&filter, 1);
        }
        let mut publisher = v5().open();
        for n in 0..30 {
            publisher.publish(publish(&topic, 1, format!("{n:02}")));
        }
        let mut got: Vec<String> = members.iter_mut().flat_map(drain).map(|p| p.text()).collect();
        got.sort();
        let want: Vec<String> = (0..30).map(|n| format!("{n:02}")).collect();
        assert_eq!(got, want);
    }
}

/// MQTT 5.0, 4.8.2: each group gets each message.
fn groups_are_independent() {
    need_shared();
    let topic = unique_topic();
    let mut all: Vec<Vec<Client>> =
        ["a", "b"].iter().map(|g| members(2, &format!("$share/{g}/{topic}"))).collect();
    let mut single = v5().open();
    single.subscribe(&topic, 1);
    let mut publisher = v5().open();
    for n in 0..10 {
        publisher.publish(publish(&topic, 1, format!("{n}")));
    }
    for group in &mut all {
        let n: usize = group.iter_mut().map(|m| drain(m).len()).sum();
        assert_eq!(n, 10);
    }
    assert_eq!(drain(&mut single).len(), 10);
}

/// [MQTT-4.8.2-3]
fn granted_qos_is_respected() {
    need_shared();
    for granted in 0..=2 {
        let topic = unique_topic();
        let mut member = v5().open();
        member.subscribe(&format!("$share/group/{topic}"), granted);
        for published in 0..=2 {
            v5().open().publish(publish(&topic, published, "x"));
            assert_eq!(member.take().qos, published.min(granted));
        }
    }
}

/// [MQTT-4.8.2-3]: members may have subscribed with different QoS.
fn members_have_their_own_options() {
    need_shared();
    let topic = unique_topic();
    let filter = format!("$share/group/{topic}");
    let mut all: Vec<Client> = (0..=2)
        .map(|qos| {
            let mut member = v5().open();
            member.subscribe(&filter, qos);
            member
        })
        .collect();
    let mut publisher = v5().open();
    for _ in 0..30 {
        publisher.publish(publish(&topic, 2, "x"));
    }
    for (qos, member) in (0..).zip(&mut all) {
        assert!(drain(member).iter().all(|p| p.qos == qos));
    }
}

/// MQTT 5.0, 4.8.2: not for Shared Subscriptions, neither first nor later.
fn no_retained_messages_are_sent() {
    need_shared();
    let topic = unique_topic();
    v5().open().publish(publish(&topic, 1, "kept").retain());
    let mut member = v5().open();
    member.subscribe(&format!("$share/group/{topic}"), 1);
    member.subscribe(&format!("$share/group/{topic}"), 1);
    member.expect_nothing();
}

/// [MQTT-3.8.3-4]
fn no_local_is_refused() {
    let mut client = v5().open();
    let filter = format!("$share/group/{}", unique_topic());
    client.send(&wire::subscribe(V5, 1, &[(&filter, 1 | NO_LOCAL)], &[]));
    client.expect_disconnect(&[0x82]);
}

/// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
fn invalid_share_names_are_refused() {
    for filter in [
        "$share//a",
        "$share/a+/b",
        "$share/+/b",
        "$share/#/b",
        "$share/a#/b",
        "$share/a",
        "$share/a/",
        "$share/",
    ] {
        let mut client = v5().open();
        client.send(&wire::subscribe(V5, 1, &[(filter, 0)], &[]));
        match client.recv_within(5000) {
            Some(Packet::SubAck { codes, .. }) => assert_eq!(codes, [0x8F], "{filter:?}"),
            Some(Packet::Disconnect { code, .. }) => {
                assert!(matches!(code, 0x81 | 0x82 | 0x8F), "{filter:?}: {code:#04x}");
            }
            Some(other) => panic!("{filter:?}: {other:?}"),
            None => client.expect_closed(),
        }
    }
}

/// Attack case 19: nothing is lost on the one that left with its Session.
fn member_that_leaves_gets_nothing_more() {
    need_shared();
    let topic = unique_topic();
    let mut all = members(3, &format!("$share/group/{topic}"));
    all.pop().unwrap().disconnect();
    let mut publisher = v5().open();
    for _ in 0..20 {
        publisher.publish(publish(&topic, 1, "x"));
    }
    let n: usize = all.iter_mut().map(|m| drain(m).len()).sum();
    assert_eq!(n, 20);
}

/// [MQTT-3.10.4-1]
fn unsubscribed_member_gets_nothing_more() {
    need_shared();
    let topic = unique_topic();
    let filter = format!("$share/group/{topic}");
    let mut all = members(2, &filter);
    assert_eq!(all[0].unsubscribe(&[&topic]), [0x11], "another Topic Filter");
    assert_eq!(all[0].unsubscribe(&["$share/other/x"]), [0x11]);
    assert_eq!(all[0].unsubscribe(&[&filter]), [0]);
    let mut publisher = v5().open();
    for _ in 0..10 {
        publisher.publish(publish(&topic, 1, "x"));
    }
    all[0].expect_nothing();
    assert_eq!(drain(&mut all[1]).len(), 10);
}

/// [MQTT-4.8.2-4]: for QoS 2, which may go to nobody else.
fn message_in_flight_waits_for_its_member() {
    need_shared();
    let (id, topic) = (unique_id(), unique_topic());
    let filter = format!("$share/group/{topic}");
    let mut member = v5().id(&id).expiry(60).open();
    member.subscribe(&filter, 2);
    v5().open().publish(publish(&topic, 2, "mine"));
    let sent = member.expect_publish();
    let mut other = v5().open();
    other.subscribe(&filter, 2);
    member.lose();
    other.expect_nothing();
    let mut member = v5().id(&id).resume().expiry(60).open();
    let again = member.take();
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "mine".to_owned()));
    other.expect_nothing();
}

/// [MQTT-4.8.2-5]: for QoS 2.
fn ended_session_takes_its_message_along() {
    need_shared();
    let topic = unique_topic();
    let filter = format!("$share/group/{topic}");
    let mut member = v5().open();
    member.subscribe(&filter, 2);
    v5().open().publish(publish(&topic, 2, "gone"));
    member.expect_publish();
    let mut other = v5().open();
    other.subscribe(&filter, 2);
    member.lose();
    other.expect_nothing();
}

/// [MQTT-4.8.2-6]
fn refused_message_goes_to_nobody_else() {
    need_shared();
    let topic = unique_topic();
    let filter = format!("$share/group/{topic}");
    let mut member = v5().open();
    member.subscribe(&filter, 2);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "one"));
    publisher.publish(publish(&topic, 2, "two"));
    let (one, two) = (member.expect_publish(), member.expect_publish());
    let mut other = v5().open();
    other.subscribe(&filter, 2);
    member.send(&wire::ack_code(PUBACK, one.id, 0x83));
    member.send(&wire::ack_code(wire::PUBREC, two.id, 0x97));
    member.expect_nothing();
    other.expect_nothing();
}

/// MQTT 5.0, 4.8.2: a shared and a plain subscription do not replace each other.
fn shared_and_own_subscription_are_apart() {
    need_shared();
    let topic = unique_topic();
    let mut client = v5().open();
    client.subscribe(&topic, 1);
    client.subscribe(&format!("$share/group/{topic}"), 1);
    v5().open().publish(publish(&topic, 1, "x"));
    assert_eq!([client.take().text(), client.take().text()], ["x", "x"]);
    client.expect_nothing();
    client.unsubscribe(&[&topic]);
    v5().open().publish(publish(&topic, 1, "y"));
    assert_eq!(client.take().text(), "y");
    client.expect_nothing();
}

/// [MQTT-3.8.4-3] for shared ones.
fn subscribing_again_is_not_a_second_member() {
    need_shared();
    let topic = unique_topic();
    let mut client = v5().open();
    for qos in [0, 1] {
        client.subscribe(&format!("$share/group/{topic}"), qos);
    }
    v5().open().publish(publish(&topic, 1, "x"));
    assert_eq!(client.take().qos, 1);
    client.expect_nothing();
}

/// `$queue/t` of EMQ X: one more group, for clients of any version.
fn queue_prefix_is_a_group() {
    need(is_ours(), "$queue/");
    let topic = unique_topic();
    let mut all: Vec<Client> = (0..2).map(|_| v311().open()).collect();
    for member in &mut all {
        member.subscribe(&format!("$queue/{topic}"), 1);
    }
    let mut publisher = v5().open();
    for _ in 0..10 {
        publisher.publish(publish(&topic, 1, "x"));
    }
    let n: usize = all.iter_mut().map(|m| drain(m).len()).sum();
    assert_eq!(n, 10);
}

/// [MQTT-3.3.4-3]
fn subscription_identifier_comes_with_the_message() {
    need_shared();
    let topic = unique_topic();
    let mut client = v5().open();
    let props = [Prop::SubscriptionIdentifier(9)];
    client.subscribe_with(&format!("$share/group/{topic}"), 1, &props);
    v5().open().publish(publish(&topic, 1, "x"));
    assert_eq!(client.take().props.subscription_ids(), [9]);
}

/// [MQTT-4.8.2-2]: what follows the ShareName is a Topic Filter.
fn wildcards_work_in_shared_filters() {
    need_shared();
    let topic = unique_topic();
    let mut client = v5().open();
    client.subscribe(&format!("$share/group/{topic}/+/b/#"), 1);
    let mut publisher = v5().open();
    for level in ["a/b", "a/b/c", "x", "a/c"] {
        publisher.publish(publish(&format!("{topic}/{level}"), 1, level));
    }
    assert_eq!([client.take().text(), client.take().text()], ["a/b", "a/b/c"]);
    client.expect_nothing();
}
