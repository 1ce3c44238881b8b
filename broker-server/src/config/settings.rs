//! All keys as fields, defaults filled in: what is printed, and what the server's configuration is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use broker_codec::QoS;
use broker_core::config::{
    Anonymous, AutoSubscription, BrokerConfig, FlappingConfig, GroupLimits, RewriteRule, ZoneConfig,
};
use broker_net::config::{AccessRule, Bind, ListenerConfig, Protocol, TcpOptions};
use broker_plugins::{
    AccountHash, HttpAuthConfig, JwtConfig, PluginsConfig, PskFileConfig, ReconConfig,
    StatsdConfig, Subject, WebHookConfig,
};
use log::LevelFilter;

use super::accounts::{self, Account};
use super::dashboard::DashboardConfig;
use super::error::{ConfigError, Origin};
use super::field::{Pair, Refusal};
use super::given::{Content, Entry, Given, ItemName, Owner, full_path};
use super::monitors::MonitorConfig;
use super::plugins::PluginName;
use super::raw::{Item, Raw};
use super::rules::RulesConfig;
use super::table::{self, Access, Goes, Key};
use super::validate;
use super::value::{Kind, Value, bare_or_quoted};
use super::{
    LogConfig, LogFormat, LogTarget, ManagementConfig, MemoryLimit, NodeConfig, ServerConfig,
    StoreConfig,
};
use crate::auth::scram::{Sha256, Sha512, Verifier};

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) node: NodeConfig,
    pub(crate) log: LogConfig,
    /// But for what the fields below hold.
    pub(crate) broker: BrokerConfig,
    pub(crate) store: StoreConfig,
    pub(crate) management: ManagementConfig,
    pub(crate) dashboard: DashboardConfig,
    pub(crate) monitor: MonitorConfig,
    pub(crate) rules: RulesConfig,
    pub(crate) plugins_loaded: Vec<PluginName>,
    pub(crate) client_hash: AccountHash,
    pub(crate) http_auth: HttpAuthConfig,
    pub(crate) user_hash: AccountHash,
    pub(crate) jwt: JwtConfig,
    pub(crate) psk_file: PskFileConfig,
    pub(crate) recon: ReconConfig,
    pub(crate) statsd: StatsdConfig,
    pub(crate) web_hook: WebHookConfig,
    /// With the number of each.
    pub(crate) accounts: Vec<(Subject, String, Account)>,
    /// `[mqtt]`.
    pub(crate) base: Zone,
    pub(crate) zones: BTreeMap<String, Zone>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) presence: bool,
    pub(crate) presence_qos: QoS,
    pub(crate) auto_subscribe: Option<bool>,
    pub(crate) subscriptions: Vec<(String, AutoSubscription)>,
    pub(crate) rewrite: Option<bool>,
    pub(crate) rewrite_rules: Vec<RewriteRule>,
    pub(crate) count_topics: Option<bool>,
    pub(crate) topic_metrics: Vec<String>,
    pub(crate) acl_file: Option<PathBuf>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) compat_emqx31: bool,
    pub(crate) scram_users: BTreeMap<String, Verifier<Sha256>>,
    pub(crate) scram_512_users: BTreeMap<String, Verifier<Sha512>>,
    /// Which keys were given, with place and value, for what is said about them.
    pub(crate) given: BTreeMap<String, (Origin, String)>,
    /// Zones, listeners and subscriptions by dotted key: where they are first named.
    pub(crate) named: BTreeMap<String, Origin>,
    pub(crate) ignored: Vec<(table::Why, String)>,
}

/// A zone whose switched-off parts keep their values.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    /// But for what the fields below hold.
    pub(crate) config: ZoneConfig,
    pub(crate) detect_flapping: bool,
    pub(crate) flapping_threshold: Pair,
    pub(crate) flapping_banned_ms: u64,
}

/// A listener that may be off, or lack an address as long as not all is read.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) enabled: bool,
    pub(crate) bind: Option<Bind>,
    pub(crate) config: ListenerConfig,
}

