//! ByHand: a store without threads, whose every step a test takes.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};

use broker_core::store::State;

use super::{EmbeddedStore, Failure};
use crate::keeper::Keeper;
use crate::log::Log;

/// What the threads of a store would do.
#[doc(hidden)]
pub struct ByHand {
    log: Arc<Log>,
    keeper: Keeper,
    now_ms: u64,
}

impl EmbeddedStore {
    /// Takes the place of [`start`](Self::start), where the store was opened without threads.
    ///
    /// # Errors
    /// It has not been replayed.
    #[doc(hidden)]
    pub fn by_hand(&self, broker: Weak<dyn State>) -> Result<ByHand, Failure> {
        let keeper = self.keeper(broker)?;
        let log = self.log.get().ok_or(Failure::NotReplayed)?.clone();
        Ok(ByHand { log, keeper, now_ms: 0 })
    }
}

impl ByHand {
    /// Writes and syncs what was appended. False if not all of it is durable.
    pub fn commit(&self) -> bool {
        self.log.commit_now()
    }

    /// Writes what was appended, and syncs nothing.
    pub fn write(&self) {
        self.log.write_now();
    }

    /// Answers what was asked for.
    pub fn fetch(&self) {
        self.log.fetch_now();
    }

    /// Makes one segment ready that is wanted as a spare.
    pub fn prepare_spare(&self) {
        let _ = self.log.prepare_spare();
    }

    /// Has a snapshot written by the next steps.
    pub fn order_snapshot(&mut self) {
        let (reply, _) = sync_channel(1);
        self.keeper.order(reply);
    }

    /// A step of the housekeeping, a second after the last one.
    pub fn keep_house(&mut self) {
        self.now_ms += 1000;
        self.keeper.step(self.now_ms);
    }
}
