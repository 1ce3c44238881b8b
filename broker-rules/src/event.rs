//! Events: what a rule can be about, under the names that three dialects have for it.

mod columns;
mod described;
mod facts;
mod row;

use broker_core::observer::{Event, EventKind};
use broker_core::topic;
use thiserror::Error;

pub use described::{EventDescription, descriptions};
pub use row::{EventRow, Occasion, PayloadCache};

/// What a rule can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// A message is published.
    MessagePublish,
    /// A message is written for a subscriber.
    MessageDelivered,
    /// A subscriber acknowledges a message.
    MessageAcked,
    /// A message has no receiver, or loses one.
    MessageDropped,
    /// A client connects, or is refused.
    ClientConnected,
    /// A client is gone.
    ClientDisconnected,
    /// A SUBSCRIBE has come.
    ClientSubscribe,
    /// An UNSUBSCRIBE has come.
    ClientUnsubscribe,
    /// There is a subscription.
    SessionSubscribed,
    /// There is a subscription fewer.
    SessionUnsubscribed,
}

/// How a rule says what it is about, which decides how columns are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// By the field `for`, as in 3.1.
    For,
    /// By the name of an event in FROM, as in 3.2.
    Named,
    /// By a topic filter or `$events/…` in FROM, as in 4.
    Topics,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::For, Self::Named, Self::Topics];
}

impl Hook {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::MessagePublish,
        Self::MessageDelivered,
        Self::MessageAcked,
        Self::MessageDropped,
        Self::ClientConnected,
        Self::ClientDisconnected,
        Self::ClientSubscribe,
        Self::ClientUnsubscribe,
        Self::SessionSubscribed,
        Self::SessionUnsubscribed,
    ];

    /// Its name in 3.1 and 3.2.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessagePublish => "message.publish",
            Self::MessageDelivered => "message.deliver",
            Self::MessageAcked => "message.acked",
            Self::MessageDropped => "message.dropped",
            Self::ClientConnected => "client.connected",
            Self::ClientDisconnected => "client.disconnected",
            Self::ClientSubscribe => "client.subscribe",
            Self::ClientUnsubscribe => "client.unsubscribe",
            Self::SessionSubscribed => "session.subscribed",
            Self::SessionUnsubscribed => "session.unsubscribed",
        }
    }

    /// What the column `event` says.
    #[must_use]
    pub const fn spelled(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::MessageDelivered, Dialect::Topics) => "message.delivered",
            (_, Dialect::Named | Dialect::Topics) => self.name(),
            (Self::MessagePublish, Dialect::For) => "message_publish",
            (Self::MessageDelivered, Dialect::For) => "message_deliver",
            (Self::MessageAcked, Dialect::For) => "message_acked",
            (Self::MessageDropped, Dialect::For) => "message_dropped",
            (Self::ClientConnected, Dialect::For) => "client_connected",
            (Self::ClientDisconnected, Dialect::For) => "client_disconnected",
            (Self::ClientSubscribe, Dialect::For) => "client_subscribe",
            (Self::ClientUnsubscribe, Dialect::For) => "client_unsubscribe",
            (Self::SessionSubscribed, Dialect::For) => "session_subscribed",
            (Self::SessionUnsubscribed, Dialect::For) => "session_unsubscribed",
        }
    }

    /// What it is called in FROM since 4, if it has a name there.
    #[must_use]
    pub const fn events_topic(self) -> Option<&'static str> {
        Some(match self {
            Self::MessageDelivered => "$events/message_delivered",
            Self::MessageAcked => "$events/message_acked",
            Self::MessageDropped => "$events/message_dropped",
            Self::ClientConnected => "$events/client_connected",
            Self::ClientDisconnected => "$events/client_disconnected",
            Self::SessionSubscribed => "$events/session_subscribed",
            Self::SessionUnsubscribed => "$events/session_unsubscribed",
            Self::MessagePublish | Self::ClientSubscribe | Self::ClientUnsubscribe => return None,
        })
    }

    /// The event of that name of 3.1 or 3.2.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "message.delivered" => Some(Self::MessageDelivered),
            _ => Self::ALL.iter().copied().find(|hook| hook.name() == name),
        }
    }

    /// True if its column `timestamp` says when a message was taken.
    const fn is_of_message(self) -> bool {
        matches!(
            self,
            Self::MessagePublish
                | Self::MessageDelivered
                | Self::MessageAcked
                | Self::MessageDropped
        )
    }

    /// What the broker has to tell for a rule of that dialect.
    #[must_use]
    pub const fn kinds(self, dialect: Dialect) -> &'static [EventKind] {
        match (self, dialect) {
            (Self::MessagePublish, _) => &[],
            (Self::MessageDelivered, _) => &[EventKind::Delivered],
            (Self::MessageAcked, _) => &[EventKind::Acked],
            (Self::MessageDropped, _) => &[EventKind::Dropped],
            // Later ones let a rule see only clients that were let in.
            (Self::ClientConnected, Dialect::For) => &[EventKind::Connected, EventKind::Refused],
            (Self::ClientConnected, _) => &[EventKind::Connected],
            (Self::ClientDisconnected, _) => &[EventKind::Disconnected],
            (Self::ClientSubscribe, _) => &[EventKind::Subscribing],
            (Self::ClientUnsubscribe, _) => &[EventKind::Unsubscribing],
            (Self::SessionSubscribed, _) => &[EventKind::Subscribed],
            (Self::SessionUnsubscribed, _) => &[EventKind::Unsubscribed],
        }
    }

    /// The hook of something that has happened, if it has one.
    #[must_use]
    pub const fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Connected { .. } | Event::Refused { .. } => Self::ClientConnected,
            Event::Disconnected { .. } => Self::ClientDisconnected,
            Event::Subscribing { .. } => Self::ClientSubscribe,
            Event::Unsubscribing { .. } => Self::ClientUnsubscribe,
            Event::Subscribed { .. } => Self::SessionSubscribed,
            Event::Unsubscribed { .. } => Self::SessionUnsubscribed,
            Event::Delivered { .. } => Self::MessageDelivered,
            Event::Acked { .. } => Self::MessageAcked,
            Event::Dropped { .. } => Self::MessageDropped,
            // No rule of EMQ X is told of these.
            Event::SessionCreated { .. } | Event::SessionTerminated { .. } => return None,
        })
    }

    /// True if a rule of that dialect is told of something that has happened, which is of this hook.
    #[must_use]
    pub fn tells(self, dialect: Dialect, event: &Event<'_>) -> bool {
        match event {
            // 3.1 says nothing when another connection takes over.
            Event::Disconnected { reason, .. } => {
                dialect != Dialect::For || !matches!(*reason, "takeovered" | "discarded")
            }
            Event::Dropped { client, .. } => dialect != Dialect::For || client.is_none(),
            _ => self.kinds(dialect).contains(&event.kind()),
        }
    }
}