impl Default for Settings {
    fn default() -> Self {
        let broker = BrokerConfig::default();
        let presence = broker.presence;
        Self {
            node: NodeConfig {
                name: broker.node_name.clone(),
                data_dir: "./data".into(),
                shutdown_timeout_ms: 15_000,
                io_threads: 0,
                memory_limit: MemoryLimit::Percent(70),
            },
            log: LogConfig {
                to: LogTarget::Console,
                level: LevelFilter::Info,
                format: LogFormat::Text,
                targets: BTreeMap::new(),
            },
            store: StoreConfig::default(),
            management: ManagementConfig::default(),
            base: Zone::default(),
            zones: BTreeMap::new(),
            listeners: Vec::new(),
            presence: presence.is_some(),
            presence_qos: presence.unwrap_or(QoS::AtLeastOnce),
            auto_subscribe: None,
            subscriptions: Vec::new(),
            rewrite: None,
            rewrite_rules: Vec::new(),
            count_topics: None,
            topic_metrics: Vec::new(),
            dashboard: DashboardConfig::default(),
            monitor: MonitorConfig::default(),
            rules: RulesConfig::default(),
            plugins_loaded: PluginName::defaults(),
            client_hash: AccountHash::default(),
            http_auth: HttpAuthConfig::default(),
            user_hash: AccountHash::default(),
            jwt: JwtConfig::default(),
            psk_file: PskFileConfig::default(),
            recon: ReconConfig::default(),
            statsd: StatsdConfig::default(),
            web_hook: WebHookConfig::default(),
            accounts: Vec::new(),
            acl_file: None,
            password_file: None,
            compat_emqx31: false,
            scram_users: BTreeMap::new(),
            scram_512_users: BTreeMap::new(),
            given: BTreeMap::new(),
            named: BTreeMap::new(),
            ignored: Vec::new(),
            broker,
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::from_config(ZoneConfig::default())
    }
}

impl Zone {
    /// A zone of this name before any key is read.
    pub(crate) fn new(name: &str) -> Self {
        let config = match BrokerConfig::default().zones.get(name) {
            Some(config) => ZoneConfig::clone(config),
            None => ZoneConfig { name: name.to_owned(), ..ZoneConfig::default() },
        };
        Self::from_config(config)
    }

    fn from_config(config: ZoneConfig) -> Self {
        let flapping = config.flapping.unwrap_or(FlappingConfig {
            count: 10,
            window_ms: 60_000,
            banned_ms: 3_600_000,
        });
        Self {
            detect_flapping: config.flapping.is_some(),
            flapping_threshold: Pair(flapping.count, flapping.window_ms),
            flapping_banned_ms: flapping.banned_ms,
            config,
        }
    }

    fn into_config(self) -> ZoneConfig {
        let Pair(count, window_ms) = self.flapping_threshold;
        let flapping = FlappingConfig { count, window_ms, banned_ms: self.flapping_banned_ms };
        ZoneConfig { flapping: self.detect_flapping.then_some(flapping), ..self.config }
    }
}

impl Listener {
    /// A listener of this name before any key is read.
    pub(crate) fn new(protocol: Protocol, name: &str) -> Self {
        let internal = protocol == Protocol::Tcp && name == "internal";
        let bind = match (protocol, name) {
            (Protocol::Tcp, "external") => Some(Bind::Inet(([0, 0, 0, 0], 1_883).into())),
            (Protocol::Tcp, "internal") => Some(Bind::Inet(([127, 0, 0, 1], 11_883).into())),
            (Protocol::Ssl, "external") => Some(Bind::Port(8_883)),
            (Protocol::Ws, "external") => Some(Bind::Port(8_083)),
            (Protocol::Wss, "external") => Some(Bind::Port(8_084)),
            _ => None,
        };
        let (acceptors, max_connections) = match protocol {
            Protocol::Tcp if internal => (4, 1_024_000),
            Protocol::Tcp | Protocol::Unix => (8, 1_024_000),
            Protocol::Ssl => (16, 102_400),
            Protocol::Ws => (4, 102_400),
            Protocol::Wss => (4, 1_024),
        };
        let (tls, websocket) = table::listener_parts(protocol);
        let open = protocol != Protocol::Unix && !internal;
        Self {
            enabled: true,
            bind,
            config: ListenerConfig {
                name: name.to_owned(),
                protocol,
                bind: Bind::Port(0),
                zone: if internal { "internal".into() } else { "external".into() },
                acceptors,
                max_connections,
                max_conn_rate: 0,
                rate_limit: None,
                limits: GroupLimits::default(),
                max_half_open_per_ip: 4_096,
                access: if open {
                    vec![AccessRule { allow: true, peer: None }]
                } else {
                    Vec::new()
                },
                proxy_protocol: false,
                proxy_protocol_peers: Vec::new(),
                proxy_protocol_timeout_ms: 3_000,
                tcp: TcpOptions {
                    backlog: if internal { 512 } else { 1_024 },
                    nodelay: true,
                    reuseaddr: true,
                    recbuf: None,
                    sndbuf: None,
                    send_timeout_ms: if internal { 5_000 } else { 15_000 },
                },
                tls,
                websocket,
            },
        }
    }

