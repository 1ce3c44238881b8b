//! What a file and the environment say, before any key is known: a tree of values that know their place.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::value::quote;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    Flag(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
    /// From the environment, where all is text: read as whatever the key wants.
    Bare(String),
    List(Vec<Item>),
    /// What no key takes (a date, an inline table in a list), as text for the error.
    Other(String),
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// A TOML document.
#[derive(Debug)]
pub(crate) enum Tree {
    /// Key, place of the key, what it holds.
    Table(Vec<(String, Origin, Self)>),
    Leaf(Item),
}

/// An environment variable that is meant for us.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Parts of the key in lower case.
    pub(crate) path: Vec<String>,
    pub(crate) item: Item,
}

impl Raw {
    /// As TOML, cut off where it would fill the screen.
    pub(crate) fn shown(&self) -> String {
        let text = match self {
            Self::Flag(flag) => flag.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Decimal(number) => format!("{number:?}"),
            Self::Text(text) | Self::Bare(text) => quote(text),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| item.raw.shown()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Other(text) => text.clone(),
        };
        if text.chars().count() <= SHOWN_MAX {
            return text;
        }
        text.chars().take(SHOWN_MAX).chain("...".chars()).collect()
    }
}

/// Reads a TOML document; what is malformed goes to `errors`, the rest is kept so that its errors show too.
pub(crate) fn read_toml(file: &str, text: &str, errors: &mut Vec<ConfigError>) -> Tree {
    let place = Places { file: file.into(), text };
    let (document, malformed) = DeTable::parse_recoverable(text);
    errors.extend(malformed.iter().map(|error| ConfigError {
        origin: place.of(error.span().map_or(0, |span| span.start)),
        key: String::new(),
        value: None,
        problem: error.message().to_owned(),
    }));
    place.table(document.get_ref())
}

/// The variables of the environment that override keys: `BROKER__NODE__NAME` is `node.name`.
pub(crate) fn read_env(env: impl Iterator<Item = (String, String)>) -> Vec<Variable> {
    let mut variables: Vec<_> = env
        .filter_map(|(name, value)| {
            let lower = name.to_lowercase();
            let path = lower.strip_prefix(PREFIX)?.split("__").map(str::to_owned).collect();
            let item = Item { raw: Raw::Bare(value), origin: Origin::Env(name) };
            Some(Variable { path, item })
        })
        .collect();
    variables.sort_by(|a, b| a.item.origin.cmp(&b.item.origin));
    variables
}

/// Turns offsets into lines and columns.
struct Places<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Places<'_> {
    fn of(&self, offset: usize) -> Origin {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::Place {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Tree {
        let entries = table.iter().map(|(key, value)| {
            let tree = match value.get_ref() {
                DeValue::Table(inner) => self.table(inner),
                _ => Tree::Leaf(self.item(value)),
            };
            (key.get_ref().to_string(), self.of(key.span().start), tree)
        });
        Tree::Table(entries.collect())
    }

    fn item(&self, value: &Spanned<DeValue<'_>>) -> Item {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Boolean(flag) => Raw::Flag(*flag),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Raw::Other(number.to_string()), Raw::Integer),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or_else(|_| Raw::Other(number.to_string()), Raw::Decimal),
            DeValue::Array(items) => Raw::List(items.iter().map(|item| self.item(item)).collect()),
            DeValue::Datetime(date) => Raw::Other(date.to_string()),
            DeValue::Table(_) => Raw::Other("{ ... }".into()),
        };
        Item { raw, origin: self.of(value.span().start) }
    }
}

const PREFIX: &str = "broker__";
const SHOWN_MAX: usize = 120;
