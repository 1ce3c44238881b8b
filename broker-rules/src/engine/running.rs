//! A rule in force: from an event to its actions.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use broker_core::observer::{Event, EventObserver, MessageObserver, Reactions};
use broker_core::{Message, Now, Publisher};

use super::counters::RuleCounters;
use super::spec::OnActionFailed;
use crate::action::{Action, ActionCounters, ActionError, Progress, Run};
use crate::error::RowError;
use crate::event::{Dialect, EventRow, Hook, Occasion, PayloadCache};
use crate::limits::Limits;
use crate::row::Row;
use crate::select::{Select, Selected};
use crate::value::Map;

/// A rule with everything it needs to run. It is never changed: another one takes its place.
pub(super) struct Running {
    pub(super) id: Arc<str>,
    pub(super) select: Box<dyn Select>,
    pub(super) actions: Vec<Bound>,
    pub(super) on_action_failed: OnActionFailed,
    pub(super) counters: Arc<RuleCounters>,
    pub(super) node: Arc<str>,
    pub(super) node_hash: u32,
    pub(super) limits: Arc<Limits>,
    pub(super) ignores_sys: bool,
}

/// An action with its parameters and its resource.
pub(super) struct Bound {
    pub(super) name: &'static str,
    pub(super) action: Box<dyn Action>,
    pub(super) counters: Arc<ActionCounters>,
    pub(super) fallbacks: Vec<Self>,
}

/// A rule as the router has it.
pub(super) struct OnTopics {
    pub(super) rule: Arc<Running>,
    pub(super) dialect: Dialect,
}

/// The rules of all other events, in the order of their creation.
#[derive(Default)]
pub(super) struct OnEvents(pub(super) Vec<(Hook, Dialect, Arc<Running>)>);

impl MessageObserver for OnTopics {
    fn observe(&self, message: &Arc<Message>, reactions: &mut Reactions<'_>) {
        if self.rule.ignores_sys && message.topic.starts_with("$SYS/") {
            return;
        }
        let payload = reactions.notes::<PayloadCache>();
        self.rule.run(Occasion::Published(message), self.dialect, &payload, reactions);
    }
}

impl EventObserver for OnEvents {
    fn observe(&self, event: &Event<'_>, reactions: &mut Reactions<'_>) {
        let Some(hook) = Hook::of(event) else { return };
        let payload = PayloadCache::default();
        for (_, dialect, rule) in self.0.iter().filter(|(of, ..)| *of == hook) {
            if hook.tells(*dialect, event) {
                rule.run(Occasion::Event(event), *dialect, &payload, reactions);
            }
        }
    }
}

impl Running {
    fn run(
        &self,
        occasion: Occasion<'_>,
        dialect: Dialect,
        payload: &PayloadCache,
        reactions: &mut Reactions<'_>,
    ) {
        let row = EventRow {
            occasion,
            dialect,
            rule: &self.id,
            node: &self.node,
            node_hash: self.node_hash,
            now_ms: reactions.now().wall_ms,
            limits: &self.limits,
            payload,
        };
        match run_caught(|| self.select.apply(&row, wall_ns(reactions.now()))) {
            Ok(Selected::Nothing) => self.counters.count_no_result(),
            Ok(selected) => {
                self.counters.count_matched();
                let publisher = publisher(&occasion);
                for output in selected.rows().unwrap_or_default() {
                    self.act(output, &row, &publisher, reactions);
                }
            }
            Err(error) => {
                self.counters.count_exception();
                self.note(&error.0, reactions);
            }
        }
    }

    fn act(
        &self,
        output: &Map,
        row: &EventRow<'_>,
        publisher: &Publisher,
        reactions: &mut Reactions<'_>,
    ) {
        let message = row.occasion.message();
        let mut run =
            Run { rule: &self.id, output, row: row as &dyn Row, message, publisher, reactions };
        for action in &self.actions {
            let Err(error) = action.run(&mut run) else { continue };
            self.note(&format!("action {}: {error}", action.name), run.reactions);
            for fallback in &action.fallbacks {
                if let Err(error) = fallback.run_all(&mut run) {
                    let words = format!("fallback {} of {}: {error}", fallback.name, action.name);
                    self.note(&words, run.reactions);
                }
            }
            if self.on_action_failed == OnActionFailed::Stop {
                return;
            }
        }
    }

    fn note(&self, words: &str, reactions: &Reactions<'_>) {
        let now = reactions.now();
        if self.counters.note_error(now.mono_ms, now.wall_ms, words.to_owned()) {
            log::warn!("rule failed rule={} {words}", self.id);
        }
    }
}

/// In whose name something is published because of it.
fn publisher<'o>(occasion: &Occasion<'o>) -> Cow<'o, Publisher> {
    match occasion {
        Occasion::Published(message)
        | Occasion::Event(
            Event::Delivered { message, .. }
            | Event::Acked { message, .. }
            | Event::Dropped { message, .. },
        ) => Cow::Borrowed(&message.publisher),
        Occasion::Event(Event::Refused { client, .. }) => {
            Cow::Owned(Publisher::Broker(client.client_id()))
        }
        Occasion::Event(
            Event::Connected { client, .. }
            | Event::Disconnected { client, .. }
            | Event::SessionCreated { client }
            | Event::SessionTerminated { client, .. }
            | Event::Subscribing { client, .. }
            | Event::Unsubscribing { client, .. }
            | Event::Subscribed { client, .. }
            | Event::Unsubscribed { client, .. },
        ) => Cow::Owned(Publisher::Client(Arc::clone(client))),
    }
}

/// Nanoseconds since the Unix epoch.
fn wall_ns(now: Now) -> i64 {
    let ns = now.wall_ms.saturating_mul(1_000_000);
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// A panic is a fault of ours, and must not end the client's connection.
pub(super) fn run_caught(
    evaluate: impl FnOnce() -> Result<Selected, RowError>,
) -> Result<Selected, RowError> {
    let words = "evaluation panicked, which is a fault of the broker";
    catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|_| Err(RowError::new(words)))
}

impl Bound {
    fn run(&self, run: &mut Run<'_, '_>) -> Result<(), ActionError> {
        let ended = catch_unwind(AssertUnwindSafe(|| self.action.run(run)));
        let ended = ended.unwrap_or_else(|_| Err(ActionError("panicked".to_owned())));
        match ended {
            Ok(Progress::Done) => self.counters.add_success(1),
            Ok(Progress::Queued) => self.counters.add_queued(),
            Err(error) => {
                self.counters.add_failed(1);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Runs it, and what stands in for it if it fails.
    fn run_all(&self, run: &mut Run<'_, '_>) -> Result<(), ActionError> {
        let Err(error) = self.run(run) else { return Ok(()) };
        self.fallbacks.iter().for_each(|fallback| drop(fallback.run_all(run)));
        Err(error)
    }
}
