//! Finds the key of the table that each value of the file and the environment is for.

use std::collections::{BTreeMap, BTreeSet};

use broker_net::config::Protocol;
use broker_plugins::Subject;

use super::accounts;
use super::error::{ConfigError, Origin};
use super::raw::{Item, Raw, Tree, Variable};
use super::suggest;
use super::table::{self, Form, Goes, Key, Role};
use super::value::bare_or_quoted;

/// What was given, by dotted key; the environment has replaced what the file says.
#[derive(Debug, Default, Clone)]
pub(crate) struct Given {
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Zones, listeners and automatic subscriptions that are named, with the place of the first mention.
    pub(crate) zones: BTreeMap<String, Origin>,
    pub(crate) listeners: BTreeMap<(&'static str, String), (Protocol, Origin)>,
    pub(crate) subscriptions: BTreeMap<ItemName, Origin>,
    pub(crate) accounts: BTreeMap<(Subject, ItemName), Origin>,
    /// Variable by the key and item it set.
    variables: BTreeMap<(String, Option<ItemName>), Origin>,
    /// Names that were refused, to say so once.
    refused: BTreeSet<String>,
}

/// A key's value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) owner: Owner,
    /// Place of the key, or of the variable.
    pub(crate) origin: Origin,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    One(Item),
    /// Of a list or map.
    Many(BTreeMap<ItemName, Item>),
}

/// Which of the things that have such a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    Root,
    /// All zones.
    Base,
    Zone(String),
    Listener(Protocol, String),
    Subscription(ItemName),
    Account(Subject, ItemName),
    /// Of a key that does nothing: its dotted path.
    Nobody(String),
}

/// Number or name of an item; numbers sort as numbers, before names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ItemName(u64, String);

impl ItemName {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.parse().unwrap_or(u64::MAX), name.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.1
    }
}

impl Content {
    /// As TOML.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::One(item) => item.raw.shown(),
            Self::Many(items) => Raw::List(items.values().cloned().collect()).shown(),
        }
    }
}

