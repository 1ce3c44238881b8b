//! Recorder: the records of a thread's turn, on their way into one frame of the store's log.

use std::sync::Arc;

use broker_codec::{QoS, topic};

use crate::config::DurabilityConfig;
use crate::message::{Message, Publication};
use crate::record::{self, BodyAt, Record, RefTerms, Removal};
use crate::store::{BodyPlace, Dependency, Level, Lsn, Seal, Store};

/// Fills the frame of a turn, which is handed to the [`Store`] at the end of the turn, before any socket is
/// flushed: what a peer can react to stands in the log ahead of its reaction.
///
/// Without a store every call is a branch.
pub(crate) struct Recorder {
    store: Option<Arc<dyn Store>>,
    durability: Arc<DurabilityConfig>,
    frame: Vec<u8>,
    /// Receivers of the message at work, not yet in the frame.
    refs: Vec<u8>,
    /// Messages a session is through with, not yet in the frame: one record for a run of acknowledgements.
    removed: Option<Run>,
    removed_steps: Vec<u8>,
    /// Where the body of the message at work stands.
    body: Option<BodyAt>,
    /// Level of the message at work, once it was asked for.
    level: Option<Level>,
    /// Messages whose bodies stand in the frame, with offset and length.
    bodies: Vec<(Arc<Message>, u32, u32)>,
    /// What depends on the frame holds it.
    seal: Option<Arc<Seal>>,
    /// Seals that were made before their records, which stand in the frame by now.
    bound: Vec<Arc<Seal>>,
    /// Strictest level of what was recorded for the packet at work; `None` if nothing was.
    needs: Option<Level>,
    /// Strictest level of what was recorded in the pass.
    pass_needs: Option<Level>,
    /// Messages recorded and not yet counted.
    recorded: u64,
    /// The end of the last frame of the pass.
    handed_over: Option<Lsn>,
}

/// A row of removals of one session for one reason.
#[derive(Clone, Copy)]
struct Run {
    session: u64,
    step: u64,
    why: Removal,
}

/// Bytes of a frame after which it is handed over before the next message.
const FRAME_MAX: usize = 1 << 20;

impl Recorder {
    pub(crate) fn new(store: Option<Arc<dyn Store>>, durability: Arc<DurabilityConfig>) -> Self {
        Self {
            store,
            durability,
            frame: Vec::new(),
            refs: Vec::new(),
            removed: None,
            removed_steps: Vec::new(),
            body: None,
            level: None,
            bodies: Vec::new(),
            seal: None,
            bound: Vec::new(),
            needs: None,
            pass_needs: None,
            recorded: 0,
            handed_over: None,
        }
    }

    /// How many messages were recorded since the last call.
    pub(crate) const fn take_recorded(&mut self) -> u64 {
        std::mem::replace(&mut self.recorded, 0)
    }

    /// A pass begins: nothing of it was handed over yet.
    pub(crate) const fn begin_pass(&mut self) {
        self.pass_needs = None;
        self.handed_over = None;
    }

    /// The position that covers what the pass has handed over, if it has anything, and how safe that has to be.
    pub(crate) fn handed_over(&self) -> Option<(Lsn, Level)> {
        let end = self.handed_over?;
        Some((end, self.pass_needs.unwrap_or(self.durability.level)))
    }

