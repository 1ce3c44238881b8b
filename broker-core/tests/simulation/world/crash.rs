//! Crash: the process dies, the disk keeps what it has synced and perhaps more, and a new broker is made of it.

use std::collections::BTreeMap;

use broker_core::Now;
use broker_core::store::{State, TurnsUnderWay};

use super::{World, build, listen_with, threads};
use crate::disk::{self, Disk, Snapshot};
use crate::model::Restored;

/// A snapshot that has been written and does not count yet.
pub(super) struct Draft {
    snapshot: Snapshot,
    stage: Stage,
}

enum Stage {
    /// Turns were under way at its end: what it shows of them is not yet in the log.
    Under(TurnsUnderWay),
    /// So many frames must be synced.
    Unsynced(usize),
}

impl World {
    /// What goes on in a world with a disk beside the traffic.
    pub(super) fn live_with_disk(&mut self) {
        if self.rng.chance(15) {
            let t = self.rng.below(super::THREADS);
            self.finish(t);
        }
        if self.rng.chance(2) && self.draft.is_none() {
            self.begin_draft();
        }
        self.crash_if_cut();
        if self.rng.below(10_000) < self.crash_rate {
            self.crash();
        }
    }

    pub(super) fn crash_if_cut(&mut self) {
        if self.disk.as_ref().is_some_and(|disk| disk::is_cut(disk)) {
            self.crash();
        }
    }

    fn begin_draft(&mut self) {
        let Some(disk) = &self.disk else { return };
        let snapshot = disk.write_snapshot(&self.broker);
        let stage = Stage::Under(self.broker.turns_under_way());
        self.draft = Some(Draft { snapshot, stage });
    }

    /// As the keeper of a real store: turns over, then all they have appended synced, then it counts.
    pub(super) fn further_draft(&mut self) {
        let Some(disk) = &self.disk else { return };
        let Some(draft) = &mut self.draft else { return };
        if let Stage::Under(turns) = &draft.stage
            && turns.are_over()
        {
            draft.stage = Stage::Unsynced(disk.frames());
        }
        let is_safe = matches!(draft.stage, Stage::Unsynced(frames) if disk.synced() >= frames);
        if let Some(draft) = self.draft.take_if(|_| is_safe) {
            disk.publish(draft.snapshot);
        }
    }

    pub(super) fn sync_some(&mut self) {
        self.watch();
        let Some(disk) = &self.disk else { return };
        let (synced, frames) = (disk.synced(), disk.frames());
        let to =
            if self.rng.chance(30) { frames } else { synced + self.rng.below(frames - synced + 1) };
        disk.sync_frames(to);
        disk.serve();
        self.further_draft();
    }

    fn crash(&mut self) {
        self.watch();
        let Some(old) = self.disk.take() else { return };
        let (synced, all) = (old.synced(), old.frames());
        let frames = match self.rng.below(4) {
            0 => synced,
            1 => all,
            _ => synced + self.rng.below(all - synced + 1),
        };
        // Before the threads end: what they have yet to append is lost.
        let disk = old.crash(frames);
        // Files may have kept others.
        let frames = disk.frames();
        self.totals.crashes += 1;
        self.totals.cut_short += self.threads.iter().filter(|t| t.pass.is_some()).count() as u64;
        if self.is_traced {
            eprintln!("crash: {frames} frames left of {all}, {synced} synced");
        }
        self.count_metrics();
        let dropped: BTreeMap<_, _> = self
            .clients
            .iter()
            .map(|c| (c.id.clone(), self.broker.session(&c.id).map_or(0, |view| view.dropped)))
            .collect();
        self.draft = None;
        self.lose_connections();
        self.broker = build(&self.config, Some(&disk));
        self.threads = threads(&self.broker);
        self.attachment = listen_with(&self.ear, &self.broker);
        let down_ms = *self.rng.pick(&[0, 1, 500, 4_000, 60_000]);
        let mono_ms = *self.rng.pick(&[0, 1, 5_000]);
        self.now = Now { mono_ms, us: 0, wall_ms: self.now.wall_ms + down_ms };
        self.model.crash(frames, self.now, |id| dropped[id]);
        self.restart(&disk);
        self.disk = Some(disk);
        self.check_restored();
        if self.rng.chance(50) {
            self.run_timers();
        }
    }

    /// Their clients may have got what was written, or some of it.
    fn lose_connections(&mut self) {
        for conn in self.conns.iter_mut().filter(|conn| !conn.is_closed) {
            (conn.is_closed, conn.is_cut) = (true, true);
            conn.on_the_way.clear();
            conn.unhandled.clear();
            let mut socket = conn.socket.lock();
            let all = socket.unread.len();
            let left = if self.rng.chance(50) { all } else { self.rng.below(all + 1) };
            socket.unread.truncate(left);
        }
        self.clients.iter_mut().for_each(|client| client.is_after_crash = true);
    }

    fn restart(&mut self, disk: &Disk) {
        // The newest snapshot that can be read, or the log alone.
        let n = disk.snapshots();
        let snapshot = match self.rng.chance(80) {
            true => n.checked_sub(1),
            false => self.rng.below(n + 1).checked_sub(1),
        };
        self.totals.snapshots += u64::from(snapshot.is_some());
        let pass = self.model.passes.begin();
        let restored = disk.restore_from(snapshot, &self.broker, self.now);
        self.model.passes.end(pass, disk.frames());
        self.model.restarted();
        assert_eq!(restored.lost, 0, "{restored:?}");
    }

    /// What was restored is what the frames that were left lead to.
    fn check_restored(&mut self) {
        self.check_lists();
        let must = self.model.must_be_restored();
        self.restored.clear();
        for client in &self.clients {
            let id = &client.id;
            let subscriptions = self.broker.subscriptions(id).unwrap_or_default();
            let view = self.broker.session(id);
            let is = view.as_ref().map(|view| Restored {
                expiry_s: view.expiry_s,
                created_at_ms: view.created_at_ms,
                subscriptions: subscriptions
                    .into_iter()
                    .map(|s| (s.filter.to_string(), (s.options, s.identifier)))
                    .collect(),
            });
            assert_eq!(is.as_ref(), must.get(id), "{id} after the crash");
            if let Some(view) = view {
                self.restored.insert(id.clone(), (view.queued, view.inflight));
            }
        }
        self.model.check_retained(&self.retained());
    }

    /// Retained messages by topic.
    pub(super) fn retained(&self) -> BTreeMap<String, String> {
        let inbox = self.broker.subscribe_local("#", 10_000, self.now).expect("a good filter");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        inbox.receiver().try_iter().map(|m| (m.topic.to_string(), text(&m.payload))).collect()
    }
}
