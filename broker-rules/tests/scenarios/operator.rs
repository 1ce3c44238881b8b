//! What operators ask of the engine, and what they are told.

use broker_rules::engine::{EngineOptions, RuleChange};
use serde_json::{Value as Json, json};

use crate::rig::{Q0, Rig};
use crate::world::World;

fn refusal(world: &mut World, request: Json) -> String {
    let error = world.try_rule(request).unwrap_err();
    assert_eq!(error.code(), 400);
    error.to_string()
}

/// The document's example.
#[test]
fn a_rule_is_shown_as_in_the_document() {
    let mut world = World::new();
    let config = json!({ "name": "test-resource", "type": "built_in", "config": { "a": 1 }, "description": "test-resource" });
    let spec = broker_rules::engine::ResourceSpec::from_json(config.as_object().unwrap()).unwrap();
    let (id, _) = world.engine.create_resource(spec, 1).unwrap();
    let resource = json!({
        "attrs": "undefined", "config": { "a": 1 }, "description": "test-resource",
        "id": "built_in:test-resource", "name": "test-resource", "type": "built_in",
    });
    assert_eq!(world.engine.resource(&id), Some(resource.clone()));
    assert_eq!(world.engine.resources(Some("built_in")), [resource]);
    assert!(world.engine.resources(Some("box")).is_empty());
    let params = json!({ "$resource": id });
    let id = world
        .try_rule(json!({
            "name": "test-rule", "for": "message.publish", "rawsql": "ALL FROM \"t/a\"",
            "actions": [{ "name": "built_in:inspect_action", "params": params }], "description": "test-rule",
        }))
        .unwrap();
    assert_eq!(id, "test-rule:1556263150688256821");
    let shown = world.engine.rule(&id).unwrap();
    for (key, value) in [
        ("id", json!(id)),
        ("name", json!("test-rule")),
        ("for", json!("message.publish")),
        ("rawsql", json!("ALL FROM \"t/a\"")),
        ("enabled", json!(true)),
        ("description", json!("test-rule")),
    ] {
        assert_eq!(shown[key], value);
    }
    let action = &shown["actions"][0];
    assert_eq!(action["params"], json!({ "$resource": "built_in:test-resource", "a": 1 }));
    assert_eq!(action["name"], "built_in:inspect_action");
    assert_eq!(world.engine.rules(), [shown]);
    assert_eq!(world.engine.rule("test-rule:1"), None);
}

#[test]
fn rules_that_are_not_in_order_are_refused_with_the_words_of_the_original() {
    let mut world = World::new();
    let with = |key: &str, value: Json| {
        let mut request = json!({ "name": "r", "rawsql": "ALL FROM t", "actions": [] });
        request[key] = value;
        request
    };
    let action =
        |name: &str, params: Json| with("actions", json!([{ "name": name, "params": params }]));
    let long = "n".repeat(257);
    for (request, said) in [
        (json!({}), "Bad Arguments: missing field: name"),
        (json!({ "name": "r" }), "Bad Arguments: missing field: rawsql"),
        (json!({ "name": "r", "rawsql": "ALL FROM t" }), "Bad Arguments: missing field: actions"),
        (with("name", json!(1)), "Bad Arguments: name: a string is expected"),
        (
            with("name", json!("a/b")),
            "Bad Arguments: name: must have no / and no control characters",
        ),
        (with("name", json!("")), "Bad Arguments: name: must not be empty"),
        (with("name", json!(long)), "Bad Arguments: name: longer than 256 bytes"),
        (with("rawsql", json!("nonsense")), "Bad Arguments: SQL: line 1, column 1: expected FROM"),
        (with("for", json!("no.hook")), "Hook no.hook Not Found"),
        (with("actions", json!({})), "Bad Arguments: actions: an array is expected"),
        (with("actions", json!([{}])), "Bad Arguments: missing field: actions[0].name"),
        (with("enabled", json!("yes")), "Bad Arguments: enabled: a boolean is expected"),
        (action("no_action", json!({})), "Action no_action Not Found"),
        (action("note", json!({ "$resource": "box:no" })), "Resource box:no Not Found"),
        (
            action("built_in:republish_action", json!({})),
            "Bad Arguments: {required_field_missing,target_topic}",
        ),
        (
            action("note", json!({ "fails": 1 })),
            "Bad Arguments: {invalid_data_type,{boolean,fails}}: a boolean is expected",
        ),
        (
            action("republish", json!({ "target_topic": "$share/g/${x}" })),
            "Bad Arguments: republish: target_topic: nothing is published to $share/",
        ),
    ] {
        assert_eq!(refusal(&mut world, request), said);
    }
    let wild = action("built_in:republish_action", json!({ "target_topic": "a/#" }));
    let said = refusal(&mut world, wild);
    assert!(
        said.starts_with("Bad Arguments: {invalid_data_type,{string,target_topic}}: "),
        "{said}"
    );
    assert_eq!(world.engine.n_rules(), 0);
}

