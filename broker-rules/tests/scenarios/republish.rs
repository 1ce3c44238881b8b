//! Rules on topic filters, and what they publish.

use broker_core::Metric;
use broker_rules::engine::EngineOptions;
use serde_json::json;

use crate::rig::{Hello, Q0, Q1, Q2, Rig};
use crate::world::World;

#[test]
fn a_rule_on_a_topic_filter_republishes_behind_the_message() {
    let mut world = World::new();
    let target = json!({ "target_topic": "out" });
    let id = world.rule("X FROM t/#", "built_in:republish_action", target);
    let (p, s) = (world.client("p"), world.client("s"));
    world.subscribed(s, "#", Q2);
    world.publish(p, "t/1", "{\"x\":1}", Q1, 1);
    world.publish(p, "u", "{}", Q0, 0);
    world.check(p, &["PUBACK #1 0x00"]);
    world.check(
        s,
        &[
            "PUBLISH q1 #1 t/1={\"x\":1}",
            "PUBLISH q1 #2 out={\"clientid\":\"p\",\"x\":1}",
            "PUBLISH q0 u={}",
        ],
    );
    assert_eq!(world.metric_of(&id, "matched"), 1);
    assert_eq!(world.action_metric_of(&id, "success"), 1);
}

#[test]
fn the_later_action_has_templates() {
    let mut world = World::new();
    let params = json!({
        "target_topic": "to/${clientid}/${topic}", "target_qos": -1, "target_retain": true,
        "payload_tmpl": "${payload} of ${username} ${nothing}",
    });
    world.rule("ALL FROM t", "republish", params);
    let (p, s) = (world.join(Hello::v5("p").user("u")), world.client("s"));
    world.subscribed(s, "to/#", Q2);
    world.publish(p, "t", "x", Q2, 1);
    world.check(s, &["PUBLISH q2 #1 to/p/t=x of u undefined"]);
    let late = world.client("late");
    world.subscribe(late, "to/#", Q0);
    world.check(late, &["SUBACK #77 00", "PUBLISH retain q0 to/p/t=x of u undefined"]);
}

/// The original and one copy, as in 4; two rules that feed each other stop too, where the original goes on for ever.
#[test]
fn loops_end() {
    let mut world = World::new();
    let id = world.rule("ALL FROM own", "republish", json!({ "target_topic": "own" }));
    let (p, s) = (world.client("p"), world.client("s"));
    world.subscribed(s, "#", Q0);
    world.publish(p, "own", "x", Q0, 0);
    world.check(s, &["PUBLISH q0 own=x", "PUBLISH q0 own=x"]);
    assert_eq!(world.metric_of(&id, "matched"), 2);
    assert_eq!(world.action_metric_of(&id, "failed"), 1);
    let said = world.last_error_of(&id);
    assert_eq!(said, format!("action republish: republish loop: rule {id} already ran"));
    assert!(world.engine.delete_rule(&id).is_some());

    world.rule("ALL FROM a", "republish", json!({ "target_topic": "b" }));
    world.rule("ALL FROM b", "republish", json!({ "target_topic": "a" }));
    world.publish(p, "a", "x", Q0, 0);
    world.check(s, &["PUBLISH q0 a=x", "PUBLISH q0 b=x", "PUBLISH q0 a=x"]);
}

#[test]
fn a_message_goes_through_so_many_rules_and_no_more() {
    let mut world = World::of(Rig::new(), EngineOptions { max_hops: 3, ..Default::default() });
    let mut ids = Vec::new();
    for n in 0..5 {
        let target = json!({ "target_topic": format!("h/{}", n + 1) });
        ids.push(world.rule(&format!("ALL FROM h/{n}"), "republish", target));
    }
    let (p, s) = (world.client("p"), world.client("s"));
    world.subscribed(s, "#", Q0);
    world.publish(p, "h/0", "x", Q0, 0);
    let lines = world.out(s);
    assert_eq!(lines.last().map(String::as_str), Some("PUBLISH q0 h/3=x"));
    assert!(world.last_error_of(&ids[3]).contains("rules.max_hops"));
    assert_eq!(world.metric_of(&ids[4], "matched"), 0);
}

#[test]
fn a_client_cannot_choose_a_topic_that_is_not_for_it() {
    let mut world = World::new();
    let id = world.rule("ALL FROM t", "republish", json!({ "target_topic": "${payload}" }));
    let (p, s) = (world.client("p"), world.client("s"));
    world.subscribed(s, "#", Q0);
    world.subscribed(s, "$SYS/#", Q0);
    world.out(s);
    for bad in ["$SYS/brokers", "$queue/x", "$share/g/x", "$events/x", "a/#", "+", ""] {
        world.publish(p, "t", bad, Q0, 0);
    }
    assert!(world.out(s).iter().all(|line| line.starts_with("PUBLISH q0 t=")));
    assert_eq!(world.action_metric_of(&id, "failed"), 7);
    world.publish(p, "t", "good", Q0, 0);
    world.check(s, &["PUBLISH q0 t=good", "PUBLISH q0 good=good"]);
}

