//! Compaction: the few live bodies of an old segment are copied to the end of the log, so that it can go.
//!
//! Copies are appended as `Moved` and `Body`, let become safe, and only then shown to the owners of the bodies.
//! A crash in between leaves two copies, of which replay takes the later. Whoever held a place while the owners
//! were told keeps the segment pinned; then it stays, and what is left in it is copied again another time, with
//! records of its own, for a snapshot may have begun in between.

use std::collections::HashMap;

use broker_core::record::Record;
use broker_core::store::{BodyPlace, Lsn, Pin, State, TurnsUnderWay};

use super::{IDLE_MS, Job as KeeperJob, Keeper, POLL_MS, Segment};
use crate::alarm::STORE_DAMAGED;

/// A segment that is being emptied.
pub(crate) struct Job {
    number: u64,
    /// Live bodies in it: where, and how long.
    bodies: Vec<(Lsn, u32)>,
    /// How many have been dealt with.
    done: usize,
    /// Where they are now.
    moved: HashMap<Lsn, BodyPlace>,
    /// Covers the copies.
    end: Lsn,
    next_ms: u64,
    stage: Stage,
    /// Keeps the segment while it is read.
    pin: Option<Pin>,
}

enum Stage {
    Copying,
    Safe,
    Over(TurnsUnderWay),
}

/// When to look for a segment next.
#[derive(Default)]
pub(super) struct Due {
    at_ms: u64,
    /// Segments with a body that cannot be read.
    stuck: Vec<u64>,
}

impl Keeper {
    pub(super) fn begin_compaction(&mut self, now_ms: u64) -> bool {
        let horizon = self.horizon();
        let segments = self.log.segments();
        let log_bytes = segments.len() as u64 * self.folder.identity().segment_bytes;
        let is_large = log_bytes > self.options.log_min_bytes || self.is_room_short();
        if now_ms < self.compact.at_ms || self.log.is_congested() {
            return false;
        }
        let is_candidate = |it: &&Segment| {
            it.end <= horizon && it.is_pinned && !self.compact.stuck.contains(&it.number)
        };
        let mut candidates: Vec<_> = segments.iter().filter(is_candidate).copied().collect();
        let has_failed = |it: &Segment| self.is_to_leave(now_ms, it);
        let must_move = candidates.iter().any(has_failed);
        if must_move {
            candidates.retain(has_failed);
        } else if !is_large {
            return false;
        }
        let Some(state) = self.state.upgrade().filter(|_| !candidates.is_empty()) else {
            return false;
        };
        // Counting walks the whole state: not again soon if it finds nothing worth the while.
        self.compact.at_ms = now_ms + COUNT_AGAIN_MS;
        let live = Live::count(state.as_ref());
        let live_bytes = live.bytes();
        self.stats.lock().live_bytes = live_bytes;
        let is_sparse = log_bytes > self.options.log_min_bytes.max(2 * live_bytes);
        if !is_sparse && !self.is_room_short() && !must_move {
            return false;
        }
        let most_percent = match must_move {
            true => 100,
            false if self.is_room_short() => 80,
            false => 50,
        };
        let victim = self.victim(&candidates, &live, most_percent);
        let Some((victim, bodies)) = victim else { return false };
        let pin = self.log.pin(victim.number);
        log::debug!("compacting segment={} bodies={}", victim.number, bodies.len());
        self.job = KeeperJob::Compact(Box::new(Job {
            number: victim.number,
            bodies,
            done: 0,
            moved: HashMap::new(),
            end: 0,
            next_ms: 0,
            stage: Stage::Copying,
            pin,
        }));
        true
    }

    /// The segment with the least in it.
    fn victim(
        &self,
        candidates: &[Segment],
        live: &Live,
        most_percent: u64,
    ) -> Option<(Segment, Vec<(Lsn, u32)>)> {
        let most = self.folder.identity().segment_bytes / 100 * most_percent;
        let found = candidates.iter().map(|it| (live.bytes_in(it), it));
        // One without any is held for another reason, a message on its way, and goes by itself.
        let found = found.filter(|(bytes, _)| (1..most).contains(bytes));
        let (_, segment) = found.min_by_key(|it| it.0)?;
        Some((*segment, live.within(segment)))
    }

