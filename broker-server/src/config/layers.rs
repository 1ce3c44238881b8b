//! Layers: what the file and the environment say, and over it what operators have set while the broker ran.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ConfigError, ConfigErrors, Origin};
use super::field::Word;
use super::given::{self, Content, Entry, Found, Given, ItemName, Owner, full_path};
use super::raw::{self, Item, Raw, Tree};
use super::settings::Settings;
use super::suggest;
use super::table::{self, Goes, Key, Why};

/// What the configuration consists of. That it is right is known: each way to change it checks it whole.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    base: Given,
    /// Texts by dotted key.
    set: BTreeMap<String, String>,
}

/// A change of several keys: the text that one is set to, or none for what the layer below says.
pub(crate) type Changes = BTreeMap<String, Option<String>>;

impl Layers {
    /// Reads the lower layer; nothing is set over it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn read(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Settings), ConfigErrors> {
        let (base, settings) = super::read(file, env)?;
        Ok((Self::of(base, &settings), settings))
    }

    fn of(mut base: Given, settings: &Settings) -> Self {
        // What stays in memory holds no passwords where their stored form will do, which is also read faster.
        keep_stored_form(&mut base, "auth.scram_sha_256.users", &settings.scram_users);
        keep_stored_form(&mut base, "auth.scram_sha_512.users", &settings.scram_512_users);
        Self { base, set: BTreeMap::new() }
    }

    /// What was set while the broker ran: texts by key.
    pub(crate) fn set(&self) -> &BTreeMap<String, String> {
        &self.set
    }

    /// What the lower layer alone comes to.
    pub(crate) fn base_settings(&self) -> Settings {
        Settings::build(&self.base, &mut Vec::new())
    }

    /// The same with another upper layer, and what it comes to.
    ///
    /// # Errors
    /// Some key cannot be set so.
    pub(crate) fn with_set(
        &self,
        set: BTreeMap<String, String>,
    ) -> Result<(Self, Settings), ConfigErrors> {
        let (given, errors) = self.over(&set);
        let settings = super::build(&given, errors)?;
        Ok((Self { base: self.base.clone(), set }, settings))
    }

    /// The same with some keys changed; they are written as [`path`](Self::path) has them.
    ///
    /// # Errors
    /// As [`with_set`](Self::with_set).
    pub(crate) fn with(&self, changes: &Changes) -> Result<(Self, Settings), ConfigErrors> {
        let mut set = self.set.clone();
        for (key, text) in changes {
            match text {
                Some(text) => set.insert(key.clone(), text.clone()),
                None => set.remove(key),
            };
        }
        self.with_set(set)
    }

    /// The same with what `newer` has in its lower layer under a prefix, and what that comes to. Keys that take
    /// effect with a restart stay as they are.
    ///
    /// # Errors
    /// The two do not fit each other.
    pub(crate) fn adopting(
        &self,
        newer: &Self,
        prefix: &str,
    ) -> Result<(Self, Settings), ConfigErrors> {
        let mut adopting = self.clone();
        let entries = &mut adopting.base.entries;
        let is_read = |(path, entry): &(&String, &Entry)| {
            path.starts_with(prefix) && entry.key.is_read_again()
        };
        entries.retain(|path, entry| !is_read(&(path, entry)));
        let newer = &newer.base;
        let theirs = newer.entries.iter().filter(is_read);
        entries.extend(theirs.map(|(path, entry)| (path.clone(), entry.clone())));
        let is_concerned =
            |subject| format!("{}.", super::accounts::table(subject)).starts_with(prefix);
        adopting.base.accounts.retain(|(subject, _), _| !is_concerned(*subject));
        let theirs = newer.accounts.iter().filter(|((subject, _), _)| is_concerned(*subject));
        adopting.base.accounts.extend(theirs.map(|(id, origin)| (id.clone(), origin.clone())));
        adopting.with_set(self.set.clone())
    }

    /// A key as the layers name it, if it can be set while the broker runs.
    ///
    /// # Errors
    /// There is no such key, or it takes effect with a restart only.
    pub(crate) fn path(&self, key: &str) -> Result<String, ConfigError> {
        self.resolve(key).map(|(key, owner)| full_path(key, &owner))
    }

    fn resolve(&self, name: &str) -> Result<(&'static Key, Owner), ConfigError> {
        let refused = |problem: String| ConfigError {
            origin: Origin::RunTime,
            key: name.to_owned(),
            value: None,
            problem,
        };
        let parts: Vec<_> = name.split('.').map(str::to_owned).collect();
        let (key, owner, item) = match given::find(&parts) {
            Found::Key { key, owner, item } => (key, owner, item),
            Found::WrongProtocol(protocols) => {
                let words: Vec<_> = protocols.iter().map(|p| table::protocol_word(*p)).collect();
                let words = words.join(", ");
                return Err(refused(format!("only {words} listeners have this key")));
            }
            Found::Nothing => {
                return Err(refused(format!("unknown key{}", suggest::key(&parts))));
            }
        };
        if let Goes::Ignored(why) = key.goes {
            let problem = match why {
                Why::Meaningless => "has no meaning for this broker",
                Why::Later => "configures what this broker does not have yet",
            };
            return Err(refused(problem.into()));
        }
        let is_there = match &owner {
            Owner::Root | Owner::Base | Owner::Nobody(_) => true,
            Owner::Zone(name) => self.base.zones.contains_key(name),
            Owner::Listener(protocol, name) => {
                let id = (table::protocol_word(*protocol), name.clone());
                self.base.listeners.contains_key(&id)
            }
            Owner::Subscription(name) => self.base.subscriptions.contains_key(name),
            Owner::Account(subject, name) => {
                self.base.accounts.contains_key(&(*subject, name.clone()))
            }
        };
        if !is_there {
            let table = name.rsplit_once('.').map_or(name, |(table, _)| table);
            return Err(refused(format!("there is no {table} in the configuration file")));
        }
        if !key.is_live() {
            let when = if key.is_of_file_alone() { RELOAD } else { RESTART };
            return Err(refused(when.into()));
        }
        if item.is_some() {
            let whole = full_path(key, &owner);
            return Err(refused(format!("cannot be set alone; set {whole} as a whole")));
        }
        Ok((key, owner))
    }

    /// Both layers as one, with what is wrong with the upper.
    fn over(&self, set: &BTreeMap<String, String>) -> (Given, Vec<ConfigError>) {
        let mut given = self.base.clone();
        let mut errors = Vec::new();
        for (name, text) in set {
            match self.resolve(name) {
                Ok((key, owner)) => {
                    let content = content(key, text);
                    let entry = Entry { key, owner, origin: Origin::RunTime, content };
                    given.entries.insert(name.clone(), entry);
                }
                Err(error) => errors.push(error),
            }
        }
        (given, errors)
    }
}

