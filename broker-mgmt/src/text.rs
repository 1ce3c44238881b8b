//! Values as the original writes them: times, durations, sizes.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

/// Local time as `2019-04-29 10:56:41`, from milliseconds since the Unix epoch.
pub(crate) fn local_time(unix_ms: u64) -> String {
    time_in(&TimeZone::system(), unix_ms, SECONDS)
}

/// The same with milliseconds: `2019-04-29 10:56:41.007`.
pub(crate) fn local_time_with_ms(unix_ms: u64) -> String {
    time_in(&TimeZone::system(), unix_ms, "%Y-%m-%d %H:%M:%S.%3f")
}

const SECONDS: &str = "%Y-%m-%d %H:%M:%S";

fn time_in(zone: &TimeZone, unix_ms: u64, format: &str) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = timestamp.unwrap_or(Timestamp::MAX).to_zoned_datetime(zone.clone());
    time.strftime(format).to_string()
}

/// What there is, or the text that the original has for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Maybe<T> {
    Some(T),
    Undefined(&'static str),
}

impl<T> From<Option<T>> for Maybe<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Undefined(UNDEFINED), Self::Some)
    }
}

pub(crate) const UNDEFINED: &str = "undefined";

/// A text, or the one that the original has for nothing.
pub(crate) fn or_undefined(text: Option<impl Into<String>>) -> String {
    text.map_or_else(|| UNDEFINED.to_owned(), Into::into)
}

/// `1 days,18 hours, 45 minutes, 1 seconds`; without a blank after the days, as the original has it.
pub(crate) fn uptime(uptime: Duration) -> String {
    let s = uptime.as_secs();
    let (days, hours, minutes, seconds) = (s / 86_400, s / 3_600 % 24, s / 60 % 60, s % 60);
    match s {
        0..60 => format!("{seconds} seconds"),
        60..3_600 => format!("{minutes} minutes, {seconds} seconds"),
        3_600..86_400 => format!("{hours} hours, {minutes} minutes, {seconds} seconds"),
        _ => format!("{days} days,{hours} hours, {minutes} minutes, {seconds} seconds"),
    }
}

/// `76.45M`: bytes above 1 KiB in the largest unit they exceed. `None` up to there.
pub(crate) fn size(bytes: u64) -> Option<String> {
    let (unit, name) = SIZES.iter().find(|(unit, _)| bytes > *unit)?;
    Some(format!("{:.2}{name}", bytes as f64 / *unit as f64))
}

const SIZES: [(u64, &str); 3] = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(time_in(&zone, 1_556_506_601_999, SECONDS), "2019-04-29 10:56:41");
        assert_eq!(time_in(&TimeZone::UTC, 0, SECONDS), "1970-01-01 00:00:00");
        assert_eq!(time_in(&TimeZone::UTC, u64::MAX, SECONDS).len(), 19);
        assert!(local_time_with_ms(1_556_506_601_007).ends_with("41.007"));
    }

    #[test]
    fn uptimes_are_the_originals() {
        for (s, text) in [
            (59, "59 seconds"),
            (239, "3 minutes, 59 seconds"),
            (3_600, "1 hours, 0 minutes, 0 seconds"),
            (86_400 + 18 * 3_600 + 45 * 60 + 1, "1 days,18 hours, 45 minutes, 1 seconds"),
        ] {
            assert_eq!(uptime(Duration::from_secs(s)), text);
        }
    }

    #[test]
    fn sizes_are_the_originals() {
        assert_eq!(size(80_162_816).unwrap(), "76.45M");
        assert_eq!(size(1 << 30).unwrap(), "1024.00M");
        assert_eq!(size((1 << 30) + 1).unwrap(), "1.00G");
        assert_eq!(size(1_025).unwrap(), "1.00K");
        assert_eq!(size(1_024), None);
    }
}
