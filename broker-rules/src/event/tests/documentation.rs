//! docs/rule-events.md is made of the tables of events and columns.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::super::{Dialect, Hook, columns, descriptions};

#[test]
fn documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rule-events.md");
    let wanted = document();
    if std::env::var_os("UPDATE_RULE_EVENTS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == wanted,
        "docs/rule-events.md is another: write it anew with UPDATE_RULE_EVENTS=1"
    );
}

fn document() -> String {
    let mut out = String::from(HEAD);
    for (hook, described) in Hook::ALL.iter().zip(descriptions()) {
        let _ =
            writeln!(out, "\n## {}\n\nHappens when {}.\n", hook.name(), described.description[0]);
        let later = match hook {
            Hook::MessagePublish => "a topic filter, `FROM \"t/#\"`".to_owned(),
            _ => hook
                .events_topic()
                .map_or_else(|| "–".to_owned(), |topic| format!("`FROM \"{topic}\"`")),
        };
        let name = hook.name();
        let _ = writeln!(out, "| written as | `event` | columns of `SELECT *` |\n|---|---|---|");
        for (dialect, written) in [
            (Dialect::For, format!("`\"for\": \"{name}\"`")),
            (Dialect::Named, format!("`FROM \"{name}\"`")),
            (Dialect::Topics, later),
        ] {
            if written == "–" {
                continue;
            }
            let names = columns::names(*hook, dialect).join(" ");
            let _ = writeln!(out, "| {written} | `{}` | {names} |", hook.spelled(dialect));
        }
        let _ = writeln!(out, "\n    {}", described.sql_example);
    }
    out += "\n## Columns\n\n| column | type | what it says |\n|---|---|---|\n";
    for (name, kind, meaning) in MEANINGS {
        let _ = writeln!(out, "| `{name}` | {kind} | {meaning} |");
    }
    out
}

#[test]
fn every_column_is_explained_and_nothing_else() {
    let dialects = Dialect::ALL;
    let all =
        Hook::ALL.iter().flat_map(|hook| dialects.map(|dialect| columns::names(*hook, dialect)));
    let mut all: Vec<_> = all.flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    let explained: Vec<_> = MEANINGS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(explained, all);
}

const HEAD: &str = "\
# Events of rules

Generated from `broker-rules/src/event`; `UPDATE_RULE_EVENTS=1 cargo test -p broker-rules documentation` writes it anew.

A rule says in one of three ways what it is about:

1. With the field `for`, as in EMQ X 3.1. FROM holds topic filters then; they count if `for` is `message.publish`, and
   are not looked at otherwise.
2. Without it, an item of FROM that is the name of an event is that event, as in 3.2. `message.publish` is every
   message; WHERE picks some by `topic =~ 't/#'`.
3. An item that begins with `$events/` is that event, as in 4. Anything else is a topic filter of messages that are
   published; one that could never match is refused.

FROM may have several items, and of these ways the last two together. A rule sees a message once, however many of its
filters match. Which way it is decides how columns are called in `SELECT *`; reads go by either spelling,
`client_id` or `clientid`. A column that nobody knows, the name of a user that has none, is undefined and left out;
with `for`, `username` and `peername` of messages are null then.

Messages on `$SYS/…` are seen only with `rule_engine.ignore_sys_message = off`. `for` also takes `client.authenticate`,
`client.check_acl`, `session.created`, `session.resumed`, `session.unsubscribe` and `session.terminated`, of which
nothing is ever told.
";

const MEANINGS: &[(&str, &str, &str)] = &[
    (
        "auth_result",
        "string",
        "`success`, or why the client was not let in: `bad_username_or_password`, `not_authorized`, `banned`, …",
    ),
    ("clean_start", "boolean", "Clean Start"),
    ("client_id", "string", "Client Identifier; of deliveries that of the receiver"),
    ("clientid", "string", "the same"),
    ("cn", "string", "Common Name of the client's certificate"),
    (
        "conn_props",
        "map",
        "properties of CONNECT by the names of the specification; User Properties also as `User-Property-Pairs`",
    ),
    ("connack", "integer", "Reason Code of CONNACK, 0 for a client that was let in"),
    ("connected_at", "integer", "time of the CONNECT, milliseconds since the Unix epoch"),
    ("disconn_props", "map", "properties of DISCONNECT"),
    ("disconnected_at", "integer", "milliseconds since the Unix epoch"),
    ("dn", "string", "Distinguished Name of the subject of the client's certificate"),
    ("event", "string", "name of the event"),
    ("expiry_interval", "integer", "Session Expiry Interval in force, seconds"),
    ("flags", "map", "`dup` and `retain`, booleans"),
    ("from_clientid", "string", "Client Identifier of the publisher"),
    ("from_username", "string", "user name of the publisher"),
    ("headers", "map", "`username`, `peerhost`, `protocol` and `proto_ver` of the publisher"),
    ("id", "string", "32 hexadecimal digits that tell the message from others"),
    ("is_bridge", "boolean", "the client says that it is a bridge"),
    ("keepalive", "integer", "Keep Alive in seconds"),
    ("metadata", "map", "`rule_id`"),
    ("mountpoint", "string", "prefix of the client's topics"),
    ("node", "string", "name of the node"),
    ("payload", "string", "the payload as it came; a path below it reads it as JSON"),
    ("peerhost", "string", "IP address of the client"),
    (
        "peername",
        "string",
        "address and port of the client; of `message.acked` with `for` or by name, of the publisher",
    ),
    ("proto_name", "string", "`MQTT`, or `MQIsdp` of MQTT 3.1"),
    ("proto_ver", "integer", "3, 4 or 5"),
    ("pub_props", "map", "properties of PUBLISH"),
    ("puback_props", "map", "properties of PUBACK or PUBREC"),
    (
        "publish_received_at",
        "integer",
        "when the broker took the message, milliseconds since the Unix epoch",
    ),
    ("qos", "integer", "QoS, of deliveries that of the delivery"),
    (
        "reason",
        "string",
        "why: `no_subscribers`, `queue_full`, `expired`, …, or a word of `reason_code`",
    ),
    (
        "reason_code",
        "string",
        "`normal`, `closed`, `keepalive_timeout`, `kicked`, `protocol_error`, `takeovered`, …",
    ),
    ("receive_maximum", "integer", "Receive Maximum of the client"),
    ("retain", "integer", "RETAIN flag, 0 or 1"),
    ("sockname", "string", "address and port of the broker's end of the connection"),
    ("sub_props", "map", "properties of SUBSCRIBE"),
    (
        "timestamp",
        "integer",
        "milliseconds since the Unix epoch: of a message, with `for` or by name, when the broker took it; else now",
    ),
    ("topic", "string", "Topic Name; of subscriptions the Topic Filter, of several the first"),
    ("topic_filters", "array", "of maps with `topic`, `qos` and `sub_opts`"),
    ("unsub_props", "map", "properties of UNSUBSCRIBE"),
    ("username", "string", "user name; of deliveries that of the receiver"),
    ("ws_cookie", "map", "cookies of the request that opened a WebSocket; undefined without any"),
    ("zone", "string", "name of the zone of the client's listener"),
];