/// A text as the value of a key: as in the environment; lists and tables also as TOML has them.
fn content(key: &Key, text: &str) -> Content {
    let value = |raw| Item { raw, origin: Origin::RunTime };
    let bare = || value(Raw::Bare(text.to_owned()));
    if !key.is_list() {
        return Content::One(bare());
    }
    if !text.trim_start().starts_with(['[', '{']) {
        return given::listed(key, bare());
    }
    let mut errors = Vec::new();
    let tree = raw::read_toml("", &format!("value = {text}\n"), &mut errors);
    match tree {
        Tree::Table(mut entries) if errors.is_empty() && entries.len() == 1 => {
            match entries.pop().map(|(_, _, tree)| tree) {
                Some(Tree::Leaf(Item { raw: raw @ Raw::List(_), .. })) => {
                    given::listed(key, value(raw))
                }
                Some(Tree::Table(entries)) if matches!(key.kind, super::value::Kind::Map(_)) => {
                    named(entries).map_or_else(|| Content::One(bare()), Content::Many)
                }
                _ => Content::One(bare()),
            }
        }
        // What it must be is said where it is read.
        _ => Content::One(bare()),
    }
}

/// The entries of a table without tables inside.
fn named(entries: Vec<(String, Origin, Tree)>) -> Option<BTreeMap<ItemName, Item>> {
    let entry = |(name, _, tree): (String, Origin, Tree)| match tree {
        Tree::Leaf(item) => Some((ItemName::new(&name), Item { origin: Origin::RunTime, ..item })),
        Tree::Table(_) => None,
    };
    entries.into_iter().map(entry).collect()
}

const RELOAD: &str =
    "is read from the configuration file alone; set it there and reload the plugin";
const RESTART: &str = "takes effect with a restart; set it in the configuration file";

