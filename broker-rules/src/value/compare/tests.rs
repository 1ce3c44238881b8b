//! Laws and corners of comparison.

use proptest::prelude::*;

use super::*;
use crate::value::{Map, generated};

fn text(text: &str) -> Value {
    Value::text(text)
}

#[test]
fn numbers_and_strings_are_compared_by_value() {
    let equal = [
        (Value::Int(1), Value::Float(1.0)),
        (Value::Int(10), text("10")),
        (Value::Int(10), text("+10")),
        (Value::Float(0.5), text("0.5")),
        (Value::Float(50.0), text("0.5e+2")),
        (Value::Bool(true), text("true")),
        (Value::Null, text("null")),
        (Value::Null, Value::Null),
        (Value::Undefined, Value::Undefined),
    ];
    for (a, b) in equal {
        assert_eq!((eq(&a, &b), eq(&b, &a)), (Ok(true), Ok(true)), "{a:?} {b:?}");
    }
    let other = [
        (Value::Int(1), Value::Bool(true)),
        (Value::Null, Value::Undefined),
        (Value::Undefined, Value::Int(0)),
        (text("undefined"), Value::Undefined),
        (Value::Null, Value::Bool(false)),
    ];
    for (a, b) in other {
        assert_eq!((eq(&a, &b), eq(&b, &a)), (Ok(false), Ok(false)), "{a:?} {b:?}");
        assert_eq!(order(&a, &b), Ok(None), "{a:?} {b:?}");
    }
    assert_eq!(order(&text("10"), &text("9")), Ok(Some(Ordering::Less)));
    assert_eq!(order(&text("10"), &Value::Int(9)), Ok(Some(Ordering::Greater)));
    assert_eq!(order(&Value::Array(vec![].into()), &Value::Array(vec![].into())), Ok(None));
}

#[test]
fn a_string_that_is_no_number_is_an_error_beside_one() {
    for no_number in
        ["", " 1", "1 ", "x", "0x10", "inf", "nan", "1.", ".5", "1e3", "1.0e", "--1", "1_0"]
    {
        assert!(eq(&Value::Int(1), &text(no_number)).is_err(), "{no_number:?}");
        assert!(order(&text(no_number), &Value::Float(1.0)).is_err(), "{no_number:?}");
        assert_eq!(text_number(no_number.as_bytes()), None, "{no_number:?}");
    }
    assert_eq!(text_number(b"1.0e999"), None);
    assert_eq!(text_number(b"-007"), Some(Value::Int(-7)));
    assert_eq!(
        text_number(b"9223372036854775808"),
        Some(Value::Float(9_223_372_036_854_775_808.0))
    );
}

#[test]
fn integers_beyond_the_floats_precision_are_not_rounded() {
    let big = (1_i64 << 53) + 1;
    #[expect(clippy::cast_precision_loss, reason = "what is tested")]
    let rounded = Value::Float(big as f64);
    assert_eq!(order(&Value::Int(big), &rounded), Ok(Some(Ordering::Greater)));
    assert_eq!(order(&Value::Int(i64::MAX), &Value::Float(9.3e18)), Ok(Some(Ordering::Less)));
    assert_eq!(order(&Value::Int(i64::MIN), &Value::Float(-9.3e18)), Ok(Some(Ordering::Greater)));
    assert_eq!(order(&Value::Int(-1), &Value::Float(-1.5)), Ok(Some(Ordering::Greater)));
}

#[test]
fn exact_equality_wants_the_type_too() {
    assert!(!exact_eq(&Value::Int(1), &Value::Float(1.0)));
    assert!(!exact_eq(&Value::Int(1), &text("1")));
    assert!(exact_eq(&text("a"), &text("a")));
    let nested = |item| {
        let array = Value::Array(vec![item].into());
        Value::Map(Map::from_entries(vec![("k".into(), array)]).into())
    };
    assert_eq!(eq(&nested(Value::Int(1)), &nested(Value::Float(1.0))), Ok(true));
    assert!(!exact_eq(&nested(Value::Int(1)), &nested(Value::Float(1.0))));
}

proptest! {
    #[test]
    fn equality_is_symmetric_and_agrees_with_order(a in generated::value(), b in generated::value()) {
        prop_assert_eq!(eq(&a, &b).ok(), eq(&b, &a).ok());
        prop_assert_eq!(order(&a, &b).ok(), order(&b, &a).ok().map(|o| o.map(Ordering::reverse)));
        if let Ok(Some(ordering)) = order(&a, &b) {
            prop_assert_eq!(eq(&a, &b), Ok(ordering == Ordering::Equal));
        }
    }

    #[test]
    fn what_is_exactly_equal_is_equal(a in generated::value()) {
        prop_assert!(exact_eq(&a, &a.clone()));
        prop_assert_eq!(eq(&a, &a), Ok(true));
    }

    #[test]
    fn order_of_numbers_is_transitive(mut a in proptest::collection::vec(generated::number(), 3)) {
        a.sort_by(|a, b| order(a, b).unwrap().unwrap());
        prop_assert_ne!(order(&a[0], &a[2]).unwrap().unwrap(), Ordering::Greater);
    }
}
