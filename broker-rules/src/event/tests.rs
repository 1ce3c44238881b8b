//! What rows say, by event and dialect, and how FROM is understood.

mod documentation;

use std::sync::{Arc, LazyLock};

use broker_codec::{Properties, PropertiesBuf, Property, QoS};
use broker_core::observer::Event;
use broker_core::{Message, Publisher};
use serde_json::json;

use super::*;
use crate::limits::Limits;
use crate::row::Row;
use crate::text;
use crate::value::Value;

static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

fn message(payload: &'static str) -> Arc<Message> {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::ContentType("text"));
    properties.push(Property::UserProperty("k", "1"));
    properties.push(Property::UserProperty("k", "2"));
    Arc::new(Message {
        topic: "t/1".into(),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties,
        expires_at_ms: Some(1_700_000_007_000),
        published_at_ms: 1_700_000_000_000,
        publisher: Publisher::Broker("p".into()),
        stored: Default::default(),
        number: Default::default(),
    })
}

fn row<'a>(occasion: Occasion<'a>, dialect: Dialect, payload: &'a PayloadCache) -> EventRow<'a> {
    EventRow {
        occasion,
        dialect,
        rule: "r:1",
        node: "n@h",
        node_hash: 0xABC,
        now_ms: 1_700_000_009_000,
        limits: &LIMITS,
        payload,
    }
}

fn shown(row: &EventRow<'_>) -> serde_json::Value {
    text::map_to_json(&row.all())
}

#[test]
fn a_published_message_has_the_columns_of_its_dialect() {
    let (message, cache) = (message("{\"x\":1}"), PayloadCache::default());
    let occasion = Occasion::Published(&message);
    let mut first = shown(&row(occasion, Dialect::For, &cache));
    let id = first["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &id[16..24]), (32, "00000ABC"));
    first["id"].take();
    let expected = json!({
        "event": "message_publish", "id": null, "node": "n@h", "client_id": "p", "username": null,
        "peername": null, "topic": "t/1", "qos": 1, "retain": 1, "payload": "{\"x\":1}",
        "flags": {"dup": false, "retain": true}, "timestamp": 1_700_000_000_000u64,
    });
    assert_eq!(first, expected);
    let later = shown(&row(occasion, Dialect::Topics, &cache));
    let expected = json!({
        "event": "message.publish", "id": id, "node": "n@h", "clientid": "p", "topic": "t/1", "qos": 1,
        "payload": "{\"x\":1}", "flags": {"dup": false, "retain": true}, "headers": {},
        "timestamp": 1_700_000_009_000u64, "publish_received_at": 1_700_000_000_000u64,
        "metadata": {"rule_id": "r:1"},
        "pub_props": {
            "Content-Type": "text", "Message-Expiry-Interval": 7, "User-Property": {"k": "2"},
            "User-Property-Pairs": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}],
        },
    });
    assert_eq!(later, expected);
    assert_eq!(shown(&row(occasion, Dialect::Named, &cache))["event"], "message.publish");
}

#[test]
fn columns_are_found_in_both_spellings() {
    let (message, cache) = (message("x"), PayloadCache::default());
    for dialect in Dialect::ALL {
        let row = row(Occasion::Published(&message), dialect, &cache);
        assert_eq!(row.column("clientid"), row.column("client_id"));
        assert_eq!(row.column("client_id"), Value::Str("p".into()));
        assert_eq!(row.column("nonsense"), Value::Undefined);
    }
}

#[test]
fn a_payload_is_decoded_once_for_all_rules_and_not_without_need() {
    let (message, cache) = (message("{\"x\":1}"), PayloadCache::default());
    let (a, b) = (
        row(Occasion::Published(&message), Dialect::For, &cache),
        row(Occasion::Published(&message), Dialect::Topics, &cache),
    );
    let _ = (a.all(), b.column("payload"));
    assert!(cache.is_empty());
    assert!(std::ptr::eq(a.decoded_payload().unwrap(), b.decoded_payload().unwrap()));
    let Some(Value::Map(map)) = a.decoded_payload() else { panic!() };
    assert_eq!(map.get("x"), Some(&Value::Int(1)));
    let (bad, cache) = (self::message("{"), PayloadCache::default());
    assert_eq!(row(Occasion::Published(&bad), Dialect::For, &cache).decoded_payload(), None);
}

#[test]
fn a_drop_says_why() {
    let (message, cache) = (message("x"), PayloadCache::default());
    let event = Event::Dropped { client: None, message: &message, reason: "no_subscribers" };
    let row = row(Occasion::Event(&event), Dialect::Topics, &cache);
    assert_eq!(row.column("reason"), Value::Str("no_subscribers".into()));
    assert_eq!(row.column("event"), Value::Str("message.dropped".into()));
    assert_eq!(row.column("puback_props"), Value::Undefined);
    assert!(Hook::MessageDropped.tells(Dialect::For, &event));
}

