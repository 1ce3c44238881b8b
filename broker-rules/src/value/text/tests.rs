//! How values look as text.

use super::*;

#[test]
fn floats_have_at_most_ten_decimals_and_at_least_one() {
    let cases = [
        (2.0, "2.0"),
        (0.1 + 0.2, "0.3"),
        (-1.5, "-1.5"),
        (1e-11, "0.0"),
        (-1e-11, "0.0"),
        (1e20, "100000000000000000000.0"),
        (123.456_789_012_34, "123.4567890123"),
    ];
    for (float, expected) in cases {
        assert_eq!(of(&Value::Float(float), 0).unwrap(), expected, "{float}");
    }
    assert_eq!(of_float(1.5, 0), "2");
    assert_eq!(of_float(100.0, 0), "100");
}

#[test]
fn what_has_a_bound_is_what_is_built() {
    let array = Value::Array(vec![Value::Int(1), Value::Undefined].into());
    assert_eq!(of(&array, 8).unwrap(), "[1,null]");
    assert!(of(&array, 7).is_err());
    assert_eq!(of(&Value::text("long"), 0).unwrap(), "long");
}
