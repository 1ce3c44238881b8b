//! What a channel tells the traces: packets in and out, refusals, rights.

use std::net::SocketAddr;

use broker_codec::{Decoder, Packet, Publish, ReasonCode};

use super::{Channel, Close, CloseCause, State};
use crate::extension::Action;
use crate::traces::{Happening, Quoted, TraceEventKind, describe};
use crate::turn::Turn;

impl Channel {
    /// The client and its address; of one that has not been let in, only the latter.
    fn who(&self) -> (&str, Option<SocketAddr>) {
        match &self.state {
            State::Connected(connected) => {
                (connected.client.client_id.as_str(), connected.client.peer)
            }
            State::Authenticating(waiting) => (waiting.client_id.as_str(), waiting.peer.addr),
            State::AwaitConnect(waiting) => ("", waiting.peer.addr),
            State::Closed => ("", None),
        }
    }

    fn happening(&self, kind: TraceEventKind) -> Happening<'_> {
        let (client_id, peer) = self.who();
        Happening::new(kind, client_id, peer)
    }

    #[cold]
    pub(super) fn trace_received(&self, packet: &Packet<'_>, turn: &Turn) {
        let happening = match packet {
            Packet::Connect(connect) if !self.is_connected() => {
                let (_, peer) = self.who();
                Happening::new(TraceEventKind::Connect, connect.client_id, peer)
            }
            Packet::Publish(publish) => {
                self.happening(TraceEventKind::Received).carrying(publish.payload)
            }
            _ => self.happening(TraceEventKind::Received),
        };
        turn.trace(&happening, format_args!("{}", describe(packet)));
    }

    #[cold]
    pub(super) fn trace_sent(&self, packet: &Packet<'_>, turn: &Turn) {
        turn.trace(&self.happening(TraceEventKind::Sent), format_args!("{}", describe(packet)));
    }

    /// The same for a packet that was encoded earlier.
    #[cold]
    pub(super) fn trace_sent_bytes(&self, bytes: &[u8], turn: &Turn) {
        let mut decoder = Decoder::for_client(self.version, u32::MAX);
        if let Ok(Some((packet, _))) = decoder.decode(bytes) {
            self.trace_sent(&packet, turn);
        }
    }

    /// A CONNECT was refused, if that is why the connection is closed.
    #[cold]
    pub(super) fn trace_refused(&self, packet: &Packet<'_>, close: &Close, turn: &Turn) {
        let CloseCause::Refused(reason_code) = close.cause else { return };
        let (_, peer) = self.who();
        let client_id = match (packet, &self.state) {
            (Packet::Connect(connect), _) => connect.client_id,
            (_, State::Authenticating(waiting)) => waiting.client_id.as_str(),
            _ => "",
        };
        let happening = Happening::new(TraceEventKind::Refused, client_id, peer);
        turn.trace(&happening, format_args!("{}", Reason(reason_code)));
    }

    #[cold]
    pub(super) fn trace_publish_refused(
        &self,
        publish: &Publish<'_>,
        topic: &str,
        reason_code: ReasonCode,
        turn: &Turn,
    ) {
        let happening = self.happening(TraceEventKind::Dropped).on(topic);
        let (topic, qos, reason) = (Quoted(topic), publish.qos.bits(), Reason(reason_code));
        turn.trace(&happening, format_args!("refused topic={topic} qos={qos} {reason}"));
    }

    #[cold]
    pub(crate) fn trace_right(
        &self,
        action: Action,
        topic: &str,
        is_allowed: bool,
        by: &str,
        turn: &Turn,
    ) {
        let (kind, verdict) = match is_allowed {
            true => (TraceEventKind::Allowed, "allowed"),
            false => (TraceEventKind::Denied, "denied"),
        };
        let action = match action {
            Action::Publish => "publish",
            Action::Subscribe => "subscribe",
        };
        let happening = self.happening(kind).on(topic);
        let topic = Quoted(topic);
        turn.trace(&happening, format_args!("{action} {verdict} topic={topic} by={by:?}"));
    }

    pub(super) fn trace_closed(&self, close: &Close, turn: &Turn) {
        let happening = self.happening(TraceEventKind::Disconnected);
        let (reason, detail) = (close.cause.name(), &close.detail);
        if detail.is_empty() {
            turn.trace(&happening, format_args!("reason={reason}"));
        } else {
            turn.trace(&happening, format_args!("reason={reason} detail={:?}", &**detail));
        }
    }
}

/// A Reason Code in numbers and words.
struct Reason(ReasonCode);

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reason=0x{:02x} {:?}", self.0.as_byte(), self.0)
    }
}
