//! Packet Identifiers of one session's outgoing messages.

use broker_codec::PacketId;

/// Hands out identifiers in turn, skipping those in use.
#[derive(Default)]
pub(crate) struct PacketIds {
    last: u16,
    /// Steps taken so far, wrapping; tells how long ago an identifier was handed out.
    steps: u32,
}

impl PacketIds {
    /// An identifier is in use that was not handed out here: as if the range had gone round since step 0.
    ///
    /// Those behind it come next: an older client may acknowledge twice what it was sent twice, so one that has
    /// just become free must not be another message's.
    pub(crate) fn restore(&mut self, id: PacketId) {
        self.steps = self.steps.max(u32::from(u16::MAX));
        self.last = self.last.max(id.get());
    }

    /// The next free Packet Identifier; zero is never returned [MQTT-2.2.1-3].
    ///
    /// `oldest` is the step of the oldest identifier in use: only once the range has gone round since is
    /// `in_use` asked. It must be false for at least one identifier: the window is smaller than the range.
    pub(crate) fn next(
        &mut self,
        oldest: Option<u32>,
        in_use: impl Fn(PacketId) -> bool,
    ) -> (PacketId, u32) {
        loop {
            self.last = self.last.wrapping_add(1);
            self.steps = self.steps.wrapping_add(1);
            let may_be_in_use =
                oldest.is_some_and(|step| self.steps.wrapping_sub(step) >= u32::from(u16::MAX));
            if let Some(id) = PacketId::new(self.last)
                && !(may_be_in_use && in_use(id))
            {
                return (id, self.steps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_in_use_is_skipped_when_the_range_has_gone_round() {
        let mut ids = PacketIds::default();
        let (kept, step) = ids.next(None, |_| false);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200_000 {
            let (id, _) = ids.next(Some(step), |id| id == kept);
            assert_ne!(id, kept);
            seen.insert(id);
        }
        assert_eq!(seen.len(), 65_534);
    }

    #[test]
    fn identifiers_behind_those_that_were_restored_come_next() {
        let mut ids = PacketIds::default();
        for id in [7, 65_534, 3].map(|id| PacketId::new(id).unwrap()) {
            ids.restore(id);
        }
        let next = [(); 3].map(|()| ids.next(Some(0), |id| id.get() == 1).0.get());
        assert_eq!(next, [65_535, 2, 3]);
    }
}
