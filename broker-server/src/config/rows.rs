//! Rows: every key with its value, as the management API tells of them.

use std::collections::BTreeMap;

use broker_mgmt::ports::ConfigKey;

use super::accounts;
use super::settings::Settings;
use super::table::{self, Goes, Key};
use super::value::{Kind, Value};

/// All keys with their values. `set` are those that were set while the broker ran.
pub(crate) fn rows(settings: &Settings, set: &BTreeMap<String, String>) -> Vec<ConfigKey> {
    let mut rows = Vec::new();
    let mut put = |path: String, key: &Key, value: &Value| {
        rows.push(ConfigKey {
            value: text(key, value),
            kind: kind(&key.kind),
            help: key.help,
            is_changeable: key.is_live(),
            is_given: settings.given.contains_key(&path),
            is_kept: set.contains_key(&path),
            key: path,
        });
    };
    for key in table::keys() {
        match &key.goes {
            Goes::Root(access) => put(key.name.to_owned(), key, &(access.read)(settings)),
            Goes::Zone { access, in_mqtt } => {
                let path = table::base_pattern(key.name, *in_mqtt);
                put(path, key, &(access.read)(&settings.base));
                for (name, zone) in &settings.zones {
                    put(format!("zone.{name}.{}", key.name), key, &(access.read)(zone));
                }
            }
            Goes::Listener { access, protocols } => {
                let has = |it: &&super::settings::Listener| protocols.contains(&it.config.protocol);
                for listener in settings.listeners.iter().filter(has) {
                    let path = format!("{}.{}", listener.path(), key.name);
                    put(path, key, &(access.read)(listener));
                }
            }
            Goes::Subscription(access) => {
                for (name, subscription) in &settings.subscriptions {
                    let path = format!("module.subscription.{name}.{}", key.name);
                    put(path, key, &(access.read)(subscription));
                }
            }
            Goes::Account { subject, access } => {
                for (its, name, account) in &settings.accounts {
                    if its == subject {
                        let path = format!("{}.{name}.{}", accounts::table(*subject), key.name);
                        put(path, key, &(access.read)(account));
                    }
                }
            }
            Goes::Ignored(_) => {}
        }
    }
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

/// A value as it can be set again: of lists and tables TOML, of the others without quotes.
fn text(key: &Key, value: &Value) -> String {
    match value {
        Value::Unset => key.unset.unwrap_or_default().to_owned(),
        Value::List(items) if items.is_empty() => "[]".to_owned(),
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        _ if key.is_secret() => HIDDEN.to_owned(),
        Value::Text(text) => text.clone(),
        Value::List(_) | Value::Map(_) => key.show(value),
        Value::Flag(_) | Value::Number(_) | Value::Decimal(_) => {
            // Digits and a unit, or a word.
            key.show(value).trim_matches('"').to_owned()
        }
    }
}

/// Words of the original where it has one.
const fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Flag => "flag",
        Kind::Number(..) => "integer",
        Kind::Decimal(..) => "float",
        Kind::Percent => "percent",
        Kind::Duration(..) | Kind::Milliseconds(..) | Kind::Seconds(..) => "duration",
        Kind::Size(..) => "bytesize",
        Kind::Word(_) => "enum",
        Kind::Address(_) => "ip",
        Kind::Text(_) | Kind::Any => "string",
        Kind::List(_) => "list",
        Kind::Map(_) => "table",
    }
}

/// What stands for a secret.
const HIDDEN: &str = "******";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<ConfigKey> {
        let read = crate::config::read_text("f", text, std::iter::empty()).unwrap();
        rows(&read.1, &BTreeMap::new())
    }

    #[test]
    fn every_value_can_be_set_again() {
        let file = "mqtt.max_packet_size = \"1536KB\"\nlog.targets.\"a::b\" = \"debug\"\n\
                    module.rewrite.rule = [\"a ^a{1,2}$ b\"]\nmqtt.mqueue_priorities = \"a=1,b=2\"\n\
                    module.subscription.1.topic = \"x/%c\"";
        let (given, settings) = crate::config::read_text("f", file, std::iter::empty()).unwrap();
        let all = rows(&settings, &BTreeMap::new());
        drop(given);
        let (layers, _) = crate::config::Layers::read(None, std::iter::empty()).unwrap();
        let live = all.iter().filter(|row| row.is_changeable);
        let live = live.filter(|row| !row.key.starts_with("module.subscription.1."));
        let set: BTreeMap<_, _> = live.map(|row| (row.key.clone(), row.value.clone())).collect();
        let (_, again) = layers.with_set(set.clone()).unwrap();
        for row in rows(&again, &set).iter().filter(|row| row.is_kept) {
            assert_eq!(Some(&row.value), set.get(&row.key), "{}", row.key);
        }
        assert_eq!(again.zones["external"].config.max_packet_size, 1_536 << 10);
        assert_eq!(again.rewrite_rules, settings.rewrite_rules);
    }

    #[test]
    fn secrets_are_hidden_and_what_is_not_set_says_so() {
        let rows = of("auth.scram_sha_256.users.alice = \"wonderland\"\n\
                       auth.user.1 = { username = \"bob\", password = \"builder\" }\n\
                       dashboard.default_user.password = \"secret\"");
        let value = |key: &str| rows.iter().find(|row| row.key == key).unwrap().value.as_str();
        for key in
            ["auth.scram_sha_256.users", "auth.user.1.password", "dashboard.default_user.password"]
        {
            assert_eq!(value(key), HIDDEN, "{key}");
        }
        assert_eq!(value("auth.user.1.username"), "bob");
        assert_eq!(value("management.application.default_secret"), "none");
        assert_eq!(value("zone.external.mountpoint"), "none");
        assert_eq!(value("allow_anonymous"), "local");
        assert_eq!(value("listener.ssl.external.bind"), "8883");
        assert_eq!(value("auth.user.password_hash"), "argon2id");
        assert!(!format!("{rows:?}").contains("wonderland"));
    }
}
