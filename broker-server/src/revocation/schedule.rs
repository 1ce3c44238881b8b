//! When each list and answer is due again, and what came of it last.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Where a list or an answer comes from. Lists go before answers: clients are let in by them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// The files of a listener, by its key.
    Files(String),
    /// A web server that has lists, by its URL.
    List(String),
    /// The responder that the certificate of a listener names, by the listener's key.
    Answer(String),
}

/// The sources that are wanted. Each has its own time, so that one that fails is asked again and again while the
/// others are left alone, and holds none of them up but by the time it takes.
#[derive(Debug, Default)]
pub(super) struct Schedule(HashMap<Source, Standing>);

#[derive(Debug)]
struct Standing {
    due: Instant,
    /// Why it brought nothing when it was asked last.
    problem: Option<String>,
}

impl Schedule {
    /// These are wanted from now on, and no others; new ones are due at once.
    pub(super) fn want(&mut self, sources: impl IntoIterator<Item = Source>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        let standing = |source: Source| {
            let standing = before.remove(&source).unwrap_or(Standing { due: now, problem: None });
            (source, standing)
        };
        // One that several listeners want is the same source.
        let sources: HashSet<_> = sources.into_iter().collect();
        self.0 = sources.into_iter().map(standing).collect();
    }

    /// What is due: those that failed last go last, then lists go before answers, then the one that waits longest.
    pub(super) fn next(&self, now: Instant) -> Option<Source> {
        let due = self.0.iter().filter(|(_, standing)| standing.due <= now);
        let first = due.min_by_key(|(source, standing)| {
            (standing.problem.is_some(), source.rank(), standing.due)
        });
        first.map(|(source, _)| source.clone())
    }

    /// It brought something that is fresh for so long, or failed.
    pub(super) fn done(
        &mut self,
        source: &Source,
        brought: Result<Duration, String>,
        now: Instant,
    ) {
        let Some(standing) = self.0.get_mut(source) else { return };
        *standing = match brought {
            Ok(fresh) => Standing { due: now + fresh, problem: None },
            Err(why) => Standing { due: now + RETRY, problem: Some(why) },
        };
    }

    /// Why a source brought nothing when it was asked last, if it did not.
    pub(super) fn problem(&self, source: &Source) -> Option<&str> {
        self.0.get(source)?.problem.as_deref()
    }

    /// All are due now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.0.values_mut().for_each(|standing| standing.due = now);
    }

    /// How long nothing is due.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let first = self.0.values().map(|standing| standing.due).min();
        first.map_or(RETRY, |due| due.saturating_duration_since(now))
    }
}

impl Source {
    const fn rank(&self) -> u8 {
        match self {
            Self::Files(_) => 0,
            Self::List(_) => 1,
            Self::Answer(_) => 2,
        }
    }
}

/// Until a server that did not answer is asked again.
pub(super) const RETRY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