#[test]
fn there_are_so_many_rules_resources_and_actions() {
    let options =
        EngineOptions { max_rules: 1, max_resources: 1, max_actions: 3, ..Default::default() };
    let mut world = World::of(Rig::new(), options);
    let nothing = json!({ "name": "do_nothing" });
    let request =
        |actions: Json| json!({ "name": "r", "rawsql": "ALL FROM t", "actions": actions });
    let with = json!({ "name": "do_nothing", "fallbacks": [nothing, nothing] });
    assert_eq!(
        refusal(&mut world, request(json!([nothing, with]))),
        "Bad Arguments: too many actions"
    );
    world.try_rule(request(json!([with]))).unwrap();
    assert_eq!(refusal(&mut world, request(json!([]))), "Bad Arguments: too many rules");
    world.resource("a", "x").unwrap();
    world.resource("a", "again").unwrap();
    assert_eq!(
        world.resource("b", "x").unwrap_err().to_string(),
        "Bad Arguments: too many resources"
    );
}

#[test]
fn what_is_kept_has_a_size() {
    let mut world = World::new();
    let long = "x".repeat(1 << 20);
    let action = json!([{ "name": "note", "params": { "as": long } }]);
    let said =
        refusal(&mut world, json!({ "name": "r", "rawsql": "ALL FROM t", "actions": action }));
    assert_eq!(said, "Bad Arguments: it takes more than 1048576 bytes");
    assert_eq!(world.resource("a", &long).unwrap_err().to_string(), said);
    // serde_json reads so deep and no deeper.
    let deep = (0..125).fold(json!(1), |inside, _| json!([inside]));
    let action = json!([{ "name": "note", "params": { "deep": deep } }]);
    let said =
        refusal(&mut world, json!({ "name": "r", "rawsql": "ALL FROM t", "actions": action }));
    assert!(said.starts_with("Bad Arguments: it cannot be kept: recursion limit"), "{said}");
    let id = world.rule("ALL FROM t", "note", json!({ "as": "x" }));
    let change = RuleChange { description: Some(long), ..Default::default() };
    let said = world.engine.change_rule(&id, change).map(drop).unwrap_err().to_string();
    assert_eq!(said, "Bad Arguments: it takes more than 1048576 bytes");
    assert_eq!(world.engine.rule(&id).unwrap()["description"], "");
}

#[test]
fn two_rules_may_have_one_name_and_never_one_identifier() {
    let world = World::new();
    let request = json!({ "name": "r", "rawsql": "ALL FROM t", "actions": [] });
    let spec = broker_rules::engine::RuleSpec::from_json(request.as_object().unwrap()).unwrap();
    let ids: Vec<_> =
        (0..3).map(|_| world.engine.create_rule(spec.clone(), 7).unwrap().0).collect();
    let ids: Vec<_> = ids.iter().map(|id| &**id).collect();
    assert_eq!(ids, ["r:7", "r:8", "r:9"]);
}