#[test]
fn a_rule_that_fails_disturbs_nobody() {
    let mut world = World::new();
    let (failing, panicking) = (
        world.rule("FAIL FROM t", "note", json!({})),
        world.rule("PANIC FROM t", "note", json!({})),
    );
    let last = world.rule("ALL FROM t", "note", json!({ "as": "last" }));
    let (p, s) = (world.client("p"), world.client("s"));
    world.subscribed(s, "t", Q1);
    world.publish(p, "t", "x", Q1, 1);
    world.check(p, &["PUBACK #1 0x00"]);
    world.check(s, &["PUBLISH q1 #1 t=x"]);
    assert_eq!(world.taken(), ["last"]);
    for id in [&failing, &panicking] {
        assert_eq!(world.metric_of(id, "exception"), 1);
        assert_eq!(world.metric_of(id, "failed"), 1);
        assert_eq!(world.metric_of(id, "matched"), 0);
    }
    assert_eq!(world.last_error_of(&failing), "division by zero");
    assert_eq!(world.last_error_of(&last), "");
}

#[test]
fn a_rule_is_no_receiver() {
    let mut world = World::new();
    world.rule("ALL FROM #", "do_nothing", json!({}));
    let p = world.client("p");
    let dropped = world.metric(Metric::MessagesDropped);
    world.publish(p, "t", "x", Q1, 1);
    world.check(p, &["PUBACK #1 0x10"]);
    assert_eq!(world.metric(Metric::MessagesDropped) - dropped, 1);
    assert!(world.routes().is_empty());
}

#[test]
fn rules_run_in_the_order_of_their_creation_and_each_row_has_its_actions() {
    let mut world = World::new();
    let no = world.rule("NOTHING FROM t", "note", json!({ "as": "no" }));
    world.rule("ALL FROM +", "note", json!({ "as": "first" }));
    let each = world.rule("EACH 2 FROM t, #", "note", json!({ "as": "each" }));
    let none = world.rule("EACH 0 FROM t", "note", json!({ "as": "none" }));
    world.rule("ALL FROM t", "note", json!({ "as": "last" }));
    let p = world.client("p");
    world.publish(p, "t", "x", Q0, 0);
    assert_eq!(world.taken(), ["first", "each", "each", "last"]);
    assert_eq!(
        (world.metric_of(&no, "matched"), world.metric_of(&no, "no_result")),
        (json!(0), json!(1))
    );
    assert_eq!(world.metric_of(&none, "matched"), 1);
    assert_eq!(world.action_metric_of(&each, "success"), 2);
    assert_eq!(world.engine.totals().matched, 4);
    assert_eq!(world.engine.totals().success, 4);
}

#[test]
fn messages_of_the_broker_are_not_seen_unless_that_is_wanted() {
    for ignores in [true, false] {
        let options = EngineOptions { ignore_sys_message: ignores, ..Default::default() };
        let mut world = World::of(Rig::new(), options);
        world.rule("ALL FROM $SYS/#, #", "note", json!({ "as": "seen" }));
        world.client("c");
        assert_eq!(world.taken().is_empty(), ignores);
    }
}

#[test]
fn a_failed_action_has_fallbacks_and_may_stop_the_others() {
    let mut world = World::new();
    for (what_then, expected) in
        [("continue", &["instead", "both", "behind"][..]), ("stop", &["instead", "both"])]
    {
        let note = |word: &str| json!({ "name": "note", "params": { "as": word } });
        let failing = |fallbacks| json!({ "name": "note", "params": { "fails": true }, "fallbacks": fallbacks });
        let actions = json!([
            failing(json!([note("instead"), failing(json!([])), note("both")])),
            note("behind")
        ]);
        let id = world
            .try_rule(json!({
                "name": "r", "rawsql": "ALL FROM t", "actions": actions, "on_action_failed": what_then,
            }))
            .unwrap();
        let p = world.client("p");
        world.publish(p, "t", "x", Q0, 0);
        assert_eq!(world.taken(), expected, "{what_then}");
        assert_eq!(world.action_metric_of(&id, "failed"), 1);
        assert_eq!(world.engine.rule(&id).unwrap()["on_action_failed"], what_then);
        let _ = world.engine.delete_rule(&id);
    }
}

/// What a Will and a delayed message are, and what operators publish, rules see as well.
#[test]
fn every_message_that_is_published_is_seen() {
    let mut world = World::new();
    world.rule("ALL FROM #", "note", json!({}));
    let c = world.join(Hello::v5("c").will("will", "w"));
    world.lose(c);
    let p = world.client("p");
    world.publish(p, "$delayed/1/later", "d", Q0, 0);
    world.pass_s(2);
    let now = world.now;
    world.broker.local_client("api").publish("api", "a", Q0, now).unwrap();
    let topics: Vec<_> = world.taken().iter().map(|row| row["topic"].clone()).collect();
    assert_eq!(topics, ["will", "later", "api"]);
}
