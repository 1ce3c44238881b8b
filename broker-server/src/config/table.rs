//! The table of keys: name, kind with bounds, help, and the field each one fills.
//!
//! Reading, `--print-config` and `docs/configuration.md` all come from here. A default is not written down a
//! second time: it is what the field holds in a default configuration.

mod auth;
mod auth_http;
mod dashboard;
mod ignored;
mod limits;
mod listener;
mod live;
mod management;
mod monitors;
mod plugins;
mod psk_file;
mod recon;
mod root;
mod rules;
mod statsd;
mod store;
mod web_hook;
mod zone;

use std::sync::LazyLock;

use broker_core::config::AutoSubscription;
use broker_net::config::Protocol;
use broker_plugins::Subject;

use super::accounts::{self, Account};
use super::field::Refusal;
use super::settings::{Listener, Settings, Zone};
use super::value::{Kind, Value};

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// The dotted key; without `zone.<zone>.` and the like, which `goes` implies.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The word for "not set", if that is a choice.
    pub(crate) unset: Option<&'static str>,
    pub(crate) goes: Goes,
    pub(crate) help: &'static str,
}

/// Where a key's value goes.
#[derive(Debug)]
pub(crate) enum Goes {
    Root(Access<Settings>),
    Zone {
        access: Access<Zone>,
        /// Whether the key for all zones is in `[mqtt]`, or at the top level as the original has it.
        in_mqtt: bool,
    },
    Listener {
        access: Access<Listener>,
        protocols: &'static [Protocol],
    },
    Subscription(Access<AutoSubscription>),
    Account {
        subject: Subject,
        access: Access<Account>,
    },
    Ignored(Why),
}

/// Reads and writes a field.
#[derive(Debug)]
pub(crate) struct Access<T> {
    pub(crate) read: fn(&T) -> Value,
    pub(crate) write: fn(&mut T, Value) -> Result<(), Vec<Refusal>>,
}

/// Why a key of the original does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It tunes what this broker does not have.
    Meaningless,
    /// What it configures is not there yet.
    Later,
}

/// One way to write a key, as the parts of the path; those in angle brackets are names.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) parts: Vec<String>,
    pub(crate) key: &'static Key,
    pub(crate) role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The key itself.
    Full,
    /// For all zones, in `[mqtt]` or at the top level.
    Base,
    /// A value where the original has one and TOML has a table: `listener.tcp.external = 1883`.
    Head,
    /// One item of a list or map.
    Item,
}

impl Key {
    /// The dotted key with its names in angle brackets.
    pub(crate) fn pattern(&self) -> String {
        match self.goes {
            Goes::Root(_) | Goes::Ignored(_) => self.name.to_owned(),
            Goes::Zone { .. } => format!("zone.<zone>.{}", self.name),
            Goes::Listener { .. } => format!("listener.<protocol>.<name>.{}", self.name),
            Goes::Subscription(_) => format!("module.subscription.<n>.{}", self.name),
            Goes::Account { subject, .. } => {
                format!("{}.<n>.{}", accounts::table(subject), self.name)
            }
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_) | Kind::Map(_))
    }

    /// True if what was written there must not be repeated, in an error or elsewhere. By its name, so that
    /// nobody who adds a key has to remember it.
    pub(crate) fn is_secret(&self) -> bool {
        let hidden = [
            "_req.url",
            "hook.api.url",
            "cookie",
            "headers",
            "password",
            "secret",
            "token",
            "users",
        ];
        // How passwords are hashed is no secret.
        let name = self.name.strip_suffix("password_hash").unwrap_or(self.name);
        hidden.iter().any(|it| name.contains(it))
    }

    /// What the value must be, to follow "must be".
    pub(crate) fn expected(&self) -> String {
        let expected = self.kind.expected();
        match self.unset {
            Some(word) => format!("{expected}, or \"{word}\""),
            None => expected,
        }
    }

    /// As TOML.
    pub(crate) fn show(&self, value: &Value) -> String {
        match (value, self.unset) {
            (Value::Unset, Some(word)) => format!("\"{word}\""),
            _ => self.kind.show(value),
        }
    }
}

/// All keys, in the order in which they are printed.
pub(crate) fn keys() -> impl Iterator<Item = &'static Key> {
    root::KEYS
        .iter()
        .chain(auth::KEYS)
        .chain(auth_http::KEYS)
        .chain(psk_file::KEYS)
        .chain(web_hook::KEYS)
        .chain(statsd::KEYS)
        .chain(recon::KEYS)
        .chain(store::KEYS)
        .chain(management::KEYS)
        .chain(management::HTTP_KEYS)
        .chain(management::HTTPS_KEYS)
        .chain(management::TLS_KEYS)
        .chain(dashboard::KEYS)
        .chain(plugins::KEYS)
        .chain(rules::KEYS)
        .chain(monitors::KEYS)
        .chain(limits::KEYS)
        .chain(zone::KEYS)
        .chain(listener::KEYS)
        .chain(ignored::KEYS)
}

