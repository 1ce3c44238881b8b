//! The statement manifests, the tests and the citations in the sources agree.
//!
//! `UPDATE_STATEMENTS=1 cargo test -p broker-server --test statements` writes the tests that cite a statement
//! into its entry first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MANIFESTS: [&str; 2] = ["docs/mqtt5-statements.toml", "docs/mqtt311-statements.toml"];

/// One `[[statement]]` of a manifest.
#[derive(Debug, Default, Clone)]
struct Statement {
    id: String,
    about: String,
    what: String,
    status: String,
    reason: String,
    /// `path/from/the/root.rs::function`.
    tests: Vec<String>,
}

/// A function of the sources with the comment above it.
struct Function {
    /// `path/from/the/root.rs::function`.
    name: String,
    cites: BTreeSet<String>,
    /// Listed in the `tests!` of a conformance module.
    is_conformance: bool,
}

#[test]
fn manifests_are_complete() {
    let ids: Vec<usize> = MANIFESTS.map(|m| parse(&read(m)).1.len()).to_vec();
    assert_eq!(ids, [251, 141], "statements of MQTT 5.0 and 3.1.1");
    for manifest in MANIFESTS {
        let statements = parse(&read(manifest)).1;
        let unique: BTreeSet<&str> = statements.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(unique.len(), statements.len(), "{manifest} has an id twice");
        for s in &statements {
            assert!(matches!(s.about.as_str(), "client" | "server" | "both"), "{s:?}");
            assert!(!s.what.is_empty(), "{s:?}");
        }
    }
}

#[test]
fn every_statement_is_tested_or_says_why_not() {
    update_if_asked();
    let mut gaps = Vec::new();
    for statement in MANIFESTS.iter().flat_map(|m| parse(&read(m)).1) {
        let has_tests = !statement.tests.is_empty();
        let ok = match statement.status.as_str() {
            "tested" => has_tests,
            "client only" => statement.about == "client" && !has_tests,
            "untested" | "not applicable" => !statement.reason.is_empty() && !has_tests,
            _ => false,
        };
        if !ok {
            gaps.push(format!(
                "{}: status {:?}, {}",
                statement.id, statement.status, statement.what
            ));
        }
    }
    assert!(gaps.is_empty(), "{} gaps:\n{}", gaps.len(), gaps.join("\n"));
}

#[test]
fn named_tests_exist_and_cite_their_statement() {
    update_if_asked();
    let functions = functions();
    let by_name: BTreeMap<&str, &Function> =
        functions.iter().map(|f| (f.name.as_str(), f)).collect();
    let mut faults = Vec::new();
    for statement in MANIFESTS.iter().flat_map(|m| parse(&read(m)).1) {
        for test in &statement.tests {
            match by_name.get(test.as_str()) {
                None => faults.push(format!("{}: no function {test}", statement.id)),
                Some(f) if !f.cites.contains(&statement.id) => {
                    faults.push(format!("{}: {test} does not cite it", statement.id));
                }
                Some(_) => {}
            }
        }
        for f in functions.iter().filter(|f| f.is_conformance && f.cites.contains(&statement.id)) {
            if !statement.tests.contains(&f.name) {
                faults.push(format!("{}: {} cites it, but is not listed", statement.id, f.name));
            }
        }
    }
    assert!(faults.is_empty(), "run with UPDATE_STATEMENTS=1\n{}", faults.join("\n"));
}

