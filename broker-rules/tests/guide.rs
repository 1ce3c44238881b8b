//! docs/rules.md: what it shows is what happens, and what there is it tells of.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use broker_core::{Broker, Now};
use broker_rules::action::Catalogue;
use broker_rules::engine::{EngineOptions, RuleEngine, RuleSpec};
use broker_rules::params::{self, ParamSpec};
use broker_rules::{AddressRules, DropReason, OpenSinks, RemoteHost, SinkListener};
use serde_json::{Map, Value, json};

/// A fenced block: its language, its text, and where it begins.
struct Block<'a> {
    language: &'a str,
    text: String,
    line: usize,
}

/// A statement, and what the comments behind it say of it.
#[derive(Default)]
struct Example {
    sql: String,
    hook: Option<String>,
    /// Columns, if they are not those of the page, and what comes of them.
    trials: Vec<(Option<Map<String, Value>>, Outcome)>,
    refused: Option<String>,
}

enum Outcome {
    /// It does not match.
    Nothing,
    Selected(Value),
    /// The beginning of the message, or what is in it.
    Error(String),
}

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    fs::read_to_string(path).unwrap()
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((line, text)) = lines.next() {
        let Some(language) = text.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```");
        blocks.push(Block { language, text: inside.collect::<Vec<_>>().join("\n"), line });
    }
    blocks
}

fn parse(text: &str, line: usize) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("line {line}: {error}: {text}"))
}

impl Example {
    fn read(block: &Block<'_>) -> Self {
        let mut example = Self::default();
        let mut columns = None;
        for line in block.text.lines() {
            let Some(comment) = line.strip_prefix("-- ") else {
                example.sql += line;
                example.sql.push('\n');
                continue;
            };
            if let Some(hook) = comment.strip_prefix("for: ") {
                example.hook = Some(hook.to_owned());
            } else if let Some(why) = comment.strip_prefix("refused: ") {
                example.refused = Some(why.to_owned());
            } else if comment == "→ nothing" {
                example.trials.push((columns.take(), Outcome::Nothing));
            } else if let Some(selected) = comment.strip_prefix("→ ") {
                let outcome = Outcome::Selected(parse(selected, block.line));
                example.trials.push((columns.take(), outcome));
            } else if let Some(error) = comment.strip_prefix("error: ") {
                example.trials.push((columns.take(), Outcome::Error(error.to_owned())));
            } else {
                let Value::Object(read) = parse(comment, block.line) else {
                    panic!("line {}: no columns: {comment}", block.line)
                };
                columns = Some(read);
            }
        }
        let is_told = example.refused.is_some() || !example.trials.is_empty();
        assert!(is_told && columns.is_none(), "line {}: nothing comes of it", block.line);
        example
    }
}

struct Deaf;

impl SinkListener for Deaf {
    fn handle_dropped(&self, _: &str, _: DropReason, _: u64) {}
}

fn catalogue() -> Catalogue {
    let host = RemoteHost {
        folder: None,
        clock: Arc::new(|| Now { mono_ms: 0, wall_ms: 0, us: 0 }),
        listener: Arc::new(Deaf),
        node: "n".to_owned(),
        addresses: Arc::new(AddressRules::default()),
        open: OpenSinks::default(),
    };
    let mut catalogue = Catalogue::built_in();
    host.register(&mut catalogue);
    catalogue
}

fn engine() -> RuleEngine {
    let options = EngineOptions::default();
    let compile = broker_rules::compiler(Arc::clone(&options.limits), Box::new(|it| it.fill(7)));
    RuleEngine::new(&Broker::builder().build().unwrap(), catalogue(), compile, options)
}

#[test]
fn statements_select_what_the_guide_says() {
    let page = guide();
    let blocks = blocks(&page);
    let columns = blocks.iter().filter(|block| block.language == "json");
    let mut columns = columns.map(|block| parse(&block.text, block.line));
    let columns = columns.find(|it| it.get("topic").is_some()).expect("the columns of the page");
    let Value::Object(columns) = columns else { panic!("{columns}") };
    let engine = engine();
    let mut n_trials = 0;
    for block in blocks.iter().filter(|block| block.language == "sql") {
        let example = Example::read(block);
        let attempt = |ctx: &Option<Map<String, Value>>| {
            let ctx = ctx.as_ref().unwrap_or(&columns).clone();
            engine.try_statement(example.hook.as_deref(), &example.sql, ctx, 1)
        };
        if let Some(why) = &example.refused {
            let error = attempt(&None).expect_err(&example.sql).to_string();
            assert!(error.contains(why.as_str()), "line {}: {error}", block.line);
        }
        for (ctx, outcome) in &example.trials {
            n_trials += 1;
            match (outcome, attempt(ctx)) {
                (Outcome::Nothing, Ok(None)) => {}
                (Outcome::Selected(expected), Ok(Some(selected))) => {
                    // As text, for 4 is not 4.0.
                    let texts = (selected.to_string(), expected.to_string());
                    assert_eq!(texts.0, texts.1, "line {}", block.line);
                }
                (Outcome::Error(expected), Err(error)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected.as_str()), "line {}: {error}", block.line);
                }
                (_, other) => panic!("line {}: {other:?}", block.line),
            }
        }
    }
    assert!(n_trials > 25, "{n_trials}");
}

/// Their parameters are in order, their statements too; nothing is made of them, for the hosts are not there.
#[test]
fn rules_and_resources_of_the_guide_are_in_order() {
    let page = guide();
    let (catalogue, engine) = (catalogue(), engine());
    let (mut n_rules, mut resources) = (0, BTreeSet::new());
    for block in blocks(&page).iter().filter(|block| block.language == "json") {
        let Value::Object(shown) = parse(&block.text, block.line) else { panic!("{}", block.line) };
        if let Some(kind) = shown.get("type") {
            let kind = kind.as_str().unwrap();
            let specs = catalogue.resource(kind).unwrap().params();
            params::check(specs, shown["config"].as_object().unwrap()).unwrap();
            resources.insert(format!("{kind}:{}", shown["name"].as_str().unwrap()));
        } else if shown.contains_key("rawsql") {
            let rule = RuleSpec::from_json(&shown).unwrap();
            engine.try_statement(rule.hook.as_deref(), &rule.rawsql, Map::new(), 1).unwrap();
            for action in &rule.actions {
                let specs = catalogue.action(&action.name).unwrap().params();
                params::check(specs, &action.params).unwrap();
            }
            n_rules += 1;
        }
    }
    assert!(n_rules >= 3, "{n_rules}");
    for id in ["web_hook:events", "bridge_mqtt:far"] {
        assert!(resources.contains(id), "{resources:?}");
    }
}

#[test]
fn every_action_and_resource_is_there_with_all_its_parameters_and_their_defaults() {
    let page = guide();
    let catalogue = catalogue();
    let section = |title: &str| {
        let (_, behind) = page.split_once(&format!("\n### {title}\n")).unwrap_or_default();
        behind.split("\n#").next().unwrap_or_default()
    };
    let buffer = section("The buffer of a resource");
    let check = |title: &str, specs: &[ParamSpec]| {
        for spec in specs {
            let name = format!("`{}`", spec.name);
            let rows = section(title).lines().chain(buffer.lines());
            let mut rows = rows.filter(|line| line.starts_with("| `"));
            let row = rows.find(|row| row.split(" | ").next().unwrap_or_default().contains(&name));
            let row = row.unwrap_or_else(|| panic!("{title} lacks {name}"));
            let told = row.split(" | ").nth(1).unwrap_or_default();
            let is_told = |text: &str| told.split(", ").any(|it| it.trim_matches('`') == text);
            let is_right = match &spec.default {
                _ if spec.required => is_told("required"),
                None => true,
                Some(default) if *default == json!("") || *default == json!({}) => {
                    ["empty", "none", "of the system"].into_iter().any(is_told)
                }
                Some(Value::String(default)) => is_told(default),
                Some(default) => is_told(&default.to_string()),
            };
            assert!(is_right, "{title}: {:?}: {row}", spec.default);
        }
    };
    for action in catalogue.actions() {
        let name = action.name();
        assert!(
            page.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")))
        );
        if !action.params().is_empty() {
            check(&format!("Parameters of `{name}`"), action.params());
        }
    }
    for kind in catalogue.resources() {
        let title = format!("Configuration of `{}`", kind.name());
        assert!(page.contains(&format!("\n### {title}\n")), "{title}");
        check(&title, kind.params());
    }
    for reason in DropReason::ALL {
        assert!(buffer.contains(&format!("`{}`", reason.name())), "{}", reason.name());
    }
}

#[test]
fn every_limit_is_there_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let configuration = fs::read_to_string(path).unwrap();
    let page = guide();
    let mut n_keys = 0;
    for row in configuration.lines().filter(|line| line.starts_with("| `rules.")) {
        let mut cells = row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`', '"']));
        let (key, default) = (cells.next().unwrap(), cells.next().unwrap());
        n_keys += 1;
        let told = page.lines().find(|line| line.contains(&format!("`{key}")));
        let told = told.unwrap_or_else(|| panic!("{key} is not told of"));
        if told.starts_with('|') {
            let defaults = told.split(" | ").nth(1).unwrap();
            assert!(defaults.split(", ").any(|it| it == default), "{key}: {default}: {told}");
        }
    }
    assert!(n_keys > 15, "{n_keys}");
}
