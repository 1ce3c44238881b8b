//! Time: Keep Alive, the deadline of CONNECT, retransmission, and the end of unreleased messages.

use broker_codec::{Packet, ReasonCode};

use super::{Channel, Close, CloseCause, Flow, State};
use crate::metrics::Metric;
use crate::turn::Turn;

impl Channel {
    pub(super) fn handle_pingreq(&mut self, turn: &mut Turn) -> Result<Flow, Close> {
        self.connected()?;
        self.reply(&Packet::PingResp, turn);
        Ok(Flow::Next)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, on the monotonic clock.
    ///
    /// The answer only moves back when packets come: the shell may ask again when it is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match &self.state {
            State::AwaitConnect(_) | State::Authenticating(_) => self.connect_deadline_ms(),
            State::Connected(_) => {
                let pause = if self.is_paused { self.paused_until_ms } else { u64::MAX };
                let due = self
                    .keep_alive_due_ms()
                    .min(self.next_check_ms)
                    .min(pause)
                    .min(self.send_at_ms)
                    .min(self.ends_ms);
                Some(due).filter(|due| *due < u64::MAX)
            }
            State::Closed => None,
        }
    }

    fn connect_deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::AwaitConnect(waiting) => Some(waiting.deadline_ms),
            State::Authenticating(waiting) => Some(waiting.deadline_ms),
            State::Connected(_) | State::Closed => None,
        }
    }

    fn keep_alive_due_ms(&self) -> u64 {
        // A client that is not read from cannot be blamed for its silence.
        if self.keep_alive_ms == 0 || !self.wants_input() {
            u64::MAX
        } else {
            self.last_packet_ms + self.keep_alive_ms
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The client did not connect in time, has been silent for too long [MQTT-3.1.2-22], or its credentials have
    /// expired.
    pub fn handle_timeout(&mut self, turn: &mut Turn) -> Result<(), Close> {
        let now_ms = turn.now.mono_ms;
        self.check_serves()?;
        if self.connect_deadline_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            return Err(Close::from(CloseCause::ConnectTimeout));
        }
        match &self.state {
            State::AwaitConnect(_) | State::Authenticating(_) => {}
            State::Connected(connected) => {
                if self.is_paused && now_ms >= self.paused_until_ms {
                    self.is_paused = false;
                    self.last_packet_ms = now_ms;
                }
                if now_ms >= self.ends_ms {
                    return Err(if self.owes_refusal {
                        Close::violation(ReasonCode::QuotaExceeded, "the store takes nothing")
                    } else {
                        Close::from(CloseCause::CredentialsExpired)
                    });
                }
                if now_ms >= self.keep_alive_due_ms() {
                    return Err(Close::from(CloseCause::KeepAliveTimeout));
                }
                if now_ms >= self.next_check_ms {
                    let zone = &connected.client.zone;
                    if zone.retry_interval_ms > 0 && !self.version.is_v5() {
                        connected.session.retry(zone.retry_interval_ms, &mut turn.out);
                    }
                    if zone.await_rel_timeout_ms > 0 {
                        let before_ms = now_ms.saturating_sub(zone.await_rel_timeout_ms);
                        let expired = connected.session.expire_received(before_ms, &mut turn.out);
                        turn.out.counters.add(Metric::MessagesQos2Expired, expired as u64);
                    }
                    connected.session.trim();
                    self.schedule_check(now_ms);
                }
            }
            State::Closed => {}
        }
        if now_ms >= self.send_at_ms { self.send_paced(turn) } else { Ok(()) }
    }

    /// Sets the next look at unfinished exchanges.
    pub(super) fn schedule_check(&mut self, now_ms: u64) {
        let Some(zone) = self.zone() else { return };
        let retry_ms = if self.version.is_v5() { 0 } else { zone.retry_interval_ms };
        let every_ms = [retry_ms, zone.await_rel_timeout_ms].into_iter().filter(|ms| *ms > 0).min();
        self.next_check_ms = every_ms.map_or(u64::MAX, |ms| now_ms + ms);
    }
}
