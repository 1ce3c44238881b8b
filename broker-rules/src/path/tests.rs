//! Paths read and written: steps, indices, and what is not there.

use crate::statement::tests::run;

/// What an expression gives over a payload.
fn of(expression: &str, payload: &str) -> String {
    let columns = serde_json::json!({ "payload": payload, "i": 2, "topic": "t" });
    let shown = run(&format!("SELECT {expression} AS v FROM t"), &columns.to_string());
    match shown.strip_prefix(r#"{"v":"#) {
        Some(value) => value[..value.len() - 1].to_owned(),
        None => shown,
    }
}

#[test]
fn steps_lead_into_maps_arrays_and_texts_that_are_json() {
    let payload = r#"{"a":{"b":[10,20,30]},"1":"one","s":"{\"k\":[7]}","t":"text"}"#;
    for (path, expected) in [
        ("payload.a.b[1]", "10"),
        ("payload.a.b[-1]", "30"),
        ("payload.a.b[-3]", "10"),
        ("payload.1", r#""one""#),
        ("payload.s.k[1]", "7"),
        ("payload.a.b[i]", "20"),
    ] {
        assert_eq!(of(path, payload), expected, "{path}");
    }
    for path in [
        "payload.a.b[0]",
        "payload.a.b[-0]",
        "payload.a.b[4]",
        "payload.a.b[-4]",
        "payload.a.b[-9223372036854775808]",
        "payload.a.b.c",
        "payload.a[1]",
        "payload.t.x",
        "payload.a.b[nothing]",
        "payload.a.b[topic]",
        "topic.x",
        "nothing.x.y[1]",
    ] {
        assert_eq!(of(path, payload), "{}", "{path}");
    }
}

#[test]
fn an_index_is_looked_up_below_the_payload_first() {
    assert_eq!(of("payload.a[i]", r#"{"a":[1,2,3],"i":3}"#), "3");
    assert_eq!(of("payload.a[i]", r#"{"a":[1,2,3]}"#), "2");
    assert_eq!(of("payload.a[n.m]", r#"{"a":[1,2,3],"n":{"m":1}}"#), "1");
}

#[test]
fn a_range_is_cut_to_what_there_is() {
    let payload = r#"{"a":[1,2,3,4]}"#;
    for (range, expected) in [
        ("payload.a[1..4]", "[1,2,3,4]"),
        ("payload.a[2..3]", "[2,3]"),
        ("payload.a[-2..-1]", "[3,4]"),
        ("payload.a[3..9]", "[3,4]"),
        ("payload.a[-9..2]", "[1,2]"),
        ("payload.a[3..2]", "[]"),
        ("payload.a[8..9]", "[]"),
    ] {
        assert_eq!(of(range, payload), expected, "{range}");
    }
    assert_eq!(
        of("payload.a[0..2]", payload),
        "error: SELECT, field 1: [0..2]: positions count from 1, or from -1 backwards"
    );
    assert_eq!(
        of("payload.b[1..2]", payload),
        "error: SELECT, field 1: [1..2]: expected an array, found undefined"
    );
    assert_eq!(of("payload[2..3]", "[5,6,7]"), "[6,7]");
}

#[test]
fn what_is_missing_is_made_where_a_value_is_written() {
    let columns = r#"{"payload":"{\"a\":[1,2],\"t\":5}","i":2}"#;
    for (fields, expected) in [
        ("1 AS x.y.z", r#"{"x":{"y":{"z":1}}}"#),
        ("1 AS x, 2 AS x.y", r#"{"x":{"y":2}}"#),
        ("1 AS x[1]", r#"{"x":[1]}"#),
        ("1 AS x[5]", r#"{"x":[1]}"#),
        ("1 AS x[-0], 2 AS x[-0], 0 AS x[0]", r#"{"x":[0,1,2]}"#),
        ("[1,2,3] AS x, 9 AS x[2], 8 AS x[-1], 7 AS x[4]", r#"{"x":[1,9,8]}"#),
        ("[1,2,3] AS x, 9 AS x[i]", r#"{"x":[1,9,3]}"#),
        ("1 AS x[-0].y, 2 AS x[-0].y", r#"{"x":[{"y":1},{"y":2}]}"#),
        ("payload, 9 AS payload.a[1]", r#"{"payload":{"a":[9,2],"t":5}}"#),
        ("payload, 9 AS payload.b.c", r#"{"payload":{"a":[1,2],"b":{"c":9},"t":5}}"#),
        ("'no JSON' AS payload, 9 AS payload.b", r#"{"payload":{"b":9}}"#),
        ("nothing AS x.y", "{}"),
    ] {
        assert_eq!(run(&format!("SELECT {fields} FROM t"), columns), expected, "{fields}");
    }
    let sql = "SELECT [1] AS x, 9 AS x[payload] FROM t";
    assert_eq!(run(sql, columns), "error: SELECT, field 2: AS: an index is not an integer");
}
