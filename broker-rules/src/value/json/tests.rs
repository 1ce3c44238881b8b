//! JSON in and out.

use proptest::prelude::*;

use super::*;
use crate::value::{Map, generated};

fn decoded(text: &str) -> Option<Value> {
    decode(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

fn encoded(value: &Value) -> String {
    String::from_utf8(encode(value, usize::MAX).unwrap()).unwrap()
}

#[test]
fn numbers_keep_their_type() {
    let cases = [
        ("0", Value::Int(0)),
        ("-0", Value::Int(0)),
        ("-0.0", Value::Float(-0.0)),
        ("0e5", Value::Float(0.0)),
        ("1e-400", Value::Float(0.0)),
        ("0.1", Value::Float(0.1)),
        ("1E22", Value::Float(1e22)),
        ("9007199254740993.0", Value::Float(9_007_199_254_740_992.0)),
        ("1.0", Value::Float(1.0)),
        ("1e3", Value::Float(1000.0)),
        ("9223372036854775807", Value::Int(i64::MAX)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("9223372036854775808", Value::Float(9_223_372_036_854_775_808.0)),
        ("100000000000000000000000", Value::Float(1e23)),
        ("1.2345678901234567e-3", Value::Float(1.234_567_890_123_456_7e-3)),
    ];
    for (text, expected) in cases {
        assert_eq!(decoded(text), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_json_is_none() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "nul",
        "1e999",
        "-1e999",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "\"",
        "\"\\x\"",
        "'a'",
        "1 2",
        "\"\u{1}\"",
        "\"\\ud800\"",
        "NaN",
        "[1] x",
        "{\"a\"}",
        "{1:2}",
        "tru",
        "\u{feff}1",
        "1e",
        "1e+",
    ] {
        assert_eq!(decoded(text), None, "{text:?}");
    }
    assert_eq!(decode(&Bytes::from_static(b"\"\xff\""), &Limits::default()), None);
}

#[test]
fn strings_are_slices_and_escapes_are_characters() {
    let text = Bytes::from_static(br#" {"a" : "plain" , "b":"\u00e9\n\"\ud83d\ude00\/"} "#);
    let Some(Value::Map(map)) = decode(&text, &Limits::default()) else { panic!() };
    let Some(Value::Str(plain)) = map.get("a") else { panic!() };
    assert_eq!(plain, "plain");
    assert!(text.as_ptr_range().contains(&plain.as_ptr()), "copied");
    assert_eq!(map.get("b"), Some(&Value::text("é\n\"😀/")));
}

#[test]
fn of_a_key_that_comes_twice_the_last_value_holds() {
    let value = decoded(r#"{"b":1,"a":2,"b":3,"\u0062":4}"#).unwrap();
    assert_eq!(encoded(&value), r#"{"a":2,"b":4}"#);
    // Around the number from which on they are sorted as a whole.
    for count in [1, 2, 23, 24, 25, 26, 60] {
        let text: Vec<_> =
            (0..count * 2).map(|n| format!("\"long key {}\":{n}", (n * 7) % count)).collect();
        let Some(Value::Map(map)) = decoded(&format!("{{{}}}", text.join(","))) else { panic!() };
        let keys: Vec<_> = map.iter().map(|(key, _)| key.to_string()).collect();
        assert!(keys.is_sorted() && keys.len() == count, "{keys:?}");
        for n in count..count * 2 {
            let key = format!("long key {}", (n * 7) % count);
            let last = (count..count * 2).rfind(|m| m * 7 % count == n * 7 % count).unwrap();
            assert_eq!(map.get(&key), Some(&Value::Int(i64::try_from(last).unwrap())), "{key}");
        }
    }
    // Sorted as a whole: one by one this takes minutes.
    let many: Vec<_> = (0..60_000).rev().map(|n| format!("\"{n:05}\":{n}")).collect();
    let Some(Value::Map(map)) = decoded(&format!("{{{}}}", many.join(","))) else { panic!() };
    assert_eq!((map.len(), map.get("59999")), (60_000, Some(&Value::Int(59_999))));
}

#[test]
fn keys_are_ordered_as_bytes_whatever_their_length() {
    let value =
        decoded(r#"{"b":1,"":2,"a\u0000":3,"a":4,"abcdefghi":5,"abcdefgh":6,"é":7}"#).unwrap();
    assert_eq!(
        encoded(&value),
        r#"{"":2,"a":4,"a\u0000":3,"abcdefgh":6,"abcdefghi":5,"b":1,"é":7}"#
    );
    let Value::Map(map) = &value else { panic!() };
    assert!(map.iter().all(|(key, value)| map.get(key) == Some(value)));
}

#[test]
fn strings_end_at_the_first_quote_wherever_it_is() {
    for len in 0..40 {
        for tail in ["", "\\n", "é"] {
            let text = format!("\"{}{tail}{}\"", "x".repeat(len), "y".repeat(len % 9));
            let expected: String = serde_json::from_str(&text).unwrap();
            assert_eq!(decoded(&text), Some(Value::text(&expected)), "{text}");
        }
        assert_eq!(decoded(&format!("\"{}\u{1f}\"", "x".repeat(len))), None);
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(decoded(&nested(128)).is_some());
    assert!(decoded(&nested(129)).is_none());
    assert!(decoded(&"{\"a\":".repeat(100_000)).is_none());
    let limits = Limits { json_max_bytes: 3, ..Limits::default() };
    assert_eq!(decode(&Bytes::from_static(b"123"), &limits), Some(Value::Int(123)));
    assert_eq!(decode(&Bytes::from_static(b"1234"), &limits), None);
}

#[test]
fn output_has_sorted_keys_no_blanks_and_replaces_what_is_not_utf8() {
    let bytes = Value::Str(Bytes::from_static(b"a\xff\x01\"\\\n"));
    let entries = vec![
        (
            "b".into(),
            Value::Array(vec![Value::Undefined, Value::Bool(true), Value::Float(1.0)].into()),
        ),
        ("a".into(), bytes),
    ];
    let value = Value::Map(Map::from_entries(entries).into());
    let expected = "{\"a\":\"a\u{fffd}\\u0001\\\"\\\\\\n\",\"b\":[null,true,1.0]}";
    assert_eq!(encoded(&value), expected);
    assert!(encode(&value, expected.len()).is_ok());
    assert!(encode(&value, expected.len() - 1).is_err());
}

#[test]
fn a_value_that_holds_itself_many_times_is_not_written_out() {
    let mut value = Value::Array(vec![Value::text("x")].into());
    for _ in 0..60 {
        value = Value::Array(vec![value.clone(), value].into());
    }
    assert!(encode(&value, 1 << 20).is_err());
}

/// What of a value JSON can say.
fn is_json(value: &Value) -> bool {
    match value {
        Value::Undefined => false,
        Value::Str(bytes) => std::str::from_utf8(bytes).is_ok(),
        Value::Array(items) => items.iter().all(is_json),
        Value::Map(map) => map.iter().all(|(_, value)| is_json(value)),
        _ => true,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in generated::value().prop_filter("JSON", is_json)) {
        prop_assert_eq!(decoded(&encoded(&value)), Some(value));
    }

    #[test]
    fn every_value_makes_a_json_text(value in generated::value()) {
        prop_assert!(decoded(&encoded(&value)).is_some());
    }

    #[test]
    fn any_text_is_read_as_serde_json_reads_it(text in "[\\[\\]{}\":,0-9.eE+\\-a-z\\\\u \n]{0,20}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text).ok();
        let ours = decoded(&text).map(|value| encoded(&value));
        prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text);
    }

    #[test]
    fn numbers_are_those_of_serde_json(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
        let theirs = serde_json::from_str::<f64>(&text).ok();
        let ours = match decoded(&text) {
            #[expect(clippy::cast_precision_loss, reason = "as theirs")]
            Some(Value::Int(int)) => Some(int as f64),
            Some(Value::Float(float)) => Some(float),
            _ => None,
        };
        prop_assert_eq!(ours, theirs, "{}", text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = decode(&bytes.into(), &Limits::default());
    }
}
