//! Room: how much the log takes and how much it may, and what is said about it.

use super::{IDLE_MS, Keeper};
use crate::alarm::{STORE_DISK_LOW, STORE_FULL};
use crate::segments::floor_bytes;
use crate::stats::State;

/// What was seen last.
#[derive(Default)]
pub(super) struct Room {
    next_ms: u64,
    is_low: bool,
    is_full: bool,
}

impl Keeper {
    /// Looks, once a second; says how far the log may grow until then; raises and clears alarms.
    pub(super) fn watch_room(&mut self, now_ms: u64) {
        if now_ms < self.room.next_ms {
            return;
        }
        self.room.next_ms = now_ms + IDLE_MS;
        let segment_bytes = self.folder.identity().segment_bytes;
        // First, so that what is begun meanwhile counts as growth.
        let segments = self.log.segments();
        let used = segments.len() as u64 * segment_bytes;
        self.stats.lock().log_bytes = used;
        let max = self.options.max_log_bytes;
        let percent = |of: u64| max / 100 * of + max % 100 * of / 100;
        // A spare is room that is taken already. If the system does not say, it is not what stops us.
        let free = self.folder.files().free_bytes(self.folder.root()).unwrap_or(u64::MAX);
        let free = free
            .saturating_add(self.log.spares() as u64 * segment_bytes)
            .saturating_sub(self.log.untaken_bytes());
        let floor = floor_bytes(self.options.min_free_bytes, segment_bytes);
        // Down by a step before it is over, or it would come and go.
        let (low_at, full_at, floor) = (
            percent(if self.room.is_low { 75 } else { 80 }),
            percent(if self.room.is_full { 90 } else { 95 }),
            if self.room.is_full { floor.saturating_add(floor / 16) } else { floor },
        );
        self.room.is_low = used > low_at || free < floor;
        let takes = format!("the log takes {used} of {max} bytes, {free} are free on its disk");
        self.tell(self.room.is_low, STORE_DISK_LOW, || takes.clone());
        self.room.is_full = used > full_at || free < floor;
        let newest = segments.last().map_or(0, |segment| segment.number);
        let space_for = free.saturating_sub(floor) / segment_bytes;
        let last = newest.saturating_add(space_for);
        self.log.set_growth(full_at / segment_bytes, last, self.room.is_full);
        let health = self.log.health();
        let is_out_of_space = health.state == State::Full;
        self.tell(self.room.is_full || is_out_of_space, STORE_FULL, || match is_out_of_space {
            true => format!("the disk is full: {}", health.last_error.unwrap_or_default()),
            false => format!("{takes}, {floor} must be"),
        });
        self.watch_disk(now_ms, &segments);
    }

    pub(super) fn tell(&self, is_up: bool, name: &'static str, why: impl FnOnce() -> String) {
        let is_told = self.alarms.is_up(name);
        if is_up && !is_told {
            self.alarms.raise(name, why());
        } else if !is_up && is_told {
            self.alarms.clear(name);
        }
    }

    /// Something was given back: look at once.
    pub(super) const fn watch_room_next(&mut self) {
        self.room.next_ms = 0;
    }

    /// Old segments are worth some work.
    pub(super) const fn is_room_short(&self) -> bool {
        self.room.is_low || self.room.is_full
    }
}
