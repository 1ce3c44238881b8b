//! The table is whole and documented, its examples are true, and no argument makes a function panic.

mod bounds;
pub(super) mod calls;
mod documentation;

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::value::generated;
use calls::{Sample, in_env, run};

#[test]
fn names_are_unique_lower_case_and_found_in_any_case() {
    let mut names = HashSet::new();
    for function in all() {
        assert!(names.insert(function.name), "{} is there twice", function.name);
        assert_eq!(function.name, function.name.to_ascii_lowercase());
        let found = find(&function.name.to_ascii_uppercase()).unwrap();
        assert!(std::ptr::eq(found, function));
    }
    assert!(find("jq").is_none());
    assert!(find("").is_none());
}

#[test]
fn every_function_of_the_original_that_is_promised_is_there() {
    let promised = "msgid qos topic clientid username payload clientip peerhost peername flags flag headers header \
        timestamp contains_topic contains_topic_match div mod eq acos acosh asin asinh atan atanh cos cosh exp log \
        log10 log2 sin sinh sqrt tan tanh power fmod abs ceil floor round random bitnot bitand bitor bitxor bitsl \
        bitsr bitsize bytesize subbits lower upper trim ltrim rtrim reverse strlen substr concat split tokens pad \
        replace find ascii sprintf sprintf_s rm_prefix unescape join_to_string regex_match regex_replace \
        regex_extract str str_utf8 float2str int float bool map bin2hexstr hexstr2bin is_null is_not_null \
        is_null_var is_not_null_var is_str is_bool is_int is_float is_num is_map is_array is_empty null coalesce \
        coalesce_ne map_new map_get map_put mget mput map_keys map_values map_size map_to_entries nth length sublist \
        first last contains md5 sha sha256 hash base64_encode base64_decode json_encode json_decode gzip gunzip zip \
        unzip zip_compress zip_uncompress now_timestamp now_rfc3339 unix_ts_to_rfc3339 rfc3339_to_unix_ts \
        format_date date_to_unix_ts uuid_v4 uuid_v4_no_hyphen kv_store_put kv_store_get kv_store_del";
    let there: HashSet<_> = all().iter().map(|function| function.name).collect();
    let promised: HashSet<_> = promised.split_whitespace().collect();
    assert_eq!(there, promised);
}

#[test]
fn every_example_is_true() {
    for function in all() {
        assert!(!function.examples.is_empty(), "{} has no example", function.name);
        assert!(
            function.examples.iter().any(|(call, _)| call.contains(function.name)),
            "no example shows {}",
            function.name
        );
        for (call, expected) in function.examples {
            assert_eq!(run(call), *expected, "{call}");
        }
    }
}

#[test]
fn a_constant_that_never_works_is_found_when_the_rule_is_made() {
    let limits = Limits::default();
    let check = |pattern: &str| {
        let pattern = Value::text(pattern);
        find("regex_match").unwrap().check(&[None, Some(&pattern)], &limits)
    };
    assert_eq!(check("a+"), Ok(()));
    assert!(check("(?<=a)b").unwrap_err().0.starts_with("regex_match: argument 2: not a regular"));
    assert!(find("regex_match").unwrap().check(&[None, None], &limits).is_ok());
    assert!(find("upper").unwrap().check(&[None], &limits).is_ok());
}

#[test]
fn errors_say_which_argument_and_never_its_value() {
    for (call, expected) in [
        ("upper(7)", "error: upper: argument 1: expected a string, found an integer"),
        (
            "substr('secret', 'secret')",
            "error: substr: argument 2: expected an integer, found a string",
        ),
        (
            "split('a', 'b', 'secret')",
            "error: split: argument 3: expected one of all, notrim, leading, trailing, leading_notrim, trailing_notrim",
        ),
        ("abs('secret')", "error: abs: argument 1: expected a number, found a string"),
        ("map(1)", "error: map: argument 1: expected a map or a string, found an integer"),
        ("length(null())", "error: length: argument 1: expected an array, found undefined"),
    ] {
        assert_eq!(run(call), expected);
    }
}

/// A function by its number, and as many arguments as it takes.
fn call() -> impl Strategy<Value = (usize, Vec<Value>)> {
    (0..all().len()).prop_flat_map(|at| {
        let arity = all()[at].arity.clone();
        (Just(at), prop::collection::vec(generated::value(), arity))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_arguments_make_a_function_panic((at, mut args) in call()) {
        let function = &all()[at];
        let result = in_env(|env| function.apply(&mut args, &Sample, env));
        match result {
            Ok(Value::Float(float)) => prop_assert!(float.is_finite(), "{}", function.name),
            Ok(_) => {}
            Err(RowError(cause)) => prop_assert!(cause.starts_with(function.name), "{cause}"),
        }
    }

    #[test]
    fn arguments_of_the_right_kind_do_not_make_it_panic_either(
        at in 0..all().len(), text in any::<String>(), other in "[a-z/,]{0,3}", a in -70_i64..70, b in any::<i64>(), order in any::<u8>(),
    ) {
        let function = &all()[at];
        let mut pool = [Value::Str(text.into()), Value::Int(a), Value::Str(other.into()), Value::Int(b)];
        pool.rotate_left(usize::from(order % 4));
        for len in function.arity.clone().take(7) {
            let mut args: Vec<_> = pool.iter().cycle().take(len).cloned().collect();
            let _ = in_env(|env| function.apply(&mut args, &Sample, env));
        }
    }
}
