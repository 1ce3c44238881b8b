//! Watermarks: when a measured value raises an alarm, and when it clears it.

/// Two marks: an alarm is raised at the high one and cleared below the low one. Between them it stays as it is, so
/// that a value which swings about one mark does not raise it again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watermark {
    /// From here on it is raised.
    pub high: f64,
    /// Below it is cleared; not above `high`.
    pub low: f64,
}

/// What a value means for an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It is up.
    Raise,
    /// It is over.
    Clear,
    /// It stays as it is.
    Stay,
}

impl Watermark {
    /// Judges a value. One that is no number says nothing.
    #[must_use]
    pub fn judge(&self, value: f64) -> Judgement {
        if value >= self.high {
            Judgement::Raise
        } else if value < self.low {
            Judgement::Clear
        } else {
            Judgement::Stay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_the_marks_an_alarm_stays_as_it_is() {
        let mark = Watermark { high: 80.0, low: 60.0 };
        for (value, judgement) in [
            (100.0, Judgement::Raise),
            (80.0, Judgement::Raise),
            (79.9, Judgement::Stay),
            (60.0, Judgement::Stay),
            (59.9, Judgement::Clear),
            (0.0, Judgement::Clear),
            (f64::NAN, Judgement::Stay),
        ] {
            assert_eq!(mark.judge(value), judgement, "{value}");
        }
        let one = Watermark { high: 1.0, low: 1.0 };
        assert_eq!(one.judge(1.0), Judgement::Raise);
        assert_eq!(one.judge(0.9), Judgement::Clear);
    }
}
