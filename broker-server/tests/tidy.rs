//! House rules that no compiler checks: what a crate may use, how files begin, what they are called.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

/// Who may depend on whom. A crate that is not here is a decision to be made, and written down here.
const ARROWS: &[(&str, &[&str])] = &[
    ("broker-codec", &[]),
    ("broker-core", &["broker-codec"]),
    ("broker-net", &["broker-codec", "broker-core"]),
    ("broker-store", &["broker-core"]),
    ("broker-mgmt", &["broker-core", "broker-rules"]),
    ("broker-plugins", &["broker-core", "broker-rules"]),
    ("broker-rules", &["broker-codec", "broker-core"]),
    (
        "broker-server",
        &[
            "broker-codec",
            "broker-core",
            "broker-mgmt",
            "broker-net",
            "broker-plugins",
            "broker-rules",
            "broker-store",
        ],
    ),
    ("broker-cli", &["broker-codec", "broker-store"]),
    ("broker-benches", &["broker-codec", "broker-core", "broker-net", "broker-store"]),
    (
        "broker-examples",
        &["broker-codec", "broker-core", "broker-net", "broker-rules", "broker-store"],
    ),
    (
        "broker-fuzz",
        &[
            "broker-codec",
            "broker-core",
            "broker-net",
            "broker-plugins",
            "broker-rules",
            "broker-store",
        ],
    ),
];

/// No socket, no file, no thread, no clock, no runtime: these crates are values and functions.
const PURE: &[&str] = &["broker-codec", "broker-core"];
const IMPURE: &[&str] = &[
    "actix",
    "actix_web",
    "mio",
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
];
/// Values, not sockets.
const PURE_PARTS: &[&str] = &[
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::net::SocketAddrV4",
    "std::net::SocketAddrV6",
    // Whether a test fails already, not what it does.
    "std::thread::panicking",
];

/// parking_lot's are smaller, faster and cannot be poisoned.
const LOCKS: &[&str] = &["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar"];
const WITHOUT_STD_LOCKS: &[&str] = &[
    "broker-core",
    "broker-mgmt",
    "broker-net",
    "broker-plugins",
    "broker-rules",
    "broker-server",
    "broker-store",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "types", "misc"];

#[test]
fn the_core_has_no_socket_file_thread_or_clock() {
    let is_banned = |path: &str| {
        starts_with_any(path, IMPURE) && !starts_with_any(path, PURE_PARTS)
            // `use std::net;` hides what is used of it.
            || path == "std::*"
    };
    check_paths(PURE, is_banned, "has no place in a crate without IO");
}

#[test]
fn locks_are_parking_lots() {
    let is_banned = |path: &str| starts_with_any(path, LOCKS);
    check_paths(WITHOUT_STD_LOCKS, is_banned, "is parking_lot's here");
}

