//! The 25 plugins of EMQ X 3.1, as its list shows them, whether this broker has them or not.

/// One plugin of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// `emqx_retainer`.
    pub name: &'static str,
    /// As the original prints it, misprints included.
    pub description: &'static str,
    /// What it is for.
    pub kind: Kind,
}

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Decides who may connect, or what he may do.
    Auth,
    /// Hands messages to other systems.
    Bridge,
    /// Adds to the broker itself.
    Feature,
    /// Speaks another protocol.
    Protocol,
}

/// What the list prints as version of each.
pub const VERSION: &str = "v3.1.0";

/// All, by name.
pub const ALL: [Entry; 25] = [
    entry("emqx_auth_clientid", "EMQ X Authentication with ClientId/Password", Kind::Auth),
    entry("emqx_auth_http", "EMQ X Authentication/ACL with HTTP API", Kind::Auth),
    entry("emqx_auth_jwt", "EMQ X Authentication with JWT", Kind::Auth),
    entry("emqx_auth_ldap", "EMQ X Authentication/ACL with LDAP", Kind::Auth),
    entry("emqx_auth_mongo", "EMQ X Authentication/ACL with MongoDB", Kind::Auth),
    entry("emqx_auth_mysql", "EMQ X Authentication/ACL with MySQL", Kind::Auth),
    entry("emqx_auth_pgsql", "EMQ X Authentication/ACL with PostgreSQL", Kind::Auth),
    entry("emqx_auth_redis", "EMQ X Authentication/ACL with Redis", Kind::Auth),
    entry("emqx_auth_username", "EMQ X Authentication with Username and Password", Kind::Auth),
    entry("emqx_coap", "EMQ X CoAP Gateway", Kind::Protocol),
    entry("emqx_dashboard", "EMQ X Web Dashboard", Kind::Feature),
    entry("emqx_delayed_publish", "EMQ X Delayed Publish", Kind::Feature),
    entry("emqx_lua_hook", "EMQ X Lua Hooks", Kind::Feature),
    entry("emqx_lwm2m", "EMQ X LwM2M Gateway", Kind::Protocol),
    entry("emqx_management", "EMQ X Management API and CLI", Kind::Feature),
    entry("emqx_plugin_template", "EMQ X Plugin Template", Kind::Feature),
    entry("emqx_psk_file", "EMQX PSK Plugin from File", Kind::Auth),
    entry("emqx_recon", "EMQ X Recon Plugin", Kind::Feature),
    entry("emqx_reloader", "EMQ X Reloader Plugin", Kind::Feature),
    entry("emqx_retainer", "EMQ X Retainer", Kind::Feature),
    entry("emqx_rule_engine", "EMQ X Rule Engine", Kind::Feature),
    entry("emqx_sn", "EMQ X MQTT SN Plugin", Kind::Protocol),
    entry("emqx_statsd", "Statsd for EMQ X", Kind::Feature),
    entry("emqx_stomp", "EMQ X Stomp Protocol Plugin", Kind::Protocol),
    entry("emqx_web_hook", "EMQ X Webhook Plugin", Kind::Bridge),
];

/// The one of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

const fn entry(name: &'static str, description: &'static str, kind: Kind) -> Entry {
    Entry { name, description, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name));
        assert!(ALL.iter().all(|entry| find(entry.name) == Some(entry)));
        assert_eq!(find("emqx_nothing"), None);
    }
}
