//! Restoring a broker: what is kept goes through the core's [`Restorer`].

use std::sync::Arc;

use broker_core::record::RecordError;
use broker_core::restore::{BodySource, Restored, Restorer};
use broker_core::store::{BodyPlace, FetchError, Lsn, Pin};
use broker_core::{Broker, Now};
use bytes::Bytes;

use super::{Bodies, EmbeddedStore, Failure, Opened, Replay};
use crate::alarm::STORE_DAMAGED;

impl Replay for Restorer {
    fn block(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        Self::block(self, payload)
    }

    fn frame(&mut self, base: Lsn, payload: &[u8]) -> Result<(), RecordError> {
        Self::frame(self, base, payload)
    }
}

impl BodySource for Bodies {
    fn pin(&mut self, at: Lsn) -> Option<Pin> {
        Self::pin(self, at)
    }

    fn read(&mut self, place: &BodyPlace) -> Result<Bytes, FetchError> {
        Self::read(self, place)
    }
}

impl EmbeddedStore {
    /// Gives `broker`, which was built with this store and has no connection yet, back what is kept.
    ///
    /// # Errors
    /// As [`replay`](Self::replay); and what recovery itself records cannot be made safe.
    pub fn restore(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        now: Now,
    ) -> Result<(Opened, Restored), Failure> {
        let mut restorer = broker.restorer();
        let opened = self.replay(&mut restorer)?;
        let restored = restorer.finish(now, &mut self.bodies());
        if restored.lost > 0 {
            let lost = restored.lost;
            let why = format!("{lost} messages are lost: the log does not hold them any more");
            self.alarms.raise_more(STORE_DAMAGED, &why);
        }
        Ok((opened, restored))
    }
}