    /// `listener.tcp.external`.
    pub(crate) fn path(&self) -> String {
        listener_path(self.config.protocol, &self.config.name)
    }
}

impl Settings {
    /// Writes all that was given to its fields. Wrong values go to `errors` and leave the default.
    pub(crate) fn build(given: &Given, errors: &mut Vec<ConfigError>) -> Self {
        let zones = given.zones.keys().map(|name| (name.clone(), Zone::new(name))).collect();
        let mut settings = Self { zones, ..Self::default() };
        for ((_, name), (protocol, origin)) in &given.listeners {
            settings.listeners.push(Listener::new(*protocol, name));
            settings.named.insert(listener_path(*protocol, name), origin.clone());
        }
        settings.listeners.sort_by_key(|listener| listener.config.protocol as u8);
        for (name, origin) in &given.subscriptions {
            let subscription = AutoSubscription { filter: String::new(), qos: QoS::AtLeastOnce };
            settings.subscriptions.push((name.as_str().to_owned(), subscription));
            settings.named.insert(format!("module.subscription.{}", name.as_str()), origin.clone());
        }
        for ((subject, name), origin) in &given.accounts {
            let item = name.as_str();
            settings.accounts.push((*subject, item.to_owned(), Account::default()));
            let path = format!("{}.{item}", accounts::table(*subject));
            settings.named.insert(path, origin.clone());
        }
        // What is said for all zones first, so that a zone can say otherwise.
        let (base, own): (Vec<_>, Vec<_>) =
            given.entries.values().partition(|entry| entry.owner == Owner::Base);
        for entry in base.into_iter().chain(own) {
            settings.apply(entry, errors);
        }
        if settings.compat_emqx31 {
            settings.open_as_emqx31();
        }
        settings.broker.node_name = settings.node.name.clone();
        settings.store.dir = settings.node.data_dir.clone();
        // In the original this listener is there as soon as it has an address.
        let has = |name: &str| settings.given.contains_key(&format!("management.listener.{name}"));
        if has("https.bind") && !has("https.enabled") {
            settings.management.https.listener.enabled = true;
        }
        settings
    }

    /// What the configuration does not decide is as open as in the original.
    fn open_as_emqx31(&mut self) {
        if self.given.contains_key("allow_anonymous") {
            return;
        }
        self.base.config.allow_anonymous = Anonymous::All;
        for (name, zone) in &mut self.zones {
            if !self.given.contains_key(&format!("zone.{name}.allow_anonymous")) {
                zone.config.allow_anonymous = Anonymous::All;
            }
        }
    }

