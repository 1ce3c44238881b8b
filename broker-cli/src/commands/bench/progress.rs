//! Progress: one line on stderr that says how far the run is.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::tally::Tally;
use crate::output::has_color;

/// The line; rewritten in place on a terminal, else written now and then.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    is_quiet: bool,
    shown_at: Instant,
    sent_then: u64,
    received_then: u64,
}

impl Progress {
    pub(super) fn new(is_quiet: bool) -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            is_quiet,
            shown_at: Instant::now(),
            sent_then: 0,
            received_then: 0,
        }
    }

    /// Shows the line if it is time; `done` is between 0 and 1.
    pub(super) fn show(&mut self, now: Instant, phase: &str, done: f64, tally: &Tally) {
        let interval = if self.is_terminal { ON_TERMINAL } else { ELSEWHERE };
        let since = now.saturating_duration_since(self.shown_at);
        if self.is_quiet || since < interval {
            return;
        }
        let per_second = |count: u64, then: u64| (count - then) as f64 / since.as_secs_f64();
        let mut line = format!("{phase:<10} {} {:3.0}%", self.bar(done), done * 100.0);
        let _ = write!(line, "  {} connected", tally.n_connected - tally.n_lost);
        if tally.n_sent > 0 {
            let _ = write!(line, "  {:.0}/s out", per_second(tally.n_sent, self.sent_then));
        }
        if tally.n_received > 0 {
            let _ = write!(line, "  {:.0}/s in", per_second(tally.n_received, self.received_then));
        }
        if tally.n_failed + tally.n_lost > 0 {
            let _ = write!(line, "  {} failed", tally.n_failed + tally.n_lost);
        }
        (self.shown_at, self.sent_then, self.received_then) = (now, tally.n_sent, tally.n_received);
        let mut stderr = io::stderr().lock();
        let _ = if self.is_terminal {
            write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{line}")
        };
    }

    /// Makes room for the report.
    pub(super) fn clear(&self) {
        if self.is_terminal && !self.is_quiet {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn bar(&self, done: f64) -> String {
        let filled = (done.clamp(0.0, 1.0) * BAR_CHARS as f64).round() as usize;
        let (full, empty) = ("#".repeat(filled), ".".repeat(BAR_CHARS - filled));
        if self.is_terminal && has_color() {
            format!("\x1b[32m{full}\x1b[0m{empty}")
        } else {
            format!("{full}{empty}")
        }
    }
}

const ON_TERMINAL: Duration = Duration::from_millis(250);
const ELSEWHERE: Duration = Duration::from_secs(5);
const BAR_CHARS: usize = 20;