    pub(super) fn compact_on(&mut self, mut job: Box<Job>, now_ms: u64) -> u64 {
        let wait = match &job.stage {
            Stage::Copying if job.done < job.bodies.len() => {
                if now_ms < job.next_ms || self.log.is_congested() {
                    POLL_MS
                } else {
                    self.copy_some(&mut job, now_ms);
                    0
                }
            }
            Stage::Copying => {
                job.stage = Stage::Safe;
                0
            }
            Stage::Safe if job.end <= self.log.durable() => {
                let Some(state) = self.state.upgrade() else { return IDLE_MS };
                state.visit_bodies(&mut |place| {
                    if let Some(now_at) = job.moved.get(&place.at) {
                        *place = now_at.clone();
                    }
                });
                job.stage = Stage::Over(state.turns_under_way());
                0
            }
            Stage::Safe if self.log.is_failed() => return IDLE_MS,
            Stage::Over(turns) if turns.are_over() => {
                // Our pin goes with the job; if that was the last, the segment is free.
                self.compact.at_ms = 0;
                self.recycle.now();
                return 0;
            }
            Stage::Safe | Stage::Over(_) => POLL_MS,
        };
        self.job = KeeperJob::Compact(job);
        wait
    }

    /// Copies bodies, a frame of them.
    fn copy_some(&mut self, job: &mut Job, now_ms: u64) {
        let mut payload = Vec::new();
        let mut copies = Vec::new();
        // What is to be found by its place in the payload has to lie in one piece.
        let most = FRAME_BYTES.min(self.log.piece_bytes());
        while let Some(&(at, len)) = job.bodies.get(job.done) {
            let is_full = !payload.is_empty() && payload.len() + MOVED_BYTES + len as usize > most;
            let Some(pin) = job.pin.clone().filter(|_| !is_full) else { break };
            job.done += 1;
            if MOVED_BYTES + len as usize > self.log.piece_bytes() {
                // The largest there can be: with a record before it, it would not be in one piece.
                self.compact.stuck.push(job.number);
                continue;
            }
            let read = self.log.read(&BodyPlace { at, len, pin });
            let body =
                read.map_err(|error| error.to_string()).and_then(|body| {
                    match Record::decode(&body) {
                        Ok((_, Some(Record::Body(_)))) => Ok(body),
                        Ok(_) => Err(format!("what stands at {at} is no message body")),
                        Err(error) => Err(format!("message body at {at}: {error}")),
                    }
                });
            match body {
                Ok(body) => {
                    Record::Moved { from: at }.encode(&mut payload);
                    copies.push((at, payload.len(), len));
                    payload.extend_from_slice(&body);
                }
                Err(why) => {
                    self.compact.stuck.push(job.number);
                    self.alarms.raise(STORE_DAMAGED, why);
                }
            }
        }
        if copies.is_empty() {
            return;
        }
        let appended = self.log.append(&payload);
        job.end = appended.end;
        for (from, offset, len) in copies {
            let at = appended.base + offset as u64;
            job.moved.insert(from, BodyPlace { at, len, pin: appended.pin.clone() });
        }
        let speed = self.options.compact_bytes_per_s * if self.is_room_short() { 4 } else { 1 };
        job.next_ms = now_ms + (payload.len() as u64 * 1000).div_ceil(speed.max(1));
        self.stats.lock().compacted_bytes += payload.len() as u64;
    }
}

/// The bodies that the state refers to, in the order of the log, each once.
struct Live(Vec<(Lsn, u32)>);

impl Live {
    fn count(state: &dyn State) -> Self {
        let mut found = Vec::new();
        let mut distinct = 0;
        state.visit_bodies(&mut |place| {
            found.push((place.at, place.len));
            // Many sessions may hold the same few.
            if found.len() > 2 * distinct + 65_536 {
                found.sort_unstable();
                found.dedup();
                distinct = found.len();
            }
        });
        found.sort_unstable();
        found.dedup();
        Self(found)
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, len)| u64::from(*len)).sum()
    }

    fn range(&self, segment: &Segment) -> &[(Lsn, u32)] {
        let start = self.0.partition_point(|(at, _)| *at < segment.start);
        let end = self.0.partition_point(|(at, _)| *at < segment.end);
        &self.0[start..end]
    }

    fn bytes_in(&self, segment: &Segment) -> u64 {
        self.range(segment).iter().map(|(_, len)| u64::from(*len)).sum()
    }

    fn within(&self, segment: &Segment) -> Vec<(Lsn, u32)> {
        self.range(segment).to_vec()
    }
}

/// Payload bytes of a frame of copies, unless one body alone is larger.
const FRAME_BYTES: usize = 1024 * 1024;
/// What the record takes that says whence a body was moved, at most.
const MOVED_BYTES: usize = 16;
const COUNT_AGAIN_MS: u64 = 10_000;
