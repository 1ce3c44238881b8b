//! Traffic: what one connection has read and written.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one direction of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of MQTT: inside TLS, without the framing of WebSocket.
    pub bytes: u64,
    /// Reads or writes of the socket that moved data.
    pub calls: u64,
    /// Control Packets.
    pub packets: u64,
    /// PUBLISH packets among them, repeated ones and those of `$SYS/…` included.
    pub messages: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.calls += more.calls;
        self.packets += more.packets;
        self.messages += more.messages;
    }
}

/// Both directions, of a connection that has no session yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) received: Tally,
    pub(crate) sent: Tally,
}

/// What a connection's channel tells of it at the end of each of its turns, for others to read.
///
/// The channel alone writes, and does so without a locked instruction; nobody waits for anybody.
#[derive(Debug, Default)]
pub(crate) struct Told {
    bytes: AtomicU64,
    calls: AtomicU64,
    packets: AtomicU64,
    messages: AtomicU64,
    turns: AtomicU64,
}

impl Told {
    /// What was received before there was a session.
    pub(crate) fn new(received: Tally) -> Self {
        let told = Self::default();
        told.add(received);
        told
    }

    /// A turn has ended that received so much.
    pub(crate) fn end_turn(&self, received: Tally) {
        self.add(received);
        add(&self.turns, 1);
    }

    fn add(&self, received: Tally) {
        let Tally { bytes, calls, packets, messages } = received;
        // Most turns without any are those in which others have written.
        if calls == 0 && packets == 0 {
            return;
        }
        add(&self.bytes, bytes);
        add(&self.calls, calls);
        add(&self.packets, packets);
        add(&self.messages, messages);
    }

    pub(crate) fn received(&self) -> Tally {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Tally {
            bytes: load(&self.bytes),
            calls: load(&self.calls),
            packets: load(&self.packets),
            messages: load(&self.messages),
        }
    }

    /// Turns in which the channel had something to do.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

impl Clone for Told {
    fn clone(&self) -> Self {
        let copy = Self::new(self.received());
        copy.turns.store(self.turns(), Ordering::Relaxed);
        copy
    }
}

fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
