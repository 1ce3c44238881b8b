//! `rules functions`: what statements can call, read from the documentation that the table of functions makes.

use anyhow::Result;
use serde_json::{Value, json};

use super::super::context::Context;
use crate::api::ApiError;
use crate::printer::{Column, Listing, left};
use crate::row::Row;

/// Made of the one table, and held against it by a test; the engine itself would be half of this program.
const DOCUMENTATION: &str = include_str!("../../../../docs/rule-functions.md");

const COLUMNS: &[Column] = &[
    left("FUNCTION", |row| row.text("signature")),
    left("GROUP", |row| row.text("group")),
    left("DOES", |row| row.text("help")),
];

/// One function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Function<'a> {
    group: &'a str,
    /// `concat(a, b)`, in several forms with a comma between them.
    signature: String,
    help: &'a str,
    /// `call → result`.
    examples: Vec<&'a str>,
}

/// Lists all, those of a group, or shows one.
pub(super) fn run(context: &mut Context, name: Option<&str>) -> Result<()> {
    let all = parse(DOCUMENTATION);
    let wanted = find(&all, name);
    match (&wanted[..], name) {
        ([], Some(name)) => {
            let what =
                format!("no function or group '{name}'; 'broker-cli rules functions' lists them");
            Err(ApiError::NotFound(what).into())
        }
        ([function], Some(_)) => function.show(context),
        (functions, _) => list(context, functions),
    }
}

/// The function of that name, or those of the groups whose title begins so: `hash` is both. All without a word.
fn find<'a, 'b>(all: &'a [Function<'b>], word: Option<&str>) -> Vec<&'a Function<'b>> {
    let Some(word) = word else { return all.iter().collect() };
    if let Some(function) = all.iter().find(|it| it.name().eq_ignore_ascii_case(word)) {
        return vec![function];
    }
    let begins =
        |group: &str| group.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    all.iter().filter(|it| begins(it.group)).collect()
}

fn list(context: &mut Context, functions: &[&Function<'_>]) -> Result<()> {
    let rows: Vec<Value> = functions.iter().map(|it| it.to_json()).collect();
    if context.printer.is_json() {
        return context.printer.value(&Value::from(rows));
    }
    let rows: Vec<Row> = rows.iter().filter_map(Row::of).collect();
    let emqx = |row: &Row| row.raw("signature");
    let listing = Listing { columns: COLUMNS, what: "functions", emqx: &emqx };
    context.printer.rows(None, &rows, &listing)
}

impl Function<'_> {
    fn name(&self) -> &str {
        self.signature.split('(').next().unwrap_or_default()
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name(),
            "group": self.group,
            "signature": self.signature,
            "help": self.help,
            "examples": self.examples,
        })
    }

    fn show(&self, context: &mut Context) -> Result<()> {
        if context.printer.is_json() {
            return context.printer.value(&self.to_json());
        }
        let mut pairs = vec![
            ("function", self.signature.clone()),
            ("group", self.group.to_owned()),
            ("does", self.help.to_owned()),
        ];
        pairs.extend(self.examples.iter().map(|example| ("example", (*example).to_owned())));
        let lines = || pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        context.printer.pairs(None, &pairs, lines)
    }
}

/// Takes the documentation apart: groups are headings of the second level, functions of the third.
fn parse(text: &str) -> Vec<Function<'_>> {
    let mut functions: Vec<Function<'_>> = Vec::new();
    let mut group = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            group = title;
        } else if let Some(signature) = line.strip_prefix("### ") {
            let signature = signature.replace('`', "");
            functions.push(Function { group, signature, ..Function::default() });
        } else if let Some(function) = functions.last_mut() {
            match line.strip_prefix("    ") {
                Some(example) => function.examples.push(example),
                None if function.help.is_empty() => function.help = line,
                None => {}
            }
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_taken_apart_whole() {
        let all = parse(DOCUMENTATION);
        let headings = DOCUMENTATION.lines().filter(|line| line.starts_with("### ")).count();
        assert!(all.len() == headings && headings > 120, "{headings}");
        for function in &all {
            let name = function.name();
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{function:?}");
            assert!(function.help.ends_with('.') && !function.group.is_empty(), "{function:?}");
            assert!(function.examples.iter().all(|it| it.contains(" → ")), "{function:?}");
            assert!(!function.examples.is_empty(), "{function:?}");
        }
    }

    #[test]
    fn a_word_is_a_name_or_how_a_group_begins() {
        let all = parse(DOCUMENTATION);
        let called = |word| find(&all, Some(word)).into_iter().map(Function::name).collect();
        let found: Vec<&str> = called("SUBSTR");
        assert_eq!(found, ["substr"]);
        let found: Vec<&str> = called("hash");
        assert_eq!(found, ["hash"]);
        let found: Vec<&str> = called("strings");
        assert!(found.contains(&"substr") && !found.contains(&"abs"), "{found:?}");
        let found: Vec<&str> = called("regular");
        assert!(found.contains(&"regex_match"), "{found:?}");
        let found: Vec<&str> = called("nonsense");
        assert!(found.is_empty(), "{found:?}");
    }
}
