//! A broker with an engine, and statements that say in a word what they do.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use broker_rules::action::{
    Action, ActionError, ActionType, Catalogue, Progress, Resource, ResourceType, Run, Setup,
};
use broker_rules::engine::{EngineError, EngineOptions, ResourceSpec, RuleEngine, RuleSpec};
use broker_rules::params::{ParamKind, ParamSpec};
use broker_rules::{Map, Row, RowError, Select, Selected, Value};
use parking_lot::Mutex;
use serde_json::{Map as Object, Value as Json, json};

use crate::rig::Rig;

/// What the engine does with a statement, whatever the language: the words before FROM say what it selects.
struct Toy {
    words: Vec<String>,
    from: Vec<String>,
}

thread_local! {
    /// Payloads that statements of this test have looked at. They are kept, so that no other lies in their place.
    pub static DECODED: RefCell<Vec<Arc<Map>>> = const { RefCell::new(Vec::new()) };
}

pub fn compile(text: &str) -> Result<Box<dyn Select>, String> {
    let (words, from) = text.split_once(" FROM ").ok_or("line 1, column 1: expected FROM")?;
    let words = words.split(' ').map(str::to_owned).collect();
    let from = from.split(", ").map(|item| item.trim_matches('"').to_owned()).collect();
    Ok(Box::new(Toy { words, from }))
}

impl Select for Toy {
    fn sources(&self) -> &[String] {
        &self.from
    }

    fn columns(&self) -> &[String] {
        &[]
    }

    fn apply(&self, row: &dyn Row, _: i64) -> Result<Selected, RowError> {
        match self.words[0].as_str() {
            "ALL" => Ok(Selected::Row(row.all())),
            "NOTHING" => Ok(Selected::Nothing),
            "FAIL" => Err(RowError::new("division by zero")),
            "PANIC" => panic!("on purpose"),
            "EACH" => {
                let n: usize = self.words[1].parse().expect("a number");
                let row = |n| {
                    let mut map = row.all();
                    map.insert("n".into(), Value::Int(n as i64));
                    map
                };
                Ok(Selected::Rows((1..=n).map(row).collect()))
            }
            "X" => {
                let x = match row.decoded_payload() {
                    Some(Value::Map(payload)) => payload.get("x").cloned().unwrap_or_default(),
                    _ => Value::Undefined,
                };
                let mut map = Map::default();
                map.insert("x".into(), x);
                map.insert("clientid".into(), row.column("clientid"));
                Ok(Selected::Row(map))
            }
            "DECODED" => {
                let Some(Value::Map(payload)) = row.decoded_payload() else { panic!("an object") };
                DECODED.with_borrow_mut(|all| all.push(Arc::clone(payload)));
                Ok(Selected::Nothing)
            }
            other => Err(RowError::new(format!("no such word {other}"))),
        }
    }
}

/// Remembers what it was given; fails if its parameter says so.
pub struct Note {
    pub seen: Arc<Mutex<Vec<Json>>>,
}

struct Noting {
    seen: Arc<Mutex<Vec<Json>>>,
    fails: bool,
    as_word: Option<String>,
    resource: Option<Arc<Labelled>>,
}

impl ActionType for Note {
    fn name(&self) -> &'static str {
        "note"
    }
    fn app(&self) -> &'static str {
        "test"
    }
    fn hook(&self) -> &'static str {
        "$any"
    }
    fn resource_type(&self) -> &'static str {
        "box"
    }
    fn params(&self) -> &[ParamSpec] {
        const PARAMS: &[ParamSpec] = &[ParamSpec::optional("fails", ParamKind::Boolean, "", "")];
        PARAMS
    }
    fn description(&self) -> &'static str {
        "Remembers"
    }
    fn create(&self, setup: Setup<'_>) -> Result<Box<dyn Action>, String> {
        let resource = setup.resource.map(|r| r.as_a::<Labelled>().ok_or("no box")).transpose()?;
        let text = |key: &str| setup.params.get(key).and_then(Json::as_str).map(str::to_owned);
        let fails = setup.params.get("fails") == Some(&json!(true));
        Ok(Box::new(Noting { seen: Arc::clone(&self.seen), fails, as_word: text("as"), resource }))
    }
}

impl Action for Noting {
    fn run(&self, run: &mut Run<'_, '_>) -> Result<Progress, ActionError> {
        if self.fails {
            return Err(ActionError("on purpose".to_owned()));
        }
        let mut seen = match &self.as_word {
            Some(word) => json!(word),
            None => shown(run.output),
        };
        if let Some(resource) = &self.resource {
            seen = json!([resource.label, seen]);
        }
        self.seen.lock().push(seen);
        Ok(Progress::Done)
    }
}

/// A resource with a label, that stays down if its label says so.
pub struct BoxType;

pub struct Labelled {
    label: String,
    stopped: Mutex<bool>,
}

