//! Rules, their actions and resources: made over HTTP, at work on what clients publish.

use serde_json::{Value, json};

use crate::broker::{Broker, NODE, eventually, wait_until};
use crate::client::{v5, v311};
use crate::http::{Api, keys};
use crate::wire::publish;

/// Makes a rule with one action, as 3.1 has them; returns its identifier.
fn rule(api: &Api, rawsql: &str, action: &str, params: &Value) -> String {
    let made = api.post(
        "rules",
        &json!({
            "name": "r", "for": "message.publish", "rawsql": rawsql,
            "actions": [{"name": action, "params": params}],
        }),
    );
    made["data"]["id"].as_str().unwrap().to_owned()
}

fn republish(api: &Api, rawsql: &str, topic: &str) -> String {
    rule(api, rawsql, "built_in:republish_action", &json!({"target_topic": topic}))
}

fn path(id: &str) -> String {
    format!("rules/{}", id.replace(':', "%3A"))
}

/// Success and failures of the first action, once they are this many together.
fn actions_of(api: &Api, id: &str, n: u64) -> (u64, u64) {
    eventually(|| {
        let counts = api.data(&path(id))["actions"][0]["metrics"][0].take();
        let of = |name: &str| counts[name].as_u64().unwrap();
        (of("success") + of("failed") >= n).then(|| (of("success"), of("failed")))
    })
}

