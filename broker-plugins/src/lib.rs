//! The plugins of EMQ X 3.1: a list of all of them, their life cycle, and those that this broker has.
//!
//! A [`PluginHost`] puts plugins to work in a [`Broker`](broker_core::Broker) and takes them out again while
//! clients are connected. What a [`Plugin`] needs to know it reads from the [`PluginsConfig`] that a
//! [`ConfigSource`] has; which plugins are loaded outlives the process in the broker's settings.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accounts;
mod acl_file;
pub mod catalogue;
mod config;
mod core_switches;
mod every;
mod host;
mod http_auth;
mod jwt;
mod machine;
mod mosquitto_passwords;
mod password;
mod plugin;
mod psk_file;
mod recon;
mod states;
mod statsd;
mod web_hook;
mod workers;

pub use accounts::{AccountError, Accounts, AccountsConfig, ConfiguredAccount, Subject};
pub use acl_file::{AclFile, AclFileError, Asker};
pub use config::{ConfigSource, PluginsConfig};
pub use core_switches::{DelayedPublish, Retainer};
pub use host::{PluginError, PluginHost, PluginStatus, State};
pub use http_auth::{HttpAuth, HttpAuthConfig, HttpMethod, HttpParams, HttpRequestConfig};
pub use jwt::{Jwt, JwtConfig, TokenFrom};
pub use machine::{CpuTimes, Heap, Machine};
pub use mosquitto_passwords::{MosquittoPasswords, PasswordFileError};
pub use password::stored::AccountHash;
pub use password::{PasswordForm, Unusable};
pub use plugin::{Parts, Plugin, Ready, ServedElsewhere};
pub use psk_file::{PskFile, PskFileConfig, PskFileError, check_psk_file};
pub use recon::{HeapFigures, HeapUse, NodeSample, Recon, ReconConfig};
pub use statsd::{Statsd, StatsdConfig};
pub use web_hook::{HookEvent, HookRule, PayloadEncoding, WebHook, WebHookConfig};
pub use workers::Workers;
