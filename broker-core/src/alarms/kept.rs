//! Alarms that survive the process: settings of kind `alarm`, by number.

use std::borrow::Cow;

use super::report::{Report, Severity};
use super::{Alarm, KeptAlarm};
use crate::broker::Broker;
use crate::clock::Now;
use crate::settings::Saved;

const KIND: &str = "alarm";

impl Broker {
    /// Keeps what has changed of the alarms and their history since the last time.
    ///
    /// [`handle_timeout`](Self::handle_timeout) does it; before a store is closed it is worth to do it once more.
    /// Whoever changes them by order answers once it [is saved](Self::is_saved), whoever has kept it.
    pub fn keep_alarms(&self) -> Saved {
        if self.store().is_none() {
            return Saved::default();
        }
        let mut kept = self.alarms().keeping.lock();
        for (number, record) in self.alarms().take_unkept() {
            let saved = match record {
                Some(record) => self.put_setting(KIND, &key(number), value(&record).as_bytes()),
                None => self.remove_setting(KIND, &key(number)),
            };
            if saved != Saved::default() {
                *kept = saved;
            }
        }
        *kept
    }

    /// Puts the alarms that the store had into the history. Those that were up when the process ended were over
    /// then, as far as anybody knows: what is still the matter raises them again.
    pub(crate) fn restore_alarms(&self, now: Now) {
        let mut records = Vec::new();
        for (key, bytes) in self.settings(KIND) {
            match key.parse().ok().zip(parse(&bytes)) {
                Some(record) => records.push(record),
                None => drop(self.remove_setting(KIND, &key)),
            }
        }
        self.alarms().restore(records, now.wall_ms);
    }
}

/// In the order of the numbers.
fn key(number: u64) -> String {
    format!("{number:020}")
}

/// Since when, until when, severity, the lengths of the texts, and the texts: id, title, summary, value and the
/// details. `-` is the time, or the length, of what is not there.
fn value(KeptAlarm { alarm, cleared_ms }: &KeptAlarm) -> String {
    let Alarm { id, report, since_ms } = alarm;
    let mut texts = vec![Some(&**id), Some(&*report.title), Some(&*report.summary)];
    texts.push(report.value.as_deref());
    texts.extend(report.details.iter().flat_map(|(name, value)| [Some(&**name), Some(&**value)]));
    let length =
        |text: &Option<&str>| text.map_or_else(|| "-".to_owned(), |text| text.len().to_string());
    let lengths: Vec<_> = texts.iter().map(length).collect();
    let cleared = cleared_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    let texts: String = texts.into_iter().flatten().collect();
    format!("{since_ms} {cleared} {} {} {texts}", report.severity.as_str(), lengths.join(","))
}

fn parse(value: &[u8]) -> Option<KeptAlarm> {
    let mut parts = std::str::from_utf8(value).ok()?.splitn(5, ' ');
    let since_ms = parts.next()?.parse().ok()?;
    let cleared_ms = match parts.next()? {
        "-" => None,
        ms => Some(ms.parse().ok()?),
    };
    let severity = Severity::from_word(parts.next()?)?;
    let (lengths, mut rest) = (parts.next()?, parts.next()?);
    let mut texts = Vec::new();
    for length in lengths.split(',') {
        texts.push(match length {
            "-" => None,
            length => {
                let (text, more) = rest.split_at_checked(length.parse().ok()?)?;
                rest = more;
                Some(text.to_owned())
            }
        });
    }
    if !rest.is_empty() || texts.len() < 4 || !texts.len().is_multiple_of(2) {
        return None;
    }
    let mut texts = texts.into_iter();
    let id = texts.next()??;
    let mut report = Report::new(severity, texts.next()??, texts.next()??);
    report.value = texts.next()?;
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        report.details.push((Cow::Owned(name?), value?));
    }
    Some(KeptAlarm { alarm: Alarm { id, report, since_ms }, cleared_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_reads_as_it_was_written() {
        let bare = Report::new(Severity::Critical, "", "");
        let full = Report::new(Severity::Notice, "a title", "é: one, two - three")
            .with_value("82.5")
            .with_detail("client_id", " c 1 ")
            .with_detail("more", "");
        for (report, cleared_ms) in [(bare, None), (full, Some(u64::MAX))] {
            let alarm = Alarm { id: "queue_overflow/a b,-".into(), report, since_ms: 7 };
            let record = KeptAlarm { alarm, cleared_ms };
            assert_eq!(parse(value(&record).as_bytes()), Some(record));
        }
    }

    #[test]
    fn what_is_no_alarm_is_none() {
        for bad in [
            "",
            "1 - warning 1,1,1,- ab",
            "1 - warning 1,1,1,- abcd",
            "1 - bad 1,1,1,- abc",
            "x - warning 1,1,1,- abc",
            "1 y warning 1,1,1,- abc",
            "1 - warning 1,1,1 abc",
            "1 - warning 1,1,1,-,1 abcd",
            "1 - warning 1,1,1,-,1,- abcd",
            "1 - warning -,1,1,- ab",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(parse(b"1 - warning 1,1,1,- abc").is_some());
        assert_eq!(parse(&[0xFF]), None);
    }
}
