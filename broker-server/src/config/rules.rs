//! What the rule engine is started with: `[rules]`, and `rule_engine.ignore_sys_message` of the original.

use std::sync::Arc;

use broker_rules::engine::EngineOptions;
use broker_rules::{AddressRange, Limits};

use super::field::Word;

/// `rules.*` and `rule_engine.*`.
#[derive(Debug, Clone)]
pub(crate) struct RulesConfig {
    /// What statements and their events may cost.
    pub(crate) limits: Limits,
    /// `rules.max_rules`.
    pub(crate) max_rules: usize,
    /// `rules.max_resources`.
    pub(crate) max_resources: usize,
    /// `rules.max_actions`.
    pub(crate) max_actions: usize,
    /// `rules.max_hops`.
    pub(crate) max_hops: usize,
    /// `rules.allow_private_addresses`.
    pub(crate) allow_private_addresses: bool,
    /// `rules.allowed_addresses`.
    pub(crate) allowed_addresses: Vec<Allowed>,
    /// `rule_engine.ignore_sys_message`.
    pub(crate) ignore_sys_message: bool,
}

impl RulesConfig {
    /// As the engine takes it.
    pub(crate) fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            max_rules: self.max_rules,
            max_resources: self.max_resources,
            max_actions: self.max_actions,
            max_hops: self.max_hops,
            limits: Arc::new(self.limits.clone()),
            ignore_sys_message: self.ignore_sys_message,
        }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        let EngineOptions {
            max_rules,
            max_resources,
            max_actions,
            max_hops,
            limits,
            ignore_sys_message,
        } = EngineOptions::default();
        Self {
            limits: Limits::clone(&limits),
            max_rules,
            max_resources,
            max_actions,
            max_hops,
            allow_private_addresses: true,
            allowed_addresses: Vec::new(),
            ignore_sys_message,
        }
    }
}

/// Addresses that resources may connect to, with the text that was given for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) range: AddressRange,
    text: String,
}

impl Word for Allowed {
    fn to_word(&self) -> String {
        self.text.clone()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        let range =
            word.parse().map_err(|error: broker_rules::BadAddressRange| error.to_string())?;
        Ok(Self { range, text: word.to_owned() })
    }
}
