//! What a rule has done, in numbers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counters of one rule, written by all threads.
#[derive(Default)]
pub(crate) struct RuleCounters {
    matched: AtomicU64,
    no_result: AtomicU64,
    exception: AtomicU64,
    speeds: Mutex<Speeds>,
    last_error: Mutex<Option<LastError>>,
    /// When a failure was last put into the log, on the monotonic clock, and one more: 0 is never.
    logged_ms: AtomicU64,
}

/// The last failure of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What has failed, and why.
    pub text: String,
}

#[derive(Default)]
struct Speeds {
    matched: u64,
    /// The latest last.
    samples: VecDeque<f64>,
    max: f64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RuleCounts {
    /// Events that WHERE let through.
    pub matched: u64,
    /// Events that WHERE did not let through.
    pub no_result: u64,
    /// Events the statement did not apply to.
    pub failed: u64,
    /// Those of them that failed in evaluation.
    pub exception: u64,
    /// Matches per second in the last interval.
    pub speed: f64,
    /// The highest there was.
    pub speed_max: f64,
    /// Mean of the last five minutes.
    pub speed_last5m: f64,
}

impl RuleCounters {
    pub(super) fn count_matched(&self) {
        self.matched.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_no_result(&self) {
        self.no_result.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_exception(&self) {
        self.exception.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the last error. True if it is to be logged: once per second.
    pub(super) fn note_error(&self, now_ms: u64, wall_ms: u64, mut text: String) -> bool {
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
        // Who finds another thread at it has nothing newer to say.
        if let Some(mut last) = self.last_error.try_lock() {
            *last = Some(LastError { at_ms: wall_ms, text });
        }
        let logged_ms = self.logged_ms.load(Ordering::Relaxed);
        let is_due = logged_ms == 0 || now_ms + 1 >= logged_ms + LOG_PAUSE_MS;
        is_due
            && self
                .logged_ms
                .compare_exchange(logged_ms, now_ms + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().clone()
    }

    /// Takes the speed since the last sample, so long ago.
    pub(super) fn sample(&self, elapsed_ms: u64) {
        let matched = self.matched.load(Ordering::Relaxed);
        let mut speeds = self.speeds.lock();
        let n = matched.saturating_sub(speeds.matched);
        let speed = n as f64 * 1000.0 / elapsed_ms.max(1) as f64;
        speeds.matched = matched;
        speeds.max = speeds.max.max(speed);
        if speeds.samples.len() == SAMPLES {
            speeds.samples.pop_front();
        }
        speeds.samples.push_back(speed);
    }

    pub(super) fn counts(&self) -> RuleCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let speeds = self.speeds.lock();
        let n = speeds.samples.len().max(1) as f64;
        let exception = read(&self.exception);
        RuleCounts {
            matched: read(&self.matched),
            no_result: read(&self.no_result),
            failed: exception,
            exception,
            speed: rounded(speeds.samples.back().copied().unwrap_or_default()),
            speed_max: speeds.max,
            // The sum of none is -0.
            speed_last5m: rounded((speeds.samples.iter().sum::<f64>() + 0.0) / n),
        }
    }
}

/// To two decimals.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Between two samples.
pub(super) const SAMPLE_MS: u64 = 10_000;
/// Five minutes of them.
const SAMPLES: usize = 30;
/// Of an error that is kept.
const ERROR_BYTES_MAX: usize = 1024;
/// Between two lines about one rule.
const LOG_PAUSE_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_of_the_last_interval_the_last_thirty_and_all() {
        let counters = RuleCounters::default();
        assert!(counters.counts().speed_last5m.is_sign_positive());
        let count = |n: u64| counters.matched.fetch_add(n, Ordering::Relaxed);
        count(100);
        counters.sample(SAMPLE_MS);
        count(33);
        counters.sample(SAMPLE_MS);
        let counts = counters.counts();
        assert_eq!((counts.speed, counts.speed_max, counts.speed_last5m), (3.3, 10.0, 6.65));
        (0..30).for_each(|_| counters.sample(SAMPLE_MS));
        let counts = counters.counts();
        assert_eq!((counts.speed, counts.speed_max, counts.speed_last5m), (0.0, 10.0, 0.0));
        assert_eq!(counts.matched, 133);
    }

    #[test]
    fn of_the_errors_of_a_second_one_is_logged_and_the_last_kept() {
        let counters = RuleCounters::default();
        let logged: Vec<_> = [0, 1, 999, 1000, 1999, 2000, 9000]
            .into_iter()
            .filter(|ms| counters.note_error(*ms, 7, ms.to_string()))
            .collect();
        assert_eq!(logged, [0, 1000, 2000, 9000]);
        assert_eq!(counters.last_error().unwrap().text, "9000");
    }
}