#[test]
fn a_change_is_whole_or_not_at_all() {
    let mut world = World::new();
    let id = world.rule("ALL FROM t", "note", json!({ "as": "old" }));
    let p = world.client("p");
    world.publish(p, "t", "x", Q0, 0);
    let change = |json: Json| RuleChange::from_json(json.as_object().unwrap()).unwrap();
    let bad = change(json!({ "rawsql": "ALL FROM u", "actions": [{ "name": "no" }] }));
    assert_eq!(world.engine.change_rule(&id, bad).unwrap_err().to_string(), "Action no Not Found");
    world.publish(p, "t", "x", Q0, 0);
    assert_eq!(world.taken(), ["old", "old"]);
    let actions = json!([{ "name": "note", "params": { "as": "new" } }]);
    let good = change(json!({ "rawsql": "ALL FROM u", "actions": actions, "description": "d" }));
    let _ = world.engine.change_rule(&id, good).unwrap();
    assert_eq!(world.metric_of(&id, "matched"), 0, "counters begin anew");
    assert_eq!(world.engine.totals().matched, 2, "and those of all rules do not");
    world.publish(p, "t", "x", Q0, 0);
    world.publish(p, "u", "x", Q0, 0);
    assert_eq!(world.taken(), ["new"]);
    assert_eq!(world.engine.rule(&id).unwrap()["description"], "d");
    let unknown = world.engine.change_rule("r:1", RuleChange::default()).unwrap_err();
    assert_eq!((unknown.code(), unknown.to_string()), (404, "Not Found".to_owned()));
}

#[test]
fn a_resource_in_use_stays_and_a_new_one_takes_its_place() {
    let mut world = World::new();
    let box_id = world.resource("b", "one").unwrap();
    assert_eq!(box_id, "box:b");
    let id = world.rule("ALL FROM t", "note", json!({ "$resource": box_id, "as": "x" }));
    let p = world.client("p");
    world.publish(p, "t", "x", Q0, 0);
    let refused = world.engine.delete_resource(&box_id).unwrap_err();
    assert_eq!(refused.to_string(), "Bad Arguments: {dependency_exists,{rule_name,<<\"r\">>}}");
    world.resource("b", "two").unwrap();
    world.publish(p, "t", "x", Q0, 0);
    assert_eq!(world.taken(), [json!(["one", "x"]), json!(["two", "x"])]);
    assert_eq!(world.metric_of(&id, "matched"), 2, "the rule goes on counting");
    assert!(world.engine.delete_rule(&id).is_some());
    assert!(world.engine.delete_resource(&box_id).unwrap().is_some());
    assert!(world.engine.delete_resource(&box_id).unwrap().is_none());
}

#[test]
fn a_resource_is_started_asked_and_tried() {
    let mut world = World::new();
    let (up, down) = (world.resource("up", "up").unwrap(), world.resource("down", "down").unwrap());
    assert_eq!(world.engine.is_alive(&up), Ok(true));
    assert_eq!(world.engine.is_alive(&down), Ok(false));
    assert_eq!(world.engine.start_resource(&up), Ok(()));
    let said = world.engine.start_resource(&down).unwrap_err().to_string();
    assert_eq!(said, "Start Resource box:down Failed: refused");
    for said in
        [world.engine.start_resource("no").unwrap_err(), world.engine.is_alive("no").unwrap_err()]
    {
        assert_eq!(said.to_string(), "Resource no Not Found");
    }
    let said = world.resource("bad", "bad").unwrap_err().to_string();
    assert_eq!(said, "Bad Arguments: bad label");
    let spec = |kind: &str| {
        let request = json!({ "name": "n", "type": kind, "config": { "label": "x" } });
        broker_rules::engine::ResourceSpec::from_json(request.as_object().unwrap()).unwrap()
    };
    assert_eq!(
        world.engine.test_resource(&spec("box")).unwrap_err().to_string(),
        "Bad Arguments: never"
    );
    let said = world.engine.create_resource(spec("no"), 1).unwrap_err().to_string();
    assert_eq!(said, "Resource Type no Not Found");
}

