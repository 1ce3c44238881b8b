//! Why a session has lost a message.

use super::State;
use crate::traces::{Happening, Quoted, TraceEventKind};
use crate::turn::Out;

/// Why a message was not delivered to a session that it was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The client published it itself, and wants none of its own.
    NoLocal,
    /// QoS 0, and nobody connected.
    Offline,
    /// QoS 0, and the client reads too slowly.
    OutboxFull,
    /// Larger than the client takes.
    TooLarge,
    /// The queue had no room for it.
    QueueFull,
    /// Its Message Expiry Interval passed while it waited.
    Expired,
    /// It cannot be read back from the store.
    Damaged,
}

impl DropReason {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::NoLocal,
        Self::Offline,
        Self::OutboxFull,
        Self::TooLarge,
        Self::QueueFull,
        Self::Expired,
        Self::Damaged,
    ];

    /// The word for it, as the label values of the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoLocal => "no_local",
            Self::Offline => "qos0_offline",
            Self::OutboxFull => "outbox_full",
            Self::TooLarge => "too_large",
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
        }
    }
}

impl State {
    /// Tells the traces of a loss. The metrics count it where it happens.
    pub(super) fn note_drop(&mut self, reason: DropReason, topic: &str, out: &Out) {
        if out.tracer.is_on() {
            let happening = Happening::to(&self.client, TraceEventKind::Dropped).on(topic);
            let (topic, reason) = (Quoted(topic), reason.name());
            out.tracer.tell(out.now, &happening, format_args!("{reason} topic={topic}"));
        }
    }
}
