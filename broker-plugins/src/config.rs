//! What plugins read of the configuration.

use broker_core::config::{BrokerConfig, DelayedConfig, RetainedConfig};

use crate::accounts::AccountsConfig;
use crate::http_auth::HttpAuthConfig;
use crate::jwt::JwtConfig;
use crate::psk_file::PskFileConfig;
use crate::recon::ReconConfig;
use crate::statsd::StatsdConfig;
use crate::web_hook::WebHookConfig;

/// The keys of all plugins that this broker has, checked one by one.
#[derive(Debug, Clone)]
pub struct PluginsConfig {
    /// `plugins.loaded`: the plugins of the first start, in the order in which they are asked.
    pub loaded: Vec<String>,
    /// `retainer.*`.
    pub retained: RetainedConfig,
    /// `delayed.*`.
    pub delayed: DelayedConfig,
    /// `auth.client.*`.
    pub auth_clientid: AccountsConfig,
    /// `auth.http.*`.
    pub auth_http: HttpAuthConfig,
    /// `auth.user.*`.
    pub auth_username: AccountsConfig,
    /// `auth.jwt.*`.
    pub auth_jwt: JwtConfig,
    /// `psk.file.*`.
    pub psk_file: PskFileConfig,
    /// `recon.*`.
    pub recon: ReconConfig,
    /// `statsd.*`.
    pub statsd: StatsdConfig,
    /// `web.hook.*`.
    pub web_hook: WebHookConfig,
}

impl Default for PluginsConfig {
    /// No plugin, and each key as it is unless somebody sets it.
    fn default() -> Self {
        let BrokerConfig { retained, delayed, .. } = BrokerConfig::default();
        Self {
            loaded: Vec::new(),
            retained,
            delayed,
            auth_clientid: AccountsConfig::default(),
            auth_http: HttpAuthConfig::default(),
            auth_username: AccountsConfig::default(),
            auth_jwt: JwtConfig::default(),
            psk_file: PskFileConfig::default(),
            recon: ReconConfig::default(),
            statsd: StatsdConfig::default(),
            web_hook: WebHookConfig::default(),
        }
    }
}

/// Where plugins read the configuration again when they are loaded.
pub trait ConfigSource: Send + Sync {
    /// Reads it all.
    ///
    /// # Errors
    /// What is wrong with it, naming file and key.
    fn read(&self) -> Result<PluginsConfig, String>;
}
