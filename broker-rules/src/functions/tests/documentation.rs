//! docs/rule-functions.md is made of the table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;

#[test]
fn the_committed_list_of_functions_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rule-functions.md");
    if std::env::var_os("UPDATE_RULE_FUNCTIONS").is_some() {
        fs::write(&path, text()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text(),
        "docs/rule-functions.md is another: write it anew with UPDATE_RULE_FUNCTIONS=1"
    );
}

#[test]
fn signatures_name_their_function_and_help_is_a_sentence() {
    for function in all() {
        for form in function.signature.split(" | ") {
            assert!(form.starts_with(&format!("{}(", function.name)), "{form}");
        }
        assert!(function.help.ends_with('.'), "{}", function.name);
        assert!(!function.group.is_empty(), "{}", function.name);
    }
}

fn text() -> String {
    let mut groups: Vec<&str> = Vec::new();
    for name in ORDER {
        assert!(all().iter().any(|function| function.group == *name), "{name}");
        groups.push(name);
    }
    for function in all() {
        assert!(groups.contains(&function.group), "{} is in no group here", function.name);
    }
    let mut text = HEAD.replace("COLUMNS", calls::COLUMNS);
    for group in groups {
        let _ = write!(text, "\n## {group}\n");
        for function in all().iter().filter(|function| function.group == group) {
            let signature = function.signature.replace(" | ", "`, `");
            let _ = write!(text, "\n### `{signature}`\n\n{}\n\n", function.help);
            for (call, result) in function.examples {
                let _ = writeln!(text, "    {call} → {result}");
            }
        }
    }
    text
}

const ORDER: &[&str] = &[
    "Message and client",
    "Math",
    "Bits",
    "Strings",
    "Regular expressions",
    "Types",
    "Maps",
    "Arrays",
    "Hashes",
    "Encodings",
    "Time",
    "Key-value store",
    "Other",
];

const HEAD: &str = "\
# Functions of rules

Generated from `broker-rules/src/functions`; `UPDATE_RULE_FUNCTIONS=1 cargo test -p broker-rules documentation` writes \
it anew.

A name may be written in any case. A wrong number of arguments, or a name that there is not, is refused when the rule \
is made; an argument of a wrong type is an error of the row: no action runs and the rule counts a failure. Undefined \
is of a wrong type unless said. Positions and lengths of strings count characters as users see them. A string that is \
made has at most `max_value_bytes` bytes, an array at most `max_array_items` items.

Results are shown as JSON. The event of the examples is from 2023-11-14T22:13:20.123456789Z and has these columns:

    COLUMNS
";
