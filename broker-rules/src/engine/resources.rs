//! Resources by identifier, and which rules use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_core::Saved;
use serde_json::Value as Json;

use super::fault::EngineError;
use super::kept::Keep;
use super::spec::{ActionSpec, ResourceSpec, check_name};
use super::{Entry, RESOURCE, RuleEngine, kept, secrets};
use crate::action::{Catalogue, Resource};
use crate::params;

/// Resources in the order of their creation.
#[derive(Default)]
pub(super) struct Resources(pub(super) BTreeMap<u64, Held>);

pub(super) struct Held {
    pub(super) id: String,
    pub(super) spec: ResourceSpec,
    /// What there is of it, or why there is nothing.
    pub(super) resource: Result<Arc<dyn Resource>, String>,
}

impl Resources {
    pub(super) fn find(&self, id: &str) -> Option<(u64, &Held)> {
        self.0.iter().find(|(_, held)| held.id == id).map(|(created_ns, held)| (*created_ns, held))
    }

    /// The resource an action is to be bound to.
    pub(super) fn running(&self, id: &str) -> Result<Arc<dyn Resource>, EngineError> {
        let (_, held) = self.find(id).ok_or_else(|| EngineError::NoResource(id.to_owned()))?;
        let resource = held.resource.clone();
        resource.map_err(|reason| EngineError::bad(format!("resource {id}: {reason}")))
    }

    /// Puts a resource back that was kept, whatever has become of it.
    pub(super) fn restore(&mut self, catalogue: &Catalogue, spec: ResourceSpec, created_ns: u64) {
        let id = spec.id();
        let resource = make(catalogue, &spec).map_err(|error| error.to_string());
        if let Err(reason) = &resource {
            log::warn!("resource not made resource={id} {reason}");
        }
        self.0.insert(created_ns, Held { id, spec, resource });
    }
}

fn make(catalogue: &Catalogue, spec: &ResourceSpec) -> Result<Arc<dyn Resource>, EngineError> {
    let kind = catalogue.resource(&spec.kind);
    let kind = kind.ok_or_else(|| EngineError::NoResourceType(spec.kind.clone()))?;
    params::check(kind.params(), &spec.config)?;
    kind.create(&spec.id(), &spec.config).map_err(EngineError::Bad)
}

impl RuleEngine {
    /// Creates a resource, in place of one of that type and name; rules that use it use the new one. Returns its
    /// identifier.
    ///
    /// # Errors
    /// Something about it is not in order, or there are too many.
    pub fn create_resource(
        &self,
        mut spec: ResourceSpec,
        now_ns: u64,
    ) -> Result<(String, Saved), EngineError> {
        check_name(&spec.name)?;
        let id = spec.id();
        let mut state = self.state.lock();
        let old =
            state.resources.find(&id).map(|(created_ns, held)| (created_ns, held.spec.clone()));
        if let Some((_, old)) = &old {
            secrets::restore(&mut spec.config, &old.config);
        } else if state.resources.0.len() >= self.options.max_resources {
            return Err(EngineError::bad("too many resources"));
        }
        let created_ns = old.map_or_else(
            || (now_ns..).find(|ns| !state.resources.0.contains_key(ns)).unwrap_or(now_ns),
            |(created_ns, _)| created_ns,
        );
        let keep = Keep::resource(created_ns, &spec)?;
        let resource = make(&self.catalogue, &spec)?;
        let saved = keep.put(&self.broker, &id);
        let held = Held { id: id.clone(), spec, resource: Ok(resource) };
        let old = state.resources.0.insert(created_ns, held);
        state.note_most();
        self.rebind(&mut state, &id);
        if let Some(Held { resource: Ok(old), .. }) = old {
            old.stop();
            state.retire_sink(&*old);
        }
        Ok((id, saved))
    }

    /// Tries whether a resource could be reached; nothing is kept. May take seconds.
    ///
    /// # Errors
    /// Something about it is not in order, or it cannot be reached.
    pub fn test_resource(&self, spec: &ResourceSpec) -> Result<(), EngineError> {
        let kind = self.catalogue.resource(&spec.kind);
        let kind = kind.ok_or_else(|| EngineError::NoResourceType(spec.kind.clone()))?;
        params::check(kind.params(), &spec.config)?;
        kind.test(&spec.config).map_err(EngineError::Bad)
    }

