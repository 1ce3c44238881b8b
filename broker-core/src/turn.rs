//! Turn: one pass of a thread over what its sockets brought.
//!
//! A turn owns what a thread needs for its work, so that nothing is allocated or locked for it per message:
//! the cache of matches, spare buffers, counters, and the list of outboxes to flush when all is routed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::{Packet, PropertiesBuf, ProtocolVersion, PublishFrames};

use crate::ahead::Fates;
use crate::broker::Broker;
use crate::clock::Now;
use crate::events::Note;
use crate::extension::Extensions;
use crate::follow_ups::FollowUps;
use crate::latency::Latency;
use crate::memory::Pressure;
use crate::message::Spares;
use crate::metrics::{Counters, Metric};
use crate::modules::rewrite::Rewrite;
use crate::modules::topic_metrics::TopicTally;
use crate::observer::EventKinds;
use crate::outbox::BufferPool;
use crate::recorder::Recorder;
use crate::router::match_cache::MatchCache;
use crate::run::Run;
use crate::session::Session;
use crate::settings::Saved;
use crate::slow_subscribers::LateAck;
use crate::traces::Tracer;
use crate::traffic::Tally;

/// The working state of one thread that drives channels; made by [`Broker::turn`].
pub struct Turn {
    /// The clock reading of this pass.
    pub now: Now,
    pub(crate) broker: Arc<Broker>,
    pub(crate) cache: MatchCache,
    pub(crate) out: Out,
    /// Messages that are gathered.
    pub(crate) run: Run,
    pub(crate) extensions: Arc<Extensions>,
    extensions_generation: u64,
    pub(crate) rights_generation: u64,
    pub(crate) rewrite: Option<Arc<Rewrite>>,
    config_generation: u64,
    /// Packets for the client whose channel is at work; they join its outbox when its part is done.
    pub(crate) reply: Reply,
    /// What that channel has received in this turn.
    pub(crate) received: Tally,
    /// What its shell holds for it.
    pub(crate) held_bytes: usize,
    /// Packets that this pass has handled.
    pub(crate) handled: usize,
    /// PUBLISH packets that this pass has routed, and how long they took is not known yet.
    routed: u64,
    /// How long the packet at work has waited for extensions.
    pub(crate) waited_ms: u64,
    /// Forwarded properties of the PUBLISH at work.
    pub(crate) properties: PropertiesBuf,
    /// Counts beginnings and ends of passes: odd within one.
    gate: Arc<AtomicU64>,
    /// Properties of a SUBSCRIBE, UNSUBSCRIBE or DISCONNECT at work, where they are observed.
    pub(crate) observed_properties: PropertiesBuf,
    /// What observers have handed over.
    pub(crate) follow_ups: FollowUps,
}

/// Packets on their way into one outbox.
#[derive(Default)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) packets: u64,
}

impl Reply {
    /// Appends one packet, encoded.
    pub(crate) fn append(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
        self.packets += 1;
    }

    pub(crate) fn encode(&mut self, packet: &Packet<'_>, version: ProtocolVersion) {
        packet.encode(version, &mut self.bytes);
        self.packets += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.packets = 0;
    }
}

/// The part of a turn that deliveries write to.
pub(crate) struct Out {
    pub(crate) broker: Arc<Broker>,
    pub(crate) now: Now,
    /// Sessions whose outboxes have something to be flushed.
    pub(crate) dirty: Vec<Arc<Session>>,
    /// Bytes appended to outboxes since the last flush.
    pub(crate) dirty_bytes: usize,
    pub(crate) pool: BufferPool,
    pub(crate) spares: Spares,
    pub(crate) counters: Counters,
    pub(crate) frames: PublishFrames,
    /// The message at work goes to several sessions: its frames are worth keeping.
    pub(crate) share_frames: bool,
    /// What has become of the messages of the channel at work.
    pub(crate) fates: Fates,
    pub(crate) records: Recorder,
    /// What was written for clients, or lost for them, and is not yet told of.
    pub(crate) notes: Vec<Note>,
    /// Events that somebody observes.
    pub(crate) observed: EventKinds,
    /// Counts of single topics, if an operator wants any.
    pub(crate) topics: Option<Box<TopicTally>>,
    topics_generation: u64,
    /// Acknowledgements that came late and are not yet told of.
    pub(crate) late: Vec<LateAck>,
    /// Retained topics that may still be looked at in this pass for new subscriptions.
    pub(crate) replay_budget: usize,
    pub(crate) tracer: Tracer,
    /// What sessions hold more since that was last made known.
    pub(crate) memory: isize,
    /// How near the budget of memory is to its end, as last looked at.
    pub(crate) pressure: Pressure,
}

