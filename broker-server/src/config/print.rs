//! The table of keys for people: a whole configuration file, and `docs/configuration.md`.

use std::collections::BTreeSet;
use std::fmt::Write;

use broker_codec::QoS;
use broker_core::config::AutoSubscription;
use broker_net::config::Protocol;
use broker_plugins::Subject;

use super::accounts::{self, Account};
use super::error::Origin;
use super::given::dotted;
use super::settings::{Listener, Settings, Zone};
use super::table::{self, Goes, Key, Why};
use super::value::Value;

/// All keys with their values, as a file that reads back to the same settings but for secrets, which it does not have.
pub(crate) fn toml(settings: &Settings) -> String {
    let mut page = TomlPage { settings, text: String::from(TOML_HEAD), table: String::new() };
    let (base, other) = (&settings.base, Zone::default());
    for (key, access, in_mqtt) in zone_keys() {
        if !in_mqtt {
            page.entry("", key.name, key, &(access.read)(base), &(access.read)(&other));
        }
    }
    let defaults = Settings::default();
    // What stands in no table, before the first of them.
    for key in table::keys().filter(|key| !key.name.contains('.')) {
        if let Goes::Root(access) = &key.goes {
            let default = (access.read)(&defaults);
            page.entry("", key.name, key, &(access.read)(settings), &default);
        }
    }
    for key in table::keys() {
        match &key.goes {
            Goes::Root(access) => {
                let Some((table, name)) = key.name.rsplit_once('.') else { continue };
                let default = (access.read)(&defaults);
                page.entry(table, name, key, &(access.read)(settings), &default);
            }
            // All keys of one subscription at once, where the first of them stands.
            Goes::Subscription(_) if key.name == "topic" => page.subscriptions(),
            Goes::Account { subject, .. } if key.name != "password" => page.accounts(*subject),
            _ => {}
        }
    }
    for (key, access, in_mqtt) in zone_keys() {
        if in_mqtt {
            page.entry("mqtt", key.name, key, &(access.read)(base), &(access.read)(&other));
        }
    }
    for (name, zone) in &settings.zones {
        let default = Zone::new(name);
        let table = format!("zone.{name}");
        for (key, access, _) in zone_keys() {
            page.entry(&table, key.name, key, &(access.read)(zone), &(access.read)(&default));
        }
    }
    for listener in &settings.listeners {
        let default = Listener::new(listener.config.protocol, &listener.config.name);
        for key in table::keys() {
            let Goes::Listener { access, protocols } = &key.goes else { continue };
            if protocols.contains(&listener.config.protocol) {
                let (value, default) = ((access.read)(listener), (access.read)(&default));
                page.entry(&listener.path(), key.name, key, &value, &default);
            }
        }
    }
    page.text
}

struct TomlPage<'a> {
    settings: &'a Settings,
    text: String,
    /// The one whose header was written last.
    table: String,
}

impl TomlPage<'_> {
    fn entry(&mut self, table: &str, name: &str, key: &Key, value: &Value, default: &Value) {
        if self.table != table {
            let parts: Vec<_> = table.split('.').map(str::to_owned).collect();
            put(&mut self.text, format_args!("\n[{}]\n", dotted(&parts)));
            table.clone_into(&mut self.table);
        }
        let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        let from = match self.settings.given.get(&path) {
            Some((origin, _)) if *origin != Origin::Default => format!(" Set by {origin}."),
            _ => String::new(),
        };
        let line = if key.is_secret() && value != default {
            format!("# {name} is set, and a secret: put it here.")
        } else {
            format!("{name} = {}", key.show(value))
        };
        let default = default_shown(key, default);
        let (help, expected) = (key.help, key.expected());
        put(
            &mut self.text,
            format_args!(
                "\n# {help}\n# Must be {expected}. Default: {default}.{}\n{line}\n",
                // A file name may hold anything; the comment ends with its line.
                from.replace(char::is_control, " "),
            ),
        );
    }

    fn subscriptions(&mut self) {
        let default = AutoSubscription { filter: String::new(), qos: QoS::AtLeastOnce };
        for (name, subscription) in &self.settings.subscriptions {
            let table = format!("module.subscription.{name}");
            for key in table::keys() {
                if let Goes::Subscription(access) = &key.goes {
                    let (value, default) = ((access.read)(subscription), (access.read)(&default));
                    self.entry(&table, key.name, key, &value, &default);
                }
            }
        }
    }

    fn accounts(&mut self, of: Subject) {
        let default = Account::default();
        for (subject, item, account) in self.settings.accounts.iter().filter(|it| it.0 == of) {
            let table = format!("{}.{item}", accounts::table(of));
            for key in table::keys() {
                if let Goes::Account { subject: its, access } = &key.goes
                    && its == subject
                {
                    let (value, default) = ((access.read)(account), (access.read)(&default));
                    self.entry(&table, key.name, key, &value, &default);
                }
            }
        }
    }
}