#[test]
fn crates_depend_on_the_ones_below_only() {
    let mut faults = Vec::new();
    for Manifest { folder, name, dependencies, dev_dependencies } in manifests() {
        let Some((_, allowed)) = ARROWS.iter().find(|(krate, _)| *krate == name) else {
            faults.push(format!("{folder}: {name} is not in ARROWS"));
            continue;
        };
        // A test may use what is above it: a simulation has the crates it simulates.
        for ours in dependencies.iter().filter(|name| name.starts_with("broker-")) {
            if !allowed.contains(&ours.as_str()) {
                faults.push(format!("{folder}: {name} -> {ours}"));
            }
        }
        for outside in dependencies.iter().chain(&dev_dependencies) {
            let has_io = ["actix-web", "mio", "rustls", "tokio"].contains(&outside.as_str());
            if has_io && PURE.contains(&name.as_str()) {
                faults.push(format!("{folder}: {name} -> {outside}"));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let mut faults = Vec::new();
    for Manifest { folder, .. } in manifests() {
        for root in ["src/lib.rs", "src/main.rs"] {
            let path = Path::new(&folder).join(root);
            let Ok(text) = fs::read_to_string(workspace().join(&path)) else { continue };
            if !text.contains("#![forbid(unsafe_code)]") {
                faults.push(format!("{}: no #![forbid(unsafe_code)]", path.display()));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        let is_said = first.strip_prefix("//! ").is_some_and(|said| said.len() > 10);
        if !is_said && first != "#![no_main]" {
            faults.push(format!("{path}:1: no //! line that says what the file is for"));
        }
    }
    report(&faults);
}

#[test]
fn nothing_is_left_to_do_in_comments() {
    // Put together here, so that this file does not find itself.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let debug = ["db", "g!("].concat();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            if line.contains(&debug) || marks.iter().any(|mark| line.contains(mark.as_str())) {
                faults.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    report(&faults);
}

#[test]
fn files_are_named_after_what_they_hold() {
    let mut faults = Vec::new();
    for (path, _) in sources() {
        for part in Path::new(&path).components() {
            let part = Path::new(part.as_os_str()).file_stem().unwrap().to_string_lossy();
            if EMPTY_NAMES.contains(&&*part) {
                faults.push(format!("{path}: {part} says nothing"));
            }
        }
        if path.ends_with("/mod.rs") && !path.contains("/tests/") {
            faults.push(format!("{path}: x.rs and x/, not x/mod.rs"));
        }
    }
    report(&faults);
}

#[test]
fn the_readme_shows_the_example_that_is_tested() {
    let core = fs::read_to_string(workspace().join("broker-core/src/lib.rs")).unwrap();
    let example = core.lines().skip_while(|line| *line != "//! ```").skip(1);
    let example: Vec<_> = example
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!").trim_start_matches(' '))
        .filter(|line| !line.starts_with('#'))
        .collect();
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    assert!(readme.contains(&example.join("\n")), "README.md lacks the example of broker-core");
}

#[test]
fn the_readme_shows_examples_as_they_are() {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let mut faults = Vec::new();
    for name in ["embedded", "custom_authenticator", "in_process_client", "interceptor"] {
        let file = format!("examples/{name}.rs");
        let code = trimmed(&fs::read_to_string(workspace().join(&file)).unwrap());
        let shown = readme.split_once(&format!("`{file}`")).and_then(|(_, rest)| {
            let (_, rest) = rest.split_once("```rust\n")?;
            Some(rest.split_once("```")?.0.trim_end())
        });
        match shown {
            Some(shown) if code.contains(&trimmed(shown)) => {}
            Some(shown) => faults.push(format!("README.md: this is not in {file}:\n{shown}")),
            None => faults.push(format!("README.md does not show {file}")),
        }
    }
    report(&faults);
}

/// `cargo add` finds what has been published, and that needs versions all the way down.
#[test]
fn crates_to_be_embedded_can_be_published() {
    let root = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let mut faults = Vec::new();
    for name in ["broker-codec", "broker-core", "broker-net", "broker-rules", "broker-store"] {
        let manifest = fs::read_to_string(workspace().join(name).join("Cargo.toml")).unwrap();
        if manifest.contains("publish") {
            faults.push(format!("{name}: it is kept from being published"));
        }
        for key in ["description = ", "version.workspace", "license.workspace", "readme.workspace"]
        {
            if !manifest.contains(key) {
                faults.push(format!("{name}: it lacks {key}"));
            }
        }
        let version = env!("CARGO_PKG_VERSION");
        if !root.contains(&format!("{name} = {{ path = \"{name}\", version = \"{version}\" }}")) {
            faults.push(format!("Cargo.toml: {name} has no version, or another than {version}"));
        }
    }
    report(&faults);
}

/// Reports every path of `crates`' own sources that `is_banned`.
fn check_paths(crates: &[&str], is_banned: impl Fn(&str) -> bool, why: &str) {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        if !crates.iter().any(|krate| file.starts_with(&format!("{krate}/src/"))) {
            continue;
        }
        for path in paths(&text).into_iter().filter(|path| is_banned(path)) {
            faults.push(format!("{file}: {path} {why}"));
        }
    }
    report(&faults);
}

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

/// All paths in the code, `use std::{a, b::{c, d}}` taken apart into `std::a`, `std::b::c`, `std::b::d`.
fn paths(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut rest = code.as_str();
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let path = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        rest = &rest[path.len()..];
        if path.ends_with("::") && rest.starts_with('{') {
            rest = expand(path, &rest[1..], &mut found);
        } else if path.ends_with("::") && rest.starts_with('*') {
            found.insert(format!("{path}*"));
        } else if path.contains("::") {
            found.insert(path.to_owned());
        }
    }
    found
}

/// Takes one brace of a `use` apart; returns what is behind it.
fn expand<'a>(prefix: &str, mut rest: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if rest.is_empty() {
            return rest;
        }
        if let Some(behind) = rest.strip_prefix('}') {
            return behind;
        }
        let end = rest.find([',', '{', '}']).unwrap_or(rest.len());
        let item = rest[..end].trim();
        if rest[end..].starts_with('{') {
            rest = expand(&format!("{prefix}{item}"), &rest[end + 1..], found);
        } else {
            let name = item.split_whitespace().next().unwrap_or_default();
            found.insert(format!("{prefix}{name}").trim_end_matches("::self").to_owned());
            rest = &rest[end..];
        }
    }
}

#[test]
fn paths_are_taken_apart() {
    let text =
        "use std::{fmt, net::{self, IpAddr}, sync::Arc as A}; // std::fs\nstd::thread::spawn(x)";
    let found: Vec<_> = paths(text).into_iter().collect();
    let expected = ["std::fmt", "std::net", "std::net::IpAddr", "std::sync::Arc"];
    assert_eq!(found, [&expected[..], &["std::thread::spawn"]].concat());
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "house rules are broken:\n{}", faults.join("\n"));
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What a Cargo.toml says.
struct Manifest {
    /// Of the crate, relative to the workspace.
    folder: String,
    name: String,
    dependencies: Vec<String>,
    dev_dependencies: Vec<String>,
}

fn manifests() -> Vec<Manifest> {
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(path.join("Cargo.toml")) else { continue };
        let parsed = DeTable::parse(&text).unwrap();
        let table =
            |key: &str| parsed.get_ref().get(key).and_then(|value| value.get_ref().as_table());
        let keys = |key: &str| {
            let keys = table(key).into_iter().flat_map(|table| table.keys());
            keys.map(|key| key.get_ref().to_string()).collect()
        };
        let name = table("package").and_then(|package| package.get("name")?.get_ref().as_str());
        found.push(Manifest {
            folder: path.file_name().unwrap().to_string_lossy().into_owned(),
            name: name.unwrap().to_owned(),
            dependencies: keys("dependencies"),
            dev_dependencies: keys("dev-dependencies"),
        });
    }
    assert!(found.len() >= 5, "the crates are found");
    found
}

/// Every Rust file of the workspace by its path from the root, with its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        manifests().iter().map(|manifest| workspace().join(&manifest.folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(workspace()).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 50, "the sources are found");
    found
}
