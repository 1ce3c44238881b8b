//! Rules and resources as they are asked for and kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value as Json};

use super::fault::EngineError;

/// A rule as somebody wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleSpec {
    /// Its name, which others may have too.
    pub name: String,
    /// The event it is about; `None` if FROM says that.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// The statement.
    pub rawsql: String,
    /// What is done with what it selects.
    pub actions: Vec<ActionSpec>,
    /// A word about it.
    #[serde(default)]
    pub description: String,
    /// It is in force.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What becomes of the actions behind one that has failed.
    #[serde(default)]
    pub on_action_failed: OnActionFailed,
}

/// An action as somebody wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionSpec {
    /// Name of its type.
    pub name: String,
    /// Its parameters.
    #[serde(default)]
    pub params: Object<String, Json>,
    /// What is done instead if it fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Self>,
}

/// What becomes of the actions behind one that has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnActionFailed {
    /// They run.
    #[default]
    Continue,
    /// They do not.
    Stop,
}

impl OnActionFailed {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }
}

/// A resource as somebody wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceSpec {
    /// Its name, of which there is one for each type.
    pub name: String,
    /// Name of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its configuration.
    #[serde(default)]
    pub config: Object<String, Json>,
    /// A word about it.
    #[serde(default)]
    pub description: String,
}

/// What of a rule is to be changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleChange {
    /// Another statement.
    pub rawsql: Option<String>,
    /// Other actions.
    pub actions: Option<Vec<ActionSpec>>,
    /// In force, or not.
    pub enabled: Option<bool>,
    /// Another word about it.
    pub description: Option<String>,
    /// What becomes of the actions behind one that has failed.
    pub on_action_failed: Option<OnActionFailed>,
}

impl RuleSpec {
    /// Reads a request; unknown fields are passed over.
    ///
    /// # Errors
    /// A field is missing or of the wrong type.
    pub fn from_json(request: &Object<String, Json>) -> Result<Self, EngineError> {
        Ok(Self {
            name: required(request, "name", text)?,
            hook: optional(request, "for", text)?,
            rawsql: required(request, "rawsql", text)?,
            actions: required(request, "actions", actions)?,
            description: optional(request, "description", text)?.unwrap_or_default(),
            enabled: optional(request, "enabled", flag)?.unwrap_or(true),
            on_action_failed: optional(request, "on_action_failed", what_then)?.unwrap_or_default(),
        })
    }
}

impl RuleChange {
    /// Reads a request; what is not in it stays, unknown fields are passed over.
    ///
    /// # Errors
    /// A field is of the wrong type.
    pub fn from_json(request: &Object<String, Json>) -> Result<Self, EngineError> {
        Ok(Self {
            rawsql: optional(request, "rawsql", text)?,
            actions: optional(request, "actions", actions)?,
            enabled: optional(request, "enabled", flag)?,
            description: optional(request, "description", text)?,
            on_action_failed: optional(request, "on_action_failed", what_then)?,
        })
    }

    /// The rule as it is with the change.
    #[must_use]
    pub fn applied_to(self, spec: &RuleSpec) -> RuleSpec {
        let old = spec.clone();
        RuleSpec {
            name: old.name,
            hook: old.hook,
            rawsql: self.rawsql.unwrap_or(old.rawsql),
            actions: self.actions.unwrap_or(old.actions),
            description: self.description.unwrap_or(old.description),
            enabled: self.enabled.unwrap_or(old.enabled),
            on_action_failed: self.on_action_failed.unwrap_or(old.on_action_failed),
        }
    }
}

impl ResourceSpec {
    /// Reads a request; unknown fields are passed over.
    ///
    /// # Errors
    /// A field is missing or of the wrong type.
    pub fn from_json(request: &Object<String, Json>) -> Result<Self, EngineError> {
        Ok(Self {
            name: required(request, "name", text)?,
            kind: required(request, "type", text)?,
            config: optional(request, "config", object)?.unwrap_or_default(),
            description: optional(request, "description", text)?.unwrap_or_default(),
        })
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.kind, self.name)
    }
}

/// What identifiers are made of must fit a path.
pub(super) fn check_name(name: &str) -> Result<(), EngineError> {
    let fault = if name.is_empty() {
        "name: must not be empty"
    } else if name.len() > NAME_BYTES_MAX {
        "name: longer than 256 bytes"
    } else if name.contains('/') || name.contains(char::is_control) {
        "name: must have no / and no control characters"
    } else {
        return Ok(());
    };
    Err(EngineError::bad(fault))
}

const NAME_BYTES_MAX: usize = 256;
/// Fallbacks of fallbacks of …
const FALLBACK_DEPTH_MAX: usize = 4;

fn required<T>(
    request: &Object<String, Json>,
    key: &str,
    read: impl FnOnce(&Json, &str) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    optional(request, key, read)?.ok_or_else(|| EngineError::bad(format!("missing field: {key}")))
}

fn optional<T>(
    request: &Object<String, Json>,
    key: &str,
    read: impl FnOnce(&Json, &str) -> Result<T, EngineError>,
) -> Result<Option<T>, EngineError> {
    request.get(key).filter(|value| !value.is_null()).map(|value| read(value, key)).transpose()
}

fn text(value: &Json, key: &str) -> Result<String, EngineError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(key, "a string"))
}

fn flag(value: &Json, key: &str) -> Result<bool, EngineError> {
    value.as_bool().ok_or_else(|| wrong(key, "a boolean"))
}

fn object(value: &Json, key: &str) -> Result<Object<String, Json>, EngineError> {
    value.as_object().cloned().ok_or_else(|| wrong(key, "an object"))
}

fn what_then(value: &Json, key: &str) -> Result<OnActionFailed, EngineError> {
    serde_json::from_value(value.clone()).map_err(|_| wrong(key, "continue or stop"))
}

fn actions(value: &Json, key: &str) -> Result<Vec<ActionSpec>, EngineError> {
    actions_at(value, key, 0)
}

fn actions_at(value: &Json, key: &str, depth: usize) -> Result<Vec<ActionSpec>, EngineError> {
    let list = value.as_array().ok_or_else(|| wrong(key, "an array"))?;
    let mut actions = Vec::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        let place = format!("{key}[{at}]");
        let item = item.as_object().ok_or_else(|| wrong(&place, "an object"))?;
        let within = |field: &str| format!("{place}.{field}");
        let name = item.get("name");
        let name =
            name.ok_or_else(|| EngineError::bad(format!("missing field: {}", within("name"))))?;
        let fallbacks = match item.get("fallbacks") {
            None | Some(Json::Null) => Vec::new(),
            Some(_) if depth == FALLBACK_DEPTH_MAX => {
                return Err(EngineError::bad(format!("{}: too deep", within("fallbacks"))));
            }
            Some(list) => actions_at(list, &within("fallbacks"), depth + 1)?,
        };
        let params = match item.get("params") {
            None | Some(Json::Null) => Object::new(),
            Some(params) => object(params, &within("params"))?,
        };
        actions.push(ActionSpec { name: text(name, &within("name"))?, params, fallbacks });
    }
    Ok(actions)
}

fn wrong(key: &str, expected: &str) -> EngineError {
    EngineError::bad(format!("{key}: {expected} is expected"))
}

const fn yes() -> bool {
    true
}
