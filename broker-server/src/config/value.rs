//! Values of keys: how EMQ X 3.1 writes durations, sizes, flags and percentages, and their bounds.

use super::raw::Raw;

/// A value that fits its key's [`Kind`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// The word that stands for "not set".
    Unset,
    Flag(bool),
    /// A count, milliseconds, seconds or bytes: the key's kind tells.
    Number(u64),
    Decimal(f64),
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// Form and bounds of a value; both ends are included.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Flag,
    Number(u64, u64),
    Decimal(f64, f64),
    Percent,
    /// In milliseconds.
    Duration(u64, u64),
    /// The same, or a bare number of milliseconds, as the original has it.
    Milliseconds(u64, u64),
    /// A duration in whole seconds; `u32::MAX` as upper end is "infinity".
    Seconds(u64, u64),
    /// In bytes.
    Size(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text; its field knows what is right, this says it.
    Text(&'static str),
    /// Such a text, or a port as a number.
    Address(&'static str),
    /// A list of such texts, in one value or numbered one by one.
    List(&'static str),
    /// A table of such texts under names of the operator's choice.
    Map(&'static str),
    /// Whatever: of an ignored key.
    Any,
}

impl Kind {
    /// Reads a value; `None` if it is of another form or out of bounds. Lists and maps come item by item.
    pub(crate) fn read(&self, raw: &Raw) -> Option<Value> {
        match *self {
            Self::Flag => flag(raw).map(Value::Flag),
            Self::Number(min, max) => within(integer(raw)?, min, max),
            Self::Decimal(min, max) => {
                let number = decimal(raw)?;
                (min..=max).contains(&number).then_some(Value::Decimal(number))
            }
            Self::Percent => {
                let number: u64 = text(raw)?.trim().strip_suffix('%')?.trim_end().parse().ok()?;
                within(number, 0, 100)
            }
            Self::Duration(min, max) => within(quantity(raw, parse_duration)?, min, max),
            Self::Milliseconds(min, max) => {
                within(integer(raw).or_else(|| parse_duration(text(raw)?))?, min, max)
            }
            Self::Seconds(min, max) => {
                if max == INFINITY && text(raw).is_some_and(|text| text == "infinity") {
                    return Some(Value::Number(INFINITY));
                }
                let ms = quantity(raw, parse_duration)?;
                if ms % 1_000 == 0 { within(ms / 1_000, min, max) } else { None }
            }
            Self::Size(min, max) => {
                let bytes = integer(raw).or_else(|| parse_size(text(raw)?))?;
                within(bytes, min, max)
            }
            Self::Word(words) => {
                let text = text(raw)?;
                words.contains(&text).then(|| Value::Text(text.to_owned()))
            }
            Self::Address(_) => match raw {
                Raw::Integer(port) => Some(Value::Text(port.to_string())),
                _ => Some(Value::Text(text(raw)?.to_owned())),
            },
            Self::Text(_) | Self::List(_) | Self::Map(_) => {
                Some(Value::Text(text(raw)?.to_owned()))
            }
            Self::Any => Some(Value::Unset),
        }
    }

    /// What the value must be, to follow "must be".
    pub(crate) fn expected(&self) -> String {
        match *self {
            Self::Flag => "true or false (or \"on\" or \"off\")".into(),
            Self::Number(min, max) => format!("a whole number from {min} to {max}"),
            Self::Decimal(min, max) => format!("a number from {min} to {max}"),
            Self::Percent => "a percentage from \"0%\" to \"100%\"".into(),
            Self::Duration(min, max) => format!(
                "a duration from {} to {}, such as \"15s\" (units ms, s, m, h, d)",
                show_duration(min),
                show_duration(max)
            ),
            Self::Milliseconds(min, max) => format!(
                "a duration from {} to {}, such as \"15s\", or a number of milliseconds",
                show_duration(min),
                show_duration(max)
            ),
            Self::Seconds(min, max) => {
                let infinite = if max == INFINITY { ", or \"infinity\"" } else { "" };
                let max = show_duration(if max == INFINITY { max - 1 } else { max } * 1_000);
                let min = show_duration(min * 1_000);
                format!("a duration from {min} to {max} in whole seconds, such as \"2h\"{infinite}")
            }
            Self::Size(min, max) => format!(
                "a size from {} to {}, such as \"1MB\" (units B, KB, MB, GB)",
                show_size(min),
                show_size(max)
            ),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Text(expected) | Self::Address(expected) => expected.into(),
            Self::List(item) => format!("a list, each item {item}"),
            Self::Map(item) => format!("a table, each value {item}"),
            Self::Any => "anything".into(),
        }
    }

    /// As TOML.
    pub(crate) fn show(&self, value: &Value) -> String {
        match (self, value) {
            (Self::Duration(..) | Self::Milliseconds(..), Value::Number(ms)) => {
                quote(&show_duration(*ms))
            }
            (Self::Seconds(..), Value::Number(INFINITY)) => quote("infinity"),
            (Self::Seconds(..), Value::Number(s)) => quote(&show_duration(s * 1_000)),
            (Self::Size(..), Value::Number(bytes)) => quote(&show_size(*bytes)),
            (Self::Percent, Value::Number(percent)) => format!("\"{percent}%\""),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Unset) => quote("none"),
            (_, Value::Flag(flag)) => flag.to_string(),
            (_, Value::Decimal(number)) => format!("{number:?}"),
            (_, Value::Text(text)) => quote(text),
            (_, Value::List(items)) => {
                let items: Vec<_> = items.iter().map(|item| quote(item)).collect();
                format!("[{}]", items.join(", "))
            }
            (_, Value::Map(entries)) if entries.is_empty() => "{}".into(),
            (_, Value::Map(entries)) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(name, value)| format!("{} = {}", bare_or_quoted(name), quote(value)))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// Text as a TOML string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// One part of a TOML key.
pub(crate) fn bare_or_quoted(part: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !part.is_empty() && part.chars().all(bare) { part.to_owned() } else { quote(part) }
}

/// Milliseconds of `15s`, `1h30m`; also `0`.
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = DURATION_UNITS.iter().find(|(unit, _)| after[..end] == **unit)?.1;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after[end..].trim_start();
    }
    (!text.trim().is_empty()).then_some(total)
}

/// Bytes of `1MB`, `512`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text.trim())?;
    let unit = unit.trim_start().to_ascii_uppercase();
    let unit = SIZE_UNITS.iter().find(|(name, _)| unit == *name)?.1;
    number.checked_mul(unit)
}

pub(crate) fn show_duration(ms: u64) -> String {
    let (unit, length) = DURATION_UNITS[..SHOWN_DURATION_UNITS]
        .iter()
        .find(|(_, length)| ms >= *length && ms.is_multiple_of(*length))
        .unwrap_or(&("s", 1_000));
    format!("{}{unit}", ms / length)
}

pub(crate) fn show_size(bytes: u64) -> String {
    let (unit, length) = SIZE_UNITS
        .iter()
        .find(|(_, length)| bytes >= *length && bytes.is_multiple_of(*length))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / length)
}

fn within(number: u64, min: u64, max: u64) -> Option<Value> {
    (min..=max).contains(&number).then_some(Value::Number(number))
}

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) | Raw::Bare(text) => Some(text),
        _ => None,
    }
}