#[test]
fn a_rule_runs_is_counted_and_outlives_the_process() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.data("rules"), json!([]));
    let sql = "SELECT payload.t AS t, client_id FROM \"plant/#\" WHERE t > 20";
    let id = republish(&api, sql, "alarm");
    let mut watcher = v311().open();
    watcher.subscribe("alarm", 1);
    let mut sensor = v5().id("sensor-7").open();
    sensor.publish(publish("plant/1", 1, br#"{"t": 21}"#));
    sensor.publish(publish("plant/1", 1, br#"{"t": 20}"#));
    sensor.publish(publish("other", 1, br#"{"t": 99}"#));
    sensor.publish(publish("plant/2", 1, b"no JSON"));
    sensor.publish(publish("plant/2", 1, br#"{"t": "hot"}"#));
    sensor.publish(publish("plant/2", 0, br#"{"t": 22.5}"#));
    for expected in
        [json!({"t": 21, "client_id": "sensor-7"}), json!({"t": 22.5, "client_id": "sensor-7"})]
    {
        let got = watcher.take();
        assert_eq!(serde_json::from_slice::<Value>(&got.payload).unwrap(), expected);
    }
    assert_eq!(actions_of(&api, &id, 2), (2, 0));
    let shown = api.data(&path(&id));
    let counts = &shown["metrics"][0];
    assert_eq!(counts["node"], NODE);
    let of = |name: &str| counts[name].as_u64().unwrap();
    // What is no number is no row; what is not there is not greater.
    assert_eq!((of("matched"), of("no_result"), of("failed")), (2, 2, 1), "{counts}");
    assert!(shown["last_error"]["text"].as_str().unwrap().len() > 3, "{shown}");
    let metrics = api.data(&format!("nodes/{NODE}/metrics"));
    for (name, value) in [("rules.matched", 2), ("actions.success", 2), ("actions.failure", 0)] {
        assert_eq!(metrics[name], value, "{name}");
    }
    let stats = api.data(&format!("nodes/{NODE}/stats"));
    for (name, value) in [("rules/count", 1), ("rules/max", 1), ("resources/count", 0)] {
        assert_eq!(stats[name], value, "{name}");
    }
    assert_eq!(stats["actions/count"], api.rows("actions").len());
    let exposition = api.raw("GET", "/metrics", &api.authorization(), "").body;
    for line in [
        "mqtt_rules 1",
        "mqtt_rules_matched_total 2",
        "mqtt_rule_actions_total{result=\"success\"} 2",
        "mqtt_rule_actions_total{result=\"failure\"} 0",
        "mqtt_rule_resource_dropped_total{reason=\"full\"} 0",
        "mqtt_rule_resource_held{place=\"disk\"} 0",
    ] {
        assert!(exposition.lines().any(|it| it == line), "{line}\n{exposition}");
    }

    let folder = broker.kill();
    let broker = Broker::start_in(folder, &[]);
    let api = broker.api();
    let again = api.data(&path(&id));
    for key in ["id", "name", "for", "rawsql", "enabled", "description", "on_action_failed"] {
        assert_eq!(again[key], shown[key], "{key}");
    }
    assert_eq!(again["metrics"][0]["matched"], 0);
    let mut watcher = v311().open();
    watcher.subscribe("alarm", 0);
    let mut sensor = v5().open();
    sensor.publish(publish("plant/1", 1, br#"{"t": 30}"#));
    assert!(watcher.take().payload.starts_with(b"{"));
    assert_eq!(api.delete(&path(&id)), json!({"code": 0}));
    sensor.publish(publish("plant/1", 1, br#"{"t": 40}"#));
    sensor.publish(publish("alarm", 1, b"nothing before this"));
    assert_eq!(watcher.take().payload, b"nothing before this");
    assert_eq!(api.data("rules"), json!([]));

    let folder = broker.kill();
    assert_eq!(Broker::start_in(folder, &[]).api().data("rules"), json!([]));
}

/// The document's own requests.
#[test]
fn the_documents_rule_is_answered_as_printed() {
    let broker = Broker::start();
    let api = broker.api();
    let resource = json!({
        "name": "test-resource", "type": "built_in", "config": {"a": 1}, "description": "test-resource",
    });
    let expected = json!({
        "attrs": "undefined", "config": {"a": 1}, "description": "test-resource",
        "id": "built_in:test-resource", "name": "test-resource", "type": "built_in",
    });
    assert_eq!(api.post("resources", &resource)["data"], expected);
    assert_eq!(api.data("resources/built_in:test-resource"), expected);
    assert_eq!(api.data("resources/built_in%3Atest-resource/"), expected);
    assert_eq!(api.data("resources/"), json!([expected]));
    assert_eq!(api.data("resource_types/built_in/resources"), json!([expected]));
    assert_eq!(api.data("resource_types/web_hook/resources"), json!([]));
    assert_eq!(api.data("resource_types/nothing/resources"), json!([]));
    let rule = json!({
        "name": "test-rule", "for": "message.publish", "rawsql": "select * from \"t/a\"",
        "actions": [{
            "name": "built_in:inspect_action",
            "params": {"$resource": "built_in:test-resource"},
        }],
        "description": "test-rule",
    });
    let made = api.post("rules/", &rule)["data"].take();
    let id = made["id"].as_str().unwrap();
    let ns: u64 = id.strip_prefix("test-rule:").unwrap().parse().unwrap();
    assert!(ns > 1_556_263_150_688_255_821, "{id}");
    // With the configuration of the resource, as the original merges it.
    let params = json!({"$resource": "built_in:test-resource", "a": 1});
    assert_eq!(made["actions"][0]["params"], params);
    for (key, value) in [
        ("name", json!("test-rule")),
        ("for", json!("message.publish")),
        ("rawsql", rule["rawsql"].clone()),
        ("enabled", json!(true)),
        ("description", json!("test-rule")),
    ] {
        assert_eq!(made[key], value, "{key}");
    }
    for path in [format!("rules/{id}"), path(id), format!("{}/", path(id))] {
        assert_eq!(api.data(&path), made, "{path}");
    }
    assert_eq!(api.data("rules"), json!([made]));
    let used = "Bad Arguments: {dependency_exists,{rule_name,<<\"test-rule\">>}}";
    let refused = api.refused("DELETE", "resources/built_in:test-resource", &Value::Null);
    assert_eq!(refused, (200, 400, used.into()));
    api.delete(&path(id));
    assert_eq!(api.delete("resources/built_in:test-resource"), json!({"code": 0}));
    // What is not there is as good as deleted.
    for path in ["rules/test-rule:1", "rules/x", "resources/built_in:test-resource"] {
        assert_eq!(api.delete(path), json!({"code": 0}), "{path}");
    }
}

#[test]
fn what_is_refused_says_why_in_the_words_of_the_original() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |method: &str, path: &str, body: Value, code: u64, message: &str| {
        let refused = api.refused(method, path, &body);
        assert_eq!(refused, (200, code, message.to_owned()), "{method} {path} {body}");
    };
    let rule = |key: &str, value: Value| {
        let mut rule = json!({"name": "r", "rawsql": "SELECT * FROM \"t\"", "actions": []});
        rule[key] = value;
        rule
    };
    let action =
        |name: &str, params: Value| rule("actions", json!([{"name": name, "params": params}]));
    for (body, message) in [
        (json!({}), "Bad Arguments: missing field: name"),
        (json!({"name": "r"}), "Bad Arguments: missing field: rawsql"),
        (rule("actions", json!(null)), "Bad Arguments: missing field: actions"),
        (
            rule("name", json!("a/b")),
            "Bad Arguments: name: must have no / and no control characters",
        ),
        (rule("for", json!("message.nothing")), "Hook message.nothing Not Found"),
        (action("nothing", json!({})), "Action nothing Not Found"),
        (
            action("built_in:republish_action", json!({})),
            "Bad Arguments: {required_field_missing,target_topic}",
        ),
        (
            action("web_hook:publish_action", json!({"$resource": "web_hook:none"})),
            "Resource web_hook:none Not Found",
        ),
    ] {
        check("POST", "rules", body, 400, message);
    }
    let (status, code, message) =
        api.refused("POST", "rules", &rule("rawsql", json!("SELECT * WHERE x")));
    assert_eq!((status, code), (200, 400));
    assert!(message.starts_with("Bad Arguments: SQL: line 1, column 10: "), "{message}");
    let (.., message) = api.refused(
        "POST",
        "rules",
        &action("built_in:republish_action", json!({"target_topic": "a/#"})),
    );
    assert!(message.starts_with("Bad Arguments: {invalid_data_type,{string,target_topic}}"));
    assert_eq!(api.data("rules"), json!([]), "nothing of it was made");

    let web_hook = json!({"name": "w", "type": "web_hook", "config": {"url": "nowhere"}});
    let (status, code, message) = api.refused("POST", "resources", &web_hook);
    assert_eq!((status, code), (200, 400));
    assert!(message.starts_with("Bad Arguments: {invalid_data_type,{string,url}}"), "{message}");
    let nothing = json!({"name": "w", "type": "nothing"});
    check("POST", "resources", nothing, 400, "Resource Type nothing Not Found");
    check("POST", "resources", json!({"name": "w"}), 400, "Bad Arguments: missing field: type");
    for path in ["rules/r:1", "actions/x", "resources/x", "resource_types/x"] {
        check("GET", path, Value::Null, 404, "Not Found");
    }
    check("PUT", "rules/r:1", json!({"enabled": false}), 404, "Not Found");
    check("GET", "actions?for=x", Value::Null, 400, "Hook x Not Found");
    check("GET", "resource_status/w:x", Value::Null, 400, "Resource w:x Not Found");
    check("POST", "resources/w:x", Value::Null, 400, "Resource w:x Not Found");
    assert_eq!(api.call("POST", "rules", "no JSON").status, 400);
    assert_eq!(api.call("POST", "rules", "[]").status, 400);
}

#[test]
fn a_rule_is_changed_and_switched() {
    let broker = Broker::start();
    let api = broker.api();
    let id = republish(&api, "SELECT qos FROM \"a\"", "out");
    let mut watcher = v311().open();
    watcher.subscribe("out", 0);
    let mut client = v311().open();
    client.publish(publish("a", 1, b""));
    assert_eq!(watcher.take().payload, br#"{"qos":1}"#);
    let change = |body: Value| api.put(&path(&id), &body)["data"].take();
    assert_eq!(change(json!({"enabled": false, "name": "is passed over"}))["enabled"], false);
    client.publish(publish("a", 1, b""));
    let shown = change(json!({
        "rawsql": "SELECT topic FROM \"b\"", "enabled": true, "description": "changed",
    }));
    assert_eq!(shown["rawsql"], "SELECT topic FROM \"b\"");
    assert_eq!((&shown["name"], &shown["description"]), (&json!("r"), &json!("changed")));
    assert_eq!(shown["id"], *id);
    assert_eq!(shown["metrics"][0]["matched"], 0, "counted from new");
    client.publish(publish("a", 1, b""));
    client.publish(publish("b", 1, b""));
    assert_eq!(watcher.take().payload, br#"{"topic":"b"}"#);
    let (.., message) = api.refused("PUT", &path(&id), &json!({"rawsql": "SELECT"}));
    assert!(message.starts_with("Bad Arguments: SQL: "), "{message}");
    assert_eq!(api.data(&path(&id))["rawsql"], "SELECT topic FROM \"b\"");
    assert_eq!(change(json!({"enabled": false}))["enabled"], false);
    // What is answered is on disk.
    let folder = broker.kill();
    let broker = Broker::start_in(folder, &[]);
    let shown = broker.api().data(&path(&id));
    assert_eq!((&shown["enabled"], &shown["description"]), (&json!(false), &json!("changed")));
}

#[test]
fn types_and_events_are_listed() {
    let broker = Broker::start();
    let api = broker.api();
    let names = |path: &str| -> Vec<String> {
        api.rows(path).iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("resource_types"), ["bridge_mqtt", "built_in", "web_hook"]);
    let built_in = json!({
        "description": "The built in resource type for debug purpose", "name": "built_in",
        "params": {}, "provider": "emqx_rule_engine",
    });
    assert_eq!(api.data("resource_types/built_in"), built_in);
    for name in ["built_in:inspect_action", "built_in:republish_action", "web_hook:event_action"] {
        assert!(names("actions").iter().any(|it| it == name), "{name}");
        assert_eq!(api.data(&format!("actions/{name}"))["name"], name);
    }
    assert!(names("actions").is_sorted());
    let any = names("actions?for=client.connected");
    assert!(any.iter().any(|name| name == "built_in:inspect_action"), "{any:?}");
    assert!(!any.iter().any(|name| name == "web_hook:event_action"), "{any:?}");
    let events = names("actions?for=$events");
    assert!(events.iter().any(|name| name == "web_hook:event_action"), "{events:?}");
    assert!(names("resource_types/web_hook/actions").contains(&"web_hook:publish_action".into()));
    let events = api.rows("rule_events");
    assert_eq!(events.len(), 10);
    for event in &events {
        let expected = ["columns", "description", "event", "sql_example", "test_columns", "title"];
        assert_eq!(keys(event), expected);
        assert_eq!(keys(&event["title"]), ["en", "zh"]);
        // Its own example can be tried with its own samples.
        let body = json!({"rawsql": event["sql_example"], "ctx": event["test_columns"]});
        let answer = api.post("rule_test", &body);
        assert!(answer["data"].is_object(), "{event}: {answer}");
    }
}

#[test]
fn a_statement_is_tried_without_a_rule() {
    let broker = Broker::start();
    let api = broker.api();
    let mut watcher = v311().open();
    watcher.subscribe("#", 0);
    let attempt = |rawsql: &str, ctx: Value| {
        let body = json!({"rawsql": rawsql, "ctx": ctx}).to_string();
        let answer = api.call("POST", "rule_test", &body);
        (answer.status, answer.json())
    };
    let ctx = json!({"topic": "t/1", "clientid": "c", "payload": "{\"x\": [1, 2, 3]}"});
    let done = |data: Value| (200, json!({"code": 0, "data": data}));
    let sql = "SELECT payload.x[2] AS x, clientid FROM \"t/#\"";
    assert_eq!(attempt(sql, ctx.clone()), done(json!({"x": 2, "clientid": "c"})));
    let sql = "FOREACH payload.x AS x DO x + 1 AS y INCASE x > 1 FROM \"t/#\"";
    assert_eq!(attempt(sql, ctx.clone()), done(json!([{"y": 3}, {"y": 4}])));
    let missed = (200, json!({"code": 0, "data": null, "matched": false}));
    assert_eq!(attempt("SELECT * FROM \"u/#\"", ctx.clone()), missed);
    assert_eq!(attempt("SELECT * FROM \"t/#\" WHERE clientid = 'd'", ctx.clone()), missed);
    let error = |answer: (u16, Value)| {
        assert_eq!((answer.0, &answer.1["code"]), (400, &json!(400)), "{answer:?}");
        answer.1["message"].as_str().unwrap().to_owned()
    };
    let said = error(attempt("SELECT x\nFROM", ctx.clone()));
    assert!(said.starts_with("Bad Arguments: SQL: line 2, column 5: "), "{said}");
    let said = error(attempt("SELECT 1 / 0 AS x FROM \"#\"", ctx.clone()));
    assert!(said.starts_with("Bad Arguments: SQL: "), "{said}");
    let said = error(attempt("SELECT nothing(1) FROM \"#\"", ctx.clone()));
    assert!(said.contains("nothing"), "{said}");
    let refused = |body: &str| api.call("POST", "rule_test", body).failure();
    let bad = |message: &str| (400, 400, format!("Bad Arguments: {message}"));
    assert_eq!(refused("{}"), bad("missing field: rawsql"));
    assert_eq!(refused("{\"rawsql\": 1}"), bad("rawsql: a string is expected"));
    assert_eq!(refused("{\"rawsql\": \"\", \"ctx\": []}"), bad("ctx: an object is expected"));
    assert_eq!(refused("[]").0, 400);
    assert_eq!(refused("").0, 400);
    let long = format!("{{\"rawsql\": \"{}\"}}", "x".repeat(4 << 20));
    let refusal = refused(&long);
    assert_eq!(refusal, (413, 413, "the body has more than 4194304 bytes".into()));
    // As 3.2 has it, beside the making of rules.
    let body = json!({"rawsql": "SELECT topic FROM \"t/#\"", "ctx": ctx});
    assert_eq!(api.post("rules?test=true", &body)["data"], json!({"topic": "t/1"}));
    let body = json!({"rawsql": "SELECT topic FROM \"u\"", "ctx": {}});
    let refused = api.refused("POST", "rules?test=true", &body);
    assert_eq!(refused, (200, 404, "SQL Not Match".into()));
    assert_eq!(api.data("rules"), json!([]));
    v311().open().publish(publish("end", 1, b""));
    assert_eq!(watcher.take().topic, "end", "nothing was published in between");
}

/// Four at once, each for a second; what comes beside them is told so, and others are served.
#[test]
fn statements_that_take_long_do_not_pile_up() {
    let keys = [("rules.max_steps", "1_000_000_000"), ("rules.max_foreach_items", "1_000_000")];
    let broker = Broker::start_with(&keys);
    let api = broker.api();
    let list: Vec<u8> = vec![1; 1_000_000];
    // For each of a million elements a thousand are looked through.
    let body = json!({
        "rawsql": "FOREACH payload.a AS x DO contains(2, payload.b) AS y INCASE contains(2, payload.b) FROM \"#\"",
        "ctx": {"payload": {"a": list, "b": vec![1; 1_000]}},
    });
    let body = body.to_string();
    // The quick one may have the last place for a moment.
    let slow = || {
        eventually(|| {
            let answer = api.call("POST", "rule_test", &body);
            (answer.status != 429).then_some(answer)
        })
    };
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..4).map(|_| scope.spawn(slow)).collect();
        let quick = json!({"rawsql": "SELECT 1 AS x FROM \"#\""}).to_string();
        let refused = eventually(|| {
            let answer = api.call("POST", "rule_test", &quick);
            (answer.status != 200).then_some(answer)
        });
        assert_eq!(refused.failure(), (429, 429, "4 statements are being tried".into()));
        assert_eq!(api.data("rules"), json!([]));
        for slow in slow {
            let (status, code, message) = slow.join().unwrap().failure();
            assert_eq!((status, code), (400, 400));
            assert_eq!(message, "Bad Arguments: SQL: it takes longer than a second");
        }
    });
}

#[test]
fn without_the_plugin_no_rule_runs() {
    let broker = Broker::start();
    let api = broker.api();
    let id = republish(&api, "SELECT topic FROM \"a\"", "out");
    let order = |what: &str| {
        api.put(&format!("nodes/{NODE}/plugins/emqx_rule_engine/{what}"), &json!({}));
    };
    let is_active = |api: &Api| {
        let plugins = api.data(&format!("nodes/{NODE}/plugins"));
        let found =
            plugins.as_array().unwrap().iter().find(|row| row["name"] == "emqx_rule_engine");
        found.unwrap()["active"].as_bool().unwrap()
    };
    assert!(is_active(&api));
    let mut watcher = v311().open();
    watcher.subscribe("out", 0);
    let mut client = v311().open();
    order("unload");
    assert!(!is_active(&api));
    client.publish(publish("a", 1, b""));
    for path in ["rules", "actions", "resources", "resource_types", "rule_events"] {
        let answer = api.call("GET", path, "");
        assert_eq!((answer.status, &*answer.body), (404, "Not found."), "{path}");
    }
    let (folder, _) = broker.stop();
    let broker = Broker::start_in(folder, &[]);
    let api = broker.api();
    assert!(!is_active(&api));
    let mut watcher = v311().open();
    watcher.subscribe("out", 0);
    let mut client = v311().open();
    client.publish(publish("a", 1, b"unseen"));
    api.put(&format!("nodes/{NODE}/plugins/emqx_rule_engine/load"), &json!({}));
    client.publish(publish("a", 1, b""));
    assert_eq!(watcher.take().payload, br#"{"topic":"a"}"#);
    assert_eq!(actions_of(&api, &id, 1), (1, 0));
}

#[test]
fn who_may_only_read_changes_nothing() {
    let broker = Broker::start();
    let api = broker.api();
    let id = republish(&api, "SELECT topic FROM \"a\"", "out");
    let viewer = json!({"app_id": "look", "name": "look", "secret": "abcdefgh", "role": "viewer"});
    api.post("apps", &viewer);
    let viewer = broker.api_as("look", "abcdefgh");
    assert_eq!(viewer.rows("rules").len(), 1);
    for (method, path) in [
        ("POST", "rules"),
        ("PUT", &*path(&id)),
        ("DELETE", &*path(&id)),
        ("POST", "resources"),
        ("POST", "resources/x"),
        ("DELETE", "resources/x"),
        ("POST", "rule_test"),
    ] {
        let refused = viewer.refused(method, path, &json!({}));
        assert_eq!((refused.0, refused.1), (403, 102), "{method} {path}");
    }
    assert_eq!(api.rows("rules").len(), 1);
}

/// A resource must not be a way to the management API, not even for an application that may make resources.
#[test]
fn the_brokers_own_management_api_is_no_resource() {
    let broker = Broker::start();
    let api = broker.api();
    let port = broker.address("http:management").rsplit_once(':').unwrap().1;
    let own = |host: &str| {
        json!({
            "name": "own", "type": "web_hook",
            "config": {"url": format!("http://{host}:{port}/api/v3/apps"), "method": "POST"},
        })
    };
    for host in ["127.0.0.1", "localhost", "127.1.2.3", "[::ffff:127.0.0.1]"] {
        let (status, code, message) = api.refused("POST", "resources?test=true", &own(host));
        assert_eq!((status, code), (200, 400));
        assert!(message.contains("is this broker's management API"), "{host}: {message}");
    }
    assert_eq!(api.data("resources"), json!([]), "it was only tried");
    // It can be made, as one that is down for now can be, and never gets through.
    api.post("resources", &own("127.0.0.1"));
    assert_eq!(api.data("resource_status/web_hook:own")["is_alive"], json!(false));
    let (.., message) = api.refused("POST", "resources/web_hook:own", &Value::Null);
    assert!(message.starts_with("Start Resource web_hook:own Failed"), "{message}");
    let metadata = json!({
        "name": "cloud", "type": "web_hook", "config": {"url": "http://169.254.169.254/latest/"},
    });
    let (.., message) = api.refused("POST", "resources?test=true", &metadata);
    assert!(message.contains("metadata"), "{message}");
    let mqtt = broker.address("mqtt:tcp:external").replace("127.0.0.1", "http://127.0.0.1");
    let open = json!({"name": "open", "type": "web_hook", "config": {"url": mqtt}});
    assert_eq!(api.post("resources?test=true", &open), json!({"code": 0}));

    let (folder, _) = broker.stop();
    let broker = Broker::start_in(folder, &[("rules.allow_private_addresses", "false")]);
    let (.., message) = broker.api().refused("POST", "resources?test=true", &open);
    assert!(message.contains("rules.allow_private_addresses"), "{message}");
}

#[test]
fn system_messages_are_seen_by_rules_if_that_is_wanted() {
    for (key, is_seen) in [("\"on\"", false), ("\"off\"", true)] {
        let broker = Broker::start_with(&[
            ("rule_engine.ignore_sys_message", key),
            ("broker.sys_interval", "\"1s\""),
        ]);
        let api = broker.api();
        let id = rule(&api, "SELECT topic FROM \"$SYS/#\"", "do_nothing", &json!({}));
        let mut watcher = v311().open();
        watcher.subscribe("$SYS/brokers/+/uptime", 0);
        watcher.take();
        watcher.take();
        let matched = || api.data(&path(&id))["metrics"][0]["matched"].as_u64().unwrap();
        if is_seen {
            wait_until(|| matched() > 0);
        } else {
            assert_eq!(matched(), 0);
        }
    }
}