/// `docs/configuration.md`.
pub(crate) fn markdown() -> String {
    let mut text = String::from(MARKDOWN_HEAD);
    let defaults = Settings::default();
    let mut section = "";
    for key in table::keys() {
        let (default, table) = match &key.goes {
            Goes::Root(access) => {
                (default_shown(key, &(access.read)(&defaults)), key.name.split('.').next())
            }
            Goes::Subscription(access) => {
                let default = AutoSubscription { filter: String::new(), qos: QoS::AtLeastOnce };
                (default_shown(key, &(access.read)(&default)), Some("module"))
            }
            Goes::Account { access, .. } => {
                (default_shown(key, &(access.read)(&Account::default())), Some("auth"))
            }
            _ => continue,
        };
        let table = table.unwrap_or_default();
        if table != section {
            if key.name.contains('.') {
                put(&mut text, format_args!("\n## [{table}]\n\n{ROW_HEAD}"));
            } else {
                put(&mut text, format_args!("\n## At the top\n\n{ROW_HEAD}"));
            }
            section = table;
        }
        row(&mut text, &key.pattern(), key, &default, key.help);
    }

    put(&mut text, format_args!("\n{ZONE_HEAD}\n{ROW_HEAD}"));
    for (key, access, _) in zone_keys() {
        let show = |zone: &Zone| default_shown(key, &(access.read)(zone));
        let (default, internal) = (show(&Zone::default()), show(&Zone::new("internal")));
        let default = if internal == default {
            default
        } else {
            format!("{default}; zone internal: {internal}")
        };
        row(&mut text, key.name, key, &default, key.help);
    }

    put(&mut text, format_args!("\n{LISTENER_HEAD}\n{ROW_HEAD}"));
    for key in table::keys() {
        let Goes::Listener { access, protocols } = &key.goes else { continue };
        let default = listener_default(key, |listener| (access.read)(listener), protocols);
        let help = if protocols.len() == table::PROTOCOLS.len() {
            key.help.to_owned()
        } else {
            let words: Vec<_> = protocols.iter().map(|p| table::protocol_word(*p)).collect();
            format!("{} ({})", key.help, words.join(", "))
        };
        row(&mut text, key.name, key, &default, &help);
    }

    put(&mut text, format_args!("\n{IGNORED_HEAD}"));
    for (wanted, reason) in [
        (Why::Meaningless, "Without meaning for this broker:"),
        (Why::Later, "Of features that this broker does not have yet:"),
    ] {
        put(&mut text, format_args!("\n{reason}\n\n"));
        for key in table::keys() {
            if let Goes::Ignored(why) = key.goes
                && why == wanted
            {
                put(&mut text, format_args!("- `{}`\n", key.name));
            }
        }
    }
    text
}

/// The default, and of which listeners if they differ.
fn listener_default(
    key: &Key,
    read: impl Fn(&Listener) -> Value,
    protocols: &[Protocol],
) -> String {
    let names = |protocol: Protocol| match protocol {
        Protocol::Tcp => &["external", "internal"][..],
        _ => &["external"],
    };
    let each: Vec<_> = protocols
        .iter()
        .flat_map(|protocol| names(*protocol).iter().map(|name| (*protocol, *name)))
        .map(|(protocol, name)| {
            let value = default_shown(key, &read(&Listener::new(protocol, name)));
            (format!("{} {name}", table::protocol_word(protocol)), value)
        })
        .collect();
    let different: BTreeSet<_> = each.iter().map(|(_, value)| value).collect();
    if different.len() == 1 {
        return each[0].1.clone();
    }
    let each: Vec<_> = each.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    each.join("; ")
}

fn row(text: &mut String, name: &str, key: &Key, default: &str, help: &str) {
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    put(
        text,
        format_args!(
            "| `{name}` | {} | {} | {} | {} |\n",
            cell(default),
            cell(&key.expected()),
            if key.is_live() { "yes" } else { "" },
            cell(help)
        ),
    );
}

