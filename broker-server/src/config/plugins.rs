//! Names of plugins: `plugins.loaded`.

use broker_plugins::catalogue::{self, Kind};

use super::field::Word;
use crate::plugins::BUILT_IN;

/// The name of one of EMQ X's plugins. One that checks clients is in this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginName(pub(crate) String);

impl PluginName {
    pub(crate) fn is_built_in(&self) -> bool {
        BUILT_IN.contains(&self.0.as_str())
    }

    /// Those of the original that are there, and what is here without being asked for.
    pub(crate) fn defaults() -> Vec<Self> {
        DEFAULTS.map(|name| Self(name.into())).to_vec()
    }
}

impl Word for PluginName {
    fn to_word(&self) -> String {
        self.0.clone()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        let Some(entry) = catalogue::find(word) else {
            return Err("is no plugin of EMQ X 3.1".into());
        };
        let name = Self(word.to_owned());
        if entry.kind == Kind::Auth && !name.is_built_in() {
            return Err("is not in this build, so clients would come in unchecked".into());
        }
        Ok(name)
    }
}

/// What the keys of a plugin begin with, if it has any.
pub(crate) fn prefix_of(plugin: &str) -> Option<&'static str> {
    PREFIXES.iter().find(|(name, _)| *name == plugin).map(|(_, prefix)| *prefix)
}

/// The plugin that a key is of.
pub(crate) fn plugin_of(key: &str) -> Option<&'static str> {
    PREFIXES.iter().find(|(_, prefix)| key.starts_with(prefix)).map(|(name, _)| *name)
}

const PREFIXES: [(&str, &str); 12] = [
    ("emqx_auth_clientid", "auth.client."),
    ("emqx_auth_http", "auth.http."),
    ("emqx_auth_jwt", "auth.jwt."),
    ("emqx_auth_username", "auth.user."),
    ("emqx_delayed_publish", "delayed."),
    ("emqx_management", "management."),
    ("emqx_psk_file", "psk.file."),
    ("emqx_recon", "recon."),
    ("emqx_retainer", "retainer."),
    ("emqx_rule_engine", "rule_engine."),
    ("emqx_statsd", "statsd."),
    ("emqx_web_hook", "web.hook."),
];

const DEFAULTS: [&str; 5] =
    ["emqx_management", "emqx_recon", "emqx_retainer", "emqx_delayed_publish", "emqx_rule_engine"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_there() {
        assert!(PluginName::defaults().iter().all(PluginName::is_built_in));
    }

    #[test]
    fn a_name_that_would_leave_clients_unchecked_is_refused() {
        assert!(PluginName::from_word("emqx_retainer").is_ok());
        assert!(PluginName::from_word("emqx_coap").is_ok());
        assert_eq!(
            PluginName::from_word("emqx_auth_mysql").unwrap_err(),
            "is not in this build, so clients would come in unchecked"
        );
        assert!(PluginName::from_word("emqx_retianer").is_err());
    }
}
