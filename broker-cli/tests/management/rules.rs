//! Rules, resources and what they can do, managed by the program, with messages that they see.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::broker::{Broker, Subscriber, eventually};

const HOT: &str = r#"SELECT payload.t AS t FROM "plant/#" WHERE t > 20"#;
const TO_HOT: &str =
    r#"[{"name": "republish", "params": {"target_topic": "hot", "payload_tmpl": "${t}"}}]"#;

#[track_caller]
fn succeed(broker: &Broker, words: &[&str]) -> String {
    let outcome = broker.run(words);
    assert_eq!(outcome.status, 0, "{words:?}: {outcome:?}");
    outcome.stdout
}

#[track_caller]
fn fail(broker: &Broker, words: &[&str], status: i32, said: &str) {
    let outcome = broker.run(words);
    assert_eq!(outcome.status, status, "{words:?}: {outcome:?}");
    assert!(outcome.stderr.contains(said), "{words:?}: {outcome:?}");
}

/// Makes a rule that takes its event from FROM; returns its id.
fn make(broker: &Broker, name: &str, sql: &str, actions: &str) -> String {
    let made = succeed(broker, &["rules", "create", name, "-", sql, actions, "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    made["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_rule_is_made_switched_changed_and_deleted() {
    let broker = Broker::start();
    let outcome = broker.run(&["rules"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", "broker-cli: no rules\n"));
    let id = make(&broker, "hot", HOT, TO_HOT);
    assert!(id.starts_with("hot:"), "{id}");
    let mut hot = Subscriber::start(&broker, "-t hot");
    eventually(|| (broker.json("routes").as_array()?.len() == 1).then_some(()));
    let publish = |t: &str| broker.mqtt(&format!("pub -q 1 -t plant/7 -m {{\"t\":{t}}}"));
    publish("25");
    assert_eq!(hot.line(), "25");
    publish("20");
    let listed = broker.cli("rules");
    let row = format!("{id}  plant/#  yes            1       0  republish");
    assert_eq!(listed.lines().nth(1), Some(row.as_str()), "{listed}");
    let counted = broker.cli(&format!("rules metrics {id}"));
    let rows: Vec<Vec<&str>> = counted.lines().map(|it| it.split_whitespace().collect()).collect();
    assert_eq!(rows[1][1..5], ["-", "emqx@127.0.0.1", "1", "1"], "{counted}");
    assert_eq!(rows[2][1], "republish", "{counted}");
    assert_eq!(rows[2][6..], ["1", "0", "0", "0"], "{counted}");

    assert_eq!(broker.cli(&format!("rules disable {id}")), format!("disabled '{id}'\n"));
    publish("30");
    assert_eq!(broker.json(&format!("rules metrics {id}"))["metrics"][0]["matched"], 0);
    assert_eq!(broker.cli(&format!("rules enable {id}")), format!("enabled '{id}'\n"));
    publish("31");
    assert_eq!(hot.line(), "31", "the one before was not seen");
    let sql = "SELECT 'cold' AS t FROM 'plant/#'";
    succeed(&broker, &["rules", "update", &id, "--sql", sql, "-d", "all of them"]);
    publish("1");
    assert_eq!(hot.line(), "cold");
    let shown = broker.cli(&format!("rules show {id}"));
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name));
        line.unwrap_or_default()[name.len()..].trim().to_owned()
    };
    assert_eq!((line("rawsql "), line("description ")), (sql.to_owned(), "all of them".to_owned()));
    let action = r#"republish {"payload_tmpl":"${t}","target_topic":"hot"}"#;
    assert_eq!((line("for "), line("action ")), ("plant/#".to_owned(), action.to_owned()));

    assert_eq!(broker.cli(&format!("rules delete {id}")), format!("deleted '{id}'\n"));
    for inner in ["show", "delete", "enable", "metrics"] {
        broker.fails(&format!("rules {inner} {id}"), 1, &format!("no rule '{id}'"));
    }
}

#[test]
fn what_is_wrong_with_a_rule_is_said() {
    let broker = Broker::start();
    let place = "SQL: line 1, column 10: expected FROM, found FRO";
    fail(&broker, &["rules", "create", "r", "-", "SELECT * FRO", "[]"], 1, place);
    let all = "SELECT * FROM 't/#'";
    fail(&broker, &["rules", "create", "r", "no.event", all, "[]"], 1, "Hook no.event Not Found");
    let unknown = r#"[{"name": "nothing"}]"#;
    fail(&broker, &["rules", "create", "r", "-", all, unknown], 1, "Action nothing Not Found");
    fail(&broker, &["rules", "create", "r", "-", all, "[{"], 2, "the list of actions is not JSON");
    broker.fails("rules update r:1", 2, "nothing to change: --sql");
    broker.fails("rules update r:1 -d x", 1, "no rule 'r:1'");
    assert_eq!(broker.json("rules"), serde_json::json!([]));
}

#[test]
fn statements_are_tried() {
    let broker = Broker::start();
    let try_it = |sql: &str, ctx: &str, more: &[&str]| {
        let words = [&["rules", "test", sql, "--ctx", ctx][..], more].concat();
        broker.run(&words)
    };
    let found = try_it(HOT, r#"{"topic": "plant/1", "payload": "{\"t\": 21.5}"}"#, &[]);
    assert_eq!((found.status, found.stdout.as_str()), (0, "{\"t\":21.5}\n"));
    let none = try_it(HOT, r#"{"topic": "plant/1"}"#, &[]);
    let said = "broker-cli: it does not match\n";
    assert_eq!((none.status, none.stdout.as_str(), none.stderr.as_str()), (0, "", said));
    assert_eq!(try_it(HOT, "{}", &["--json"]).stdout, "null\n");
    let each = try_it(
        "FOREACH payload AS p DO p AS n FROM x",
        r#"{"topic": "x", "payload": [1, 2]}"#,
        &[],
    );
    assert_eq!(each.stdout, "{\"n\":1}\n{\"n\":2}\n");
    let hook =
        try_it("SELECT client_id FROM x", r#"{"clientid": "c"}"#, &["--for", "client.connected"]);
    assert_eq!(hook.stdout, "{\"client_id\":\"c\"}\n");
    let wrong = try_it("SELECT 1 + 'a' AS x FROM x", r#"{"topic": "x"}"#, &[]);
    assert_eq!(wrong.status, 1);
    assert!(wrong.stderr.contains("SELECT, field 1: "), "{wrong:?}");
    let no_json = try_it(HOT, "{", &[]);
    assert_eq!(no_json.status, 2, "{no_json:?}");
}

#[test]
fn a_statement_can_come_from_stdin() {
    let broker = Broker::start();
    let mut command = crate::broker::program();
    command.args(["rules", "test", "-", "--ctx", r#"{"topic": "x", "n": 2}"#]);
    command.env("BROKER_API", &broker.api).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let sql = b"SELECT n * 21 AS n -- a comment\nFROM x\n";
    process.stdin.take().unwrap().write_all(sql).unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"n\":42}\n");
}

#[test]
fn without_the_plugin_it_is_said_how_to_load_it() {
    let broker = Broker::start();
    broker.cli("plugins unload emqx_rule_engine");
    let hint = "'broker-cli plugins load emqx_rule_engine' loads it";
    for line in
        ["rules", "rule-actions", "resources", "resource-types", "rules events", "rules test x"]
    {
        broker.fails(line, 1, hint);
    }
    broker.cli("plugins load emqx_rule_engine");
    assert_eq!(broker.json("rules"), serde_json::json!([]));
}

#[test]
fn functions_and_events_are_listed() {
    let broker = Broker::start();
    let functions = broker.json("rules functions");
    assert!(functions.as_array().unwrap().len() > 120);
    // Any of the examples holds in the broker.
    let shown = broker.cli("rules functions substr");
    assert!(shown.contains("example   substr('abcd', 1, 2) → \"bc\""), "{shown}");
    let sql = "SELECT substr('abcd', 1, 2) AS x FROM x";
    assert_eq!(
        succeed(&broker, &["rules", "test", sql, "--ctx", "{\"topic\":\"x\"}"]),
        "{\"x\":\"bc\"}\n"
    );
    assert!(broker.cli("rules functions hashes").contains("\nmd5(s) "));
    broker.fails("rules functions nonsense", 1, "no function or group 'nonsense'");
    assert_eq!(broker.json("rules events").as_array().unwrap().len(), 10);
    let shown = broker.cli("rules events client.connected");
    assert!(shown.contains(" connack "), "{shown}");
    broker.fails("rules events nonsense", 1, "no event 'nonsense'");
}

#[test]
fn a_resource_is_made_asked_and_deleted_unless_it_is_used() {
    let broker = Broker::start();
    let types = broker.cli("resource-types");
    assert!(types.contains("\nweb_hook     emqx_web_hook "), "{types}");
    let shown = broker.cli("resource-types show web_hook");
    assert!(shown.contains("string, required, a url: Request URL"), "{shown}");
    broker.fails("resource-types show nothing", 1, "no type of resources 'nothing'");
    broker.fails("resources create w web_hook", 1, "{required_field_missing,url}");
    // Nobody listens on port 1.
    let config = r#"{"url": "http://127.0.0.1:1/x", "headers": {"token": "s3cret"}}"#;
    let made =
        succeed(&broker, &["resources", "create", "w", "web_hook", "-c", config, "-d", "far"]);
    assert_eq!(made, "created 'web_hook:w'\n");
    let status = broker.cli("resources status web_hook:w");
    let lines: Vec<_> = status.lines().collect();
    assert_eq!(lines[0], "'web_hook:w' is not alive");
    assert!(
        lines[1].starts_with("emqx@127.0.0.1: delivered 0, retried 0, dropped 0, "),
        "{status}"
    );
    assert_eq!(lines.len(), 2, "{status}");
    broker.fails("resources start web_hook:w", 1, "Connection refused");
    fail(&broker, &["resources", "test", "v", "web_hook", "-c", config], 1, "Connection refused");
    succeed(&broker, &["resources", "test", "v", "built_in"]);
    let shown = broker.cli("resources show web_hook:w");
    assert!(shown.contains("http://127.0.0.1:1/x") && !shown.contains("s3cret"), "{shown}");
    assert_eq!(broker.json("resources list -t built_in"), serde_json::json!([]));
    assert_eq!(broker.json("resources list -t web_hook")[0]["id"], "web_hook:w");

    let action = r#"[{"name": "data_to_webserver", "params": {"$resource": "web_hook:w"}}]"#;
    let id = make(&broker, "w", "SELECT * FROM x", action);
    broker.fails("resources delete web_hook:w", 1, r#"{dependency_exists,{rule_name,<<"w">>}}"#);
    broker.cli(&format!("rules delete {id}"));
    assert_eq!(broker.cli("resources delete web_hook:w"), "deleted 'web_hook:w'\n");
    for inner in ["show", "delete", "status", "start"] {
        broker.fails(&format!("resources {inner} web_hook:w"), 1, "no resource 'web_hook:w'");
    }
}

#[test]
fn actions_are_listed_by_event_and_type() {
    let broker = Broker::start();
    let names = |flags: &str| {
        let listed = broker.json(&format!("rule-actions list{flags}"));
        let names =
            listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(" -t bridge_mqtt"), "data_to_mqtt_broker");
    assert_eq!(
        names(" -k message.publish -t web_hook"),
        "data_to_webserver web_hook:publish_action"
    );
    assert!(names("").contains("inspect"));
    broker.fails("rule-actions list -k no.event", 1, "Hook no.event Not Found");
    let shown = broker.cli("rule-actions show republish");
    assert!(shown.contains("default \"${payload}\": "), "{shown}");
    broker.fails("rule-actions show nothing", 1, "no action 'nothing'");
}

/// A script for EMQ X 3.1 as it is.
#[test]
fn a_script_for_emqx_ctl_works_unchanged() {
    let broker = Broker::start();
    symlink(env!("CARGO_BIN_EXE_broker-cli"), broker.path("emqx_ctl")).unwrap();
    let script = r##"
        PATH="$1:$PATH"
        emqx_ctl rules create 'n' 'message.publish' 'select * from "#"' '[{"name":"built_in:inspect_action"}]' -d 'x'
        emqx_ctl resources create 'w' 'web_hook' -c '{"url":"http://127.0.0.1:1/x"}' -d 'far'
        emqx_ctl rules list | sed -E 's/:[0-9]{19}/:NS/'
        emqx_ctl resources list -t web_hook
        emqx_ctl rule-actions show built_in:inspect_action
        emqx_ctl resource-types show built_in
        emqx_ctl rules show nobody
        emqx_ctl resources create 'w' 'web_hook'
        emqx_ctl resources delete web_hook:w
        emqx_ctl rules delete "$(emqx_ctl rules list | sed -E "s/rule\(id='([^']*)'.*/\1/")"
        emqx_ctl rules list
    "##;
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(broker.path(""))
        .env("BROKER_API", &broker.api)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("Rule n:") && lines[0].ends_with(" created"), "{stdout}");
    assert_eq!(
        lines[1..],
        [
            "Resource web_hook:w created",
            "rule(id='n:NS', name='n', for='message.publish', rawsql='select * from \"#\"', \
             actions=[{\"name\":\"built_in:inspect_action\",\"params\":{}}], enabled='true', description='x')",
            "resource(id='web_hook:w', name='w', type='web_hook', config=#{<<\"url\">> => <<\"http://127.0.0.1:1/x\">>}, \
             attrs=undefined, description='far')",
            "action(name='built_in:inspect_action', app='emqx_rule_engine', for='$any', type='built_in', params=#{}, \
             description='Inspect the details of action params for debug purpose')",
            "resource_type(name='built_in', provider='emqx_rule_engine', params=#{}, on_create=undefined, \
             description='The built in resource type for debug purpose')",
            "Cannot found nobody",
            "Invalid options: {required_field_missing,url}",
            "ok",
            "ok",
        ],
        "{stdout}"
    );
}