    fn apply(&mut self, entry: &Entry, errors: &mut Vec<ConfigError>) {
        let path = full_path(entry.key, &entry.owner);
        let mut report = Report { entry, path: &path, errors };
        let (value, items) = report.read();
        let origin = match &entry.content {
            Content::One(item) => &item.origin,
            Content::Many(_) => &entry.origin,
        };
        let shown = shown(entry.key, || entry.content.shown());
        self.given.insert(path.clone(), (origin.clone(), shown));
        let Some(value) = value else { return };
        match (&entry.key.goes, &entry.owner) {
            (Goes::Root(access), _) => report.write(access, self, value, &items),
            (Goes::Zone { access, .. }, Owner::Zone(name)) => {
                if let Some(zone) = self.zones.get_mut(name) {
                    report.write(access, zone, value, &items);
                }
            }
            (Goes::Zone { access, .. }, _) => {
                for zone in self.zones.values_mut() {
                    // What is wrong with it, `base` reports.
                    let _ = (access.write)(zone, value.clone());
                }
                report.write(access, &mut self.base, value, &items);
            }
            (Goes::Listener { access, .. }, Owner::Listener(protocol, name)) => {
                let this = |listener: &&mut Listener| {
                    listener.config.protocol == *protocol && listener.config.name == *name
                };
                if let Some(listener) = self.listeners.iter_mut().find(this) {
                    report.write(access, listener, value, &items);
                }
            }
            (Goes::Subscription(access), Owner::Subscription(name)) => {
                let this = |(known, _): &&mut (String, _)| known == name.as_str();
                if let Some((_, subscription)) = self.subscriptions.iter_mut().find(this) {
                    report.write(access, subscription, value, &items);
                }
            }
            (Goes::Account { access, .. }, Owner::Account(subject, name)) => {
                let this = |(its_subject, known, _): &&mut (Subject, String, Account)| {
                    its_subject == subject && known == name.as_str()
                };
                if let Some((_, _, account)) = self.accounts.iter_mut().find(this) {
                    report.write(access, account, value, &items);
                }
            }
            (Goes::Listener { .. } | Goes::Subscription(_) | Goes::Account { .. }, _) => {}
            (Goes::Ignored(why), _) => self.ignored.push((*why, path)),
        }
    }

    /// The part that the server runs with.
    pub(crate) fn into_server_config(self) -> ServerConfig {
        let notes = validate::notes(&self);
        let wanted = |switch: Option<bool>| switch.unwrap_or(true);
        let mut broker = self.broker;
        broker.zones = self
            .zones
            .into_iter()
            .map(|(name, zone)| (name, Arc::new(zone.into_config())))
            .collect();
        broker.presence = self.presence.then_some(self.presence_qos);
        if wanted(self.auto_subscribe) {
            broker.auto_subscriptions = self.subscriptions.into_iter().map(|(_, s)| s).collect();
        }
        if wanted(self.rewrite) {
            broker.rewrite_rules = self.rewrite_rules;
        }
        if wanted(self.count_topics) {
            broker.topic_metrics = self.topic_metrics;
        }
        let mut plugins = plugins(self.plugins_loaded, &broker);
        plugins.auth_clientid.hash = self.client_hash;
        plugins.auth_http = self.http_auth;
        plugins.auth_username.hash = self.user_hash;
        plugins.auth_jwt = self.jwt;
        plugins.psk_file = self.psk_file;
        plugins.recon = self.recon;
        plugins.statsd = self.statsd;
        plugins.web_hook = self.web_hook;
        for (subject, item, account) in self.accounts {
            let accounts = match subject {
                Subject::ClientId => &mut plugins.auth_clientid.accounts,
                Subject::Username => &mut plugins.auth_username.accounts,
            };
            accounts.push(account.configured(subject, &item));
        }
        let enabled = self.listeners.into_iter().filter(|listener| listener.enabled);
        let listeners = enabled.filter_map(|Listener { bind, config, .. }| {
            Some(ListenerConfig { bind: bind?, ..config })
        });
        ServerConfig {
            node: self.node,
            log: self.log,
            broker,
            store: self.store,
            listeners: listeners.collect(),
            management: self.management,
            dashboard: self.dashboard,
            plugins,
            rules: self.rules,
            acl_file: self.acl_file,
            password_file: self.password_file,
            scram_users: self.scram_users,
            scram_512_users: self.scram_512_users,
            notes,
        }
    }
}

/// What the plugins start with.
fn plugins(loaded: Vec<PluginName>, broker: &BrokerConfig) -> PluginsConfig {
    let mut names = Vec::new();
    for name in loaded.into_iter().filter(PluginName::is_built_in) {
        let is_off = name.0 == "emqx_delayed_publish" && !broker.delayed.enabled;
        if !is_off && !names.contains(&name.0) {
            names.push(name.0);
        }
    }
    PluginsConfig {
        loaded: names,
        retained: broker.retained.clone(),
        delayed: broker.delayed.clone(),
        ..PluginsConfig::default()
    }
}

/// Reads and writes one key and collects its errors.
struct Report<'a> {
    entry: &'a Entry,
    path: &'a str,
    errors: &'a mut Vec<ConfigError>,
}

