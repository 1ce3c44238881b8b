//! Who may do what: plugins, their accounts, bans, users of the dashboard; and what real clients notice of it.

use serde_json::{Value, json};

use crate::broker::{Broker, Subscriber, eventually};

#[test]
fn plugins_are_loaded_unloaded_and_reloaded() {
    let broker = Broker::start();
    let is_active = |name: &str| {
        let nodes = broker.json("plugins");
        let plugins = nodes[0]["plugins"].as_array().unwrap();
        let found: Vec<&Value> = plugins.iter().filter(|row| row["name"] == name).collect();
        assert_eq!((plugins.len(), found.len()), (25, 1), "{nodes}");
        found[0]["active"].as_bool().unwrap()
    };
    assert!(is_active("emqx_delayed_publish") && !is_active("emqx_auth_clientid"));
    broker.fails("plugins load emqx_delayed_publish", 1, "already_started (code 102)");
    assert_eq!(
        broker.cli("plugins unload emqx_delayed_publish"),
        "unloaded emqx_delayed_publish\n"
    );
    assert!(!is_active("emqx_delayed_publish"));
    broker.fails("plugins unload emqx_delayed_publish", 1, "not_started");
    // Reload puts one to work.
    assert_eq!(broker.cli("plugins reload emqx_auth_clientid"), "reloaded emqx_auth_clientid\n");
    assert!(is_active("emqx_auth_clientid"));
    let table = broker.cli("plugins list");
    let line = table.lines().find(|line| line.starts_with("emqx_auth_clientid ")).unwrap();
    assert_eq!(line.split_whitespace().nth(1), Some("yes"), "{table}");
    let ctl = broker.cli("plugins list --format emqx");
    assert!(ctl.contains("Plugin(emqx_delayed_publish, version=v3.1.0, "), "{ctl}");
    broker.fails("plugins load emqx_auth_ldap", 1, "is not in this build of the broker");
    broker.fails("plugins load nope", 1, "not_found");
}

#[test]
fn accounts_decide_who_connects() {
    let broker = Broker::start();
    let hint = "'broker-cli plugins load emqx_auth_username' loads it";
    broker.fails("users update bob pw", 1, hint);
    // One command, and a new broker has a user.
    assert_eq!(broker.cli("users add bob pw"), "loaded emqx_auth_username, added username 'bob'\n");
    broker.fails("auth-username add bob other", 1, "existed");
    assert_eq!(broker.cli("auth-username list"), "bob\n");
    assert_eq!(
        broker.json("auth-username lookup bob"),
        json!({"username": "bob", "password": "******"})
    );
    broker.mqtt("pub -t t -m x -u bob -P pw");
    broker.mqtt_fails("pub -t t -m x -u bob -P wrong");
    broker.cli("auth-username update bob other");
    broker.mqtt("pub -t t -m x -u bob -P other");
    broker.mqtt_fails("pub -t t -m x -u bob -P pw");
    broker.cli("auth-username del bob");
    assert_eq!(broker.json("auth-username list"), json!([]));
    broker.cli("plugins load emqx_auth_clientid");
    broker.cli("auth-clientid add meter pw");
    broker.mqtt("pub -t t -m x -i meter -u any -P pw");
    broker.mqtt_fails("pub -t t -m x -i meter -u any -P wrong");
}

#[test]
fn bans_cut_off_and_keep_out() {
    let broker = Broker::start();
    let mut mallory = Subscriber::start(&broker, "-i mallory -t t");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 1).then_some(()));
    let said = broker.cli("banned add mallory --for 2h --reason spam --by me");
    assert!(said.starts_with("banned client_id 'mallory' until 20"), "{said}");
    assert_eq!(mallory.line(), "", "it is cut off");
    broker.mqtt_fails("pub -i mallory -t t -m x");
    broker.mqtt("pub -i alice -t t -m x");
    let rows = broker.json("banned list");
    let row = &rows[0];
    assert_eq!(
        (&row["who"], &row["as"], &row["reason"], &row["by"]),
        (&"mallory".into(), &"client_id".into(), &"spam".into(), &"me".into())
    );
    assert!(row["until"].is_u64(), "{row}");
    broker.cli("banned add 127.0.0.0/8 --as ip_address");
    broker.mqtt_fails("pub -i alice -t t -m x");
    let table = broker.cli("banned");
    assert_eq!(table.lines().count(), 3, "{table}");
    for line in ["banned del 127.0.0.0/8 --as ip_address", "banned del mallory"] {
        broker.cli(line);
    }
    assert_eq!(broker.json("banned"), json!([]));
    broker.mqtt("pub -i mallory -t t -m x");
    broker.fails("banned add x --as ip_address", 1, "code 108");
}

#[test]
fn users_of_the_dashboard_come_and_go() {
    let broker = Broker::start();
    assert_eq!(broker.json("admins"), json!([{"username": "admin", "tags": "administrator"}]));
    broker.cli("admins add ops secretpass viewer");
    broker.fails("admins add ops other viewer", 1, "code 102");
    broker.cli("admins tags ops administrator");
    broker.cli("admins passwd ops otherpass");
    assert_eq!(broker.json("admins list")[1], json!({"username": "ops", "tags": "administrator"}));
    // The old spelling prints as it did.
    assert_eq!(broker.cli("admins add eve secretpass viewer --format emqx"), "ok\n");
    assert_eq!(broker.cli("admins del eve --format emqx"), "ok\n");
    broker.fails("admins del admin", 1, "Cannot delete admin");
    assert_eq!(broker.cli("admins del ops"), "deleted user 'ops'\n");
    broker.fails("admins del ops", 1, "Username Not Found");
    broker.fails("admins passwd ops whatever", 1, "code 102");
}

#[test]
fn the_acl_file_is_read_again() {
    let rules = std::env::temp_dir().join(format!("cli-acl-{}.conf", std::process::id()));
    std::fs::write(&rules, "{deny, {client, \"eve\"}, publish, [\"shut/#\"]}.\n").unwrap();
    let broker = Broker::start_with(&format!("acl_file = {:?}\n", rules.to_str().unwrap()));
    let mut dash = Subscriber::start(&broker, "-i dash -t shut/#");
    let _eve = Subscriber::start(&broker, "-i eve -t none");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 2).then_some(()));
    let ask = "why --from eve --topic shut/a --to dash";
    let said = broker.cli(ask);
    let first = "acl_denied: \"eve\" may not publish to \"shut/a\": a rule says so";
    assert_eq!(said.lines().next(), Some(first));
    std::fs::write(&rules, "{allow, all}.\n{deny, all.\n").unwrap();
    let problem = format!("{}:2: a comma or }} is expected, not '.' (code 102)", rules.display());
    broker.fails("acl reload", 1, &problem);
    assert_eq!(broker.json(ask)["verdict"], "acl_denied", "the old rules stand");
    std::fs::write(&rules, "{allow, all}.\n").unwrap();
    assert_eq!(broker.cli("acl reload"), "read the ACL file: 1 rule\n");
    assert_eq!(broker.json("acl reload"), json!({"rules": 1}));
    broker.mqtt("pub -i eve2 -t shut/a -m now");
    assert_eq!(dash.line(), "now");
    assert_eq!(broker.json(ask)["verdict"], "would_deliver");
    std::fs::remove_file(&rules).unwrap();
    let plain = Broker::start();
    plain.fails("acl reload", 1, "no acl_file is configured");
}