fn default_shown(key: &Key, default: &Value) -> String {
    match default {
        Value::Unset if key.unset.is_none() => "none, must be given".into(),
        Value::Text(text) if text.is_empty() => "none, must be given".into(),
        default => key.show(default),
    }
}

fn zone_keys() -> impl Iterator<Item = (&'static Key, &'static table::Access<Zone>, bool)> {
    table::keys().filter_map(|key| match &key.goes {
        Goes::Zone { access, in_mqtt } => Some((key, access, *in_mqtt)),
        _ => None,
    })
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a String takes all that fits in memory");
}

const TOML_HEAD: &str = "\
# Every key of the broker with its value. A key that is left out has its default.
# The keys of [mqtt], and those of allow_anonymous and rights that are in no table, are for the zones that do not set them.
";

const ROW_HEAD: &str =
    "| Key | Default | Value | Run time | Meaning |\n| --- | --- | --- | --- | --- |\n";

const MARKDOWN_HEAD: &str = "\
<!-- Made by `broker-server --print-config=markdown > docs/configuration.md`; do not edit. -->

# Configuration

    broker-server [--config FILE] [--check] [--print-config]

Without a file the defaults below serve. `--check` reads the configuration and reports every error; `--print-config`
prints it with every key, its value, default and help, as a file that can be read again once the secrets, which it does
not have, are put in.

The file is TOML. Its tables are the dotted keys of EMQ X 3.1: `mqtt.max_packet_size` is `max_packet_size` in `[mqtt]`.
Where the original has a key that is a value and a prefix at once, the value is `bind` or `enabled`:

```toml
allow_anonymous = false

[mqtt]
max_packet_size = \"1MB\"

[zone.internal]
max_inflight = 128

[listener.tcp.external]
bind = \"0.0.0.0:1883\"
access = [\"allow 10.0.0.0/8\", \"deny all\"]

[listener.tcp.lan]
bind = \"192.168.0.1:1884\"
zone = \"internal\"

[listener.wss.external]
enabled = false

[module.subscription.1]
topic = \"inbox/%c\"
qos = 1
```

An environment variable goes before the file. Its name is `BROKER` and the parts of the key, with two underscores
between, in any case: `BROKER__LISTENER__TCP__EXTERNAL__BIND=127.0.0.1:1883`. A list is given with commas between its
items, or item by item: `BROKER__LISTENER__TCP__EXTERNAL__ACCESS__1=allow all`.

Durations have units: `\"500ms\"`, `\"15s\"`, `\"1h30m\"`, `\"7d\"`; sizes likewise: `\"64KB\"`, `\"1MB\"`; 0 needs none. Flags are
`true` and `false`; `\"on\"` and `\"off\"` are understood. Unknown keys and wrong values are errors.

Keys with \"yes\" under \"Run time\" can be changed while the broker runs, with `broker-cli config set` or over the management
API (docs/api.md). What is set so goes before the file and the environment, after a restart too, until it is taken back;
the log of a start names it. The keys of `[mqtt]` and of zones are for the connections that are accepted from then on, but for `acl_nomatch` and `enable_acl`: these
count at once for all, and what clients were granted before is asked about again.
";

const ZONE_HEAD: &str = "\
## [mqtt] and [zone.&lt;zone>]

A zone is a set of limits; each listener names the one that its clients get. The zones `external` and `internal` are always
there, others are made by a table of their name. `[mqtt]` is for all zones that do not set the key themselves; of
`allow_anonymous`, `acl_nomatch`, `acl_deny_action`, `enable_acl_cache`, `acl_cache_max_size` and `acl_cache_ttl` that one is at the
top level of the file.
";

const LISTENER_HEAD: &str = "\
## [listener.&lt;protocol>.&lt;name>]

The protocols are `tcp`, `ssl`, `ws`, `wss` and `unix`. The listeners `tcp.external`, `tcp.internal`, `ssl.external`,
`ws.external` and `wss.external` are there unless `enabled = false`; others are made by a table of their name. They must
have a `bind` and are for the rest like the `external` one of their protocol.
";

const IGNORED_HEAD: &str = "\
## Read and ignored

These keys of EMQ X 3.1 are accepted so that a translated emqx.conf loads. They do nothing; a warning lists those in use.
";
