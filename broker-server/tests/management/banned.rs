//! `banned`: who may not connect, and who is cut off.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::broker::{Broker, wait_until};
use crate::client::{v5, v311};

const FOREVER: u64 = 4_102_444_800;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_ban_cuts_off_and_keeps_out_until_it_is_lifted() {
    let broker = Broker::start();
    let api = broker.api();
    let bans = [
        ("client_id", "bad/one", "bad%2Fone"),
        ("username", "bad user", "bad%20user"),
        ("ip_address", "127.0.0.1", "127.0.0.1"),
        ("ip_address", "127.0.0.9/8", "127.0.0.0%2F8"),
    ];
    for (kind, who, escaped) in bans {
        let bad = || v5().id("bad/one").username("bad user");
        let mut client = bad().open();
        let mut old = v311().id("old").username("bad user").open();
        let mut other = v5().id("good").username("good").open();
        api.post("banned/", &json!({"who": who, "as": kind, "until": FOREVER}));
        client.expect_disconnect(&[0x98]);
        bad().begin().expect_connack(0x8A);
        match kind {
            "client_id" => old.ping(),
            _ => {
                old.expect_closed();
                v311().id("old").username("bad user").begin().expect_connack(5);
            }
        }
        match kind {
            "ip_address" => other.expect_disconnect(&[0x98]),
            _ => other.ping(),
        }
        assert_eq!(api.delete(&format!("banned/{escaped}?as={kind}")), json!({"code": 0}));
        assert_eq!(api.get("banned")["meta"]["count"], 0);
        bad().open().disconnect();
    }
}

#[test]
fn the_documents_example_is_answered_as_it_was_sent_and_bans_nobody() {
    let broker = Broker::start();
    let api = broker.api();
    let sent = json!({
        "who": "mqttjs_ab9069449e", "as": "client_id", "reason": "banned the clientId",
        "desc": "normal banned", "until": 1_536_146_187_u64,
    });
    assert_eq!(api.post("banned/", &sent), json!({"code": 0, "data": sent}));
    let empty = json!({"code": 0, "data": [], "meta": {"page": 1, "limit": 10_000, "count": 0}});
    assert_eq!(api.get("banned/?_page=1&_limit=10000"), empty);
    v5().id("mqttjs_ab9069449e").open().disconnect();
    assert_eq!(api.delete("banned/mqttjs_ab9069449e?as=client_id"), json!({"code": 0}));
}

#[test]
fn the_list_shows_what_was_sent_and_outlives_a_crash() {
    let broker = Broker::start();
    let api = broker.api();
    let full = json!({
        "who": "x/温", "as": "username", "reason": "r", "desc": "", "by": "me", "until": FOREVER,
    });
    api.post("banned", &full);
    let short = json!({"who": "10.1.2.3/8", "as": "ip_address"});
    assert_eq!(api.post("banned", &short)["data"], short);
    let rows = json!([full, {
        "who": "10.0.0.0/8", "as": "ip_address", "reason": "undefined", "desc": "undefined",
        "by": "undefined", "until": "undefined",
    }]);
    assert_eq!(api.data("banned"), rows);
    let broker = Broker::start_in(broker.kill(), &[]);
    let mut kept = broker.api().rows("banned");
    kept.sort_by_key(|row| row["as"] == "ip_address");
    assert_eq!(json!(kept), rows);
}

#[test]
fn a_ban_again_takes_the_place_of_the_first() {
    let broker = Broker::start();
    let api = broker.api();
    let ban = |until: u64, reason: &str| {
        let body = json!({"who": "c", "as": "client_id", "until": until, "reason": reason});
        api.post("banned", &body);
    };
    ban(FOREVER, "first");
    ban(FOREVER + 1, "second");
    assert_eq!(api.rows("banned").len(), 1);
    assert_eq!(api.data("banned")[0]["reason"], "second");
    // One that is over lifts it.
    ban(now() - 1, "over");
    assert_eq!(api.data("banned"), json!([]));
    v5().id("c").open().disconnect();
}

#[test]
fn a_ban_ends_when_it_says() {
    let broker = Broker::start();
    let api = broker.api();
    let until = now() + 2;
    api.post("banned", &json!({"who": "c", "as": "client_id", "until": until}));
    v5().id("c").begin().expect_connack(0x8A);
    wait_until(|| api.rows("banned").is_empty());
    assert!(now() >= until);
    v5().id("c").open().disconnect();
}

#[test]
fn what_is_wrong_with_a_ban_is_named() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |body: Value, code: u64, message: &str| {
        assert_eq!(api.refused("POST", "banned", &body), (200, code, message.into()), "{body}");
    };
    let mandatory = "missing mandatory params: ['who', 'as']";
    for body in [json!({}), json!({"who": "x"}), json!({"as": "client_id"})] {
        check(body, 107, mandatory);
    }
    let kinds = "value of 'as' must be one of: ['client_id', 'username', 'ip_address']";
    check(json!({"who": "x", "as": "peerhost"}), 108, kinds);
    for (who, message) in [
        ("x", "who: \"x\" is no IP address"),
        ("1.2.3", "who: \"1.2.3\" is no IP address"),
        ("1.2.3.4/33", "who: \"33\" is no prefix length: 1.2.3.4 has 32 bits"),
    ] {
        check(json!({"who": who, "as": "ip_address"}), 108, message);
    }
    let with = |name: &str, value: Value| {
        let mut body = json!({"who": "x", "as": "client_id"});
        body[name] = value;
        body
    };
    let long = "x".repeat(1_025);
    for (name, value, message) in [
        ("who", json!(1), "who: invalid type: integer `1`, expected a string"),
        ("until", json!("soon"), "until: invalid type: string \"soon\", expected u64"),
        ("until", json!(1.5), "until: invalid type: floating point `1.5`, expected u64"),
        ("until", json!(-1), "until: invalid value: integer `-1`, expected u64"),
        ("reason", json!(1), "reason: invalid type: integer `1`, expected a string"),
        ("desc", json!([]), "desc: invalid type: sequence, expected a string"),
        ("by", json!({}), "by: invalid type: map, expected a string"),
        ("reason", json!(long), "reason: must be at most 1024 bytes"),
        ("who", json!("x".repeat(65_536)), "who: must be at most 65535 bytes"),
    ] {
        check(with(name, value), 108, message);
    }
    assert_eq!(api.data("banned"), json!([]));
    let lift = |path: &str, body: Value| api.refused("DELETE", path, &body);
    let missing = "missing mandatory params: ['as']".to_owned();
    assert_eq!(lift("banned/x", Value::Null), (200, 107, missing));
    assert_eq!(lift("banned/x?as=peerhost", Value::Null), (200, 108, kinds.into()));
    assert_eq!(lift("banned/x", json!({"as": "peerhost"})), (200, 108, kinds.into()));
    api.delete("banned/x?as=client_id");
    api.call("DELETE", "banned/x", r#"{"as":"username"}"#).success();
}
