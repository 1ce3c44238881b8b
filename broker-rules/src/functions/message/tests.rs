//! Events that have less than that of the examples, or spell it in another way.

use crate::functions::find;
use crate::functions::tests::calls::{in_env, run};
use crate::row::{Row, under_any_name};
use crate::value::{Map, Value};

/// An event of the older dialect, without a message.
struct Older;

impl Row for Older {
    fn column(&self, name: &str) -> Value {
        under_any_name(name, |name| self.all().get(name).cloned().unwrap_or_default())
    }

    fn decoded_payload(&self) -> Option<&Value> {
        None
    }

    fn all(&self) -> Map {
        Map::from_entries(vec![
            ("client_id".into(), Value::text("c1")),
            ("peername".into(), Value::text("[::1]:5000")),
        ])
    }
}

#[test]
fn what_an_event_has_not_is_undefined() {
    let call = |name: &str, args: &mut [Value]| {
        in_env(|env| find(name).unwrap().apply(args, &Older, env).unwrap())
    };
    for name in ["msgid", "qos", "topic", "username", "payload"] {
        assert_eq!(call(name, &mut []), Value::Undefined, "{name}");
    }
    assert_eq!(call("payload", &mut [Value::text("a")]), Value::Undefined);
    assert_eq!(call("topic", &mut [Value::Int(1)]), Value::Undefined);
    assert_eq!(call("clientid", &mut []), Value::text("c1"));
    assert_eq!(call("clientip", &mut []), Value::text("::1"));
    assert_eq!(call("flags", &mut []), Value::Map(Map::default().into()));
    assert_eq!(call("header", &mut [Value::text("username")]), Value::Undefined);
    assert_eq!(call("header", &mut [Value::text("peername")]), Value::text("[::1]:5000"));
    // No column: the clock.
    assert_eq!(call("timestamp", &mut []), Value::Int(1_700_000_000_123));
}

#[test]
fn a_filter_matches_names_and_not_the_other_way_round() {
    let filters =
        r#"json_decode('[{"topic":"t/1","qos":1},{"qos":1},7,{"topic":"$SYS/a","qos":0}]')"#;
    for (call, expected) in [
        ("contains_topic_match(F, 't/+')", "true"),
        ("contains_topic_match(F, 't/+', 1)", "true"),
        ("contains_topic_match(F, 't/+', 0)", "false"),
        ("contains_topic_match(F, '+/a')", "false"),
        (
            "contains_topic_match(F, 't/#/x')",
            "error: contains_topic_match: argument 2: expected a topic filter",
        ),
        ("contains_topic(F, 't/+')", "false"),
        ("contains_topic(F, 't/1', 1)", "true"),
        (
            "contains_topic(7, 't')",
            "error: contains_topic: argument 1: expected an array, found an integer",
        ),
    ] {
        let call = call.replace('F', filters);
        assert_eq!(run(&call), expected, "{call}");
    }
}
