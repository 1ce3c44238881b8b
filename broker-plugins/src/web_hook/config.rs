//! `web.hook.*`: where requests go, and what they are about.

use std::collections::BTreeMap;
use std::fmt;

use broker_core::topic;
use serde::{Deserialize, Serialize};

/// `web.hook.*`.
#[derive(Clone, PartialEq, Eq)]
pub struct WebHookConfig {
    /// `api.url`: where each request goes.
    pub url: Option<String>,
    /// `rule.<event>.<n>`: a request for each rule of an event.
    pub rules: BTreeMap<HookEvent, Vec<HookRule>>,
    /// `encode_payload`.
    pub encode_payload: PayloadEncoding,
}

/// What a request may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the event of its name")]
pub enum HookEvent {
    ClientConnected,
    ClientDisconnected,
    ClientSubscribe,
    ClientUnsubscribe,
    SessionCreated,
    SessionSubscribed,
    SessionUnsubscribed,
    SessionTerminated,
    MessagePublish,
    MessageDeliver,
    MessageAcked,
}

/// One rule of an event, in the original's words: `{"action": "on_message_publish", "topic": "a/#"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookRule {
    /// `on_` and the event.
    pub action: String,
    /// The filter that the topic has to match, of events that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// How payloads are put into JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadEncoding {
    /// As text; one that is none as base64, with a word that says so.
    Text,
    /// All as base64.
    Base64,
    /// All as base62, which has nothing but letters and digits.
    Base62,
}

impl HookEvent {
    /// All, in the order of the original's file.
    pub const ALL: [Self; 11] = [
        Self::ClientConnected,
        Self::ClientDisconnected,
        Self::ClientSubscribe,
        Self::ClientUnsubscribe,
        Self::SessionCreated,
        Self::SessionSubscribed,
        Self::SessionUnsubscribed,
        Self::SessionTerminated,
        Self::MessagePublish,
        Self::MessageDeliver,
        Self::MessageAcked,
    ];

    /// As keys have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientConnected => "client.connected",
            Self::ClientDisconnected => "client.disconnected",
            Self::ClientSubscribe => "client.subscribe",
            Self::ClientUnsubscribe => "client.unsubscribe",
            Self::SessionCreated => "session.created",
            Self::SessionSubscribed => "session.subscribed",
            Self::SessionUnsubscribed => "session.unsubscribed",
            Self::SessionTerminated => "session.terminated",
            Self::MessagePublish => "message.publish",
            Self::MessageDeliver => "message.deliver",
            Self::MessageAcked => "message.acked",
        }
    }

    /// As requests have it.
    #[must_use]
    pub fn action(self) -> String {
        self.name().replace('.', "_")
    }

    const fn has_topic(self) -> bool {
        !matches!(
            self,
            Self::ClientConnected
                | Self::ClientDisconnected
                | Self::SessionCreated
                | Self::SessionTerminated
        )
    }
}

impl HookRule {
    /// The rule that the original's file has for an event.
    #[must_use]
    pub fn of(event: HookEvent) -> Self {
        Self { action: format!("on_{}", event.action()), topic: None }
    }
}

impl Default for WebHookConfig {
    /// All events, as in the original's file. Its URL is that of the management API, so ours is for the operator to say.
    fn default() -> Self {
        let rules = HookEvent::ALL.map(|event| (event, vec![HookRule::of(event)])).into();
        Self { url: None, rules, encode_payload: PayloadEncoding::Text }
    }
}

impl fmt::Debug for WebHookConfig {
    /// Leaves the URL out: there may be a secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebHookConfig")
            .field("rules", &self.rules)
            .field("encode_payload", &self.encode_payload)
            .finish_non_exhaustive()
    }
}

impl WebHookConfig {
    /// What no single key shows to be wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        for (event, rules) in &self.rules {
            for rule in rules {
                let key = format!("web.hook.rule.{}", event.name());
                let action = HookRule::of(*event).action;
                if rule.action != action {
                    return Err(format!("{key}: action must be {action:?}, not {:?}", rule.action));
                }
                let Some(filter) = &rule.topic else { continue };
                if !event.has_topic() {
                    return Err(format!("{key}: topic: this event has none"));
                }
                topic::validate_filter(filter)
                    .map_err(|error| format!("{key}: topic {filter:?}: {error}"))?;
            }
        }
        Ok(())
    }
}
