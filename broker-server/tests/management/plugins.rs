//! `plugins`: listed, loaded, unloaded and reloaded, with the effect on clients.

use serde_json::{Value, json};

use crate::broker::{Broker, NODE};
use crate::http::{Api, keys};
use crate::mosquitto::Mosquitto;

fn order(api: &Api, plugin: &str, order: &str) -> Value {
    api.call("PUT", &format!("nodes/{NODE}/plugins/{plugin}/{order}"), "").json()
}

fn check(api: &Api, plugin: &str, what: &str, message: &str) {
    let answer = order(api, plugin, what);
    match message {
        "" => assert_eq!(answer, json!({"code": 0}), "{what} {plugin}"),
        _ => assert_eq!(answer, json!({"code": 102, "message": message}), "{what} {plugin}"),
    }
}

fn is_active(api: &Api, plugin: &str) -> bool {
    let plugins = api.data(&format!("nodes/{NODE}/plugins"));
    let found = plugins.as_array().unwrap().iter().find(|row| row["name"] == plugin);
    found.unwrap()["active"].as_bool().unwrap()
}

/// All 25, as the document prints them.
#[test]
fn all_plugins_are_listed() {
    let broker = Broker::start();
    let api = broker.api();
    let all = api.data("plugins");
    assert_eq!(keys(&all[0]), ["node", "plugins"]);
    assert_eq!(all[0]["node"], NODE);
    assert_eq!(all[0]["plugins"], api.data(&format!("nodes/{NODE}/plugins/")));
    let rows = all[0]["plugins"].as_array().unwrap();
    assert_eq!(rows.len(), 25);
    assert!(rows.iter().all(|row| keys(row) == ["active", "description", "name", "version"]));
    assert_eq!(
        rows[0],
        json!({
            "name": "emqx_auth_clientid", "version": "v3.1.0", "active": false,
            "description": "EMQ X Authentication with ClientId/Password",
        })
    );
    for name in ["emqx_management", "emqx_retainer", "emqx_delayed_publish"] {
        assert!(is_active(&api, name), "{name}");
    }
    let elsewhere = api.call("GET", "nodes/other@host/plugins", "");
    assert_eq!(elsewhere.failure(), (404, 102, "node other@host not found".into()));
}

#[test]
fn orders_that_make_no_sense_say_why() {
    let broker = Broker::start();
    let api = broker.api();
    check(&api, "emqx_retainer", "load", "already_started");
    check(&api, "emqx_retainer", "unload", "");
    check(&api, "emqx_retainer", "unload", "not_started");
    check(&api, "emqx_retainer", "reload", "");
    assert!(is_active(&api, "emqx_retainer"), "reload loads what is not");
    check(&api, "emqx_management", "unload", "emqx_management can not be unloaded");
    check(&api, "emqx_coap", "load", "emqx_coap is not in this build of the broker");
    if !cfg!(feature = "psk") {
        check(&api, "emqx_psk_file", "load", "emqx_psk_file is not in this build of the broker");
    }
    check(&api, "emqx_coap", "unload", "not_started");
    for what in ["load", "unload", "reload"] {
        check(&api, "emqx_nothing", what, "not_found");
        let answer = api.call("PUT", &format!("nodes/x/plugins/emqx_retainer/{what}"), "");
        assert_eq!(answer.failure(), (404, 102, "node x not found".into()));
    }
    assert_eq!(
        api.call("PUT", &format!("nodes/{NODE}/plugins/emqx_retainer/stop"), "").status,
        404
    );
}

