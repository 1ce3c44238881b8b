//! Pacing: a client that has used up what its limits leave it is read from, or sent to, later.

use broker_codec::ReasonCode;

use super::{Channel, Close, Flow, State};
use crate::limits::{Allowance, Sending};
use crate::traffic::Tally;
use crate::turn::Turn;

impl Channel {
    /// Bytes that the shell should read at most for this client now; `usize::MAX` without a limit, 0 only while
    /// [`wants_input`](Self::wants_input) is about to be false.
    #[must_use]
    pub fn read_room(&self, turn: &Turn) -> usize {
        let State::Connected(connected) = &self.state else { return usize::MAX };
        let Some(limits) = connected.limits.as_ref() else { return usize::MAX };
        if connected.client.zone.rate_limit_disconnect {
            // Else it would never be found to send too much.
            return usize::MAX;
        }
        let left = limits.readable(turn.now.mono_ms).saturating_sub(turn.received.bytes);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Takes one PUBLISH of what the client may send, or says what becomes of one too many.
    pub(super) fn pace_publish(
        &mut self,
        what: Sending,
        turn: &Turn,
    ) -> Result<Option<Flow>, Close> {
        let connected = self.connected()?;
        let Some(limits) = &connected.limits else { return Ok(None) };
        let now_ms = turn.now.mono_ms;
        match limits.wait_to_publish(what, now_ms) {
            None => {
                limits.take_published(what, now_ms);
                Ok(None)
            }
            Some(_) if connected.client.zone.rate_limit_disconnect => Err(too_fast()),
            Some(due_ms) => Ok(Some(self.pause_until(due_ms))),
        }
    }

    /// The packet at work is to be handled again then.
    pub(super) fn pause_until(&mut self, ms: u64) -> Flow {
        self.pause(ms);
        Flow::Pause
    }

    fn pause(&mut self, until_ms: u64) {
        let until_ms = if self.is_paused { until_ms.max(self.paused_until_ms) } else { until_ms };
        (self.is_paused, self.paused_until_ms) = (true, until_ms);
    }

    /// Accounts for what a turn has read of a limited client, and finds out when there may be more in either
    /// direction.
    pub(super) fn end_paced_turn(
        &mut self,
        limits: &Allowance,
        received: Tally,
        turn: &Turn,
    ) -> Result<(), Close> {
        let State::Connected(connected) = &self.state else { return Ok(()) };
        let now_ms = turn.now.mono_ms;
        limits.take_read(received.bytes, now_ms);
        if limits.limits_sending() {
            let waits_until_ms = connected.session.paced_until_ms(self.id, now_ms);
            self.send_at_ms = waits_until_ms.unwrap_or(u64::MAX);
        }
        if limits.readable(now_ms) == 0 {
            // Only who has sent something is to blame for it.
            if connected.client.zone.rate_limit_disconnect && received.bytes > 0 {
                return Err(too_fast());
            }
            self.pause(limits.wait_to_read(now_ms).unwrap_or(now_ms));
        }
        Ok(())
    }

    /// Memory is short: who has published much in this turn is read from later.
    pub(super) fn spare_memory(&mut self, received: Tally, turn: &Turn) {
        // Acknowledgements make room; nobody waits for those.
        let bytes = if received.messages > 0 { received.bytes } else { 0 };
        let pause_ms = turn.out.pressure.pause_ms(bytes);
        if pause_ms > 0 {
            self.pause(turn.now.mono_ms + pause_ms);
        }
    }

    /// More of what waits for a limit may be sent.
    pub(super) fn send_paced(&mut self, turn: &mut Turn) -> Result<(), Close> {
        self.send_at_ms = u64::MAX;
        self.owes_pump = true;
        self.end_turn(turn)
    }
}

const fn too_fast() -> Close {
    Close::violation(ReasonCode::MessageRateTooHigh, "more than its rate lets it send")
}
