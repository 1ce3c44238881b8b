//! Arithmetic as the statement's operators have it.

use super::*;

fn int(int: i64) -> Value {
    Value::Int(int)
}

fn float(float: f64) -> Value {
    Value::Float(float)
}

#[test]
fn integers_stay_integers_and_a_float_makes_floats() {
    let limits = Limits::default();
    assert_eq!(add(&int(1), &int(2), &limits), Ok(int(3)));
    assert_eq!(add(&int(1), &float(2.0), &limits), Ok(float(3.0)));
    assert_eq!(sub(&int(1), &int(2)), Ok(int(-1)));
    assert_eq!(mul(&float(1.5), &int(2)), Ok(float(3.0)));
    assert_eq!(div(&int(8), &int(2)), Ok(float(4.0)));
    assert_eq!(int_div(&int(-7), &int(2)), Ok(int(-3)));
    assert_eq!(int_mod(&int(-7), &int(2)), Ok(int(-1)));
    assert_eq!(int_mod(&int(i64::MIN), &int(-1)), Ok(int(0)));
    assert_eq!(neg(&int(1)), Ok(int(-1)));
    assert_eq!(neg(&float(1.5)), Ok(float(-1.5)));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let limits = Limits::default();
    let (least, greatest) = (int(i64::MIN), int(i64::MAX));
    let failing = [
        add(&greatest, &int(1), &limits),
        sub(&least, &int(1)),
        mul(&greatest, &int(2)),
        mul(&float(1e300), &float(1e300)),
        int_div(&least, &int(-1)),
        neg(&least),
    ];
    for result in failing {
        assert!(result.unwrap_err().0.ends_with("beyond the numbers there are"));
    }
    for result in [
        div(&int(1), &int(0)),
        div(&int(1), &float(-0.0)),
        int_div(&int(1), &int(0)),
        int_mod(&int(1), &int(0)),
    ] {
        assert!(result.unwrap_err().0.ends_with("division by zero"));
    }
}

#[test]
fn strings_are_joined_but_never_numbers() {
    let limits = Limits { max_value_bytes: 3, ..Limits::default() };
    let text = Value::text;
    assert_eq!(add(&text("a"), &text("bc"), &limits), Ok(text("abc")));
    assert!(add(&text("ab"), &text("cd"), &limits).unwrap_err().0.contains("max_value_bytes"));
    assert_eq!(
        add(&text("1"), &int(1), &limits).unwrap_err().0,
        "+: expected two numbers, found a string and an integer"
    );
    assert_eq!(
        sub(&text("b"), &text("a")).unwrap_err().0,
        "-: expected two numbers, found a string and a string"
    );
    assert_eq!(
        int_div(&float(1.0), &int(1)).unwrap_err().0,
        "div: expected two integers, found a float and an integer"
    );
    assert_eq!(neg(&Value::Undefined).unwrap_err().0, "-: expected a number, found undefined");
}