impl ResourceType for BoxType {
    fn name(&self) -> &'static str {
        "box"
    }
    fn provider(&self) -> &'static str {
        "test"
    }
    fn params(&self) -> &[ParamSpec] {
        const PARAMS: &[ParamSpec] = &[ParamSpec::required("label", ParamKind::String, "", "")];
        PARAMS
    }
    fn description(&self) -> &'static str {
        "A box"
    }
    fn create(&self, _: &str, config: &Object<String, Json>) -> Result<Arc<dyn Resource>, String> {
        let label = config["label"].as_str().unwrap_or_default().to_owned();
        if label == "bad" {
            Err("bad label".to_owned())
        } else {
            Ok(Arc::new(Labelled { label, stopped: Mutex::new(false) }))
        }
    }
    fn test(&self, _: &Object<String, Json>) -> Result<(), String> {
        Err("never".to_owned())
    }
}

impl Resource for Labelled {
    fn is_alive(&self) -> bool {
        self.label != "down" && !*self.stopped.lock()
    }
    fn start(&self) -> Result<(), String> {
        if self.label == "down" { Err("refused".to_owned()) } else { Ok(()) }
    }
    fn stop(&self) {
        *self.stopped.lock() = true;
    }
}

fn shown(map: &Map) -> Json {
    map.iter()
        .map(|(key, value)| (key.to_string(), shown_value(value)))
        .collect::<Object<_, _>>()
        .into()
}

fn shown_value(value: &Value) -> Json {
    match value {
        Value::Undefined => json!("undefined"),
        Value::Null => Json::Null,
        Value::Bool(is) => json!(is),
        Value::Int(n) => json!(n),
        Value::Float(n) => json!(n),
        Value::Str(bytes) => json!(String::from_utf8_lossy(bytes)),
        Value::Array(list) => list.iter().map(shown_value).collect(),
        Value::Map(map) => shown(map),
    }
}

pub struct World {
    pub rig: Rig,
    pub engine: RuleEngine,
    pub seen: Arc<Mutex<Vec<Json>>>,
    now_ns: u64,
}

impl Deref for World {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}

impl World {
    pub fn new() -> Self {
        Self::of(Rig::new(), EngineOptions::default())
    }

    pub fn of(rig: Rig, options: EngineOptions) -> Self {
        let seen = Arc::<Mutex<Vec<Json>>>::default();
        let engine = engine(&rig, &seen, options);
        Self { rig, engine, seen, now_ns: 1_556_263_150_688_255_821 }
    }

    /// The process ends, and comes back with what the disk has.
    pub fn restart(&mut self) {
        self.rig.sync();
        // The old broker is held by its engine, and goes with it.
        self.rig.crash();
        self.engine = engine(&self.rig, &self.seen, EngineOptions::default());
        self.engine.load();
    }

    pub fn try_rule(&mut self, request: Json) -> Result<String, EngineError> {
        let Json::Object(request) = request else { panic!("an object") };
        let spec = RuleSpec::from_json(&request)?;
        self.now_ns += 1_000;
        let (id, _) = self.engine.create_rule(spec, self.now_ns)?;
        Ok(id.to_string())
    }

    /// A rule with one action.
    pub fn rule(&mut self, sql: &str, action: &str, params: Json) -> String {
        let actions = json!([{ "name": action, "params": params }]);
        self.try_rule(json!({ "name": "r", "rawsql": sql, "actions": actions })).expect("a rule")
    }

    pub fn resource(&mut self, name: &str, label: &str) -> Result<String, EngineError> {
        let config = json!({ "label": label });
        let request = json!({ "name": name, "type": "box", "config": config });
        let spec = ResourceSpec::from_json(request.as_object().expect("an object"))?;
        self.now_ns += 1_000;
        self.engine.create_resource(spec, self.now_ns).map(|(id, _)| id)
    }

    pub fn taken(&self) -> Vec<Json> {
        std::mem::take(&mut *self.seen.lock())
    }

    pub fn metric_of(&self, rule: &str, name: &str) -> Json {
        self.engine.rule(rule).expect("the rule")["metrics"][0][name].clone()
    }

    pub fn action_metric_of(&self, rule: &str, name: &str) -> Json {
        self.engine.rule(rule).expect("the rule")["actions"][0]["metrics"][0][name].clone()
    }

    pub fn last_error_of(&self, rule: &str) -> String {
        self.engine.rule(rule).expect("the rule")["last_error"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

fn engine(rig: &Rig, seen: &Arc<Mutex<Vec<Json>>>, options: EngineOptions) -> RuleEngine {
    let mut catalogue = Catalogue::built_in();
    catalogue.add_action(Arc::new(Note { seen: Arc::clone(seen) }));
    catalogue.add_resource(Arc::new(BoxType));
    RuleEngine::new(&rig.broker, catalogue, Box::new(compile), options)
}
