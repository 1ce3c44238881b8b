//! Values that property tests generate.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Map, Value};

/// Any number, among them those at the edges.
pub(crate) fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-9_i64..99).prop_map(Value::Int),
        prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1]).prop_map(Value::Int),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::Float),
        prop::sample::select(vec![0.0, -0.0, 1.0, 0.5, -1.5, 9.3e18, f64::MAX, f64::MIN_POSITIVE])
            .prop_map(Value::Float),
    ]
}

/// Any string: text, what looks like something else, and bytes.
fn string() -> impl Strategy<Value = Value> {
    let known = [
        "",
        "1",
        "-1.5",
        "true",
        "null",
        "{}",
        "{\"a\":{\"b\":1}}",
        "[1,\"x\"]",
        "a.b",
        "second",
        "both",
        "+08:00",
        "~s~p",
        "%Y-%m-%d",
        "notrim",
        "(a+)+",
        "\\x4",
        "YWJj",
        "1970-01-01T00:00:00Z",
        "a\u{301}\r\n",
        "t/+/#",
    ];
    prop_oneof![
        prop::sample::select(known.map(Value::text).to_vec()),
        any::<String>().prop_map(|text| Value::Str(text.into())),
        any::<Vec<u8>>().prop_map(|bytes| Value::Str(Bytes::from(bytes))),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Undefined),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number(),
        string(),
    ]
}

/// Any value.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 32, 6, |inner| {
        let entry = ("[a-c.]{0,3}".prop_map(|key| Arc::from(&*key)), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|items| Value::Array(items.into())),
            prop::collection::vec(entry, 0..6)
                .prop_map(|entries| Value::Map(Map::from_entries(entries).into())),
        ]
    })
}