/// Memory that one thread may hold more before it says so.
const TOLD_BYTES: usize = 8 * 1024;
/// Bytes in dirty outboxes that end a pass early, so that memory and latency stay bounded.
const FLUSH_AT_BYTES: usize = 1 << 20;
/// Packets of one pass, but for a few of each client; some milliseconds.
const PASS_PACKETS: usize = 4096;
/// Retained topics that one pass looks at; a few milliseconds.
const REPLAY_TOPICS: usize = 32 * 1024;

impl Turn {
    pub(crate) fn new(broker: &Arc<Broker>) -> Self {
        let (extensions, extensions_generation, rights_generation) = broker.extensions();
        let (rewrite, config_generation) = broker.rewrite();
        Self {
            now: Now::default(),
            broker: Arc::clone(broker),
            cache: MatchCache::default(),
            out: Out {
                broker: Arc::clone(broker),
                now: Now::default(),
                dirty: Vec::new(),
                dirty_bytes: 0,
                pool: BufferPool::default(),
                spares: Spares::default(),
                counters: broker.metrics().counters(),
                frames: PublishFrames::default(),
                share_frames: false,
                fates: Fates::default(),
                records: broker.recorder(),
                notes: Vec::new(),
                observed: extensions.observed(),
                topics: None,
                topics_generation: 0,
                late: Vec::new(),
                replay_budget: REPLAY_TOPICS,
                tracer: Tracer::default(),
                memory: 0,
                pressure: Pressure::default(),
            },
            run: Run::default(),
            extensions,
            extensions_generation,
            rights_generation,
            rewrite,
            config_generation,
            reply: Reply::default(),
            received: Tally::default(),
            held_bytes: 0,
            handled: 0,
            routed: 0,
            waited_ms: 0,
            properties: PropertiesBuf::new(),
            gate: broker.new_gate(),
            observed_properties: PropertiesBuf::new(),
            follow_ups: FollowUps::default(),
        }
    }

    /// Starts a pass with a reading of the clocks.
    pub fn begin(&mut self, now: Now) {
        // Only this thread writes it. Who looks at the state in between holds one of its locks.
        self.gate.store(self.gate.load(Ordering::Relaxed) | 1, Ordering::Release);
        self.now = now;
        self.out.now = now;
        self.out.replay_budget = REPLAY_TOPICS;
        self.out.fates = Fates::default();
        self.out.records.begin_pass();
        self.out.tracer.follow(self.broker.traces());
        self.out.pressure = self.broker.pressure();
        (self.routed, self.handled) = (0, 0);
        if self.broker.extensions_generation() != self.extensions_generation {
            let rights_generation = self.rights_generation;
            (self.extensions, self.extensions_generation, self.rights_generation) =
                self.broker.extensions();
            if self.rights_generation != rights_generation {
                self.broker.rights.note_change(now.wall_ms);
            }
            self.out.observed = self.extensions.observed();
        }
        if self.broker.config_generation() != self.config_generation {
            (self.rewrite, self.config_generation) = self.broker.rewrite();
        }
        if self.broker.topic_metrics.generation() != self.out.topics_generation {
            (self.out.topics, self.out.topics_generation) = self.broker.topic_metrics.tally();
        }
    }

