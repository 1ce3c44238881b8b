//! Rules about what happens to clients, sessions and messages.

use std::sync::Arc;

use broker_core::ReasonCode;
use broker_core::extension::Extensions;
use serde_json::{Value as Json, json};

use crate::rig::{Hello, Q0, Q1, Rig};
use crate::world::{DECODED, World};

fn with_for(world: &mut World, hook: &str) -> String {
    let actions = json!([{ "name": "note" }]);
    let request =
        json!({ "name": "r", "for": hook, "rawsql": "ALL FROM \"#\"", "actions": actions });
    world.try_rule(request).unwrap()
}

fn without(mut row: Json, names: &[&str]) -> Json {
    for name in names {
        assert!(row.as_object_mut().unwrap().remove(*name).is_some(), "{name} in {row}");
    }
    row
}

#[test]
fn clients_that_connect_in_the_dialect_of_3_1() {
    let mut world = World::new();
    let id = with_for(&mut world, "client.connected");
    let c = world.join(Hello::v5("c").user("u"));
    let expected = json!({
        "event": "client_connected", "node": "emqx@127.0.0.1", "client_id": "c", "username": "u",
        "peername": "192.0.2.1:1883", "zone": "external", "auth_result": "success", "connack": 0,
        "clean_start": true, "is_bridge": false, "keepalive": 0, "proto_ver": 5,
        "connected_at": 1_700_000_000_000u64, "timestamp": 1_700_000_000_000u64,
    });
    let mut seen = world.taken();
    let mut row = seen.pop().unwrap();
    row["zone"] = json!("external");
    assert_eq!((row, seen.len()), (expected, 0));
    assert_eq!(world.engine.rule(&id).unwrap()["for"], "client.connected");
    world.lose(c);
    assert!(world.taken().is_empty());
}

#[test]
fn a_refused_client_connects_in_3_1_alone() {
    let rig = Rig::build(
        |_, zone| zone.allow_anonymous = broker_core::config::Anonymous::Nobody,
        Extensions::default(),
        None,
    );
    let mut world = World::of(rig, Default::default());
    with_for(&mut world, "client.connected");
    world.rule("ALL FROM $events/client_connected", "note", json!({ "as": "later" }));
    let c = world.hello(Hello::v3("c").user("u"));
    world.check(c, &["CONNACK present=0 0x87"]);
    let seen = world.taken();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["connack"], ReasonCode::NotAuthorized as u8);
    assert_eq!(seen[0]["auth_result"], "not_authorized");
    assert_eq!(seen[0]["client_id"], "c");
}

#[test]
fn clients_that_go_say_why_and_a_take_over_is_none_in_3_1() {
    let mut world = World::new();
    with_for(&mut world, "client.disconnected");
    world.rule("ALL FROM \"$events/client_disconnected\"", "note", json!({}));
    let c = world.client("c");
    world.disconnect(c, ReasonCode::Success, &[]);
    let seen = world.taken();
    assert_eq!((&seen[0]["reason_code"], &seen[1]["reason"]), (&json!("normal"), &json!("normal")));
    assert_eq!((&seen[0]["client_id"], &seen[1]["clientid"]), (&json!("c"), &json!("c")));
    assert_eq!(seen[1]["event"], "client.disconnected");
    for (hello, reason) in
        [(Hello::v5("c").lasting(9), "takeovered"), (Hello::v5("c"), "discarded")]
    {
        world.join(Hello::v5("c").lasting(9));
        world.taken();
        world.join(hello);
        let seen = world.taken();
        assert_eq!((seen.len(), &seen[0]["reason"]), (1, &json!(reason)));
    }
}

#[test]
fn subscriptions_before_and_after_they_are_made() {
    let mut world = World::new();
    with_for(&mut world, "client.subscribe");
    world.rule("ALL FROM \"session.subscribed\"", "note", json!({}));
    with_for(&mut world, "client.unsubscribe");
    world.rule("ALL FROM \"$events/session_unsubscribed\"", "note", json!({}));
    let c = world.client("c");
    world.subscribed(c, "t/#", Q1);
    let seen = world.taken();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0]["event"], "client_subscribe");
    let filter = without(seen[0]["topic_filters"][0].clone(), &["sub_opts"]);
    assert_eq!(filter, json!({ "topic": "t/#", "qos": 1 }));
    assert_eq!(
        (&seen[1]["event"], &seen[1]["topic"], &seen[1]["qos"]),
        (&json!("session.subscribed"), &json!("t/#"), &json!(1))
    );
    world.unsubscribe(c, "t/#");
    let seen = world.taken();
    assert_eq!(seen[0]["topic_filters"][0]["topic"], "t/#");
    assert_eq!(seen[1]["event"], "session.unsubscribed");
    assert_eq!(seen[1]["unsub_props"], json!({}));
}

