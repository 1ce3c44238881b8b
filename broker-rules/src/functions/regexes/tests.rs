//! Patterns are compiled once, few are kept, and none is dear.

use super::*;
use crate::functions::tests::calls::{in_env, run, run_in, within};

#[test]
fn a_pattern_is_compiled_once_and_the_least_used_go() {
    let patterns = Patterns::default();
    let limits = Limits::default();
    for n in 0..Patterns::MAX + 10 {
        let text = format!("a{n}");
        patterns.keep(text.as_bytes(), compile(text.as_bytes(), &limits).unwrap());
    }
    assert_eq!(patterns.0.lock().len(), Patterns::MAX);
    assert!(patterns.find(&Bytes::from_static(b"a0")).is_some(), "the first came to stay");
    let found = patterns.find(&Bytes::from_static(b"a73")).unwrap();
    assert_eq!(found.as_str(), "a73");
    assert!(patterns.find(&Bytes::from_static(b"b")).is_none());
}

#[test]
fn patterns_and_what_they_become_are_bounded() {
    in_env(|env| {
        let error = |pattern: &str| compile(pattern.as_bytes(), env.limits).unwrap_err().0;
        assert_eq!(
            error("(?:a{1000}){1000}"),
            "argument 2: not a regular expression: it is too large when it is compiled"
        );
        assert_eq!(
            error(&"a".repeat(4097)),
            "argument 2: the expression is longer than max_regex_bytes"
        );
        assert!(error("(").contains("unclosed group"));
        assert!(error("(?=a)").contains("look-around"));
        assert!(error(&"(".repeat(2000)).starts_with("argument 2: not a regular expression"));
    });
}

#[test]
fn what_is_dear_elsewhere_is_linear_here() {
    let text = "a".repeat(100_000);
    let call = format!("regex_match('{text}b', '^(a+)+$')");
    assert_eq!(in_env(|env| run_in(env, &call)), "false");
}

#[test]
fn replacements_know_groups_and_marks() {
    for (call, expected) in [
        ("regex_replace('ab', '(a)(b)', '\\2\\1\\0\\9')", "\"baab\""),
        ("regex_replace('a', 'a', '\\\\')", "\"\\\\\""),
        ("regex_replace('a', 'a', 'x\\')", "\"x\\\\\""),
        ("regex_replace('abc', '', '-')", "\"-a-b-c-\""),
        ("regex_replace('abc', 'x*', '')", "\"abc\""),
        ("regex_extract('ab', '(x)?(a)')", "[\"\",\"a\"]"),
        ("regex_match('你好', '^..$')", "true"),
        ("regex_match('ÄB', '(?i)äb')", "true"),
    ] {
        assert_eq!(run(call), expected, "{call}");
    }
}

#[test]
fn new_patterns_cost_steps_and_known_ones_do_not() {
    let limits = Limits { max_steps: 3000, ..Limits::default() };
    within(&limits, |env| {
        for _ in 0..100 {
            assert_eq!(run_in(env, "regex_match('a', 'abc')"), "false");
        }
        assert_eq!(run_in(env, "regex_match('a', 'ab')"), "false");
        assert!(run_in(env, "regex_match('a', 'a')").contains("max_steps"));
    });
}
