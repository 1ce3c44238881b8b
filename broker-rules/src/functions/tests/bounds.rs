//! What a call may make and cost is bounded, and looked at before it is made.

use super::calls::{Sample, in_env, run_in, within};
use super::*;

#[test]
fn no_function_makes_a_string_beyond_the_bound() {
    let limits = Limits { max_value_bytes: 16, ..Limits::default() };
    for call in [
        "pad('a', 17)",
        "pad('a', 9223372036854775807)",
        "pad('a', 2, 'both', '12345678901234567')",
        "replace('aaaaaaaa', 'a', 'bcd')",
        "regex_replace('aaaaaaaa', 'a', '&&&')",
        "concat('12345678', '123456789')",
        "join_to_string('12345678', json_decode('[1,2,3]'))",
        "upper('12345678901234567')",
        "base64_encode('1234567890123')",
        "bin2hexstr('123456789')",
        "sprintf('~s~s', '12345678', '123456789')",
        "sprintf('~.100f', 1)",
        "json_encode('123456789012345')",
        "str(json_decode('[1,2,3,4,5,6,7,8,9]'))",
        "unescape('\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41\\x41')",
        "format_date('second', 'Z', '%N%N', 0)",
        "gunzip(gzip('123'))",
    ] {
        let error = within(&limits, |env| run_in(env, call));
        assert!(
            error.starts_with("error: ") && error.ends_with("max_value_bytes"),
            "{call}: {error}"
        );
    }
    // As long as the bound is not too long.
    assert_eq!(within(&limits, |env| run_in(env, "strlen(pad('a', 16))")), "16");
}

#[test]
fn a_small_bomb_stays_small() {
    in_env(|env| {
        let zeros = Value::Str(vec![0; 4 << 20].into());
        let mut packed = Value::Undefined;
        let wide = Limits { max_value_bytes: 8 << 20, ..Limits::default() };
        within(&wide, |env| {
            packed = find("gzip").unwrap().apply(&mut [zeros], &Sample, env).unwrap();
        });
        let error = find("gunzip").unwrap().apply(&mut [packed], &Sample, env).unwrap_err();
        assert_eq!(error.0, "gunzip: the string is longer than max_value_bytes");
    });
}

#[test]
fn no_function_makes_an_array_beyond_the_bound() {
    let limits = Limits { max_array_items: 2, ..Limits::default() };
    for call in [
        "split('a,b,c', ',')",
        "tokens('a b c', ' ')",
        "regex_extract('abc', '(a)(b)(c)')",
        "sublist(3, json_decode('[1,2,3]'))",
        "map_keys('{\"a\":1,\"b\":2,\"c\":3}')",
        "map_to_entries('{\"a\":1,\"b\":2,\"c\":3}')",
    ] {
        let error = within(&limits, |env| run_in(env, call));
        assert!(error.ends_with("more than max_array_items items"), "{call}: {error}");
    }
    assert_eq!(within(&limits, |env| run_in(env, "split('a,b', ',')")), "[\"a\",\"b\"]");
}

#[test]
fn values_do_not_become_deeper_than_json_may_be() {
    let limits = Limits { json_max_depth: 3, ..Limits::default() };
    let run = |call: &str| within(&limits, |env| run_in(env, call));
    assert_eq!(run("map_put('a.b.c', 1, map_new())"), "{\"a\":{\"b\":{\"c\":1}}}");
    for call in [
        "map_put('a.b.c.d', 1, map_new())",
        "map_put('a.b.c', map_new(), map_new())",
        "mput('a', json_decode('[[[]]]'), map_new())",
        "map_values('{\"a\":{\"b\":{}}}')",
    ] {
        assert!(run(call).contains("json_max_depth") || call.starts_with("map_values"), "{call}");
    }
    let mut path = "a.".repeat(200_000);
    path.push('a');
    let call = format!("map_put('{path}', 1, map_new())");
    assert!(in_env(|env| run_in(env, &call)).contains("json_max_depth"));
}

#[test]
fn steps_run_out() {
    in_env(|env| {
        let big = Value::Str(vec![b'a'; 1 << 20].into());
        let upper = find("upper").unwrap();
        let calls = (1..).find(|_| upper.apply(&mut [big.clone()], &Sample, env).is_err());
        assert_eq!(calls, Some(123));
        let error = upper.apply(&mut [big], &Sample, env).unwrap_err();
        assert_eq!(error.0, "upper: more than max_steps steps of evaluation");
    });
}

#[test]
fn what_is_made_of_little_costs_what_it_becomes() {
    let limits = Limits { max_steps: 10_000, ..Limits::default() };
    within(&limits, |env| {
        let pad = find("pad").unwrap();
        let args = || [Value::text("a"), Value::Int(1 << 20)];
        let calls = (1..).find(|_| pad.apply(&mut args(), &Sample, env).is_err());
        assert_eq!(calls, Some(3));
    });
}

#[test]
fn comparing_costs_steps_too() {
    let mut value = Value::Array(vec![Value::Int(1)].into());
    for _ in 0..60 {
        value = Value::Array(vec![value.clone(), value].into());
    }
    for name in ["eq", "contains"] {
        let result = in_env(|env| {
            find(name).unwrap().apply(&mut [value.clone(), value.clone()], &Sample, env)
        });
        assert!(result.unwrap_err().0.contains("max_steps"), "{name}");
    }
}

#[test]
fn json_inside_json_is_bounded_for_one_event() {
    let limits = Limits { json_max_event_bytes: 5, ..Limits::default() };
    within(&limits, |env| {
        assert_eq!(run_in(env, "json_decode('123')"), "123");
        assert_eq!(run_in(env, "json_decode('12')"), "12");
        assert_eq!(
            run_in(env, "json_decode('1')"),
            "error: json_decode: argument 1: expected JSON"
        );
    });
}
