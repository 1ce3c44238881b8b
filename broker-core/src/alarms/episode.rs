//! Episode: one trouble of one client over time, looked at now and then.

/// How long a trouble lasts until it is an alarm, and how long it must be over until that is cleared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// 0 for at once.
    pub(crate) raise_after_ms: u64,
    pub(crate) clear_after_ms: u64,
}

/// A trouble, from the moment it was noticed.
#[derive(Debug)]
pub(crate) struct Episode {
    since_ms: u64,
    /// When it was last seen.
    last_ms: u64,
    is_alarm: bool,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It has not lasted long enough to be one.
    Wait,
    /// It is an alarm.
    Alarm,
    /// It is over.
    Over,
}

impl Episode {
    pub(crate) const fn begin(now_ms: u64) -> Self {
        Self { since_ms: now_ms, last_ms: now_ms, is_alarm: false }
    }

    /// Looks whether the trouble is there now.
    pub(crate) fn look(&mut self, is_there: bool, now_ms: u64, timing: &Timing) -> Look {
        if is_there {
            self.last_ms = now_ms;
        }
        self.is_alarm |= self.last_ms >= self.since_ms + timing.raise_after_ms;
        if self.is_alarm {
            let is_over = now_ms >= self.last_ms + timing.clear_after_ms && !is_there;
            if is_over { Look::Over } else { Look::Alarm }
        } else if is_there {
            Look::Wait
        } else {
            Look::Over
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Timing = Timing { raise_after_ms: 10, clear_after_ms: 60 };

    fn looks(timing: &Timing, looks: &[(u64, bool, Look)]) {
        let mut episode = Episode::begin(100);
        for (now_ms, is_there, expected) in looks {
            assert_eq!(episode.look(*is_there, *now_ms, timing), *expected, "at {now_ms}");
        }
    }

    #[test]
    fn a_short_trouble_is_no_alarm() {
        looks(&SLOW, &[(101, true, Look::Wait), (109, true, Look::Wait), (110, false, Look::Over)]);
        looks(&SLOW, &[(150, false, Look::Over)]);
    }

    #[test]
    fn a_lasting_one_is_until_it_has_been_over_for_long_enough() {
        looks(
            &SLOW,
            &[
                (105, true, Look::Wait),
                (110, true, Look::Alarm),
                (120, false, Look::Alarm),
                (169, false, Look::Alarm),
                // Back before it was over.
                (169, true, Look::Alarm),
                (228, false, Look::Alarm),
                (229, false, Look::Over),
            ],
        );
    }

    #[test]
    fn one_that_counts_at_once_is_an_alarm_though_it_is_not_seen_again() {
        let timing = Timing { raise_after_ms: 0, clear_after_ms: 60 };
        looks(
            &timing,
            &[(101, false, Look::Alarm), (159, false, Look::Alarm), (160, false, Look::Over)],
        );
    }
}
