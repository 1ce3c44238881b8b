//! What the rule engine takes and shows, as OpenAPI tells of it: the engine reads and makes the JSON itself.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A rule to be made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewRule {
    /// Without `/`; others may have the same.
    name: String,
    /// The event it is about, as in 3.1: `message.publish`. Without it FROM says that.
    #[serde(rename = "for")]
    hook: Option<String>,
    /// The statement.
    rawsql: String,
    actions: Vec<NewAction>,
    #[schema(required = false)]
    description: String,
    /// `true` by default.
    enabled: Option<bool>,
    on_action_failed: Option<OnActionFailed>,
}

/// What is to be changed of a rule; the rest stays.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangedRule {
    rawsql: Option<String>,
    actions: Option<Vec<NewAction>>,
    description: Option<String>,
    enabled: Option<bool>,
    on_action_failed: Option<OnActionFailed>,
}

/// An action of a rule to be made.
#[derive(Serialize, ToSchema)]
struct NewAction {
    /// As `GET /actions` lists it.
    name: String,
    /// `$resource` binds it to a resource.
    #[schema(required = false)]
    params: BTreeMap<String, Value>,
    /// What is done instead if it fails.
    #[schema(no_recursion)]
    fallbacks: Option<Vec<Self>>,
}

/// What becomes of the actions behind one that has failed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "the engine writes these words")]
enum OnActionFailed {
    Continue,
    Stop,
}

/// A rule.
#[derive(Serialize, ToSchema)]
pub(super) struct Rule {
    /// Its name, a colon, and when it was made in nanoseconds.
    id: String,
    name: String,
    #[serde(rename = "for")]
    hook: About,
    rawsql: String,
    actions: Vec<Action>,
    enabled: bool,
    description: String,
    on_action_failed: OnActionFailed,
    /// One for each node.
    metrics: Vec<RuleCounts>,
    /// Why it cannot be in force, if it cannot.
    #[schema(required = false, nullable = false)]
    reason: String,
    #[schema(required = false, nullable = false)]
    last_error: LastError,
}

/// What a rule is about: the event that was named, or the items of FROM.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the engine writes one of them")]
enum About {
    Event(String),
    From(Vec<String>),
}

/// An action of a rule.
#[derive(Serialize, ToSchema)]
struct Action {
    id: String,
    name: String,
    /// With the configuration of its resource; six asterisks for a secret.
    params: BTreeMap<String, Value>,
    /// One for each node.
    metrics: Vec<ActionCounts>,
    #[schema(required = false, nullable = false, no_recursion)]
    fallbacks: Vec<Self>,
}

/// What a rule has done on a node since it was made or changed.
#[derive(Serialize, ToSchema)]
struct RuleCounts {
    node: String,
    matched: u64,
    /// WHERE said no.
    no_result: u64,
    failed: u64,
    /// Those of them that failed in evaluation.
    exception: u64,
    /// Matches per second in the last ten seconds.
    speed: f64,
    speed_max: f64,
    speed_last5m: f64,
}

/// What has become of the runs of an action on a node.
#[derive(Serialize, ToSchema)]
struct ActionCounts {
    node: String,
    success: u64,
    failed: u64,
    retried: u64,
    /// Given up because too much waited for the resource, or for too long.
    dropped: u64,
    /// Handed over to the resource, which has yet to do them.
    waiting: u64,
}

/// The last failure of a rule.
#[derive(Serialize, ToSchema)]
struct LastError {
    /// Milliseconds since the Unix epoch.
    at: u64,
    text: String,
}

/// A kind of action.
#[derive(Serialize, ToSchema)]
pub(super) struct ActionType {
    name: String,
    /// The plugin of EMQ X that has it.
    app: String,
    /// The event it is for, `$events` or `$any`.
    #[serde(rename = "for")]
    hook: String,
    /// The kind of resource it belongs to.
    #[serde(rename = "type")]
    kind: String,
    /// By name: type, title, description, and whether it must be there.
    params: BTreeMap<String, Value>,
    description: String,
}

/// A resource to be made, in place of one of its type and name.
#[derive(Serialize, ToSchema)]
pub(super) struct NewResource {
    /// Without `/`.
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[schema(required = false)]
    config: BTreeMap<String, Value>,
    #[schema(required = false)]
    description: String,
}

/// A resource.
#[derive(Serialize, ToSchema)]
pub(super) struct Resource {
    /// Its type, a colon, and its name.
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// Six asterisks for a secret.
    config: BTreeMap<String, Value>,
    /// `undefined`, as in EMQ X.
    attrs: String,
    description: String,
    /// Why there is nothing of it, if it could not be made.
    #[schema(required = false, nullable = false)]
    reason: String,
}

/// How a resource is.
#[derive(Serialize, ToSchema)]
pub(super) struct ResourceStatus {
    /// It could do its work.
    is_alive: bool,
    /// What its buffer has done and holds, one for each node; not there for a resource without one.
    #[schema(required = false, nullable = false)]
    metrics: Vec<BufferCounts>,
}

/// What the buffer of a resource has done on a node since it was made, and holds.
#[derive(Serialize, ToSchema)]
struct BufferCounts {
    node: String,
    pushed: u64,
    delivered: u64,
    /// Attempts that failed and were or will be repeated.
    retried: u64,
    /// By reason.
    dropped: BTreeMap<String, u64>,
    /// What is on its way among it.
    memory: HeldCounts,
    disk: HeldCounts,
    /// Whether the last attempt succeeded; null before the first.
    is_up: Option<bool>,
    last_error: Option<String>,
}

/// What waits in one place.
#[derive(Serialize, ToSchema)]
struct HeldCounts {
    items: u64,
    bytes: u64,
}

/// A kind of resource.
#[derive(Serialize, ToSchema)]
pub(super) struct ResourceType {
    name: String,
    /// The plugin of EMQ X that has it.
    provider: String,
    /// By name: type, title, description, and whether it must be there.
    params: BTreeMap<String, Value>,
    description: String,
}

/// What a rule can be about.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleEvent {
    /// `message.publish`.
    event: String,
    title: Texts,
    description: Texts,
    /// Samples by column, to try statements on.
    test_columns: BTreeMap<String, Value>,
    columns: Vec<String>,
    sql_example: String,
}

/// A text in two languages.
#[derive(Serialize, ToSchema)]
struct Texts {
    en: String,
    zh: String,
}

/// A statement to be tried.
#[derive(Serialize, ToSchema)]
pub(super) struct Trial {
    rawsql: String,
    /// Columns by name; topic filters in FROM are held against `topic`.
    #[schema(required = false)]
    ctx: BTreeMap<String, Value>,
    #[serde(rename = "for")]
    hook: Option<String>,
}

/// What a statement has selected: an object, of FOREACH an array of them, or null, and `matched` beside it, if it did
/// not match.
#[derive(Serialize, ToSchema)]
pub(super) struct Selected(Value);