    /// Deletes a resource; `None` if there is none.
    ///
    /// # Errors
    /// A rule uses it.
    pub fn delete_resource(&self, id: &str) -> Result<Option<Saved>, EngineError> {
        let mut state = self.state.lock();
        let Some((created_ns, _)) = state.resources.find(id) else { return Ok(None) };
        let users = state.rules.values().filter(|entry| entry.uses(id));
        let names: Vec<_> = users.map(|entry| format!("<<\"{}\">>", entry.spec.name)).collect();
        if !names.is_empty() {
            let words = format!("{{dependency_exists,{{rule_name,{}}}}}", names.join(","));
            return Err(EngineError::Bad(words));
        }
        let saved = kept::remove_resource(&self.broker, id);
        if let Some(Held { resource: Ok(resource), .. }) = state.resources.0.remove(&created_ns) {
            resource.discard();
            state.retire_sink(&*resource);
        }
        Ok(Some(saved))
    }

    /// Connects a resource anew, and has the rules use it that could not. May take seconds.
    ///
    /// # Errors
    /// There is no such resource, or it did not start.
    pub fn start_resource(&self, id: &str) -> Result<(), EngineError> {
        let not_started = |reason: String| EngineError::NotStarted { id: id.to_owned(), reason };
        let found = {
            let mut state = self.state.lock();
            let (created_ns, held) =
                state.resources.find(id).ok_or_else(|| EngineError::NoResource(id.to_owned()))?;
            match &held.resource {
                Ok(resource) => Ok(Arc::clone(resource)),
                Err(_) => {
                    let made = make(&self.catalogue, &held.spec).map_err(|error| error.to_string());
                    if let Some(held) = state.resources.0.get_mut(&created_ns) {
                        held.resource = made.clone();
                    }
                    self.rebind(&mut state, id);
                    made
                }
            }
        };
        // Not under the lock: it takes its time.
        found.and_then(|resource| resource.start()).map_err(not_started)
    }

    /// True while a resource could do its work.
    ///
    /// # Errors
    /// There is no such resource.
    pub fn is_alive(&self, id: &str) -> Result<bool, EngineError> {
        Ok(self.resource_of(id)?.is_ok_and(|resource| resource.is_alive()))
    }

    /// How a resource is, as the API shows it: whether it could do its work and, if it has a buffer, what that has done
    /// and holds.
    ///
    /// # Errors
    /// There is no such resource.
    pub fn resource_status(&self, id: &str) -> Result<Json, EngineError> {
        let resource = self.resource_of(id)?;
        // Not under the lock: it may take seconds.
        let is_alive = resource.as_ref().is_ok_and(|resource| resource.is_alive());
        let status = resource.ok().and_then(|resource| resource.status());
        Ok(self.show_status(is_alive, status.as_ref()))
    }

    fn resource_of(&self, id: &str) -> Result<Result<Arc<dyn Resource>, String>, EngineError> {
        let state = self.state.lock();
        let (_, held) =
            state.resources.find(id).ok_or_else(|| EngineError::NoResource(id.to_owned()))?;
        Ok(held.resource.clone())
    }

    /// Makes the rules anew that use a resource; all counters go on.
    fn rebind(&self, state: &mut super::State, id: &str) {
        let users = state.rules.iter().filter(|(_, entry)| entry.uses(id));
        let places: Vec<_> = users.map(|(place, _)| *place).collect();
        let mut have_events = false;
        for place in &places {
            let Some(old) = state.rules.get(place) else { continue };
            have_events |= old.has_events();
            let (id, spec) = (Arc::clone(&old.id), old.spec.clone());
            let counters = Arc::clone(&old.counters);
            let former = old.made.as_ref().map_or(&[][..], |made| &made.running.actions);
            let made = self.make(state, &id, &spec, &counters, former);
            let made = made.map_err(|error| error.to_string());
            let mut entry = Entry { id, spec, counters, made };
            if let Err(reason) = &entry.made {
                log::warn!("rule disabled rule={} {reason}", entry.id);
                entry.spec.enabled = false;
            }
            self.bring_into_force(state, *place, &mut entry);
            have_events |= entry.has_events();
            state.rules.insert(*place, entry);
        }
        self.follow_events(state, have_events);
    }
}

impl Entry {
    fn uses(&self, id: &str) -> bool {
        uses(&self.spec.actions, id)
    }
}

fn uses(actions: &[ActionSpec], id: &str) -> bool {
    actions.iter().any(|action| {
        action.params.get(RESOURCE).and_then(Json::as_str) == Some(id)
            || uses(&action.fallbacks, id)
    })
}