#[test]
fn a_message_on_its_way_to_one_subscriber() {
    let mut world = World::new();
    with_for(&mut world, "message.deliver");
    world.rule("ALL FROM \"$events/message_acked\"", "note", json!({}));
    let (p, s) = (world.join(Hello::v5("p").user("pu")), world.join(Hello::v5("s").user("su")));
    world.subscribed(s, "t", Q1);
    world.publish(p, "t", "x", Q1, 1);
    let seen = world.taken();
    assert_eq!(seen.len(), 1);
    for (name, value) in [
        ("event", json!("message_deliver")),
        ("client_id", json!("s")),
        ("username", json!("su")),
        ("from_clientid", json!("p")),
        ("from_username", json!("pu")),
        ("payload", json!("x")),
        ("auth_result", json!("success")),
    ] {
        assert_eq!(seen[0][name], value, "{name}");
    }
    world.puback(s, 1);
    let acked = world.taken();
    assert_eq!(acked.len(), 1);
    assert_eq!((&acked[0]["clientid"], &acked[0]["from_clientid"]), (&json!("s"), &json!("p")));
    assert_eq!(acked[0]["id"], seen[0]["id"], "one message has one identifier");
    assert_eq!(acked[0]["puback_props"], json!({}));
}

#[test]
fn a_message_without_receivers() {
    let mut world = World::new();
    let by_name = world.rule("ALL FROM \"message.dropped\"", "note", json!({}));
    let p = world.client("p");
    world.publish(p, "t", "x", Q0, 0);
    let seen = world.taken();
    assert_eq!(
        (seen.len(), &seen[0]["reason"], &seen[0]["topic"]),
        (1, &json!("no_subscribers"), &json!("t"))
    );
    // Another rule sees the message, which makes nobody receive it.
    world.rule("ALL FROM t", "do_nothing", json!({}));
    world.publish(p, "t", "x", Q0, 0);
    assert_eq!(world.metric_of(&by_name, "matched"), 2);
}

/// Without a message there is a client in whose name something is published, and a rule that causes its own event
/// does so once.
#[test]
fn an_event_is_republished() {
    let mut world = World::new();
    let target = json!({ "target_topic": "hello/${clientid}", "payload_tmpl": "${event}" });
    world.rule("ALL FROM \"$events/client_connected\"", "republish", target);
    let target = json!({ "target_topic": "delivered/${topic}" });
    let delivered = world.rule("ALL FROM \"$events/message_delivered\"", "republish", target);
    let s = world.client("s");
    world.subscribed(s, "#", Q0);
    world.out(s);
    world.client("c");
    world.check(
        s,
        &["PUBLISH q0 hello/c=client.connected", "PUBLISH q0 delivered/hello/c=client.connected"],
    );
    assert_eq!(world.metric_of(&delivered, "matched"), 2);
    assert_eq!(world.action_metric_of(&delivered, "failed"), 1);
}

#[test]
fn a_disabled_rule_sees_nothing_and_one_that_is_gone_neither() {
    let mut world = World::new();
    let id = world.rule("ALL FROM $events/client_connected, t", "note", json!({ "as": "seen" }));
    let enable = |world: &World, is: bool| {
        let change = broker_rules::engine::RuleChange { enabled: Some(is), ..Default::default() };
        let _ = world.engine.change_rule(&id, change).unwrap();
    };
    let happen = |world: &mut World| {
        let c = world.client("c");
        world.publish(c, "t", "x", Q0, 0);
        world.lose(c);
        world.taken().len()
    };
    assert_eq!(happen(&mut world), 2);
    enable(&world, false);
    assert_eq!(happen(&mut world), 0);
    enable(&world, true);
    assert_eq!(happen(&mut world), 2);
    assert!(world.engine.delete_rule(&id).is_some());
    assert!(world.engine.delete_rule(&id).is_none());
    assert_eq!(happen(&mut world), 0);
}

/// An event rule that is bound to a resource goes on with the new one.
#[test]
fn a_rule_about_events_follows_its_resource() {
    let mut world = World::new();
    let box_id = world.resource("b", "one").unwrap();
    let params = json!({ "$resource": box_id, "as": "x" });
    world.rule("ALL FROM \"$events/client_connected\"", "note", params);
    world.client("c");
    world.resource("b", "two").unwrap();
    world.client("d");
    assert_eq!(world.taken(), [json!(["one", "x"]), json!(["two", "x"])]);
}

/// Rules of one message share what they have made of it, whatever filter let them see it.
#[test]
fn a_payload_is_decoded_once_however_many_rules_look_at_it() {
    let mut world = World::new();
    for from in ["t/1", "t/#", "#", "message.publish", "+/1"] {
        world.rule(&format!("DECODED FROM {from}"), "do_nothing", json!({}));
    }
    let p = world.client("p");
    for payload in ["{\"x\":1}", "{\"x\":2}"] {
        world.publish(p, "t/1", payload, Q0, 0);
    }
    let all = DECODED.take();
    assert_eq!(all.len(), 10);
    let [first, second] = [&all[..5], &all[5..]];
    assert!(first.iter().all(|it| Arc::ptr_eq(it, &first[0])));
    assert!(second.iter().all(|it| Arc::ptr_eq(it, &second[0])));
    assert!(!Arc::ptr_eq(&first[0], &second[0]), "another message is another payload");
}