fn keep_stored_form<T: Word>(base: &mut Given, key: &str, users: &BTreeMap<String, T>) {
    let Some(Entry { content: Content::Many(items), .. }) = base.entries.get_mut(key) else {
        return;
    };
    for (name, item) in items {
        if let Some(verifier) = users.get(name.as_str()) {
            item.raw = Raw::Text(verifier.to_word());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Layers {
        let (given, settings) = crate::config::read_text("f", text, std::iter::empty()).unwrap();
        Layers::of(given, &settings)
    }

    fn set(layers: &Layers, key: &str, text: &str) -> Result<(Layers, Settings), String> {
        let path = layers.path(key).map_err(|error| format!("{}: {}", error.key, error.problem))?;
        let changes = Changes::from([(path, Some(text.to_owned()))]);
        layers.with(&changes).map_err(|errors| {
            let errors = errors.0.iter();
            errors.map(|it| format!("{}: {}", it.key, it.problem)).collect::<Vec<_>>().join("\n")
        })
    }

    fn check_refused(layers: &Layers, key: &str, text: &str, expected: &str) {
        assert_eq!(set(layers, key, text).map(drop).unwrap_err(), expected, "{key} = {text}");
    }

    #[test]
    fn what_is_set_lies_over_the_file_and_a_zone_over_all_zones() {
        let file = layers("mqtt.max_inflight = 1\nzone.internal.max_inflight = 2");
        let (one, settings) = set(&file, "mqtt.max_inflight", "3").unwrap();
        let inflight = |settings: &Settings, zone: &str| settings.zones[zone].config.max_inflight;
        assert_eq!((inflight(&settings, "external"), inflight(&settings, "internal")), (3, 2));
        let (two, settings) = set(&one, "zone.internal.max_inflight", "4").unwrap();
        assert_eq!((inflight(&settings, "external"), inflight(&settings, "internal")), (3, 4));
        let back = Changes::from([("mqtt.max_inflight".to_owned(), None)]);
        let (_, settings) = two.with(&back).unwrap();
        assert_eq!((inflight(&settings, "external"), inflight(&settings, "internal")), (1, 4));
        let base = two.base_settings();
        assert_eq!((inflight(&base, "external"), inflight(&base, "internal")), (1, 2));
    }

    #[test]
    fn lists_and_tables_are_set_whole() {
        let file = layers("module.rewrite.rule = [\"x ^x$ y\"]\nlog.targets.a = \"debug\"");
        let rules = |text: &str| set(&file, "module.rewrite.rule", text).unwrap().1.rewrite_rules;
        assert_eq!(rules("a ^a$ b, c ^c$ d").len(), 2);
        assert_eq!(rules(r#"["a ^a{1,2}$ b"]"#)[0].pattern, "^a{1,2}$");
        assert!(rules("[]").is_empty());
        let targets = |text: &str| set(&file, "log.targets", text).unwrap().1.log.targets;
        assert_eq!(targets(r#"{ b = "warn", "c::d" = "off" }"#).len(), 2);
        assert!(targets("{}").is_empty());
        let expected =
            "log.targets: must be a table, each value one of off, error, warn, info, debug, trace";
        for text in ["debug", "{ b = 1", "{ b = { c = \"warn\" } }", "{}\nnode.name = \"x\""] {
            check_refused(&file, "log.targets", text, expected);
        }
        check_refused(
            &file,
            "log.targets.b",
            "warn",
            "log.targets.b: cannot be set alone; set log.targets as a whole",
        );
    }

    #[test]
    fn what_cannot_be_set_says_why() {
        let file = layers("module.subscription.1.topic = \"a\"");
        for (key, text, expected) in [
            ("mqtt.max_qos_allowed", "3", "must be a whole number from 0 to 2"),
            ("mqtt.max_inflght", "3", "unknown key; did you mean mqtt.max_inflight?"),
            ("node.name", "a@b", RESTART),
            ("listener.tcp.external", "1883", RESTART),
            ("auth.scram_sha_256.users", "{ a = \"b\" }", RESTART),
            ("node.cookie", "x", "has no meaning for this broker"),
            ("bridge.x.address", "\"a\"", "configures what this broker does not have yet"),
            ("zone.other.max_inflight", "3", "there is no zone.other in the configuration file"),
            (
                "module.subscription.2.qos",
                "1",
                "there is no module.subscription.2 in the configuration file",
            ),
            ("listener.tcp.external.mqtt_path", "/x", "only ws, wss listeners have this key"),
            ("", "", "unknown key; --print-config shows all keys"),
        ] {
            check_refused(&file, key, text, &format!("{key}: {expected}"));
        }
        assert!(set(&file, "module.subscription.1.topic", "b").is_ok());
        let why = set(&file, "mqtt.max_packet_size", "200MB").map(drop).unwrap_err();
        assert!(why.contains("more than a quarter of store.segment_bytes"), "{why}");
    }

    #[test]
    fn what_is_read_again_is_taken_over_by_prefix() {
        let old = layers(
            "retainer.expiry_interval = \"1s\"\nmqtt.max_inflight = 1\n\
             [auth.user.1]\nusername = \"a\"\npassword = \"b\"",
        );
        let (old, _) = set(&old, "mqtt.max_inflight", "9").unwrap();
        let new = layers("retainer.max_payload_size = \"1KB\"\nmqtt.max_inflight = 2");
        let (adopted, settings) = old.adopting(&new, "retainer.").unwrap();
        let retained = &settings.broker.retained;
        assert_eq!((retained.expiry_interval_s, retained.max_payload_bytes), (0, 1_024));
        assert_eq!(settings.base.config.max_inflight, 9);
        assert_eq!(adopted.base_settings().base.config.max_inflight, 1);
        assert_eq!(settings.accounts.len(), 1);
        assert!(old.adopting(&new, "auth.user.").unwrap().1.accounts.is_empty());
        let later = layers("management.max_row_limit = 7\ndelayed.enable = false");
        let (_, settings) = old.adopting(&later, "management.").unwrap();
        assert_eq!(settings.management.max_row_limit, 10_000, "with a restart");
        assert!(old.adopting(&later, "delayed.").unwrap().1.broker.delayed.enabled);
    }

    #[test]
    fn no_password_of_a_user_stays_in_memory() {
        let file = layers("auth.scram_sha_256.users.alice = \"wonderland\"");
        assert!(!format!("{file:?}").contains("wonderland"));
        assert!(file.base_settings().scram_users.contains_key("alice"));
    }
}
