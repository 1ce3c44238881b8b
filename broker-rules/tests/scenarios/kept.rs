//! Rules and resources survive a restart, and what cannot be is there and says why.

use serde_json::json;

use crate::rig::{Q0, Rig};
use crate::world::World;

#[test]
fn rules_and_resources_survive_a_restart() {
    let mut world = World::of(Rig::durable(|_, _| {}), Default::default());
    let box_id = world.resource("b", "kept").unwrap();
    let first = world.rule("ALL FROM t", "note", json!({ "$resource": box_id, "as": "first" }));
    let gone = world.rule("ALL FROM t", "note", json!({ "as": "gone" }));
    let second =
        world.rule("ALL FROM t, $events/client_connected", "note", json!({ "as": "second" }));
    assert!(world.engine.delete_rule(&gone).is_some());
    world.restart();
    let p = world.client("p");
    assert_eq!(world.taken(), ["second"]);
    world.publish(p, "t", "x", Q0, 0);
    assert_eq!(world.taken(), [json!(["kept", "first"]), json!("second")]);
    let ids: Vec<_> = world.engine.rules().iter().map(|rule| rule["id"].clone()).collect();
    assert_eq!(ids, [first, second]);
    assert_eq!(world.engine.is_alive(&box_id), Ok(true));
}

#[test]
fn what_cannot_be_is_there_and_says_why() {
    let mut world = World::of(Rig::durable(|_, _| {}), Default::default());
    let good = world.rule("ALL FROM t", "note", json!({ "as": "good" }));
    let rule = |sql: &str, action: &str, n: u64| {
        let spec = json!({ "name": "old", "rawsql": sql, "actions": [{ "name": action }], "enabled": true });
        (format!("old:{n}"), json!({ "created_ns": n, "spec": spec }).to_string())
    };
    for (id, record) in [rule("nonsense", "note", 1), rule("ALL FROM t", "no_more", 2)] {
        let _ = world.broker.put_setting("rule", &id, record.as_bytes());
    }
    let _ = world.broker.put_setting("rule", "unreadable", b"{");
    let resource = json!({ "created_ns": 5, "spec": { "name": "x", "type": "box", "config": { "label": "bad" } } });
    let _ = world.broker.put_setting("rule_resource", "box:x", resource.to_string().as_bytes());
    world.restart();
    let p = world.client("p");
    world.publish(p, "t", "x", Q0, 0);
    assert_eq!(world.taken(), ["good"]);
    let reasons: Vec<_> = world
        .engine
        .rules()
        .iter()
        .map(|rule| (rule["enabled"].clone(), rule["reason"].clone()))
        .collect();
    let expected = [
        (json!(false), json!("Bad Arguments: SQL: line 1, column 1: expected FROM")),
        (json!(false), json!("Action no_more Not Found")),
        (json!(true), json!(null)),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(world.engine.rule(&good).unwrap()["name"], "r");
    assert_eq!(world.engine.resource("box:x").unwrap()["reason"], "Bad Arguments: bad label");
    assert_eq!(world.engine.is_alive("box:x"), Ok(false));
    // A rule that is good again runs; one that is not stays as it is.
    let change = |sql: &str| broker_rules::engine::RuleChange {
        rawsql: Some(sql.to_owned()),
        enabled: Some(true),
        ..Default::default()
    };
    assert!(world.engine.change_rule("old:2", change("ALL FROM t")).is_err());
    assert!(world.engine.change_rule("old:1", change("ALL FROM u")).is_ok());
    world.publish(p, "u", "x", Q0, 0);
    assert_eq!(world.taken().len(), 1);
}