    /// True if the pass should be ended before more is read.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        self.out.dirty_bytes >= FLUSH_AT_BYTES
    }

    /// True if the pass has handled so many packets that the clients it has yet to look at should wait no longer than
    /// they must: of each of them little is read now, and the rest in the passes to come.
    #[must_use]
    pub const fn has_done_enough(&self) -> bool {
        self.handled >= PASS_PACKETS
    }

    /// True if outboxes are left to flush: the shell must not sleep before the next pass.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.out.dirty.is_empty()
    }

    /// A PUBLISH of a client has found its receivers.
    pub(crate) fn count_routed(&mut self) {
        if self.waited_ms > 0 {
            self.out.counters.took(Latency::Routing, self.waited_ms * 1000, 1);
        } else {
            self.routed += 1;
        }
    }

    /// True if messages were routed in this pass: [`note_routed`](Self::note_routed) wants to know how long it
    /// took.
    #[must_use]
    pub const fn has_routed(&self) -> bool {
        self.routed > 0
    }

    /// Says what time it is, as [`Now::mono_us`] does, when all that was read in this pass is handled and not yet
    /// flushed. A shell without a clock that fine leaves it out, and routing is not measured.
    pub fn note_routed(&mut self, mono_us: u64) {
        let us = mono_us.saturating_sub(self.now.mono_us());
        self.out.counters.took(Latency::Routing, us, std::mem::take(&mut self.routed));
    }

    /// Counts bytes of one read for the channel whose turn it is, up to its
    /// [`end_turn`](crate::Channel::end_turn).
    pub fn count_received(&mut self, bytes: usize) {
        self.out.counters.add(Metric::BytesReceived, bytes as u64);
        self.received.bytes += bytes as u64;
        self.received.calls += 1;
    }

    /// Says how many bytes of memory the shell keeps for the channel whose turn it is, beside the channel: its
    /// own state and buffers. To be said before the [`end_turn`](crate::Channel::end_turn) of each turn.
    pub const fn note_held(&mut self, bytes: usize) {
        self.held_bytes = bytes;
    }

    /// Ends the pass: stores its records, publishes counters, writes what is owed to all touched clients and
    /// publishes what that has moved.
    pub fn finish(&mut self) {
        self.end_run();
        self.tell_notes();
        self.publish_follow_ups();
        self.out.records.hand_over();
        self.count_recorded();
        // A client that has its answer finds its packet counted.
        self.tell_counts();
        self.flush();
        self.publish_follow_ups();
        // Emptied outboxes may have been filled again from the queues behind them.
        self.out.records.hand_over();
        self.count_recorded();
        self.end_pass();
        self.settle_memory();
        self.broker.watch_memory(self.out.pressure, self.now);
        self.tell_counts();
        if !self.out.late.is_empty() {
            let alarms = &self.broker.client_alarms;
            let kept = |session, client_id: &_| alarms.note_slow(session, client_id, self.now);
            self.broker.slow_subscribers.tell(self.out.late.drain(..), self.now, kept);
        }
    }

    /// Makes known what sessions hold more, if that is worth it, and looks how much memory there is left.
    pub(crate) fn settle_memory(&mut self) {
        if self.out.memory.unsigned_abs() >= TOLD_BYTES {
            self.broker.memory.add(std::mem::take(&mut self.out.memory));
            self.out.pressure = self.broker.pressure();
        }
    }

    /// True once the broker stops: [`Broker::close_all`].
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.broker.is_closing.load(Ordering::Relaxed)
    }

    /// Makes what was counted visible to readers.
    fn tell_counts(&mut self) {
        self.out.counters.publish();
        if let Some(topics) = &mut self.out.topics {
            topics.tell();
        }
    }

    fn count_recorded(&mut self) {
        let n = self.out.records.take_recorded();
        if n > 0 {
            self.out.counters.add(Metric::MessagesRecorded, n);
        }
    }

    /// What the pass has changed and [`finish`](Self::finish) has handed to the store: an order of an operator
    /// is carried out once [`Broker::is_saved`].
    pub fn saved(&self) -> Saved {
        Saved(self.out.records.handed_over())
    }

    fn end_pass(&self) {
        let count = self.gate.load(Ordering::Relaxed);
        self.gate.store(count + count % 2, Ordering::Release);
    }

    fn flush(&mut self) {
        self.out.dirty_bytes = 0;
        // Sessions that have more than their share of one pass come back onto the list.
        let mut dirty = std::mem::take(&mut self.out.dirty);
        for session in dirty.drain(..) {
            session.flush(&mut self.out);
            self.tell_notes();
        }
        dirty.append(&mut self.out.dirty);
        self.out.dirty = dirty;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.broker.memory.add(self.out.memory);
        self.out.records.hand_over();
        self.end_pass();
    }
}
