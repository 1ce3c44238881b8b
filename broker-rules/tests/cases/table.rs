//! The files of cases, read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use broker_rules::Limits;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// One case.
pub struct Case {
    /// The file, and what the case shows.
    pub name: String,
    pub sql: String,
    /// `for`.
    pub hook: Option<String>,
    /// The columns.
    pub ctx: Map<String, Json>,
    pub limits: Limits,
    pub expected: Outcome,
}

/// What comes of a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A row, or the rows of FOREACH, as JSON: `1.0` is not `1` there.
    Gives(String),
    /// FROM or WHERE says no.
    Nothing,
    /// It does not apply.
    Error(String),
    /// It is no statement.
    Refused(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gives(json) => f.write_str(json),
            Self::Nothing => f.write_str("no match"),
            Self::Error(cause) => write!(f, "error: {cause}"),
            Self::Refused(cause) => write!(f, "refused: {cause}"),
        }
    }
}

/// All cases of all files.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let theme = path.file_stem().unwrap().to_str().unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{theme}: {error}"));
        for written in file.case {
            cases.push(written.read(theme, file.columns.as_deref()));
        }
        for table in file.table {
            table.read(theme, file.columns.as_deref(), &mut cases);
        }
    }
    cases
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension() == Some("toml".as_ref())).collect();
    paths.sort();
    paths
}

/// A file: cases that share columns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// JSON: what all events of the file have.
    columns: Option<String>,
    #[serde(default)]
    case: Vec<Written>,
    #[serde(default)]
    table: Vec<Table>,
}

/// A case as it is written, with just one of `gives`, `matched = false`, `error` and `refused`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    sql: String,
    #[serde(rename = "for")]
    hook: Option<String>,
    /// JSON: columns besides those of the file, or in their place.
    columns: Option<String>,
    /// The column `payload`, a text.
    payload: Option<String>,
    limits: Option<toml::Table>,
    gives: Option<String>,
    matched: Option<bool>,
    error: Option<String>,
    refused: Option<String>,
}

/// Short cases that differ in an expression, a condition or a statement alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    limits: Option<toml::Table>,
    /// What `SELECT … AS x FROM "t/#"` makes of an expression: JSON, `undefined`, or `error: ` and the cause.
    #[serde(default)]
    values: Vec<(String, String)>,
    /// Conditions for WHERE.
    #[serde(default)]
    holds: Vec<String>,
    #[serde(default)]
    holds_not: Vec<String>,
    /// Statements, and why they are none.
    #[serde(default)]
    refused: Vec<(String, String)>,
}

impl Written {
    fn read(self, theme: &str, shared: Option<&str>) -> Case {
        let name = format!("{theme}: {}", self.name);
        let mut ctx = object(&name, shared);
        ctx.extend(object(&name, self.columns.as_deref()));
        ctx.extend(self.payload.map(|payload| ("payload".to_owned(), payload.into())));
        let nothing = self.matched.map(|matched| {
            assert!(!matched, "{name}: say what it gives");
            Outcome::Nothing
        });
        let given = [
            self.gives.map(|text| Outcome::Gives(json(&name, &text).to_string())),
            nothing,
            self.error.map(Outcome::Error),
            self.refused.map(Outcome::Refused),
        ];
        let mut given = given.into_iter().flatten();
        let expected = given.next().unwrap_or_else(|| panic!("{name}: what comes out?"));
        assert!(given.next().is_none(), "{name}: just one thing comes out");
        let limits = limits(&name, self.limits.as_ref());
        Case { name, sql: self.sql, hook: self.hook, ctx, limits, expected }
    }
}

impl Table {
    fn read(self, theme: &str, shared: Option<&str>, cases: &mut Vec<Case>) {
        let name = format!("{theme}: {}", self.name);
        let ctx = object(&name, shared);
        let limits = limits(&name, self.limits.as_ref());
        let mut add = |text: &str, sql: String, expected| {
            let (name, ctx, limits) = (format!("{name}: {text}"), ctx.clone(), limits.clone());
            cases.push(Case { name, sql, hook: None, ctx, limits, expected });
        };
        for (text, value) in self.values {
            let expected = if let Some(cause) = value.strip_prefix("error: ") {
                Outcome::Error(format!("SELECT, field 1: {cause}"))
            } else if value == "undefined" {
                Outcome::Gives("{}".to_owned())
            } else {
                Outcome::Gives(format!("{{\"x\":{}}}", json(&name, &value)))
            };
            add(&text, format!("SELECT {text} AS x FROM \"t/#\""), expected);
        }
        let matching = |text: &str| format!("SELECT 1 AS matched FROM \"t/#\" WHERE {text}");
        for text in self.holds {
            add(&text, matching(&text), Outcome::Gives("{\"matched\":1}".to_owned()));
        }
        for text in self.holds_not {
            add(&text, matching(&text), Outcome::Nothing);
        }
        for (text, cause) in self.refused {
            add(&text, text.clone(), Outcome::Refused(cause));
        }
    }
}

fn object(name: &str, text: Option<&str>) -> Map<String, Json> {
    match text.map(|text| json(name, text)) {
        None => Map::new(),
        Some(Json::Object(object)) => object,
        Some(other) => panic!("{name}: {other} is no object"),
    }
}

fn json(name: &str, text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
}

fn limits(name: &str, changed: Option<&toml::Table>) -> Limits {
    let mut limits = Limits::default();
    for (key, value) in changed.into_iter().flatten() {
        let value = value.as_integer().and_then(|value| usize::try_from(value).ok()).unwrap();
        let limit = match key.as_str() {
            "max_sql_bytes" => &mut limits.max_sql_bytes,
            "max_depth" => &mut limits.max_depth,
            "max_fields" => &mut limits.max_fields,
            "json_max_depth" => &mut limits.json_max_depth,
            "json_max_bytes" => &mut limits.json_max_bytes,
            "json_max_event_bytes" => &mut limits.json_max_event_bytes,
            "max_value_bytes" => &mut limits.max_value_bytes,
            "max_array_items" => &mut limits.max_array_items,
            "max_output_bytes" => &mut limits.max_output_bytes,
            "max_foreach_items" => &mut limits.max_foreach_items,
            "max_regex_bytes" => &mut limits.max_regex_bytes,
            "max_compiled_regex_bytes" => &mut limits.max_compiled_regex_bytes,
            "max_steps" => {
                limits.max_steps = value as u64;
                continue;
            }
            other => panic!("{name}: no limit is called {other}"),
        };
        *limit = value;
    }
    limits
}
