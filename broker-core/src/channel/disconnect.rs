//! DISCONNECT, and the end of a connection however it comes.

use std::sync::Arc;

use broker_codec::{Disconnect, ReasonCode};

use super::{Channel, Close, CloseCause, SessionEnd, State};
use crate::broker::Left;
use crate::metrics::Metric;
use crate::observer::EventKind;
use crate::traffic::Tally;
use crate::turn::Turn;

impl Channel {
    pub(super) fn handle_disconnect(
        &mut self,
        disconnect: &Disconnect<'_>,
        turn: &mut Turn,
    ) -> Close {
        turn.observed_properties.clear();
        turn.note_properties(EventKind::Disconnected, disconnect.properties);
        let connected = match self.connected() {
            Ok(connected) => connected,
            Err(close) => return close,
        };
        if let Some(expiry_s) = disconnect.properties.session_expiry_interval() {
            // [MQTT-3.14.2-2]
            if connected.connect_expiry_s == 0 && expiry_s > 0 {
                return Close::protocol_error("session expiry interval set at DISCONNECT");
            }
            let most = connected.client.zone.max_session_expiry_interval_s;
            connected.session.set_expiry(expiry_s.min(most), &mut turn.out);
        }
        // [MQTT-3.14.4-3]: a normal end forgets the Will.
        Close::from(match disconnect.reason_code {
            ReasonCode::Success => CloseCause::ClientDisconnected,
            _ => CloseCause::ClientDisconnectedWithWill,
        })
    }

    /// The connection ends: tells the client if it is still there, frees or keeps the session.
    ///
    /// The shell closes the socket afterwards.
    pub fn handle_closed(&mut self, close: &Close, turn: &mut Turn) {
        if turn.out.tracer.is_on() {
            self.trace_closed(close, turn);
        }
        let state = std::mem::replace(&mut self.state, State::Closed);
        let State::Connected(connected) = state else {
            self.charge_early(0, turn);
            self.tell(close, turn);
            self.write_reply(turn);
            return;
        };
        self.state = State::Connected(connected);
        if close.cause != CloseCause::TakenOver {
            // What is safe by now leaves; whether the session is still ours shows below.
            let _ = self.release_acks(turn);
            self.tell(close, turn);
        }
        // What the client is still owed goes before its Will and the end of its session.
        let ours = self.end_turn(turn).is_ok();
        let State::Connected(connected) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        if ours {
            connected.session.flush(&mut turn.out);
        }
        let broker = Arc::clone(&turn.broker);
        let left = broker.connection_closed(&connected.session, self.id, close.cause, turn);
        if left != Left::AnothersSession {
            turn.client_disconnected(&connected.client, close.cause.name());
        }
        if left == Left::Nothing {
            turn.session_terminated(&connected.client, SessionEnd::Closed(close.cause));
        }
        turn.observed_properties.clear();
    }

    fn tell(&self, close: &Close, turn: &mut Turn) {
        // A server sends DISCONNECT only in MQTT 5.0 and after CONNACK [MQTT-3.14.0-1].
        if self.version.is_v5() && close.cause.is_told() && self.is_connected() {
            self.reply(&close.disconnect(), turn);
        }
    }

    /// Sends replies of a channel that has no session, and so no outbox.
    pub(super) fn write_reply(&mut self, turn: &mut Turn) {
        if turn.reply.is_empty() {
            return;
        }
        // A few bytes on a fresh socket: it takes them, or the peer is not worth waiting for.
        let bytes = std::io::IoSlice::new(&turn.reply.bytes);
        let written = self.sink.try_write(&[bytes]).unwrap_or(0) as u64;
        turn.out.counters.add(Metric::BytesSent, written);
        if let State::Authenticating(waiting) = &mut self.state {
            let (calls, packets) = (u64::from(written > 0), turn.reply.packets);
            waiting.traffic.sent += Tally { bytes: written, calls, packets, messages: 0 };
        }
        turn.reply.clear();
    }
}
