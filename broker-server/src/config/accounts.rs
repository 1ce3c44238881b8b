//! Accounts of the configuration: `auth.client.<n>` and `auth.user.<n>`.

use std::fmt;

use broker_plugins::{AccountHash, ConfiguredAccount, Subject};

use super::field::{Field, Refusal, refuse};
use super::value::Value;

/// One account; its texts are empty as long as not all is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: AccountText,
    pub(crate) password: AccountText,
}

/// A name or password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct AccountText(pub(crate) String);

/// The table of an account without its number: `auth.client`.
pub(crate) const fn table(subject: Subject) -> &'static str {
    match subject {
        Subject::ClientId => "auth.client",
        Subject::Username => "auth.user",
    }
}

/// The one whose table has this name behind `auth`.
pub(crate) fn subject(word: &str) -> Option<Subject> {
    match word {
        "client" => Some(Subject::ClientId),
        "user" => Some(Subject::Username),
        _ => None,
    }
}

impl Account {
    pub(crate) fn configured(self, subject: Subject, item: &str) -> ConfiguredAccount {
        let key = format!("{}.{item}", table(subject));
        ConfiguredAccount { key, name: self.name.0, password: self.password.0 }
    }
}

impl fmt::Debug for AccountText {
    /// Not told: it may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Field for AccountText {
    fn show(&self) -> Value {
        Value::Text(self.0.clone())
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        match value {
            Value::Text(text) if (1..=65_535).contains(&text.len()) => Ok(Self(text)),
            _ => refuse("is empty or too long"),
        }
    }
}

impl Field for AccountHash {
    fn show(&self) -> Value {
        Value::Text(self.word().to_owned())
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        match value {
            Value::Text(word) => Self::from_word(&word).map_or_else(|| refuse("is unknown"), Ok),
            _ => refuse("is no word"),
        }
    }
}