#[test]
fn every_cited_statement_exists() {
    let known: BTreeSet<String> =
        MANIFESTS.iter().flat_map(|m| parse(&read(m)).1).map(|s| s.id).collect();
    let mut unknown = Vec::new();
    for path in sources() {
        for (n, line) in (1..).zip(fs::read_to_string(&path).unwrap().lines()) {
            for id in citations(line).difference(&known) {
                unknown.push(format!("{}:{n}: [{id}]", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "no such statement:\n{}", unknown.join("\n"));
}

/// Writes tests and status of the manifests anew; done once, whichever test comes first.
fn update_if_asked() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("UPDATE_STATEMENTS").is_some() {
            let functions = functions();
            MANIFESTS.iter().for_each(|m| update(m, &functions));
        }
    });
}

fn update(manifest: &str, functions: &[Function]) {
    let (head, statements) = parse(&read(manifest));
    let mut out = head;
    for mut s in statements {
        let exists = |t: &String| functions.iter().any(|f| f.name == *t && f.cites.contains(&s.id));
        let mut tests: BTreeSet<String> = s.tests.iter().filter(|t| exists(t)).cloned().collect();
        let citing = functions.iter().filter(|f| f.is_conformance && f.cites.contains(&s.id));
        tests.extend(citing.map(|f| f.name.clone()));
        s.status = match (tests.is_empty(), s.status.as_str(), s.about.as_str()) {
            (false, _, _) => "tested".into(),
            (true, "tested" | "client only", "client") => "client only".into(),
            (true, "tested", _) => "untested".into(),
            (true, _, _) => s.status,
        };
        out += &format!("[[statement]]\nid = {:?}\nabout = {:?}\n", s.id, s.about);
        out += &format!("what = {:?}\nstatus = {:?}\n", s.what, s.status);
        if s.status != "tested" && !s.reason.is_empty() {
            out += &format!("reason = {:?}\n", s.reason);
        }
        match tests.len() {
            0 => out += "tests = []\n\n",
            _ => {
                let lines: Vec<String> = tests.iter().map(|t| format!("    {t:?},\n")).collect();
                out += &format!("tests = [\n{}]\n\n", lines.concat());
            }
        }
    }
    fs::write(root().join(manifest), out.trim_end().to_owned() + "\n").unwrap();
}

/// The comment on top, and the statements. Reads the little of TOML that the manifests use.
fn parse(text: &str) -> (String, Vec<Statement>) {
    let (mut head, mut statements) = (String::new(), Vec::<Statement>::new());
    for line in text.lines() {
        if line == "[[statement]]" {
            statements.push(Statement::default());
            continue;
        }
        let Some(current) = statements.last_mut() else {
            head += line;
            head.push('\n');
            continue;
        };
        match line.split_once(" = ") {
            Some(("id", v)) => current.id = unquote(v),
            Some(("about", v)) => current.about = unquote(v),
            Some(("what", v)) => current.what = unquote(v),
            Some(("status", v)) => current.status = unquote(v),
            Some(("reason", v)) => current.reason = unquote(v),
            Some(("tests", "[" | "[]")) => {}
            None if line.starts_with("    \"") => {
                current.tests.push(unquote(line.trim().trim_end_matches(',')));
            }
            None if line.is_empty() || line == "]" => {}
            _ => panic!("not understood: {line}"),
        }
    }
    (head, statements)
}

fn unquote(value: &str) -> String {
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).expect("a string").to_owned()
}

/// Functions of all sources with the statements that the comment above them cites.
fn functions() -> Vec<Function> {
    let mut functions = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let place = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let listed = text.split_once("tests![").and_then(|(_, rest)| rest.split_once("];"));
        let listed: BTreeSet<&str> =
            listed.map(|(list, _)| list.split(',').map(str::trim).collect()).unwrap_or_default();
        let in_suite = place.starts_with("broker-server/tests/conformance/");
        let mut cites = BTreeSet::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with("//") {
                cites.extend(citations(line));
            } else if let Some(name) = function_name(line) {
                functions.push(Function {
                    name: format!("{place}::{name}"),
                    cites: std::mem::take(&mut cites),
                    is_conformance: in_suite && listed.contains(name),
                });
            } else if !line.starts_with("#[") {
                cites.clear();
            }
        }
    }
    functions
}

fn function_name(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_item =
        before.split_whitespace().all(|w| w.starts_with("pub") || w == "async" || w == "const");
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (is_item && end > 0).then(|| &rest[..end])
}

/// Statement ids in brackets; others than digits, dots and a dash make it something else.
fn citations(line: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in line.match_indices("[MQTT") {
        let Some((inner, _)) = line[at + 1..].split_once(']') else { continue };
        let Some((_, number)) = inner.split_once('-') else { continue };
        let prefix_ok = inner.starts_with("MQTT-") || inner.starts_with("MQTT311-");
        if prefix_ok && number.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-') {
            found.insert(inner.to_owned());
        }
    }
    found
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.starts_with('.') || name == "target" || name == "node_modules" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(manifest: &str) -> String {
    fs::read_to_string(root().join(manifest)).unwrap_or_else(|e| panic!("reading {manifest}: {e}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
