//! Time: the clock's reading, and text of it.

use jiff::Timestamp;
use jiff::tz::Offset;

use super::time_format::{format, parse, parse_offset};
use super::{Call, Function, Reads};
use crate::error::RowError;
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f("now_timestamp", 0..=1, "now_timestamp([unit])", "Now, in units since 1970: `second` (default), `millisecond`, `microsecond` or `nanosecond`.", &[("now_timestamp()", "1700000000"), ("now_timestamp('millisecond')", "1700000000123")], |c| {
            let unit = unit(c, 0)?;
            Ok(Value::Int(c.env.wall_ns.div_euclid(unit.ns)))
        }).reads(Reads::World),
        f("now_rfc3339", 0..=1, "now_rfc3339([unit])", "Now as text, in UTC, to the unit.", &[("now_rfc3339()", "\"2023-11-14T22:13:20Z\""), ("now_rfc3339('millisecond')", "\"2023-11-14T22:13:20.123Z\"")], |c| {
            let unit = unit(c, 0)?;
            rfc3339(c.env.wall_ns.div_euclid(unit.ns), unit)
        }).reads(Reads::World),
        f("unix_ts_to_rfc3339", 1..=2, "unix_ts_to_rfc3339(ts[, unit])", "Units since 1970 as text, in UTC.", &[("unix_ts_to_rfc3339(0)", "\"1970-01-01T00:00:00Z\""), ("unix_ts_to_rfc3339(-1, 'millisecond')", "\"1969-12-31T23:59:59.999Z\"")], |c| {
            let unit = unit(c, 1)?;
            rfc3339(c.int(0)?, unit)
        }),
        f("rfc3339_to_unix_ts", 1..=2, "rfc3339_to_unix_ts(s[, unit])", "Text as units since 1970.", &[("rfc3339_to_unix_ts('1970-01-01T01:00:00+01:00')", "0"), ("rfc3339_to_unix_ts('2023-11-14T22:13:20.123Z', 'millisecond')", "1700000000123"), ("rfc3339_to_unix_ts('soon')", "error: rfc3339_to_unix_ts: argument 1: expected a time as RFC 3339 has it")], from_rfc3339),
        f("format_date", 3..=4, "format_date(unit, offset, fmt[, ts])", "Now, or units since 1970, as text of a format: `%Y %m %d %H %M %S`, `%N` nanoseconds, `%3N` milliseconds, `%6N` microseconds, `%z` `+hhmm`, `%:z` `+hh:mm`, `%%`. The offset from UTC is `Z`, `+08:00` or seconds.",
            &[("format_date('second', '+08:00', '%Y-%m-%d %H:%M:%S%:z', 0)", "\"1970-01-01 08:00:00+08:00\""), ("format_date('millisecond', 'Z', '%S.%3N %z')", "\"20.123 +0000\"")], format_date).reads(Reads::World),
        f("date_to_unix_ts", 3..=4, "date_to_unix_ts(unit[, offset], fmt, s)", "Text of a format as units since 1970. An offset in the text goes before that of the argument; without any it is UTC.",
            &[("date_to_unix_ts('second', '%Y-%m-%d %H:%M:%S%:z', '1970-01-01 08:00:00+08:00')", "0"), ("date_to_unix_ts('second', '+01:00', '%Y%m%d', '19700102')", "82800"), ("date_to_unix_ts('second', '%Y', 'x')", "error: date_to_unix_ts: argument 3: not of the format")], from_date),
    ]
}

/// A unit of time.
#[derive(Clone, Copy)]
struct Unit {
    ns: i64,
    /// Decimals of a second.
    decimals: usize,
}

fn unit(call: &Call<'_>, at: usize) -> Result<Unit, RowError> {
    let names = ["second", "millisecond", "microsecond", "nanosecond"];
    Ok(match call.one_of(at, "second", &names)? {
        "second" => Unit { ns: 1_000_000_000, decimals: 0 },
        "millisecond" => Unit { ns: 1_000_000, decimals: 3 },
        "microsecond" => Unit { ns: 1000, decimals: 6 },
        _ => Unit { ns: 1, decimals: 9 },
    })
}

fn moment(units: i64, unit: Unit) -> Result<Timestamp, RowError> {
    Timestamp::from_nanosecond(i128::from(units) * i128::from(unit.ns))
        .map_err(|_| RowError::new("the time is beyond the years -9999 to 9999"))
}

fn units(moment: Timestamp, unit: Unit) -> Result<Value, RowError> {
    let units = moment.as_nanosecond().div_euclid(i128::from(unit.ns));
    i64::try_from(units)
        .map(Value::Int)
        .map_err(|_| RowError::new("the result is not an integer of 64 bits"))
}

fn rfc3339(ts: i64, unit: Unit) -> Result<Value, RowError> {
    let moment = moment(ts, unit)?;
    Ok(Value::text(&format!("{moment:.0$}", unit.decimals)))
}

fn from_rfc3339(call: &mut Call<'_>) -> Result<Value, RowError> {
    let unit = unit(call, 1)?;
    let text = call.utf8(0)?;
    // jiff reads more than RFC 3339 has: annotations and years of six digits.
    let is_plain = text.len() <= 64 && !text.contains('[') && !text.starts_with(['+', '-']);
    let moment = text.parse().ok().filter(|_| is_plain);
    let expected = || RowError::new("argument 1: expected a time as RFC 3339 has it");
    units(moment.ok_or_else(expected)?, unit)
}

fn offset(call: &Call<'_>, at: usize) -> Result<Offset, RowError> {
    let offset = match call.arg(at) {
        Value::Str(text) => {
            std::str::from_utf8(text)
                .ok()
                .and_then(parse_offset)
                .filter(|(_, rest)| rest.is_empty())
        }
        .map(|(offset, _)| offset),
        Value::Int(seconds) => {
            i32::try_from(*seconds).ok().and_then(|seconds| Offset::from_seconds(seconds).ok())
        }
        _ => return Err(call.unexpected(at, "an offset from UTC")),
    };
    offset.ok_or_else(|| RowError::new(format!("argument {}: expected an offset from UTC", at + 1)))
}

fn format_date(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (unit, offset) = (unit(call, 0)?, offset(call, 1)?);
    let ts = if call.has(3) { call.int(3)? } else { call.env.wall_ns.div_euclid(unit.ns) };
    let mut out = call.out();
    format(&mut out, call.utf8(2)?, moment(ts, unit)?, offset)?;
    Ok(out.done())
}

fn from_date(call: &mut Call<'_>) -> Result<Value, RowError> {
    let unit = unit(call, 0)?;
    let (default, format_at) = if call.has(3) { (offset(call, 1)?, 2) } else { (Offset::UTC, 1) };
    let moment = parse(call.utf8(format_at)?, call.utf8(format_at + 1)?, default)
        .map_err(|cause| RowError::new(format!("argument {}: {cause}", format_at + 2)))?;
    units(moment, unit)
}

#[cfg(test)]
mod tests;
