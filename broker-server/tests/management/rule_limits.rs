//! Limits of rules: what goes beyond them, and what goes up to them, leaves the broker standing.

use serde_json::{Value, json};

use crate::broker::{Broker, NODE, wait_until};
use crate::client::{v5, v311};
use crate::http::Api;
use crate::wire::publish;

/// Statements whose nesting is `depth` levels of one kind each; the column `x` is 1.
fn nested(depth: usize) -> Vec<String> {
    let around = |before: &str, inside: &str, after: &str| {
        let (before, after) = (before.repeat(depth), after.repeat(depth));
        format!("SELECT {before}{inside}{after} AS y FROM \"deep\"")
    };
    vec![
        around("(", "x", ")"),
        around("abs(", "x", ")"),
        around("[", "x", "]"),
        around("- ", "x", ""),
        around("not ", "x", ""),
        around("(1 + ", "x", ")"),
        around("CASE WHEN true THEN ", "x", " END"),
        around("CASE WHEN ", "x", " THEN true END"),
        around("x[", "x", "]"),
        around("(x = ", "x", ")"),
        // Two levels each.
        format!(
            "SELECT {}x{} AS y FROM \"deep\"",
            "(x in (".repeat(depth / 2),
            "))".repeat(depth / 2)
        ),
        format!(
            "SELECT x FROM \"deep\" WHERE {}x = 1{}",
            "(true and ".repeat(depth),
            ")".repeat(depth)
        ),
        format!("FOREACH {}x{} AS e DO e FROM \"deep\"", "[".repeat(depth), "]".repeat(depth)),
    ]
}

fn attempt(api: &Api, rawsql: &str, ctx: &Value) -> (u16, String) {
    let body = json!({"rawsql": rawsql, "ctx": ctx}).to_string();
    let answer = api.call("POST", "rule_test", &body);
    (answer.status, answer.body)
}

fn rule(api: &Api, rawsql: &str) -> String {
    let actions = json!([{"name": "built_in:republish_action", "params": {"target_topic": "out"}}]);
    let made = api.post("rules", &json!({"name": "r", "rawsql": rawsql, "actions": actions}));
    made["data"]["id"].as_str().unwrap().replace(':', "%3A")
}

/// The deepest that the configuration allows is evaluated on threads of every kind; a level more is refused.
#[test]
fn statements_as_deep_as_may_be_need_no_more_stack_than_there_is() {
    let keys = [("rules.max_depth", "256"), ("rules.json_max_depth", "256")];
    let broker = Broker::start_with(&keys);
    let api = broker.api();
    let ctx = json!({"topic": "deep", "x": 1});
    let mut n_made = 0;
    for sql in nested(250) {
        let (status, answer) = attempt(&api, &sql, &ctx);
        // That a value is of the wrong type is as good: it was looked at.
        assert!(matches!(status, 200 | 400), "{} {answer}", &sql[..60]);
        assert!(!answer.contains("max_depth"), "{} {answer}", &sql[..60]);
        rule(&api, &sql);
        n_made += 1;
    }
    for sql in nested(10_000).iter().chain(&nested(260)) {
        let (status, answer) = attempt(&api, sql, &ctx);
        assert_eq!(status, 400, "{} {answer}", &sql[..60]);
    }
    // A payload as deep, selected whole and in part, by rules on the broker's own threads.
    let select =
        rule(&api, "SELECT payload, payload.a.a.a AS a, json_encode(payload) AS j FROM \"deep\"");
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let mut client = v5().open();
    for depth in [1, 250, 256, 257, 100_000] {
        client.publish(publish("deep", 1, deep(depth).as_bytes()));
    }
    let rules = || api.rows("rules");
    wait_until(|| {
        let counts = api.data(&format!("rules/{select}"))["metrics"][0].take();
        counts["matched"].as_u64().unwrap() + counts["failed"].as_u64().unwrap() == 5
    });
    let seen = |rule: &Value| {
        let of = |name: &str| rule["metrics"][0][name].as_u64().unwrap();
        of("matched") + of("no_result") + of("failed")
    };
    assert!(rules().iter().all(|rule| seen(rule) == 5), "each has met each message");
    assert_eq!(rules().len(), n_made + 1);
    client.ping();
}

/// Long chains are no nesting: they take as long as they are.
#[test]
fn long_chains_are_flat() {
    let broker = Broker::start();
    let api = broker.api();
    let ctx = json!({"topic": "t", "x": 1});
    for link in [" + 1", " - 1", " * 1", " AND x = 1", " OR x = 2"] {
        let first = if link.contains('=') { "x = 1" } else { "x" };
        let sql = format!("SELECT {first}{} AS y FROM \"t\"", link.repeat(5_000));
        let (status, answer) = attempt(&api, &sql, &ctx);
        assert_eq!(status, 200, "{link}: {answer}");
    }
}

