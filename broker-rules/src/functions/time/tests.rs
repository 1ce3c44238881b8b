//! Corners of time.

use crate::functions::tests::calls::run;

#[test]
fn text_and_units_lead_to_each_other() {
    for (call, expected) in [
        ("now_timestamp('nanosecond')", "1700000000123456789"),
        ("now_rfc3339('nanosecond')", "\"2023-11-14T22:13:20.123456789Z\""),
        ("unix_ts_to_rfc3339(1, 'microsecond')", "\"1970-01-01T00:00:00.000001Z\""),
        ("rfc3339_to_unix_ts('1969-12-31T23:59:59.5Z')", "-1"),
        ("rfc3339_to_unix_ts('2024-02-29T00:00:00Z')", "1709164800"),
        ("format_date('nanosecond', 'Z', '%N %3N %6N %%')", "\"123456789 123 123456 %\""),
        ("format_date('second', -5400, '%H:%M %z %:z', 0)", "\"22:30 -0130 -01:30\""),
        ("format_date('second', '-01:30', '%d', 0)", "\"31\""),
        (
            "date_to_unix_ts('millisecond', '%Y-%m-%dT%H:%M:%S.%3N%z', '1970-01-01T00:00:01.250+0000')",
            "1250",
        ),
        ("date_to_unix_ts('second', '%H', '02')", "7200"),
        ("date_to_unix_ts('second', 3600, '%H', '02')", "3600"),
    ] {
        assert_eq!(run(call), expected, "{call}");
    }
}

#[test]
fn what_is_no_time_is_an_error() {
    for call in [
        "rfc3339_to_unix_ts('2023-02-29T00:00:00Z')",
        "rfc3339_to_unix_ts('2023-02-28T00:00:00')",
        "rfc3339_to_unix_ts('2023-02-28T00:00:00Z[UTC]')",
        "rfc3339_to_unix_ts('9999-01-01T00:00:00Z', 'nanosecond')",
        "unix_ts_to_rfc3339(9223372036854775807)",
        "now_timestamp('hour')",
        "format_date('second', '+99:00', '%Y', 0)",
        "format_date('second', 'CET', '%Y', 0)",
        "format_date('second', 'Z', '%Q', 0)",
        "format_date('second', 'Z', '%', 0)",
        "format_date('second', 99999999999, '%Y', 0)",
        "date_to_unix_ts('second', '%Y-%m-%d', '2023-02-29')",
        "date_to_unix_ts('second', '%Y', '2023 ')",
        "date_to_unix_ts('second', '%Y', '+023')",
        "date_to_unix_ts('second', '%:z', '+01:60')",
        "date_to_unix_ts('second', '%Yé', '2023')",
    ] {
        assert!(run(call).starts_with("error: "), "{call}: {}", run(call));
    }
}
