//! `do_nothing`: a rule whose output nobody wants, for counting and trying out.

use crate::action::{Action, ActionError, ActionType, Progress, Run, Setup};
use crate::params::ParamSpec;

use super::{APP, BUILT_IN};

/// The type, and the one action of it.
pub(super) struct DoNothing;

impl ActionType for DoNothing {
    fn name(&self) -> &'static str {
        "do_nothing"
    }

    fn app(&self) -> &'static str {
        APP
    }

    fn hook(&self) -> &'static str {
        "$any"
    }

    fn resource_type(&self) -> &'static str {
        BUILT_IN
    }

    fn params(&self) -> &[ParamSpec] {
        &[]
    }

    fn description(&self) -> &'static str {
        "Do nothing"
    }

    fn create(&self, _: Setup<'_>) -> Result<Box<dyn Action>, String> {
        Ok(Box::new(Self))
    }
}

impl Action for DoNothing {
    fn run(&self, _: &mut Run<'_, '_>) -> Result<Progress, ActionError> {
        Ok(Progress::Done)
    }
}