/// What a path stands for.
pub(crate) enum Found {
    Key { key: &'static Key, owner: Owner, item: Option<ItemName> },
    WrongProtocol(&'static [Protocol]),
    Nothing,
}

impl Given {
    pub(crate) fn collect(
        tree: Tree,
        variables: Vec<Variable>,
        errors: &mut Vec<ConfigError>,
    ) -> Self {
        let mut given = Self::default();
        given.zones.extend(["external", "internal"].map(|zone| (zone.into(), Origin::Default)));
        for (protocol, name) in DEFAULT_LISTENERS {
            let word = table::protocol_word(protocol);
            given.listeners.insert((word, name.into()), (protocol, Origin::Default));
        }
        if let Tree::Table(entries) = tree {
            given.add_table(&mut Vec::new(), entries, errors);
        }
        for variable in variables {
            given.add_variable(variable, errors);
        }
        given
    }

    fn add_table(
        &mut self,
        path: &mut Vec<String>,
        entries: Vec<(String, Origin, Tree)>,
        errors: &mut Vec<ConfigError>,
    ) {
        for (name, origin, tree) in entries {
            path.push(name);
            match tree {
                Tree::Leaf(item) => self.add_value(path, origin, item, errors),
                Tree::Table(inner) => {
                    if self.accept_table(path, &origin, errors) {
                        self.add_table(path, inner, errors);
                    }
                }
            }
            path.pop();
        }
    }

    fn accept_table(
        &mut self,
        path: &[String],
        origin: &Origin,
        errors: &mut Vec<ConfigError>,
    ) -> bool {
        let deeper = |form: &&Form| form.parts.len() > path.len() && starts_with(form, path);
        if table::forms().iter().any(|form| deeper(&form)) {
            return match path {
                [zone, name] if zone == "zone" => {
                    self.declare(&Owner::Zone(name.clone()), origin, errors)
                }
                [listener, word, name] if listener == "listener" => table::protocol(word)
                    .is_none_or(|protocol| {
                        self.declare(&Owner::Listener(protocol, name.clone()), origin, errors)
                    }),
                [module, subscription, name]
                    if module == "module" && subscription == "subscription" =>
                {
                    self.declare(&Owner::Subscription(ItemName::new(name)), origin, errors)
                }
                [auth, word, name] if auth == "auth" => {
                    accounts::subject(word).is_none_or(|subject| {
                        let owner = Owner::Account(subject, ItemName::new(name));
                        self.declare(&owner, origin, errors)
                    })
                }
                _ => true,
            };
        }
        let problem = match find(path) {
            Found::Key { key, .. } => format!("a table, but must be {}", key.expected()),
            _ => format!("unknown table{}", suggest::table(path)),
        };
        errors.push(ConfigError {
            origin: origin.clone(),
            key: dotted(path),
            value: None,
            problem,
        });
        false
    }

    fn add_value(
        &mut self,
        path: &[String],
        origin: Origin,
        value: Item,
        errors: &mut Vec<ConfigError>,
    ) {
        let unknown = |problem| ConfigError {
            origin: origin.clone(),
            key: dotted(path),
            value: None,
            problem,
        };
        match find(path) {
            Found::Key { key, owner, item } => {
                if self.declare(&owner, &origin, errors) {
                    self.insert(key, owner, item, origin, value);
                }
            }
            Found::WrongProtocol(protocols) => {
                let words: Vec<_> = protocols.iter().map(|p| table::protocol_word(*p)).collect();
                errors.push(unknown(format!("only {} listeners have this key", words.join(", "))));
            }
            Found::Nothing => {
                errors.push(unknown(format!("unknown key{}", suggest::key(path))));
            }
        }
    }

    fn add_variable(&mut self, variable: Variable, errors: &mut Vec<ConfigError>) {
        let Variable { mut path, item } = variable;
        self.restore_case(&mut path);
        let origin = item.origin.clone();
        if let Found::Key { key, owner, item: name } = find(&path) {
            let set = (full_path(key, &owner), name);
            if let Some(other) = self.variables.insert(set, origin.clone()) {
                let problem = format!("{other} sets it too");
                let key = dotted(&path);
                errors.push(ConfigError { origin, key, value: None, problem });
                return;
            }
        }
        self.add_value(&path, origin, item, errors);
    }

    /// Variables are read in lower case; names of the file may have another.
    fn restore_case(&self, path: &mut [String]) {
        match path {
            [zone, name, ..] if zone == "zone" => restore(name, self.zones.keys()),
            [listener, word, name, ..] if listener == "listener" => {
                let same = self.listeners.keys().filter(|(protocol, _)| protocol == word);
                restore(name, same.map(|(_, name)| name));
            }
            [log, targets, name] if log == "log" && targets == "targets" => {
                if let Some(Entry { content: Content::Many(items), .. }) =
                    self.entries.get("log.targets")
                {
                    restore(name, items.keys().map(|name| &name.1));
                }
            }
            _ => {}
        }
    }

    fn insert(
        &mut self,
        key: &'static Key,
        owner: Owner,
        name: Option<ItemName>,
        origin: Origin,
        value: Item,
    ) {
        let path = full_path(key, &owner);
        if let Some(name) = name {
            if let Some(Entry { content: Content::Many(items), .. }) = self.entries.get_mut(&path) {
                items.insert(name, value);
                return;
            }
            let content = Content::Many(BTreeMap::from([(name, value)]));
            self.entries.insert(path, Entry { key, owner, origin, content });
            return;
        }
        let content = if key.is_list() { listed(key, value) } else { Content::One(value) };
        self.entries.insert(path, Entry { key, owner, origin, content });
    }

    /// Notes that there is such a zone or listener; false if it may not be called so.
    fn declare(&mut self, owner: &Owner, origin: &Origin, errors: &mut Vec<ConfigError>) -> bool {
        let (key, name) = match owner {
            Owner::Root | Owner::Base | Owner::Nobody(_) => return true,
            Owner::Zone(name) => (format!("zone.{}", bare_or_quoted(name)), name.as_str()),
            Owner::Listener(protocol, name) => {
                let word = table::protocol_word(*protocol);
                (format!("listener.{word}.{}", bare_or_quoted(name)), name.as_str())
            }
            Owner::Subscription(name) => {
                (format!("module.subscription.{}", bare_or_quoted(&name.1)), name.as_str())
            }
            Owner::Account(subject, name) => {
                let table = accounts::table(*subject);
                (format!("{table}.{}", bare_or_quoted(&name.1)), name.as_str())
            }
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(allowed) || name.len() > NAME_MAX {
            if self.refused.insert(key.clone()) {
                let problem = format!("a name is 1 to {NAME_MAX} letters, digits, _ and -");
                errors.push(ConfigError { origin: origin.clone(), key, value: None, problem });
            }
            return false;
        }
        match owner {
            Owner::Root | Owner::Base | Owner::Nobody(_) => {}
            Owner::Zone(name) => {
                self.zones.entry(name.clone()).or_insert_with(|| origin.clone());
            }
            Owner::Listener(protocol, name) => {
                let id = (table::protocol_word(*protocol), name.clone());
                self.listeners.entry(id).or_insert_with(|| (*protocol, origin.clone()));
            }
            Owner::Subscription(name) => {
                self.subscriptions.entry(name.clone()).or_insert_with(|| origin.clone());
            }
            Owner::Account(subject, name) => {
                let id = (*subject, name.clone());
                self.accounts.entry(id).or_insert_with(|| origin.clone());
            }
        }
        true
    }
}

/// The dotted key of an owner.
pub(crate) fn full_path(key: &Key, owner: &Owner) -> String {
    match (owner, &key.goes) {
        (Owner::Base, Goes::Zone { in_mqtt, .. }) => table::base_pattern(key.name, *in_mqtt),
        (Owner::Zone(name), _) => format!("zone.{name}.{}", key.name),
        (Owner::Listener(protocol, name), _) => {
            format!("listener.{}.{name}.{}", table::protocol_word(*protocol), key.name)
        }
        (Owner::Subscription(name), _) => {
            format!("module.subscription.{}.{}", name.as_str(), key.name)
        }
        (Owner::Account(subject, name), _) => {
            format!("{}.{}.{}", accounts::table(*subject), name.as_str(), key.name)
        }
        (Owner::Nobody(path), _) => path.clone(),
        (Owner::Root | Owner::Base, _) => key.name.to_owned(),
    }
}

/// A path as TOML writes it.
pub(crate) fn dotted(path: &[String]) -> String {
    let parts: Vec<_> = path.iter().map(|part| bare_or_quoted(part)).collect();
    parts.join(".")
}

/// One value that stands for a whole list.
pub(crate) fn listed(key: &Key, value: Item) -> Content {
    let Item { raw, origin } = value;
    let items = match raw {
        // It has no names for the entries of a map.
        raw if matches!(key.kind, super::value::Kind::Map(_)) => {
            return Content::One(Item { raw, origin });
        }
        Raw::List(items) => items,
        Raw::Text(text) | Raw::Bare(text) => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Item { raw: Raw::Text(item.to_owned()), origin: origin.clone() })
            .collect(),
        raw => return Content::One(Item { raw, origin }),
    };
    let named = items.into_iter().zip(1_u64..).map(|(item, n)| (ItemName(n, n.to_string()), item));
    Content::Many(named.collect())
}

pub(crate) fn find(path: &[String]) -> Found {
    let mut wrong_protocol = None;
    for role in [Role::Full, Role::Base, Role::Item, Role::Head] {
        for form in table::forms().iter().filter(|form| form.role == role) {
            if form.parts.len() != path.len() || !starts_with(form, path) {
                continue;
            }
            let item = (role == Role::Item).then(|| ItemName::new(&path[path.len() - 1]));
            let owner = match &form.key.goes {
                Goes::Root(_) => Owner::Root,
                Goes::Ignored(_) => Owner::Nobody(dotted(path)),
                Goes::Zone { .. } if role == Role::Base => Owner::Base,
                Goes::Zone { .. } => Owner::Zone(path[1].clone()),
                Goes::Subscription(_) => Owner::Subscription(ItemName::new(&path[2])),
                Goes::Account { subject, .. } => Owner::Account(*subject, ItemName::new(&path[2])),
                Goes::Listener { protocols, .. } => match table::protocol(&path[1]) {
                    Some(protocol) if protocols.contains(&protocol) => {
                        Owner::Listener(protocol, path[2].clone())
                    }
                    _ => {
                        wrong_protocol = Some(*protocols);
                        continue;
                    }
                },
            };
            return Found::Key { key: form.key, owner, item };
        }
    }
    wrong_protocol.map_or(Found::Nothing, Found::WrongProtocol)
}

/// Whether the form's first parts fit the whole path.
pub(crate) fn starts_with(form: &Form, path: &[String]) -> bool {
    form.parts.len() >= path.len()
        && form.parts.iter().zip(path).all(|(form, part)| table::fits(form, part))
}

fn restore<'a>(name: &mut String, known: impl Iterator<Item = &'a String>) {
    let mut known = known.filter(|known| known.eq_ignore_ascii_case(name));
    if let Some(known) = known.next().cloned() {
        *name = known;
    }
}

/// The original's.
const DEFAULT_LISTENERS: [(Protocol, &str); 5] = [
    (Protocol::Tcp, "external"),
    (Protocol::Tcp, "internal"),
    (Protocol::Ssl, "external"),
    (Protocol::Ws, "external"),
    (Protocol::Wss, "external"),
];
const NAME_MAX: usize = 64;
