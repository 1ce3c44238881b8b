//! The forms in which EMQ X 3.1 prints: padded names, Erlang's terms, Unix seconds for local time.

mod term;

use serde_json::Value;

pub(crate) use term::{Keys, term};

/// `name` padded to `width`, or cut to it as Erlang does, and the value behind.
pub(crate) fn field(name: &str, width: usize, value: &str) -> String {
    let name: String = name.chars().take(width).collect();
    format!("{name:width$}: {value}")
}

/// An Erlang atom, quoted where it has to be.
pub(crate) fn atom(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@');
    if is_plain { name.to_owned() } else { format!("'{}'", name.replace('\'', "\\'")) }
}

/// An Erlang list of atoms.
pub(crate) fn atoms<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(atom).collect();
    format!("[{}]", names.join(","))
}

/// `[{closed,2},{kicked,1}]` of what the API has as an object, or as `[]` if there is nothing.
pub(crate) fn counts(value: Option<&Value>) -> String {
    let counts = value.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> =
        counts.map(|(reason, count)| format!("{{{},{count}}}", atom(reason))).collect();
    format!("[{}]", pairs.join(","))
}

/// An Erlang string.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What the local time of a broker is ahead of UTC, in seconds, if its clock shows `local` while ours shows `unix_s`.
/// Zones are whole quarters of an hour, so clocks may be minutes apart.
pub(crate) fn utc_offset_s(local: &str, unix_s: i64) -> Option<i64> {
    let ahead = seconds(local)? - unix_s;
    Some((ahead + QUARTER_S / 2).div_euclid(QUARTER_S) * QUARTER_S)
}

/// Unix seconds of `YYYY-MM-DD hh:mm:ss`.
pub(crate) fn unix_s(local: &str, utc_offset_s: i64) -> Option<i64> {
    Some(seconds(local)? - utc_offset_s)
}

const QUARTER_S: i64 = 15 * 60;

fn seconds(local: &str) -> Option<i64> {
    let (date, time) = local.split_once(' ')?;
    let part = |text: &str, separator, n| text.split(separator).nth(n)?.parse::<i64>().ok();
    let date_part = |n| part(date, '-', n);
    let time_part = |n| part(time, ':', n);
    let days = days_since_1970(date_part(0)?, date_part(1)?, date_part(2)?)?;
    Some(days * 86_400 + time_part(0)? * 3600 + time_part(1)? * 60 + time_part(2)?)
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". Years start in March, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_padded_and_long_ones_cut() {
        assert_eq!(field("version", 10, "v3.1.0"), "version   : v3.1.0");
        let cut = field("packets/disconnect/received", 24, "0");
        assert_eq!(cut, "packets/disconnect/recei: 0");
    }

    #[test]
    fn atoms_are_quoted_where_erlang_does() {
        assert_eq!(atoms(["emqx@127.0.0.1", "emqx@host"]), "['emqx@127.0.0.1',emqx@host]");
        assert_eq!(atom("Emqx"), "'Emqx'");
        assert_eq!(counts(Some(&json!({"closed": 2, "kicked": 1}))), "[{closed,2},{kicked,1}]");
        assert_eq!(counts(Some(&json!([]))), "[]");
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }

    #[test]
    fn local_time_becomes_unix_seconds() {
        for (local, offset_s, expected) in [
            ("1970-01-01 00:00:00", 0, 0),
            ("2000-02-29 00:00:00", 0, 951_782_400),
            ("2016-01-06 15:45:13", 3600, 1_452_091_513),
            ("2024-12-31 23:59:59", 0, 1_735_689_599),
        ] {
            assert_eq!(unix_s(local, offset_s), Some(expected), "{local}");
        }
        for text in ["", "2024-12-31", "2024-13-01 00:00:00", "undefined", "a-b-c d:e:f"] {
            assert_eq!(unix_s(text, 0), None, "{text}");
        }
    }

    #[test]
    fn the_zone_is_the_nearest_quarter_of_an_hour() {
        let unix = 951_782_400;
        assert_eq!(utc_offset_s("2000-02-29 00:00:03", unix), Some(0));
        assert_eq!(utc_offset_s("2000-02-29 07:58:00", unix), Some(8 * 3600));
        assert_eq!(utc_offset_s("2000-02-28 20:30:59", unix), Some(-12_600));
        assert_eq!(utc_offset_s("2000-02-29 05:44:59", unix), Some(20_700));
    }
}
