//! The actions and the resource type that need nothing from outside.

mod inspect;
mod nothing;
mod republish;

use std::sync::Arc;

use serde_json::{Map as Object, Value as Json};

use crate::action::{Catalogue, Resource, ResourceType};
use crate::params::ParamSpec;

/// What the original calls the plugin that has them.
const APP: &str = "emqx_rule_engine";
/// The type of their resources.
const BUILT_IN: &str = "built_in";

/// Puts them into the catalogue.
pub(crate) fn register(catalogue: &mut Catalogue) {
    catalogue.add_resource(Arc::new(BuiltIn));
    inspect::TYPES.iter().for_each(|kind| catalogue.add_action(Arc::new(*kind)));
    catalogue.add_action(Arc::new(nothing::DoNothing));
    republish::types().into_iter().for_each(|kind| catalogue.add_action(Arc::new(kind)));
}

/// A resource that is always there: for trying things out.
struct BuiltIn;

struct AlwaysThere;

impl ResourceType for BuiltIn {
    fn name(&self) -> &'static str {
        BUILT_IN
    }

    fn provider(&self) -> &'static str {
        APP
    }

    fn params(&self) -> &[ParamSpec] {
        &[]
    }

    fn description(&self) -> &'static str {
        "The built in resource type for debug purpose"
    }

    fn create(&self, _: &str, _: &Object<String, Json>) -> Result<Arc<dyn Resource>, String> {
        Ok(Arc::new(AlwaysThere))
    }

    fn test(&self, _: &Object<String, Json>) -> Result<(), String> {
        Ok(())
    }
}

impl Resource for AlwaysThere {
    fn is_alive(&self) -> bool {
        true
    }

    fn start(&self) -> Result<(), String> {
        Ok(())
    }

    fn stop(&self) {}
}