/// What is kept is neither shown nor replaced while the plugin is unloaded, and there when it is loaded again.
#[test]
fn the_retainer_comes_and_goes_and_stays_as_it_was_over_a_restart() {
    let broker = Broker::start();
    let clients = Mosquitto::of(&broker);
    clients.publish("a", "kept", &["-r"]);
    assert_eq!(clients.retained("a"), "a kept\n");
    let api = broker.api();
    check(&api, "emqx_retainer", "unload", "");
    assert_eq!(clients.retained("a"), "");
    clients.publish("a", "passes", &["-r"]);
    clients.publish("b", "passes", &["-r"]);
    let (folder, _) = broker.stop();

    let broker = Broker::start_in(folder, &[]);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    assert!(!is_active(&api, "emqx_retainer"));
    assert_eq!(clients.retained("#"), "");
    check(&api, "emqx_retainer", "load", "");
    assert_eq!(clients.retained("#"), "a kept\n");
    let (folder, _) = broker.stop();

    let broker = Broker::start_in(folder, &[]);
    assert!(is_active(&broker.api(), "emqx_retainer"));
}

/// A topic under `$delayed/` is one like any other without the plugin.
#[test]
fn delayed_publish_is_switched_by_key_and_by_order() {
    let broker = Broker::start_with(&[("delayed.enable", "false")]);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    assert!(!is_active(&api, "emqx_delayed_publish"));
    clients.publish("$delayed/3600/a", "x", &["-r"]);
    assert_eq!(clients.retained("$delayed/#"), "$delayed/3600/a x\n");
    check(&api, "emqx_delayed_publish", "load", "");
    clients.publish("$delayed/3600/b", "x", &["-r"]);
    clients.publish("$delayed/0/c", "x", &["-r"]);
    assert_eq!(clients.retained("$delayed/#"), "$delayed/3600/a x\n");
    let until = std::time::Instant::now() + crate::broker::DEADLINE;
    while clients.retained("c") != "c x\n" {
        assert!(std::time::Instant::now() < until);
    }
}

/// The new configuration is read and checked first; a wrong one leaves all as it is.
#[test]
fn a_reload_takes_the_new_limits_or_none() {
    let broker = Broker::start_with(&[("retainer.max_payload_size", "\"1KB\"")]);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    let config = broker.config();
    let text = std::fs::read_to_string(&config).unwrap();
    clients.publish("a", "12345", &["-r"]);
    std::fs::write(&config, text.replace("\"1KB\"", "\"4B\"")).unwrap();
    clients.publish("b", "12345", &["-r"]);
    check(&api, "emqx_retainer", "reload", "");
    clients.publish("c", "12345", &["-r"]);
    clients.publish("d", "1234", &["-r"]);
    assert_eq!(clients.retained("+"), "a 12345\nb 12345\nd 1234\n");

    std::fs::write(&config, text.replace("\"1KB\"", "\"much\"")).unwrap();
    let answer = order(&api, "emqx_retainer", "reload");
    let message = answer["message"].as_str().unwrap();
    assert_eq!(answer["code"], 102);
    assert!(message.starts_with("parse_config_file_failed: "), "{message}");
    assert!(message.contains("retainer.max_payload_size = \"much\""), "{message}");
    assert!(is_active(&api, "emqx_retainer"));
    clients.publish("e", "12345", &["-r"]);
    clients.publish("f", "1234", &["-r"]);
    assert_eq!(clients.retained("+").lines().last(), Some("f 1234"));
}

#[test]
fn a_wrong_list_of_plugins_is_refused_by_name() {
    for (list, said) in [
        (r#"["emqx_retianer"]"#, "is no plugin of EMQ X 3.1"),
        (r#"["emqx_auth_mysql"]"#, "is not in this build, so clients would come in unchecked"),
    ] {
        let refused = Broker::try_start(crate::broker::Folder::new(), &[("plugins.loaded", list)]);
        let log = refused.err().expect("it does not start");
        assert!(log.contains("plugins.loaded") && log.contains(said), "{log}");
    }
    let broker = Broker::start_with(&[("plugins.loaded", r#"["emqx_coap"]"#)]);
    let api = broker.api();
    assert!(!is_active(&api, "emqx_retainer"));
    assert!(is_active(&api, "emqx_management"));
    let (_, log) = broker.stop();
    assert!(log.contains("not in this build, so not loaded: emqx_coap"), "{log}");
}