fn flag(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Flag(flag) => Some(*flag),
        Raw::Text(text) | Raw::Bare(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "on" => Some(true),
            "false" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn integer(raw: &Raw) -> Option<u64> {
    match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Bare(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn decimal(raw: &Raw) -> Option<f64> {
    match raw {
        Raw::Decimal(number) => Some(*number),
        // Far below the 52 bits that a double keeps exactly, or out of every key's bounds.
        Raw::Integer(number) => i32::try_from(*number).ok().map(f64::from),
        Raw::Bare(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A text with a unit, or the number 0 that needs none.
fn quantity(raw: &Raw, parse: fn(&str) -> Option<u64>) -> Option<u64> {
    match raw {
        Raw::Integer(0) => Some(0),
        _ => parse(text(raw)?),
    }
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// "The Session does not expire", MQTT 5.0, 3.1.2.11.2.
const INFINITY: u64 = u32::MAX as u64;

/// Longest first; those past `SHOWN_DURATION_UNITS` are read only.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
    ("w", 604_800_000),
];
const SHOWN_DURATION_UNITS: usize = 5;

const SIZE_UNITS: [(&str, u64); 5] =
    [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1), ("", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_original_writes_them() {
        for (text, ms) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("15s", Some(15_000)),
            ("500ms", Some(500)),
            ("1m", Some(60_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("1w", Some(604_800_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            (" 5s ", Some(5_000)),
            ("", None),
            ("15", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1x", None),
            ("1S", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse_duration(text), ms, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_the_original_writes_them() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("2KB", Some(2_048)),
            ("1mb", Some(1 << 20)),
            ("1 MB", Some(1 << 20)),
            ("1GB", Some(1 << 30)),
            ("", None),
            ("MB", None),
            ("1TB", None),
            ("-1MB", None),
            ("18446744073709551615GB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for number in [0, 1, 999, 1_000, 1_500, 60_000, 61_000, 7_200_000, 86_400_000, u64::MAX] {
            assert_eq!(parse_duration(&show_duration(number)), Some(number));
            assert_eq!(parse_size(&show_size(number)), Some(number));
        }
        assert_eq!(show_duration(300_000), "5m");
        assert_eq!(show_duration(0), "0s");
        assert_eq!(show_size(1 << 20), "1MB");
        assert_eq!(show_size(0), "0B");
    }

    #[test]
    fn flags_percentages_and_numbers() {
        let text = |text: &str| Raw::Text(text.into());
        let bare = |text: &str| Raw::Bare(text.into());
        assert_eq!(Kind::Flag.read(&text("on")), Some(Value::Flag(true)));
        assert_eq!(Kind::Flag.read(&bare("OFF")), Some(Value::Flag(false)));
        assert_eq!(Kind::Flag.read(&Raw::Flag(true)), Some(Value::Flag(true)));
        assert_eq!(Kind::Flag.read(&Raw::Integer(1)), None);
        assert_eq!(Kind::Percent.read(&text("80%")), Some(Value::Number(80)));
        assert_eq!(Kind::Percent.read(&text("101%")), None);
        assert_eq!(Kind::Percent.read(&text("80")), None);
        assert_eq!(Kind::Number(0, 9).read(&Raw::Integer(9)), Some(Value::Number(9)));
        assert_eq!(Kind::Number(0, 9).read(&Raw::Integer(10)), None);
        assert_eq!(Kind::Number(0, 9).read(&bare("7")), Some(Value::Number(7)));
        assert_eq!(Kind::Number(0, 9).read(&text("7")), None, "a number in quotes is text");
        assert_eq!(Kind::Decimal(0.0, 1.0).read(&Raw::Decimal(f64::NAN)), None);
        assert_eq!(Kind::Duration(0, 9).read(&Raw::Integer(5)), None, "needs a unit");
        let either = Kind::Milliseconds(0, 9_000);
        for raw in [Raw::Integer(5_000), bare("5000"), text("5s")] {
            assert_eq!(either.read(&raw), Some(Value::Number(5_000)), "{raw:?}");
        }
        assert_eq!(either.read(&Raw::Integer(9_001)), None);
    }

    #[test]
    fn seconds_are_whole_and_may_be_infinite() {
        let kind = Kind::Seconds(0, INFINITY);
        let read = |text: &str| kind.read(&Raw::Text(text.into()));
        assert_eq!(read("2h"), Some(Value::Number(7_200)));
        assert_eq!(read("infinity"), Some(Value::Number(INFINITY)));
        assert_eq!(read("1500ms"), None);
        assert_eq!(kind.show(&Value::Number(INFINITY)), "\"infinity\"");
    }

    #[test]
    fn quoted_text_is_toml() {
        assert_eq!(quote("a\"b\\c\n\u{7}"), "\"a\\\"b\\\\c\\n\\u0007\"");
        assert_eq!(bare_or_quoted("broker_net"), "broker_net");
        assert_eq!(bare_or_quoted("broker_net::tls"), "\"broker_net::tls\"");
    }
}
