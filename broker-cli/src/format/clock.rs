//! Timestamp: when a message came, in UTC, since local time would take a time zone database.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp {
    seconds: u64,
    nanos: u32,
}

/// Letters after `@`, with the meaning of strftime, and N for nanoseconds.
pub(super) const PARTS: &str = "FHMNSTYZdjmsyz";

impl Timestamp {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs(), nanos: since.subsec_nanos() }
    }

    pub(crate) const fn from_unix(seconds: u64, nanos: u32) -> Self {
        Self { seconds, nanos }
    }

    /// `2024-02-29T12:34:56Z`.
    pub(crate) fn iso_8601(self) -> String {
        format!("{}T{}Z", self.part('F'), self.part('T'))
    }

    /// The same with microseconds.
    pub(super) fn iso_8601_micros(self) -> String {
        format!("{}T{}.{:06}Z", self.part('F'), self.part('T'), self.nanos / 1000)
    }

    /// Seconds since 1970 with nanoseconds.
    pub(super) fn unix(self) -> String {
        format!("{}.{:09}", self.seconds, self.nanos)
    }

    /// One of [`PARTS`].
    pub(super) fn part(self, name: char) -> String {
        let (year, month, day) = civil_date(self.seconds / 86_400);
        let second = self.seconds % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        match name {
            'F' => format!("{year:04}-{month:02}-{day:02}"),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'Y' => format!("{year:04}"),
            'y' => format!("{:02}", year % 100),
            'm' => format!("{month:02}"),
            'd' => format!("{day:02}"),
            'j' => format!("{:03}", day_of_year(year, month, day)),
            'H' => format!("{hour:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'N' => format!("{:09}", self.nanos),
            's' => self.seconds.to_string(),
            'z' => "+0000".to_owned(),
            _ => "UTC".to_owned(),
        }
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    // Years start in March here, so that the leap day is the last.
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

fn day_of_year(year: u64, month: u64, day: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if is_leap { 29 } else { 28 };
    let days = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days[..month as usize - 1].iter().sum::<u64>() + day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::from_unix(seconds, 0).iso_8601(), expected);
        }
        assert_eq!(Timestamp::from_unix(1_735_689_599, 0).part('j'), "366");
    }
}