#[test]
fn types_are_listed_by_name_and_event() {
    let world = World::new();
    let names = |list: Vec<Json>| -> Vec<String> {
        list.iter().map(|shown| shown["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = [
        "built_in:inspect_action",
        "built_in:republish_action",
        "do_nothing",
        "inspect",
        "note",
        "republish",
    ];
    assert_eq!(names(world.engine.action_types(None).unwrap()), all);
    let any = ["built_in:inspect_action", "do_nothing", "inspect", "note"];
    assert_eq!(names(world.engine.action_types(Some("client.connected")).unwrap()), any);
    let said = world.engine.action_types(Some("x")).unwrap_err().to_string();
    assert_eq!(said, "Hook x Not Found");
    assert_eq!(names(world.engine.action_types_of("box")), ["note"]);
    assert_eq!(names(world.engine.resource_types()), ["box", "built_in"]);
    let expected = json!({
        "app": "emqx_rule_engine", "for": "message.publish", "name": "built_in:republish_action",
        "description": "Republish a MQTT message to a another topic", "type": "built_in",
        "params": {
            "target_topic": {
                "description": "Repubilsh the message to which topic", "format": "topic", "required": true,
                "title": "To Which Topic", "type": "string",
            }
        },
    });
    assert_eq!(world.engine.action_type("built_in:republish_action"), Some(expected));
    let expected = json!({
        "description": "The built in resource type for debug purpose", "name": "built_in", "params": {},
        "provider": "emqx_rule_engine",
    });
    assert_eq!(world.engine.resource_type("built_in"), Some(expected));
}

#[test]
fn speeds_are_sampled_every_ten_seconds() {
    let mut world = World::new();
    let id = world.rule("ALL FROM t", "do_nothing", json!({}));
    let p = world.client("p");
    world.engine.tick(world.now);
    (0..50).for_each(|_| world.publish(p, "t", "x", Q0, 0));
    world.engine.tick(world.now.plus_ms(9_999));
    assert_eq!(world.metric_of(&id, "speed"), 0.0);
    world.engine.tick(world.now.plus_ms(10_000));
    assert_eq!(world.metric_of(&id, "speed"), 5.0);
    assert_eq!(world.metric_of(&id, "speed_max"), 5.0);
    assert_eq!(world.metric_of(&id, "speed_last5m"), 5.0);
}

/// As when the plugin is unloaded, and loaded again.
#[test]
fn paused_rules_see_nothing_and_are_otherwise_as_they_were() {
    let mut world = World::new();
    let topics = world.rule("ALL FROM t", "note", json!({ "as": "message" }));
    let _ = world.rule("ALL FROM $events/client_connected", "note", json!({ "as": "connected" }));
    let p = world.client("p");
    world.publish(p, "t", "x", Q0, 0);
    assert_eq!(world.taken(), ["connected", "message"]);
    world.engine.pause();
    world.engine.pause();
    world.client("q");
    world.publish(p, "t", "x", Q0, 0);
    let change = RuleChange { description: Some("changed".to_owned()), ..Default::default() };
    let _ = world.engine.change_rule(&topics, change).unwrap();
    let _ = world.rule("ALL FROM t", "note", json!({ "as": "made in between" }));
    world.publish(p, "t", "x", Q0, 0);
    assert!(world.taken().is_empty());
    assert_eq!(world.engine.rule(&topics).unwrap()["enabled"], true);
    world.engine.resume();
    world.engine.resume();
    world.publish(p, "t", "x", Q0, 0);
    world.client("r");
    assert_eq!(world.taken(), ["message", "made in between", "connected"]);
}

#[test]
fn what_there_is_is_counted_with_the_most_there_has_been() {
    let mut world = World::of(Rig::durable(|_, _| {}), EngineOptions::default());
    let id = world.rule("ALL FROM t", "do_nothing", json!({}));
    let _ = world.rule("ALL FROM t", "do_nothing", json!({}));
    let _ = world.resource("a", "up").unwrap();
    let _ = world.resource("a", "up").unwrap();
    assert!(world.engine.delete_rule(&id).is_some());
    assert!(world.engine.delete_resource("box:a").unwrap().is_some());
    let expected = [
        ("rules/count", 1),
        ("rules/max", 2),
        ("actions/count", 6),
        ("actions/max", 6),
        ("resources/count", 0),
        ("resources/max", 1),
    ];
    assert_eq!(world.engine.stats(), expected);
    world.restart();
    assert_eq!(world.engine.stats()[..2], [("rules/count", 1), ("rules/max", 1)]);
}

#[test]
fn secrets_are_not_shown_and_come_back() {
    let mut world = World::new();
    let params = json!({ "password": "p", "as": "x" });
    let id = world.rule("ALL FROM t", "note", params);
    let shown = world.engine.rule(&id).unwrap();
    assert_eq!(shown["actions"][0]["params"], json!({ "password": "******", "as": "x" }));
    let change = json!({ "actions": shown["actions"] });
    let change = RuleChange::from_json(change.as_object().unwrap()).unwrap();
    let _ = world.engine.change_rule(&id, change).unwrap();
    let kept = world.broker.setting("rule", &id).unwrap();
    assert!(String::from_utf8_lossy(&kept).contains("\"password\":\"p\""));
}

#[test]
fn a_statement_is_tried_on_columns_that_are_made_up() {
    let world = World::new();
    let attempt = |hook: Option<&str>, sql: &str, ctx: Json| {
        let Json::Object(ctx) = ctx else { panic!("an object") };
        world.engine.try_statement(hook, sql, ctx, 0).map_err(|error| error.to_string())
    };
    let ctx = json!({ "topic": "t/1", "payload": "{\"x\":7}", "client_id": "c" });
    let expected = json!({ "x": 7, "clientid": "c" });
    assert_eq!(attempt(None, "X FROM t/#", ctx.clone()), Ok(Some(expected.clone())));
    assert_eq!(attempt(None, "X FROM u", ctx.clone()), Ok(None));
    assert_eq!(attempt(None, "NOTHING FROM t/1", ctx.clone()), Ok(None));
    assert_eq!(attempt(Some("client.connected"), "X FROM u", ctx), Ok(Some(expected.clone())));
    assert_eq!(attempt(None, "ALL FROM $events/client_connected", json!({})), Ok(Some(json!({}))));
    let decoded = json!({ "topic": "t", "payload": { "x": 7 }, "clientid": "c" });
    assert_eq!(attempt(None, "X FROM t", decoded), Ok(Some(expected)));
    let rows = attempt(None, "EACH 2 FROM #", json!({}));
    assert_eq!(rows, Ok(Some(json!([{ "n": 1 }, { "n": 2 }]))));
    for (sql, said) in [
        ("FAIL FROM #", "Bad Arguments: SQL: division by zero"),
        ("nonsense", "Bad Arguments: SQL: line 1, column 1: expected FROM"),
        ("PANIC FROM #", "Bad Arguments: SQL: evaluation panicked, which is a fault of the broker"),
    ] {
        assert_eq!(attempt(None, sql, json!({})), Err(said.to_owned()));
    }
    assert_eq!(attempt(Some("no"), "ALL FROM #", json!({})), Err("Hook no Not Found".to_owned()));
}

/// While a rule is changed again and again, each message meets it once: never no version of it, never two.
#[test]
fn a_change_leaves_no_gap() {
    const MESSAGES: usize = 5_000;
    let mut world = World::new();
    let id = world.rule("ALL FROM t/#", "note", json!({ "as": "x" }));
    let (broker, now) = (std::sync::Arc::clone(&world.broker), world.now);
    let publish = || {
        let mut client = broker.local_client("p");
        for n in 0..MESSAGES {
            let topic = format!("t/{}", n % 7);
            client.publish(&topic, "x", Q0, now).expect("a topic");
        }
    };
    let mut n_changes = 0;
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|_| scope.spawn(publish));
        while threads.iter().any(|thread| !thread.is_finished()) {
            let change =
                RuleChange { description: Some(n_changes.to_string()), ..Default::default() };
            let _ = world.engine.change_rule(&id, change).expect("a change in order");
            n_changes += 1;
        }
    });
    assert!(n_changes > 1);
    assert_eq!(world.taken().len(), 2 * MESSAGES, "after {n_changes} changes");
}

#[test]
fn a_resource_that_rules_use_is_not_deleted_and_all_of_them_are_named() {
    let mut world = World::new();
    let id = world.resource("b", "one").unwrap();
    let other = world.resource("other", "two").unwrap();
    let action = json!({ "name": "note", "params": { "$resource": id } });
    let stands_in = json!({ "name": "do_nothing", "fallbacks": [action] });
    let mut rule = |name: &str, action: &Json| {
        let request = json!({ "name": name, "rawsql": "ALL FROM t", "actions": [action] });
        world.try_rule(request).unwrap()
    };
    let rules = [rule("first", &action), rule("second", &stands_in)];
    rule("third", &json!({ "name": "note", "params": { "$resource": other } }));
    assert_eq!(
        world.engine.delete_resource(&id).unwrap_err().to_string(),
        "Bad Arguments: {dependency_exists,{rule_name,<<\"first\">>,<<\"second\">>}}"
    );
    assert!(world.engine.resource(&id).is_some());
    assert!(rules.iter().all(|rule| world.engine.delete_rule(rule).is_some()));
    assert!(world.engine.delete_resource(&id).unwrap().is_some());
}