/// A rule that the limits of another start refuse is there, not in force, and says why.
#[test]
fn a_kept_rule_beyond_the_limits_does_not_stop_the_start() {
    let broker = Broker::start();
    let sql = format!("SELECT '{}' AS long FROM \"t\"", "x".repeat(200));
    let id = rule(&broker.api(), &sql);
    let (folder, _) = broker.stop();
    let broker = Broker::start_in(folder, &[("rules.max_sql_bytes", "\"100B\"")]);
    let api = broker.api();
    let shown = api.data(&format!("rules/{id}"));
    assert_eq!(shown["enabled"], false);
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("max_sql_bytes") || reason.contains("100"), "{reason}");
    let (.., message) = api.refused("PUT", &format!("rules/{id}"), &json!({"enabled": true}));
    assert!(message.starts_with("Bad Arguments: SQL: "), "{message}");
    let (folder, _) = broker.stop();
    let broker = Broker::start_in(folder, &[]);
    assert_eq!(broker.api().data(&format!("rules/{id}"))["enabled"], true);
    let mut watcher = v311().open();
    watcher.subscribe("out", 0);
    v311().open().publish(publish("t", 1, b""));
    let got: Value = serde_json::from_slice(&watcher.take().payload).unwrap();
    assert_eq!(got, json!({"long": "x".repeat(200)}));
}

#[test]
fn there_are_no_more_rules_resources_and_actions_than_configured() {
    let keys = [("rules.max_rules", "2"), ("rules.max_resources", "1"), ("rules.max_actions", "2")];
    let broker = Broker::start_with(&keys);
    let api = broker.api();
    let (one, _) = (rule(&api, "SELECT 1 AS x FROM \"t\""), rule(&api, "SELECT 1 AS x FROM \"t\""));
    let third = json!({"name": "r", "rawsql": "SELECT 1 AS x FROM \"t\"", "actions": []});
    let bad = |what: &str| (200, 400, format!("Bad Arguments: {what}"));
    assert_eq!(api.refused("POST", "rules", &third), bad("too many rules"));
    let actions = json!({"actions": [
        {"name": "inspect"}, {"name": "inspect", "fallbacks": [{"name": "do_nothing"}]},
    ]});
    let refused = api.refused("PUT", &format!("rules/{one}"), &actions);
    assert_eq!(refused, bad("too many actions"));
    let resource = |name: &str| json!({"name": name, "type": "built_in"});
    api.post("resources", &resource("a"));
    api.post("resources", &resource("a"));
    assert_eq!(api.refused("POST", "resources", &resource("b")), bad("too many resources"));
    let keys = api.rows(&format!("nodes/{NODE}/plugin_configs/emqx_rule_engine"));
    assert_eq!(keys[0]["key"], "rule_engine.ignore_sys_message");
}

/// Sampled every ten seconds, whatever else is looked at in between.
#[test]
fn speeds_are_sampled_while_nothing_else_is_looked_at() {
    let keys = [
        ("os_mon.cpu_check_interval", "0"),
        ("os_mon.mem_check_interval", "0"),
        ("os_mon.fd_check_interval", "0"),
        ("os_mon.disk_check_interval", "0"),
        ("vm_mon.check_interval", "0"),
    ];
    let broker = Broker::start_with(&keys);
    let api = broker.api();
    let id = rule(&api, "SELECT topic FROM \"t\"");
    let mut client = v311().open();
    for _ in 0..50 {
        client.publish(publish("t", 1, b""));
    }
    let speed = |name: &str| api.data(&format!("rules/{id}"))["metrics"][0][name].as_f64().unwrap();
    wait_until(|| speed("speed_max") > 0.0);
    // Fifty in ten seconds, and some of them perhaps before.
    assert!(speed("speed_max") <= 5.0, "{}", speed("speed_max"));
    // The one is rounded to two decimals, the other not.
    let (mean, most) = (speed("speed_last5m"), speed("speed_max"));
    assert!(mean <= most + 0.005, "{mean} {most}");
}

/// Who waits for a server that does not answer keeps nobody else from the API.
#[test]
fn a_resource_that_is_slow_to_try_holds_up_nobody() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let broker = Broker::start();
    let api = broker.api();
    let body = json!({
        "name": "b", "type": "bridge_mqtt",
        "config": {"bridge_name": "b", "address": address, "mountpoint": ""},
    });
    // The first login takes its time.
    api.get("brokers");
    let refused: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| api.refused("POST", "resources?test=true", &body)))
            .collect();
        for _ in 0..100 {
            assert_eq!(api.data("rules"), json!([]));
        }
        assert!(tries.iter().all(|one| !one.is_finished()), "they wait");
        // Resets the connections that wait there.
        drop(silent);
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(refused.iter().all(|(status, code, _)| (*status, *code) == (200, 400)), "{refused:?}");
}
