//! Laws of evaluation, over statements, columns and payloads that are made up.

#![allow(unreachable_pub, reason = "a test crate exports nothing")]

mod generated;
mod world;

use proptest::prelude::*;

use generated::{Constants, condition, constants, event, expression, statement};
use world::{Event, Got, roomy_limits, small_limits, value_of, within};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_statement_stays_within_the_limits(sql in statement(), event in event()) {
        let limits = small_limits();
        match within(&limits, &sql, &event) {
            Got::Rows(rows) => {
                let bytes: usize = rows.iter().map(String::len).sum();
                prop_assert!(bytes <= limits.max_output_bytes, "{} bytes: {}", bytes, sql);
                prop_assert!(rows.len() <= limits.max_foreach_items, "{}", sql);
            }
            // The event is not told in it.
            Got::Error(cause) | Got::Refused(cause) => prop_assert!(!cause.is_empty(), "{}", sql),
            Got::Nothing => {}
        }
    }

    #[test]
    fn the_same_statement_gives_the_same_again(sql in statement(), event in event()) {
        let once = within(&small_limits(), &sql, &event);
        prop_assert_eq!(within(&small_limits(), &sql, &event), once, "{}", sql);
    }

    #[test]
    fn where_false_gives_nothing(a in expression(), b in expression(), event in event()) {
        let sql = format!("SELECT {a} AS a, *, {b} AS b FROM t WHERE false");
        let got = within(&small_limits(), &sql, &event);
        prop_assert!(matches!(got, Got::Nothing | Got::Refused(_)), "{}: {:?}", sql, got);
    }

    #[test]
    fn a_condition_selects_as_it_says(c in condition(), event in event()) {
        let expected = match value_of(&format!("({c}) = true"), &event) {
            Got::Rows(rows) if rows == [r#"{"x":true}"#] => Got::Rows(vec![r#"{"one":1}"#.to_owned()]),
            Got::Rows(_) => Got::Nothing,
            failed => failed,
        };
        let got = within(&small_limits(), &format!("SELECT 1 AS one FROM t WHERE {c}"), &event);
        prop_assert!(alike(&got, &expected), "{}: {:?} {:?}", c, got, expected);
    }

    #[test]
    fn comparisons_turn_around(a in expression(), b in expression(), event in event()) {
        for (left, right) in [
            (format!("NOT ({a} = {b})"), format!("{a} <> {b}")),
            (format!("{a} = {b}"), format!("{b} = {a}")),
            (format!("{a} < {b}"), format!("{b} > {a}")),
            (format!("{a} <= {b}"), format!("{b} >= {a}")),
            (format!("NOT ({a} IN ({b}, 1))"), format!("{a} NOT IN ({b}, 1)")),
            (format!("{a} IN ({b})"), format!("CASE {a} WHEN {b} THEN true ELSE false END")),
        ] {
            let (one, other) = (value_of(&left, &event), value_of(&right, &event));
            prop_assert!(alike(&one, &other), "{}: {:?}, {}: {:?}", left, one, right, other);
        }
    }

    #[test]
    fn and_and_or_stop_early(a in condition(), event in event()) {
        let rows = |text: &str| Got::Rows(vec![format!(r#"{{"x":{text}}}"#)]);
        for (short, expected) in [
            (format!("zero = 1 AND ({a})"), rows("false")),
            (format!("zero = 0 OR ({a})"), rows("true")),
            (format!("zero = 1 AND 1 / zero = 1 AND ({a})"), rows("false")),
            (format!("false AND ({a})"), rows("false")),
            (format!("true OR ({a})"), rows("true")),
        ] {
            prop_assert_eq!(value_of(&short, &event), expected, "{}", short);
        }
    }

    #[test]
    fn conditions_follow_boolean_algebra(a in condition(), b in condition(), event in event()) {
        for (left, right) in [
            (format!("NOT NOT ({a})"), a.clone()),
            (format!("({a}) AND true"), a.clone()),
            (format!("false OR ({a})"), a.clone()),
            (format!("NOT (({a}) AND ({b}))"), format!("NOT ({a}) OR NOT ({b})")),
            (format!("NOT (({a}) OR ({b}))"), format!("NOT ({a}) AND NOT ({b})")),
            (format!("CASE WHEN {a} THEN {b} ELSE false END"), format!("({a}) AND ({b})")),
        ] {
            let (one, other) = (value_of(&left, &event), value_of(&right, &event));
            prop_assert!(alike(&one, &other), "{}: {:?}, {}: {:?}", left, one, right, other);
        }
    }

    #[test]
    fn constants_are_folded_to_what_columns_would_give(constants in constants()) {
        let Constants { literal, by_columns, columns } = constants;
        let event = Event::new(columns, None);
        let (one, other) = (value_of(&literal, &event), value_of(&by_columns, &event));
        prop_assert!(alike(&one, &other), "{}: {:?}, {}: {:?}", literal, one, by_columns, other);
    }

    #[test]
    fn a_name_stands_for_what_it_was_given(a in expression(), event in event()) {
        let direct = format!("SELECT [{a}, {a}] AS x FROM t");
        let named = format!("SELECT {a} AS y, [{a}, {a}] AS x FROM t");
        let limits = roomy_limits();
        let (direct, named) = (within(&limits, &direct, &event), within(&limits, &named, &event));
        if let (Got::Rows(direct), Got::Rows(named)) = (&direct, &named) {
            prop_assert!(named[0].contains(&direct[0][1..direct[0].len() - 1]), "{}", a);
        }
        prop_assert_eq!(matches!(direct, Got::Rows(_)), matches!(named, Got::Rows(_)), "{}", a);
    }
}

/// True if both give the same, or none. A constant may be refused before there is an event that it fails for.
fn alike(one: &Got, other: &Got) -> bool {
    let fails = |got: &Got| matches!(got, Got::Error(_) | Got::Refused(_));
    one == other || fails(one) && fails(other)
}