    /// True if there is a store.
    pub(crate) fn is_on(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// Another packet is at work: nothing was recorded for it yet.
    pub(crate) fn begin_packet(&mut self) {
        self.needs = None;
    }

    /// Another message is at work.
    pub(crate) fn begin_message(&mut self) {
        if self.body.is_some() {
            self.flush_refs();
        }
        self.body = None;
        self.level = None;
        if self.frame.len() > FRAME_MAX {
            self.hand_over();
        }
    }

    /// What the answer to the packet at work must wait for, if anything.
    pub(crate) fn dependency(&mut self) -> Option<Dependency> {
        let level = self.needs.filter(|level| *level > Level::Memory)?;
        Some(Dependency { seal: self.seal(), level })
    }

    /// True if something was recorded for the packet at work, whatever the level.
    pub(crate) fn has_recorded(&self) -> bool {
        self.needs.is_some()
    }

    /// What depends on the records of the session that is at work, whatever the packet needs.
    pub(crate) fn session_dependency(&mut self) -> Option<Dependency> {
        let level = self.durability.level;
        (self.is_on() && level > Level::Memory).then(|| Dependency { seal: self.seal(), level })
    }

    /// The same for records that are yet to come, in this turn; [`bind`](Self::bind) says when they have.
    pub(crate) fn dependency_to_come(&self) -> Option<Dependency> {
        let level = self.durability.level;
        (self.is_on() && level > Level::Memory).then(|| Dependency { seal: Arc::default(), level })
    }

    /// The records of a [`dependency_to_come`](Self::dependency_to_come) have been made.
    pub(crate) fn bind(&mut self, dependency: Dependency) {
        self.bound.push(dependency.seal);
    }

    /// The same for a message of the level it has.
    pub(crate) fn dependency_of(&mut self, topic: &str) -> Option<Dependency> {
        let level = level_of(&self.durability, topic);
        (self.is_on() && level > Level::Memory).then(|| Dependency { seal: self.seal(), level })
    }

    /// The frame at work, if something was recorded for the packet at work.
    pub(crate) fn frame(&mut self) -> Option<Arc<Seal>> {
        self.has_recorded().then(|| self.seal())
    }

    /// True if a frame is in the log before the one at work, or is that one: whatever crash keeps this keeps
    /// that.
    pub(crate) fn is_ahead(&self, frame: &Arc<Seal>) -> bool {
        frame.is_filled() || self.seal.as_ref().is_some_and(|seal| Arc::ptr_eq(seal, frame))
    }

    /// The frame at work, for a message of QoS 2 that was recorded: its PUBLISH must not leave before it.
    pub(crate) fn frame_of(&mut self, qos: QoS) -> Option<Arc<Seal>> {
        (self.is_on() && qos == QoS::ExactlyOnce).then(|| self.seal())
    }

    fn seal(&mut self) -> Arc<Seal> {
        Arc::clone(self.seal.get_or_insert_default())
    }

    /// Something was recorded for the packet at work.
    fn need(&mut self, level: Level) {
        self.needs = self.needs.max(Some(level));
        self.pass_needs = self.pass_needs.max(Some(level));
    }

    /// Records a message unless it stands in the log already. Returns where.
    pub(crate) fn message(&mut self, publication: &Publication<'_>) -> Option<BodyAt> {
        if let Some(body) = self.body {
            return Some(body);
        }
        let store = self.store.as_ref()?;
        let place = publication.kept().and_then(|message| message.stored.place());
        let body = match place {
            Some(BodyPlace { at, len, .. }) => BodyAt::Log { at, len },
            None => {
                let body = publication.body();
                let len = body.record_len();
                let piece = store.piece_bytes();
                if self.frame.len() + len > piece {
                    if len > piece {
                        log::error!(
                            "message is not recorded: larger than the store takes topic={:?} bytes={len}",
                            publication.topic
                        );
                        return None;
                    }
                    self.hand_over();
                }
                self.flush_removed();
                let offset = self.frame.len() as u32;
                body.encode(&mut self.frame);
                self.recorded += 1;
                self.bodies.push((Arc::clone(publication.shared()), offset, len as u32));
                BodyAt::Here(offset)
            }
        };
        self.body = Some(body);
        let level = self.level(publication.topic);
        self.need(level);
        Some(body)
    }

    /// A copy of the message at work is kept as well: it stands where the message does.
    pub(crate) fn also(&mut self, copy: &Arc<Message>) {
        if let (Some(BodyAt::Here(offset)), Some((_, last, len))) = (self.body, self.bodies.last())
            && offset == *last
        {
            let entry = (Arc::clone(copy), offset, *len);
            self.bodies.push(entry);
        }
    }

    fn level(&mut self, topic: &str) -> Level {
        *self.level.get_or_insert_with(|| level_of(&self.durability, topic))
    }

    /// Records that a session owes the message at work to its client.
    pub(crate) fn reference(
        &mut self,
        publication: &Publication<'_>,
        session: (u64, u64),
        terms: &RefTerms<'_>,
    ) -> bool {
        if self.message(publication).is_none() {
            return false;
        }
        record::put_ref(&mut self.refs, session, terms);
        true
    }

    /// The same for a message that only the log holds.
    pub(crate) fn reference_stored(
        &mut self,
        place: &BodyPlace,
        session: (u64, u64),
        terms: &RefTerms<'_>,
    ) {
        if !self.is_on() {
            return;
        }
        self.begin_message();
        self.body = Some(BodyAt::Log { at: place.at, len: place.len });
        record::put_ref(&mut self.refs, session, terms);
        self.begin_message();
    }

    /// Records that a session is through with a message. Nobody waits for it. `shown_until` is the step that its last
    /// snapshot stands for.
    pub(crate) fn removed(
        &mut self,
        session: u64,
        shown_until: u64,
        next_step: impl FnOnce() -> u64,
        why: Removal,
        message: u64,
    ) {
        if !self.is_on() {
            return;
        }
        // One step for the run: a message that came to the session after its beginning starts another, and so does a
        // snapshot, which knows of the run's beginning only.
        let goes_on = self.removed.is_some_and(|run| {
            run.session == session && run.why == why && message < run.step && shown_until < run.step
        });
        if !goes_on {
            self.flush_removed();
            self.removed = Some(Run { session, step: next_step(), why });
        }
        record::put_number(&mut self.removed_steps, message);
    }

    /// Records a change of a session or of what is kept.
    pub(crate) fn put(&mut self, record: &Record<'_>) {
        if self.is_on() {
            self.flush_refs();
            self.flush_removed();
            record.encode(&mut self.frame);
        }
    }

    /// The same for what the answer to the packet at work must wait for.
    pub(crate) fn put_awaited(&mut self, record: &Record<'_>) {
        if self.is_on() {
            self.put(record);
            self.need(self.durability.level);
        }
    }

    /// The same for what goes with the message at work.
    pub(crate) fn put_with_message(&mut self, record: &Record<'_>, topic: &str) {
        if self.is_on() {
            self.put(record);
            let level = self.level(topic);
            self.need(level);
        }
    }

    fn flush_refs(&mut self) {
        if let (Some(body), false) = (self.body, self.refs.is_empty()) {
            self.flush_removed();
            record::put_refs(&mut self.frame, body, &self.refs);
            self.refs.clear();
        }
    }

    fn flush_removed(&mut self) {
        if let Some(Run { session, step, why }) = self.removed.take() {
            record::put_removed(&mut self.frame, session, step, why, &self.removed_steps);
            self.removed_steps.clear();
        }
    }

    /// Hands the records gathered so far to the store, as one frame.
    pub(crate) fn hand_over(&mut self) -> Option<Lsn> {
        if self.frame.is_empty()
            && self.refs.is_empty()
            && self.removed.is_none()
            && self.seal.is_none()
            && self.bound.is_empty()
        {
            return None;
        }
        let store = Arc::clone(self.store.as_ref()?);
        self.flush_refs();
        self.flush_removed();
        if matches!(self.body, Some(BodyAt::Here(_))) {
            self.body = None;
        }
        if self.frame.is_empty() {
            // Nothing came after all: what depends on it depends on nothing.
            self.seal
                .take()
                .into_iter()
                .chain(self.bound.drain(..))
                .for_each(|s| s.fill(1, &*store));
            return None;
        }
        let appended = store.append(&self.frame);
        for (message, offset, len) in self.bodies.drain(..) {
            let at = appended.base + u64::from(offset);
            message.stored.set(BodyPlace { at, len, pin: Arc::clone(&appended.pin) });
        }
        for seal in self.seal.take().into_iter().chain(self.bound.drain(..)) {
            seal.fill(appended.end, &*store);
        }
        self.frame.clear();
        if self.frame.capacity() > 2 * FRAME_MAX {
            self.frame = Vec::new();
        }
        self.handed_over = Some(appended.end);
        self.handed_over
    }
}

/// The strictest level of the filters that match, or the general one.
fn level_of(durability: &DurabilityConfig, topic: &str) -> Level {
    let matching = durability.topics.iter().filter(|(filter, _)| topic::matches(filter, topic));
    matching.map(|(_, level)| *level).max().unwrap_or(durability.level)
}
