//! The plugins of EMQ X 3.1: a list of all of them, their life cycle, and those that this broker has.
//!
//! A [`PluginHost`] puts plugins to work in a [`Broker`](broker_core::Broker) and takes them out again while
//! clients are connected. What a [`Plugin`] needs to know it reads from the [`PluginsConfig`] that a
//! [`ConfigSource`] has; which plugins are loaded outlives the process in the broker's settings.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod catalogue;
mod config;
mod core_switches;
mod host;
mod plugin;
mod states;

pub use config::{ConfigSource, PluginsConfig};
pub use core_switches::{DelayedPublish, Retainer};
pub use host::{PluginError, PluginHost, PluginStatus, State};
pub use plugin::{Parts, Plugin, Ready, ServedElsewhere};