/// Items of a list that the value was read from, with their names.
type Items<'a> = Vec<(&'a ItemName, &'a Item)>;

impl<'a> Report<'a> {
    /// The value, `None` if it is wrong; of a list those items that are right so far.
    fn read(&mut self) -> (Option<Value>, Items<'a>) {
        let key = self.entry.key;
        let items = match &self.entry.content {
            Content::One(item) => {
                let value = match (&item.raw, key.kind) {
                    (Raw::Text(text) | Raw::Bare(text), _) if key.unset == Some(text) => {
                        Some(Value::Unset)
                    }
                    (_, Kind::List(_) | Kind::Map(_)) => None,
                    (raw, kind) => kind.read(raw),
                };
                if value.is_none() {
                    self.refuse(None, &item.origin, || item.raw.shown(), "");
                }
                return (value, Vec::new());
            }
            Content::Many(items) => items,
        };
        let (mut texts, mut read) = (Vec::new(), Vec::new());
        for (name, item) in items {
            if let Some(Value::Text(text)) = key.kind.read(&item.raw) {
                texts.push(text);
                read.push((name, item));
            } else {
                self.refuse(Some(name), &item.origin, || item.raw.shown(), "");
            }
        }
        let value = match key.kind {
            Kind::Map(_) => {
                let names = read.iter().map(|(name, _)| name.as_str().to_owned());
                Value::Map(names.zip(texts).collect())
            }
            _ => Value::List(texts),
        };
        (Some(value), read)
    }

    fn write<T>(&mut self, access: &Access<T>, target: &mut T, value: Value, items: &Items<'_>) {
        let Err(refusals) = (access.write)(target, value) else { return };
        for Refusal { item, detail } in refusals {
            let detail = format!("{detail}; ");
            match (item.and_then(|i| items.get(i)), &self.entry.content) {
                (Some((name, item)), _) => {
                    self.refuse(Some(name), &item.origin, || item.raw.shown(), &detail);
                }
                (None, Content::One(item)) => {
                    self.refuse(None, &item.origin, || item.raw.shown(), &detail);
                }
                (None, content) => {
                    self.refuse(None, &self.entry.origin, || content.shown(), &detail);
                }
            }
        }
    }

    fn refuse(
        &mut self,
        item: Option<&ItemName>,
        origin: &Origin,
        value: impl FnOnce() -> String,
        detail: &str,
    ) {
        let key = self.entry.key;
        let (path, expected) = match (key.kind, item) {
            (Kind::Map(expected), Some(name)) => {
                (format!("{}.{}", self.path, bare_or_quoted(name.as_str())), expected.to_owned())
            }
            (Kind::List(expected), Some(_)) => (self.path.to_owned(), expected.to_owned()),
            _ => (self.path.to_owned(), key.expected()),
        };
        self.errors.push(ConfigError {
            origin: origin.clone(),
            key: path,
            value: Some(shown(key, value)),
            problem: format!("{detail}must be {expected}"),
        });
    }
}

/// A value as it may be shown.
fn shown(key: &Key, value: impl FnOnce() -> String) -> String {
    if key.is_secret() { "***".to_owned() } else { without_user_info(&value()) }
}

/// The text with `***` for user and password of the URLs in it.
fn without_user_info(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |c: char| matches!(c, '/' | '?' | '#' | '"');
        let authority = &part[..part.find(ends).unwrap_or(part.len())];
        out.push_str("://");
        match authority.rfind('@') {
            Some(at) => out.extend(["***", &part[at..]]),
            None => out.push_str(part),
        }
    }
    out
}

fn listener_path(protocol: Protocol, name: &str) -> String {
    format!("listener.{}.{name}", table::protocol_word(protocol))
}