/// What a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Topic filters of messages that are published, and how it names columns of these.
    pub topics: Vec<(Box<str>, Dialect)>,
    /// Other events.
    pub events: Vec<(Hook, Dialect)>,
}

/// Why there is nothing a rule could be about.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    /// `for` names no event.
    #[error("Hook {0} Not Found")]
    UnknownHook(String),
    /// `$events/…` names no event.
    #[error("Bad Arguments: SQL: FROM: no event is called {0:?}")]
    UnknownEvent(String),
    /// It is no Topic Filter.
    #[error("Bad Arguments: SQL: FROM: {filter:?} is no topic filter: {reason}")]
    Filter {
        /// What stands in FROM.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Sources {
    /// What a rule with that `for` and these items in FROM is about.
    ///
    /// # Errors
    /// A name that is none, or a filter that could never match.
    pub fn resolve(hook: Option<&str>, from: &[String]) -> Result<Self, SourceError> {
        let mut sources = Self::default();
        match hook {
            None => from.iter().try_for_each(|item| sources.add(item))?,
            Some("message.publish") => {
                from.iter().try_for_each(|filter| sources.add_filter(filter, Dialect::For))?;
            }
            Some(name) => match Hook::named(name) {
                // The topic filters are not looked at, as in the original.
                Some(hook) => sources.events.push((hook, Dialect::For)),
                None if SILENT.contains(&name) => {}
                None => return Err(SourceError::UnknownHook(name.to_owned())),
            },
        }
        Ok(sources)
    }

    /// Those of the names that are no column of anything it is about, in any dialect: they are always undefined.
    pub fn unknown<'c>(&self, columns: &'c [String]) -> Vec<&'c str> {
        let of_topics = self.topics.first().map(|_| Hook::MessagePublish);
        let hooks: Vec<_> =
            of_topics.into_iter().chain(self.events.iter().map(|(h, _)| *h)).collect();
        let is_known = |name: &str| {
            let is_of = |hook: &Hook| {
                Dialect::ALL.iter().any(|d| columns::names(*hook, *d).contains(&name))
            };
            // What never happens has no columns.
            hooks.is_empty() || hooks.iter().any(is_of)
        };
        columns.iter().map(String::as_str).filter(|name| !is_known(name)).collect()
    }

    fn add(&mut self, item: &str) -> Result<(), SourceError> {
        match Hook::named(item) {
            Some(Hook::MessagePublish) => self.topics.push(("#".into(), Dialect::Named)),
            Some(hook) => self.add_event(hook, Dialect::Named),
            None if item.starts_with("$events/") => {
                let hook = Hook::ALL.iter().find(|hook| hook.events_topic() == Some(item));
                let hook = hook.ok_or_else(|| SourceError::UnknownEvent(item.to_owned()))?;
                self.add_event(*hook, Dialect::Topics);
            }
            None => return self.add_filter(item, Dialect::Topics),
        }
        Ok(())
    }

    fn add_event(&mut self, hook: Hook, dialect: Dialect) {
        // Told once, whatever else it is called.
        if !self.events.iter().any(|(other, _)| *other == hook) {
            self.events.push((hook, dialect));
        }
    }

    fn add_filter(&mut self, filter: &str, dialect: Dialect) -> Result<(), SourceError> {
        if let Err(error) = topic::validate_filter(filter) {
            let (filter, reason) = (filter.to_owned(), error.to_string());
            return Err(SourceError::Filter { filter, reason });
        }
        if !self.topics.iter().any(|(other, _)| **other == *filter) {
            self.topics.push((filter.into(), dialect));
        }
        Ok(())
    }
}

/// True if there is an event, or a group of events, of that name.
#[must_use]
pub fn is_hook(name: &str) -> bool {
    Hook::named(name).is_some()
        || SILENT.contains(&name)
        || ["$messages", "$events", "$any"].contains(&name)
}

/// True if an action for `of` is listed for somebody who asks for `asked`; both may be groups of events.
#[must_use]
pub fn serves(of: &str, asked: &str) -> bool {
    match asked {
        "$any" => true,
        "$messages" => matches!(of, "$messages" | "$any" | "message.publish"),
        "$events" => !matches!(of, "$messages" | "message.publish"),
        hook => of == hook || of == "$any",
    }
}

/// Known to the original, and never told of.
const SILENT: &[&str] = &[
    "client.authenticate",
    "client.check_acl",
    "session.created",
    "session.resumed",
    "session.unsubscribe",
    "session.terminated",
];

#[cfg(test)]
mod tests;
