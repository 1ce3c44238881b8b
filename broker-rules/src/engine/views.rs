//! Rules, resources and their types as the API shows them.

use std::collections::BTreeMap;

use serde_json::{Map as Object, Value as Json, json};

use super::counters::RuleCounts;
use super::resources::Held;
use super::running::Bound;
use super::spec::ActionSpec;
use super::{Entry, RESOURCE, RuleEngine, State, secrets};
use crate::action::{ActionType, ResourceType};
use crate::event;
use crate::params;
use crate::sink::SinkStatus;

use super::EngineError;

impl RuleEngine {
    /// A rule.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<Json> {
        let state = self.state.lock();
        let (_, entry) = state.find(id)?;
        Some(self.show_rule(&state, entry))
    }

    /// All rules, in the order of their creation.
    #[must_use]
    pub fn rules(&self) -> Vec<Json> {
        let state = self.state.lock();
        state.rules.values().map(|entry| self.show_rule(&state, entry)).collect()
    }

    /// A resource.
    #[must_use]
    pub fn resource(&self, id: &str) -> Option<Json> {
        self.state.lock().resources.find(id).map(|(_, held)| show_resource(held))
    }

    /// All resources, or those of one type, in the order of their creation.
    #[must_use]
    pub fn resources(&self, kind: Option<&str>) -> Vec<Json> {
        let state = self.state.lock();
        let all = state.resources.0.values();
        all.filter(|held| kind.is_none_or(|kind| held.spec.kind == kind))
            .map(show_resource)
            .collect()
    }

    /// A type of actions.
    #[must_use]
    pub fn action_type(&self, name: &str) -> Option<Json> {
        self.catalogue.action(name).map(|action| show_action_type(&**action))
    }

    /// Types of actions for an event or a group of events, by name.
    ///
    /// # Errors
    /// There is no such event.
    pub fn action_types(&self, hook: Option<&str>) -> Result<Vec<Json>, EngineError> {
        if let Some(unknown) = hook.filter(|hook| !event::is_hook(hook)) {
            return Err(event::SourceError::UnknownHook(unknown.to_owned()).into());
        }
        let all = self.catalogue.actions().iter();
        let listed =
            all.filter(|action| hook.is_none_or(|hook| event::serves(action.hook(), hook)));
        Ok(listed.map(|action| show_action_type(&**action)).collect())
    }

    /// Types of actions that belong to a type of resources, by name.
    #[must_use]
    pub fn action_types_of(&self, kind: &str) -> Vec<Json> {
        let all = self.catalogue.actions().iter();
        all.filter(|action| action.resource_type() == kind)
            .map(|action| show_action_type(&**action))
            .collect()
    }

    /// A type of resources.
    #[must_use]
    pub fn resource_type(&self, name: &str) -> Option<Json> {
        self.catalogue.resource(name).map(|kind| show_resource_type(&**kind))
    }

    /// Types of resources, by name.
    #[must_use]
    pub fn resource_types(&self) -> Vec<Json> {
        self.catalogue.resources().iter().map(|kind| show_resource_type(&**kind)).collect()
    }

    fn show_rule(&self, state: &State, entry: &Entry) -> Json {
        let spec = &entry.spec;
        let made = entry.made.as_ref();
        let bound = made.map_or(&[][..], |made| &made.running.actions);
        let about = match &spec.hook {
            Some(hook) => json!(hook),
            None => json!(made.map_or(&[][..], |made| made.running.select.sources())),
        };
        let mut shown = json!({
            "id": &*entry.id,
            "name": spec.name,
            "for": about,
            "rawsql": spec.rawsql,
            "actions": self.show_actions(state, &spec.actions, bound),
            "enabled": spec.enabled,
            "description": spec.description,
            "on_action_failed": spec.on_action_failed.name(),
            "metrics": [self.show_counts(&entry.counters.counts())],
        });
        if let Err(reason) = &entry.made {
            shown["reason"] = json!(reason);
        }
        if let Some(error) = entry.counters.last_error() {
            shown["last_error"] = json!({ "at": error.at_ms, "text": error.text });
        }
        shown
    }

    fn show_counts(&self, counts: &RuleCounts) -> Json {
        json!({
            "node": &*self.node,
            "matched": counts.matched,
            "no_result": counts.no_result,
            "failed": counts.failed,
            "exception": counts.exception,
            "speed": counts.speed,
            "speed_max": counts.speed_max,
            "speed_last5m": counts.speed_last5m,
        })
    }

    pub(super) fn show_status(&self, is_alive: bool, status: Option<&SinkStatus>) -> Json {
        let mut shown = json!({ "is_alive": is_alive });
        if let Some(status) = status {
            let dropped = status.dropped.iter().map(|(reason, n)| (reason.name(), *n));
            let held = &status.held;
            shown["metrics"] = json!([{
                "node": &*self.node,
                "pushed": status.pushed,
                "delivered": status.delivered,
                "retried": status.retried,
                "dropped": dropped.collect::<BTreeMap<_, _>>(),
                "memory": { "items": held.memory_items, "bytes": held.memory_bytes },
                "disk": { "items": held.disk_items, "bytes": held.disk_bytes },
                "is_up": status.is_up,
                "last_error": status.last_error,
            }]);
        }
        shown
    }

    fn show_actions(&self, state: &State, specs: &[ActionSpec], bound: &[Bound]) -> Vec<Json> {
        let show = |(at, spec): (usize, &ActionSpec)| {
            let bound = bound.get(at);
            let counts = bound.map(|bound| bound.counters.counts()).unwrap_or_default();
            let mut shown = json!({
                "id": format!("{}_{at}", spec.name),
                "name": spec.name,
                "params": secrets::masked(&with_config(state, &spec.params)),
                "metrics": [{
                    "node": &*self.node,
                    "success": counts.success,
                    "failed": counts.failed,
                    "retried": counts.retried,
                    "dropped": counts.dropped,
                    "waiting": counts.waiting,
                }],
            });
            if !spec.fallbacks.is_empty() {
                let fallbacks = bound.map_or(&[][..], |bound| &bound.fallbacks);
                shown["fallbacks"] = self.show_actions(state, &spec.fallbacks, fallbacks).into();
            }
            shown
        };
        specs.iter().enumerate().map(show).collect()
    }
}

/// The parameters with the configuration of the resource, which goes before them as in the original.
fn with_config(state: &State, params: &Object<String, Json>) -> Object<String, Json> {
    let mut all = params.clone();
    let resource = params.get(RESOURCE).and_then(Json::as_str);
    if let Some((_, held)) = resource.and_then(|id| state.resources.find(id)) {
        all.extend(held.spec.config.clone());
    }
    all
}

fn show_resource(held: &Held) -> Json {
    let mut shown = json!({
        "id": held.id,
        "name": held.spec.name,
        "type": held.spec.kind,
        "config": secrets::masked(&held.spec.config),
        "attrs": "undefined",
        "description": held.spec.description,
    });
    if let Err(reason) = &held.resource {
        shown["reason"] = json!(reason);
    }
    shown
}

fn show_action_type(action: &dyn ActionType) -> Json {
    json!({
        "name": action.name(),
        "app": action.app(),
        "for": action.hook(),
        "type": action.resource_type(),
        "params": params::describe(action.params()),
        "description": action.description(),
    })
}

fn show_resource_type(kind: &dyn ResourceType) -> Json {
    json!({
        "name": kind.name(),
        "provider": kind.provider(),
        "params": params::describe(kind.params()),
        "description": kind.description(),
    })
}
