//! Totals: how many rules and resources there are, and what all of them together have done.

use std::sync::Arc;

use super::running::Bound;
use super::{Entry, RuleEngine, State};
use crate::action::Resource;
use crate::sink::{Held, SinkStatus};

/// What all rules have done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that matched a rule.
    pub matched: u64,
    /// Actions that were done.
    pub success: u64,
    /// Actions that have failed.
    pub failed: u64,
}

/// The most there have been at a time.
#[derive(Default)]
pub(super) struct Most {
    rules: usize,
    resources: usize,
}

impl RuleEngine {
    /// What all rules have done.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let state = self.state.lock();
        state.rules.values().fold(state.retired, |all, entry| all.with(entry))
    }

    /// What the buffers of all resources have done since the start, and hold; what goes for one of them is left out.
    #[must_use]
    pub fn sink_totals(&self) -> SinkStatus {
        let (resources, mut all) = {
            let state = self.state.lock();
            let resources = state.resources.0.values();
            let made = resources.filter_map(|held| held.resource.as_ref().ok().map(Arc::clone));
            (made.collect::<Vec<_>>(), state.retired_sinks.clone())
        };
        resources.iter().filter_map(|it| it.status()).for_each(|status| all.add(&status));
        all
    }

    /// How many rules there are.
    #[must_use]
    pub fn n_rules(&self) -> usize {
        self.state.lock().rules.len()
    }

    /// Statistics with EMQ X 3.1's names: rules, types of actions and resources, each with the most there have been.
    #[must_use]
    pub fn stats(&self) -> [(&'static str, usize); 6] {
        let state = self.state.lock();
        let n_actions = self.catalogue.actions().len();
        [
            ("rules/count", state.rules.len()),
            ("rules/max", state.most.rules),
            // None comes and none goes while the broker runs.
            ("actions/count", n_actions),
            ("actions/max", n_actions),
            ("resources/count", state.resources.0.len()),
            ("resources/max", state.most.resources),
        ]
    }
}

impl State {
    /// Keeps the counts of a resource that is stopped.
    pub(super) fn retire_sink(&mut self, resource: &dyn Resource) {
        if let Some(status) = resource.status() {
            self.retired_sinks.add(&SinkStatus { held: Held::default(), ..status });
        }
    }

    /// To be called when there is one more.
    pub(super) fn note_most(&mut self) {
        self.most.rules = self.most.rules.max(self.rules.len());
        self.most.resources = self.most.resources.max(self.resources.0.len());
    }
}

impl Totals {
    pub(super) fn with(self, entry: &Entry) -> Self {
        let all = Self { matched: self.matched + entry.counters.counts().matched, ..self };
        entry.actions().map(|action| action.counters.counts()).fold(all, |all, counts| Self {
            success: all.success + counts.success,
            failed: all.failed + counts.failed,
            ..all
        })
    }
}

impl Entry {
    /// All its actions, those that stand in for others too.
    fn actions(&self) -> impl Iterator<Item = &Bound> {
        let mut rest: Vec<_> = self.made.iter().flat_map(|made| &made.running.actions).collect();
        std::iter::from_fn(move || {
            let next = rest.pop()?;
            rest.extend(&next.fallbacks);
            Some(next)
        })
    }
}
