//! `built_in:inspect_action`, and `inspect` as it is called later: what a rule makes of its events, in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value as Json;

use super::{APP, BUILT_IN};
use crate::action::{Action, ActionError, ActionType, Progress, Run, Setup};
use crate::params::ParamSpec;
use crate::text;
use crate::value::{Map, Value};

/// Both names of it.
pub(super) const TYPES: [Inspect; 2] =
    [Inspect { name: "built_in:inspect_action" }, Inspect { name: "inspect" }];

/// The type under one of its names.
#[derive(Clone, Copy)]
pub(super) struct Inspect {
    name: &'static str,
}

struct Inspection {
    params: String,
    /// When it wrote last, on the monotonic clock, and one more: 0 is never.
    wrote_ms: AtomicU64,
}

impl ActionType for Inspect {
    fn name(&self) -> &'static str {
        self.name
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
        "Inspect the details of action params for debug purpose"
    }

    fn create(&self, setup: Setup<'_>) -> Result<Box<dyn Action>, String> {
        let params = Json::Object(setup.params.clone()).to_string();
        Ok(Box::new(Inspection { params, wrote_ms: AtomicU64::new(0) }))
    }
}

impl Action for Inspection {
    fn run(&self, run: &mut Run<'_, '_>) -> Result<Progress, ActionError> {
        let now_ms = run.reactions.now().mono_ms + 1;
        let wrote_ms = self.wrote_ms.load(Ordering::Relaxed);
        if (wrote_ms == 0 || now_ms >= wrote_ms + PAUSE_MS) && log::log_enabled!(log::Level::Info) {
            self.wrote_ms.store(now_ms, Ordering::Relaxed);
            let (output, columns) = (shown(run.output), shown(&run.row.all()));
            let (rule, params) = (run.rule, &self.params);
            log::info!("inspect rule={rule} output={output} columns={columns} params={params}");
        }
        Ok(Progress::Done)
    }
}

/// The map as JSON, its long strings cut.
fn shown(map: &Map) -> String {
    let mut short = Map::default();
    for (key, value) in map.iter() {
        let value = match value {
            Value::Str(bytes) if bytes.len() > TEXT_BYTES_MAX => {
                Value::Str(bytes.slice(..TEXT_BYTES_MAX))
            }
            other => other.clone(),
        };
        short.insert(Arc::clone(key), value);
    }
    let mut line = text::json_of_map(&short);
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
    line
}

/// Of all of them.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Between two lines of one rule.
const PAUSE_MS: u64 = 100;
/// Of a payload and any other string.
const TEXT_BYTES_MAX: usize = 1024;