/// All ways to write them.
pub(crate) fn forms() -> &'static [Form] {
    static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| keys().flat_map(forms_of).collect());
    &FORMS
}

fn forms_of(key: &'static Key) -> Vec<Form> {
    let form = |pattern: &str, role| Form {
        parts: pattern.split('.').map(str::to_owned).collect(),
        key,
        role,
    };
    let pattern = key.pattern();
    let mut forms = vec![form(&pattern, Role::Full)];
    if let Goes::Zone { in_mqtt, .. } = key.goes {
        forms.push(form(&base_pattern(key.name, in_mqtt), Role::Base));
    }
    if let Some((head, "bind" | "enabled")) = pattern.rsplit_once('.')
        // Of a listener it is the address that goes without a name.
        && !(pattern.contains("listener.") && pattern.ends_with(".enabled"))
    {
        forms.push(form(head, Role::Head));
    }
    if key.is_list() {
        forms.push(form(&format!("{pattern}.<n>"), Role::Item));
    }
    forms
}

/// The key that stands for all zones.
pub(crate) fn base_pattern(name: &str, in_mqtt: bool) -> String {
    if in_mqtt { format!("mqtt.{name}") } else { name.to_owned() }
}

/// Whether a part of a path fits a part of a form.
pub(crate) fn fits(form: &str, part: &str) -> bool {
    match form {
        "<protocol>" => protocol(part).is_some(),
        form if is_name(form) => true,
        form => form == part,
    }
}

pub(crate) fn is_name(form: &str) -> bool {
    form.starts_with('<')
}

pub(crate) fn protocol(word: &str) -> Option<Protocol> {
    PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, protocol)| *protocol)
}

pub(crate) fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Ssl => "ssl",
        Protocol::Ws => "ws",
        Protocol::Wss => "wss",
        Protocol::Unix => "unix",
    }
}

pub(crate) const PROTOCOLS: [(&str, Protocol); 5] = [
    ("tcp", Protocol::Tcp),
    ("ssl", Protocol::Ssl),
    ("ws", Protocol::Ws),
    ("wss", Protocol::Wss),
    ("unix", Protocol::Unix),
];

/// Access to a field by its path.
macro_rules! field {
    ($($path:ident).+) => {
        Access {
            read: |target| Field::show(&target.$($path).+),
            write: |target, value| {
                target.$($path).+ = Field::parse(value)?;
                Ok(())
            },
        }
    };
}

/// Access to a `String` or `Option<String>` whose text `$check` refuses or lets pass.
macro_rules! checked {
    ($check:expr, $($path:ident).+) => {
        Access {
            read: |target| Field::show(&target.$($path).+),
            write: |target, value| {
                if let Value::Text(text) = &value {
                    $check(text).or_else(refuse)?;
                }
                target.$($path).+ = Field::parse(value)?;
                Ok(())
            },
        }
    };
}

/// Access to a field of two values, each with its word.
macro_rules! either {
    (
        $($path:ident).+,
        $word:literal = $value:literal,
        $other_word:literal = $other:literal
    ) => {
        Access {
            read: |target| {
                let first = target.$($path).+ == $value;
                Value::Text(if first { $word } else { $other_word }.into())
            },
            write: |target, value| {
                // The key's kind let only these two words pass.
                let first = value == Value::Text($word.into());
                target.$($path).+ = if first { $value } else { $other };
                Ok(())
            },
        }
    };
}

use {checked, either, field};

pub(crate) use listener::{check_url, parts as listener_parts};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_key_is_there_twice() {
        let mut seen = BTreeSet::new();
        for form in forms().iter().filter(|form| form.role != Role::Head) {
            assert!(seen.insert(form.parts.join(".")), "{:?}", form.parts);
        }
    }

    #[test]
    fn every_key_has_help() {
        for key in keys().filter(|key| !matches!(key.goes, Goes::Ignored(_))) {
            assert!(key.help.ends_with('.'), "{}", key.name);
            assert!(key.help.len() > 10, "{}", key.name);
        }
    }

    #[test]
    fn every_field_takes_back_what_it_shows() {
        fn check<T>(key: &Key, access: &Access<T>, target: &mut T) {
            let value = (access.read)(target);
            assert!(value != Value::Unset || key.unset.is_some(), "{}", key.name);
            assert_eq!((access.write)(target, value.clone()), Ok(()), "{}", key.name);
            assert_eq!((access.read)(target), value, "{}", key.name);
        }
        for key in keys() {
            match &key.goes {
                Goes::Root(access) => check(key, access, &mut Settings::default()),
                Goes::Zone { access, .. } => check(key, access, &mut Zone::default()),
                Goes::Listener { access, protocols } => {
                    for protocol in *protocols {
                        let mut listener = Listener::new(*protocol, "external");
                        if key.name != "bind" || *protocol != Protocol::Unix {
                            check(key, access, &mut listener);
                        }
                    }
                }
                Goes::Subscription(_) | Goes::Account { .. } | Goes::Ignored(_) => {}
            }
        }
    }
}
