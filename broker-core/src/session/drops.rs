//! What a session has lost, by reason, and its latest losses: asked for when a message has not arrived.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::State;
use super::inflight::Phase;
use super::queue::Delivery;
use crate::message::Publication;
use crate::record::Removal;
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
    /// The broker had no memory for it.
    Memory,
    /// Its Message Expiry Interval passed while it waited.
    Expired,
    /// It cannot be read back from the store.
    Damaged,
    /// The right to the subscription it came by was taken back while it waited.
    Revoked,
}

impl DropReason {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::NoLocal,
        Self::Offline,
        Self::OutboxFull,
        Self::TooLarge,
        Self::QueueFull,
        Self::Memory,
        Self::Expired,
        Self::Damaged,
        Self::Revoked,
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
            Self::Memory => "memory",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Revoked => "revoked",
        }
    }
}

/// The losses of one session. Most have none, and pay a pointer.
#[derive(Default)]
pub(crate) struct Drops(Option<Box<Losses>>);

#[derive(Default)]
struct Losses {
    counts: [u64; N],
    /// Messages that had to leave the queue again.
    driven_out: u64,
    latest: [Option<Loss>; LATEST],
    next: usize,
}

/// One loss.
#[derive(Clone, Copy)]
pub(crate) struct Loss {
    pub(crate) reason: DropReason,
    /// Milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// PUBLISH packets that had been written for the client by then.
    pub(crate) delivered: u64,
    topic: u64,
}

const N: usize = DropReason::ALL.len();
/// Losses that are remembered one by one.
const LATEST: usize = 4;

impl Drops {
    fn note(&mut self, reason: DropReason, topic: &str, at_ms: u64, delivered: u64) {
        let losses = self.0.get_or_insert_default();
        losses.counts[reason as usize] += 1;
        losses.latest[losses.next] = Some(Loss { reason, at_ms, delivered, topic: hash(topic) });
        losses.next = (losses.next + 1) % LATEST;
    }

    /// The queue had no room for a message that was in it.
    pub(super) fn note_driven_out(&mut self) {
        self.0.get_or_insert_default().driven_out += 1;
    }

    /// Messages the queue had no room for.
    pub(crate) fn driven_out(&self) -> u64 {
        self.0.as_ref().map_or(0, |losses| losses.driven_out)
    }

    /// How many, by reason.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let count = |reason: DropReason| self.0.as_ref().map_or(0, |l| l.counts[reason as usize]);
        DropReason::ALL.iter().map(move |reason| (*reason, count(*reason)))
    }

    /// The latest loss of a topic, if it is among the latest of all.
    pub(crate) fn latest_of(&self, topic: &str) -> Option<Loss> {
        let (losses, topic) = (self.0.as_ref()?, hash(topic));
        (1..=LATEST)
            .filter_map(|back| losses.latest[(losses.next + LATEST - back) % LATEST])
            .find(|loss| loss.topic == topic)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |losses| size_of_val(&**losses))
    }
}

/// A topic is remembered by this: four of 64 KiB for each of many sessions would be a lot.
fn hash(topic: &str) -> u64 {
    FixedState::default().hash_one(topic)
}

impl State {
    /// Remembers a loss, and tells the traces of it. The metrics count it where it happens.
    fn note_drop(&mut self, reason: DropReason, topic: &str, out: &Out) {
        let delivered = self.total_delivered();
        self.drops.note(reason, topic, out.now.wall_ms, delivered);
        if out.tracer.is_on() {
            let happening = Happening::to(&self.client, TraceEventKind::Dropped).on(topic);
            let (topic, reason) = (Quoted(topic), reason.name());
            out.tracer.tell(out.now, &happening, format_args!("{reason} topic={topic}"));
        }
    }

    /// The message whose turn it is to be sent again never will be.
    pub(super) fn note_unsent(&mut self, why: Removal, out: &mut Out) {
        let reason = match why {
            Removal::Expired => DropReason::Expired,
            Removal::TooLarge => DropReason::TooLarge,
            _ => DropReason::Damaged,
        };
        let message = self.inflight.next_resend().and_then(|entry| match &entry.phase {
            Phase::Published(delivery) => delivery.message.here().cloned(),
            Phase::Released => None,
        });
        let topic = message.as_ref().map_or("", |message| &message.topic);
        self.note_drop(reason, topic, out);
        out.note_lost(&self.client, reason, || message.as_ref());
    }

    /// Remembers the loss of a message. Of one that only the store has, the topic is not known here.
    pub(super) fn note_loss(&mut self, delivery: &Delivery, reason: DropReason, out: &mut Out) {
        let topic = delivery.message.here().map_or("", |message| &message.topic);
        self.note_drop(reason, topic, out);
        out.note_lost(&self.client, reason, || delivery.message.here());
    }

    /// Remembers the loss of a message that was not taken.
    pub(super) fn note_refused(
        &mut self,
        publication: &Publication<'_>,
        reason: DropReason,
        out: &mut Out,
    ) {
        self.note_drop(reason, publication.topic, out);
        out.note_lost(&self.client, reason, || Some(publication.shared()));
    }

    #[cold]
    pub(super) fn trace_queued(&self, delivery: &Delivery, out: &Out) {
        let Some(message) = delivery.message.here() else { return };
        let happening = Happening::to(&self.client, TraceEventKind::Queued)
            .on(&message.topic)
            .carrying(&message.payload);
        let (topic, qos, bytes) =
            (Quoted(&message.topic), delivery.qos.bits(), message.payload.len());
        let (queued, inflight) = (self.queue.len() + 1, self.inflight.len());
        out.tracer.tell(
            out.now,
            &happening,
            format_args!(
                "topic={topic} qos={qos} bytes={bytes} queued={queued} inflight={inflight}"
            ),
        );
    }
}