#[test]
fn properties_hide_what_authenticates() {
    let mut list = PropertiesBuf::new();
    list.push(Property::AuthenticationMethod("m"));
    list.push(Property::AuthenticationData(b"secret"));
    let Value::Map(map) = facts::properties(list.as_properties(), None) else { panic!() };
    assert_eq!(text::map_to_json(&map), json!({"Authentication-Method": "m"}));
    assert_eq!(facts::properties(Properties::EMPTY, None), Value::Map(Default::default()));
}

fn resolved(hook: Option<&str>, from: &[&str]) -> Result<Sources, String> {
    let from: Vec<_> = from.iter().map(|item| (*item).to_owned()).collect();
    Sources::resolve(hook, &from).map_err(|error| error.to_string())
}

#[test]
fn from_is_understood_in_three_dialects() {
    let topics = |filters: &[(&str, Dialect)]| Sources {
        topics: filters.iter().map(|(filter, dialect)| ((*filter).into(), *dialect)).collect(),
        events: Vec::new(),
    };
    let event = |hook, dialect| Sources { topics: Vec::new(), events: vec![(hook, dialect)] };
    for (hook, from, expected) in [
        (
            Some("message.publish"),
            &["t/#", "u"][..],
            topics(&[("t/#", Dialect::For), ("u", Dialect::For)]),
        ),
        (Some("client.connected"), &["#"], event(Hook::ClientConnected, Dialect::For)),
        (Some("client.connected"), &["a/#/b"], event(Hook::ClientConnected, Dialect::For)),
        (Some("session.created"), &["#"], Sources::default()),
        (None, &["message.publish"], topics(&[("#", Dialect::Named)])),
        (None, &["message.delivered"], event(Hook::MessageDelivered, Dialect::Named)),
        (None, &["$events/message_delivered"], event(Hook::MessageDelivered, Dialect::Topics)),
        (None, &["t/+", "t/+"], topics(&[("t/+", Dialect::Topics)])),
    ] {
        assert_eq!(resolved(hook, from), Ok(expected), "{hook:?} {from:?}");
    }
    let mixed = resolved(None, &["t", "$events/client_connected", "message.acked"]).unwrap();
    assert_eq!((mixed.topics.len(), mixed.events.len()), (1, 2));
}

#[test]
fn what_could_never_match_is_refused() {
    assert_eq!(resolved(Some("client.x"), &["#"]), Err("Hook client.x Not Found".to_owned()));
    let said = resolved(None, &["$events/nothing"]).unwrap_err();
    assert_eq!(said, "Bad Arguments: SQL: FROM: no event is called \"$events/nothing\"");
    for filter in ["a/#/b", "", "a+/b"] {
        let said = resolved(None, &[filter]).unwrap_err();
        assert!(said.contains(&format!("{filter:?} is no topic filter")), "{said}");
        assert!(resolved(Some("message.publish"), &[filter]).is_err());
    }
}

/// `for=client.connected` does not list what is for `$events`, as the document shows.
#[test]
fn actions_are_listed_by_what_they_serve() {
    for (of, asked, is_listed) in [
        ("$any", "client.connected", true),
        ("$events", "client.connected", false),
        ("client.connected", "client.connected", true),
        ("message.publish", "$messages", true),
        ("$any", "$messages", true),
        ("$events", "$messages", false),
        ("message.publish", "$events", false),
        ("client.connected", "$events", true),
        ("$any", "$any", true),
    ] {
        assert_eq!(serves(of, asked), is_listed, "{of} {asked}");
    }
    assert!(is_hook("session.created") && is_hook("$any") && !is_hook("nothing"));
}

#[test]
fn names_stand_in_the_order_of_keys_and_every_event_is_described() {
    for hook in Hook::ALL {
        for dialect in Dialect::ALL {
            assert!(columns::names(*hook, dialect).is_sorted(), "{hook:?}");
        }
    }
    let all = descriptions();
    assert_eq!(all.len(), 10);
    for description in all {
        let shown = description.to_json();
        for key in ["title", "description"] {
            assert!(shown[key]["en"].is_string() && shown[key]["zh"].is_string());
        }
        for (name, value) in shown["test_columns"].as_object().unwrap() {
            let is_known = shown["columns"].as_array().unwrap().iter().any(|column| column == name);
            assert!(is_known && !value.is_null(), "{} {name}", description.event);
        }
    }
}

#[test]
fn a_name_is_known_if_anything_it_is_about_has_the_column() {
    let unknown = |hook, from: &[&str], columns: &[&str]| {
        let from: Vec<_> = from.iter().map(|item| (*item).to_owned()).collect();
        let columns: Vec<_> = columns.iter().map(|name| (*name).to_owned()).collect();
        let sources = Sources::resolve(hook, &from).expect("in order");
        sources.unknown(&columns).join(" ")
    };
    assert_eq!(unknown(None, &["t/#"], &["clientid", "client_id", "payload", "steve"]), "steve");
    assert_eq!(unknown(Some("client.connected"), &["#"], &["connack", "payload"]), "payload");
    assert_eq!(unknown(None, &["t", "$events/client_connected"], &["payload", "connack"]), "");
    assert_eq!(unknown(Some("session.created"), &["#"], &["anything"]), "", "it never happens");
}
