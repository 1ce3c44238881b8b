//! A back end of one's own for rules: a resource that is a file, and an action that appends a line to it.
//!
//! Run with `cargo run -p broker-examples --example rule_sink`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};
use broker_core::{Broker, Now, QoS};
use broker_rules::action::{
    Action, ActionError, ActionType, Catalogue, Progress, Resource, ResourceType, Run, Setup,
};
use broker_rules::engine::{EngineOptions, ResourceSpec, RuleEngine, RuleSpec};
use broker_rules::params::{self, ParamKind, ParamSpec};
use broker_rules::{
    Clock, DropReason, Item, Owner, Remote, RemoteSink, Report, SinkConfig, SinkListener, Template,
    Trouble,
};
use serde_json::{Map, Value, json};

/// The type of resources: `journal`, with the path of its file.
struct JournalType {
    params: Vec<ParamSpec>,
    clock: Clock,
}

/// One file. Nobody who publishes waits for a disk: the sink has a buffer, and a thread that delivers.
struct Journal {
    sink: RemoteSink,
}

/// The far end of the sink.
struct JournalFile(PathBuf);

/// The type of actions: `journal:append`.
struct AppendType {
    params: Vec<ParamSpec>,
}

/// One action of one rule.
struct Append {
    journal: Arc<Journal>,
    owner: Owner,
    line: Template,
}

/// Hears of what the buffer had no room for.
struct Complaints;

impl ResourceType for JournalType {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn provider(&self) -> &'static str {
        "example"
    }

    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn description(&self) -> &'static str {
        "A file of lines"
    }

    fn create(&self, id: &str, config: &Map<String, Value>) -> Result<Arc<dyn Resource>, String> {
        params::check(&self.params, config).map_err(|error| error.to_string())?;
        let file = JournalFile(params::text(&self.params, config, "path").into());
        // Without a folder the buffer is in memory only.
        let (config, clock) = (SinkConfig::default(), Arc::clone(&self.clock));
        let sink = RemoteSink::open(id, config, Box::new(file), clock, Arc::new(Complaints));
        Ok(Arc::new(Journal { sink: sink.map_err(|error| error.to_string())? }))
    }

    fn test(&self, config: &Map<String, Value>) -> Result<(), String> {
        let file = JournalFile(params::text(&self.params, config, "path").into());
        file.open().map(drop).map_err(|error| error.to_string())
    }
}

impl Resource for Journal {
    fn is_alive(&self) -> bool {
        self.sink.status().is_up != Some(false)
    }

    fn start(&self) -> Result<(), String> {
        self.sink.retry_now();
        Ok(())
    }

    fn stop(&self) {
        self.sink.close();
    }
}

impl JournalFile {
    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.0)
    }
}

impl Remote for JournalFile {
    fn deliver(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), Trouble> {
        let lines: Vec<u8> =
            items.iter().flat_map(|item| [&item.bytes[..], b"\n"]).flatten().copied().collect();
        // An error is no loss: these items come again, after a pause.
        let written = self.open().and_then(|mut file| file.write_all(&lines));
        written.map_err(|error| Trouble(error.to_string()))?;
        report.delivered(items.len());
        Ok(())
    }
}

impl SinkListener for Complaints {
    fn handle_dropped(&self, sink: &str, reason: DropReason, n: u64) {
        println!("{sink} has dropped {n}: {}", reason.name());
    }
}

impl ActionType for AppendType {
    fn name(&self) -> &'static str {
        "journal:append"
    }

    fn app(&self) -> &'static str {
        "example"
    }

    fn hook(&self) -> &'static str {
        "$any"
    }

    fn resource_type(&self) -> &'static str {
        "journal"
    }

    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn description(&self) -> &'static str {
        "Append a line to a journal"
    }

    fn create(&self, setup: Setup<'_>) -> Result<Box<dyn Action>, String> {
        let journal = setup.resource.and_then(|resource| resource.as_a::<Journal>());
        let journal = journal.ok_or("$resource: a resource of type journal is expected")?;
        let owner = journal.sink.add_owner(setup.counters);
        let line = Template::new(params::text(&self.params, setup.params, "line"));
        Ok(Box::new(Append { journal, owner, line }))
    }
}

impl Action for Append {
    fn run(&self, run: &mut Run<'_, '_>) -> Result<Progress, ActionError> {
        let line = self.line.render(run.output);
        let pushed = self.journal.sink.push(self.owner, line, run.reactions.now().wall_ms);
        pushed.map_err(|error| ActionError(error.to_string()))?;
        // The sink counts what becomes of it.
        Ok(Progress::Queued)
    }
}

fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let now =
        move || Now::new(start.elapsed(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let path = std::env::temp_dir().join(format!("rule_sink-{}.log", std::process::id()));

    let resource = ParamSpec::required("$resource", ParamKind::String, "Journal", "The journal");
    let line = ParamSpec::required("line", ParamKind::String, "Line", "A line; may have ${…}");
    let file = ParamSpec::required("path", ParamKind::String, "Path", "Path of the file");
    let mut catalogue = Catalogue::built_in();
    catalogue.add_resource(Arc::new(JournalType { params: vec![file], clock: Arc::new(now) }));
    catalogue.add_action(Arc::new(AppendType { params: vec![resource, line] }));

    let broker = Broker::builder().build()?;
    let options = EngineOptions::default();
    // `random()` of statements is not used here.
    let compile =
        broker_rules::compiler(Arc::clone(&options.limits), Box::new(|bytes| bytes.fill(0)));
    let engine = RuleEngine::new(&broker, catalogue, compile, options);

    let journal = json!({"name": "hot", "type": "journal", "config": {"path": path}});
    let journal = ResourceSpec::from_json(journal.as_object().unwrap())?;
    let (resource, _) = engine.create_resource(journal, 1)?;
    let rule = json!({
        "name": "hot",
        "rawsql": "SELECT topic(2) AS machine, payload.t AS t FROM \"plant/#\" WHERE t > 20",
        "actions": [{
            "name": "journal:append",
            "params": {"$resource": &*resource, "line": "machine ${machine} has ${t} degrees"},
        }],
    });
    let (rule, _) = engine.create_rule(RuleSpec::from_json(rule.as_object().unwrap())?, 2)?;
    println!("made {resource} and {rule}");

    let mut thermometer = broker.local_client("thermometer");
    for t in ["21.5", "19", "30"] {
        let payload = format!("{{\"t\": {t}}}");
        thermometer.publish("plant/7/temperature", payload, QoS::AtMostOnce, now())?;
    }

    let done = || engine.rule(&rule).map(|it| it["actions"][0]["metrics"][0]["success"].clone());
    while done() != Some(json!(2)) {
        if start.elapsed() > Duration::from_secs(10) {
            bail!("not written: {:?}", engine.rule(&rule));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let written = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    print!("{written}");
    ensure!(written == "machine 7 has 21.5 degrees\nmachine 7 has 30 degrees\n");
    Ok(())
}
