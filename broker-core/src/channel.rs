//! Channel: state machine of one Network Connection. This file dispatches; each packet has its own.

mod acks;
mod auth;
mod close;
mod connect;
mod disconnect;
mod keep_alive;
mod pacing;
mod publish;
mod subscribe;
mod topic_alias;
mod traced;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use broker_codec::{DecodeError, Packet, PacketKind, ProtocolVersion, ReasonCode};

use crate::access::recheck::{Grant, Recheck};
use crate::access::{AclCache, Late, Verdicts};
use crate::client::{ClientId, ClientInfo, Peer};
use crate::config::ZoneConfig;
use crate::extension::{Action, Verdict};
use crate::limits::Allowance;
use crate::message::Publisher;
use crate::metrics::Metric;
use crate::outbox::Sink;
use crate::session::Session;
use crate::traffic::{Tally, Traffic};
use crate::turn::Turn;
use acks::PendingAcks;
use auth::Exchange;
pub(crate) use close::SessionEnd;
pub use close::{Close, CloseCause};
pub(crate) use connect::Admission;
pub(crate) use publish::{check_name, place_name};
pub(crate) use subscribe::{
    Wish, check_subscriptions, plain_filter, revoke_one, route, subscribe_one, unsubscribe_one,
};
use topic_alias::TopicAliases;

/// One Network Connection, from its first byte to its last.
///
/// The shell feeds it packets and time, and carries what the [`Turn`] leaves for the socket. It keeps
/// nothing of the packets: an idle connection costs a few hundred bytes.
pub struct Channel {
    id: u64,
    sink: Arc<dyn Sink>,
    state: State,
    version: ProtocolVersion,
    /// Maximum Packet Size of the client.
    max_packet_size: u32,
    /// Time of the last packet, on the monotonic clock.
    last_packet_ms: u64,
    /// Silence after which the client is gone; 0 for never.
    keep_alive_ms: u64,
    /// When unacknowledged and unreleased messages are looked at next.
    next_check_ms: u64,
    /// When the connection ends whatever its client does, on the monotonic clock; `u64::MAX` for never: its credentials
    /// expire, or it has a message left without an answer.
    ends_ms: u64,
    aliases: Option<Box<TopicAliases>>,
    acl_cache: Option<Box<AclCache>>,
    /// Answers of extensions to what the packet that is fed again asks for.
    verdicts: Option<Box<Verdicts>>,
    /// Rights have changed, and what the session was granted is asked about again.
    recheck: Option<Box<Recheck>>,
    /// Acknowledgements that wait for the store, in the order they are owed [MQTT-4.6.0-2].
    ///
    /// Made for the first: without a store, none ever waits.
    pending_acks: Option<Box<PendingAcks>>,
    /// The store is behind, and the client has a part in that.
    waits_for_store: bool,
    /// The client leaves its acknowledgements unread; nothing more is read from it.
    is_congested: bool,
    is_waiting: bool,
    /// The next packet is the last one once more; it is counted already.
    is_fed_again: bool,
    /// A message of the client was refused that an older one cannot be told of.
    owes_refusal: bool,
    /// Acknowledgements of this turn have made room in the window.
    owes_pump: bool,
    /// It sends faster than its receivers take.
    is_ahead: bool,
    /// The client is not read from until then.
    is_paused: bool,
    paused_until_ms: u64,
    /// When it may be sent more of what waits for a limit; `u64::MAX` if nothing does.
    send_at_ms: u64,
    /// What it is accounted with as long as it has no session that would be.
    early_bytes: u32,
}

enum State {
    /// The peer has until `deadline_ms` to send CONNECT.
    AwaitConnect(Box<AwaitConnect>),
    /// An AUTH exchange decides on the CONNECT.
    Authenticating(Box<Authenticating>),
    // Not boxed: what nearly every channel has, and every packet asks for.
    Connected(Connected),
    Closed,
}

struct AwaitConnect {
    peer: Peer,
    deadline_ms: u64,
    /// Who the client claims to be: an assigned identifier stays the same when the CONNECT is fed again.
    client_id: Option<ClientId>,
    /// The answer to a CONNECT that is fed again.
    admission: Option<Admission>,
    traffic: Traffic,
}

struct Authenticating {
    peer: Peer,
    deadline_ms: u64,
    client_id: ClientId,
    exchange: Exchange,
    /// How the exchange has ended, while the right to the Will is waited for.
    admission: Option<Admission>,
    traffic: Traffic,
}

/// What a channel has once its CONNECT is accepted.
struct Connected {
    session: Arc<Session>,
    /// The client, as messages name their publisher.
    publisher: Publisher,
    client: Arc<ClientInfo>,
    /// Session Expiry Interval of the CONNECT, for the check at DISCONNECT.
    connect_expiry_s: u32,
    /// Receive Maximum the client was told.
    receive_maximum: u16,
    /// What it may do, if that is limited.
    limits: Option<Arc<Allowance>>,
    /// How it came in, if by enhanced authentication.
    auth: Option<Box<EnhancedAuth>>,
}

struct EnhancedAuth {
    method: Box<str>,
    /// While the client proves itself again.
    exchange: Option<Exchange>,
}

/// What becomes of the packet just handled.
pub enum Flow {
    /// It is done with; the next may follow.
    Next,
    /// An extension must answer first. The shell polls the future, hands its output to
    /// [`Channel::handle_answer`], and then feeds the same packet again; it feeds nothing else meanwhile.
    Wait(Pin<Box<dyn Future<Output = Answered> + Send>>),
    /// The client must be paced: the shell feeds the same packet again once
    /// [`Channel::wants_input`] is true, which a later [`Channel::handle_timeout`] makes it.
    Pause,
}

/// The output of a [`Flow::Wait`]; only the channel can read it.
pub struct Answered(pub(crate) AnsweredKind);

pub(crate) enum AnsweredKind {
    Admission(Admission),
    Verdict(Action, Box<str>, Late),
    /// Of what was granted before.
    Grants(Vec<(Grant, Verdict)>),
}

impl Channel {
    /// A channel for a connection just accepted.
    #[must_use]
    pub fn new(peer: Peer, sink: Arc<dyn Sink>, turn: &Turn) -> Self {
        let deadline_ms = turn.now.mono_ms + peer.zone.idle_timeout_ms;
        Self {
            id: turn.broker.next_connection_id(),
            sink,
            state: State::AwaitConnect(Box::new(AwaitConnect {
                peer,
                deadline_ms,
                client_id: None,
                admission: None,
                traffic: Traffic::default(),
            })),
            version: ProtocolVersion::V3_1_1,
            max_packet_size: PACKET_MAX,
            last_packet_ms: turn.now.mono_ms,
            keep_alive_ms: 0,
            next_check_ms: u64::MAX,
            ends_ms: u64::MAX,
            aliases: None,
            acl_cache: None,
            verdicts: None,
            recheck: None,
            pending_acks: None,
            waits_for_store: false,
            is_congested: false,
            is_waiting: false,
            is_fed_again: false,
            owes_refusal: false,
            owes_pump: false,
            is_ahead: false,
            is_paused: false,
            paused_until_ms: 0,
            send_at_ms: u64::MAX,
            early_bytes: 0,
        }
    }

    /// Handles one packet of the client.
    ///
    /// # Errors
    /// The connection must be closed: the shell calls [`handle_closed`](Self::handle_closed) with it.
    pub fn handle_packet(&mut self, packet: &Packet<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let now_ms = turn.now.mono_ms;
        let came_ms = std::mem::replace(&mut self.last_packet_ms, now_ms);
        turn.waited_ms = 0;
        turn.handled += 1;
        if std::mem::take(&mut self.is_fed_again) {
            turn.waited_ms = now_ms - came_ms;
        } else {
            Metric::received(packet).into_iter().for_each(|m| turn.out.counters.inc(m));
            turn.received.packets += 1;
            turn.received.messages += u64::from(matches!(packet, Packet::Publish(_)));
            if turn.out.tracer.is_on() {
                self.trace_received(packet, turn);
            }
        }
        self.check_serves()?;
        if !matches!(packet, Packet::Publish(_)) {
            turn.end_run();
        }
        turn.out.records.begin_packet();
        let result = self.dispatch(packet, turn);
        turn.publish_follow_ups();
        match &result {
            Ok(Flow::Next) | Err(_) => self.verdicts = None,
            Ok(Flow::Wait(_)) => {
                (self.is_waiting, self.is_fed_again) = (true, true);
                // When it came, should it have to wait once more. Nobody is blamed for silence meanwhile.
                self.last_packet_ms = now_ms - turn.waited_ms;
            }
            Ok(Flow::Pause) => self.is_fed_again = true,
        }
        if let (Err(close), true) = (&result, turn.out.tracer.is_on()) {
            self.trace_refused(packet, close, turn);
        }
        result
    }

    fn dispatch(&mut self, packet: &Packet<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish, turn),
            Packet::PubAck(ack) => self.handle_puback(ack, turn),
            Packet::PubRec(ack) => self.handle_pubrec(ack, turn),
            Packet::PubRel(ack) => self.handle_pubrel(ack, turn),
            Packet::PubComp(ack) => self.handle_pubcomp(ack, turn),
            Packet::PingReq => self.handle_pingreq(turn),
            Packet::Connect(connect) => self.handle_connect(connect, turn),
            Packet::Subscribe(subscribe) => self.handle_subscribe(subscribe, turn),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(unsubscribe, turn),
            Packet::Disconnect(disconnect) => Err(self.handle_disconnect(disconnect, turn)),
            Packet::Auth(auth) => self.handle_auth(auth, turn),
            // The decoder of a server lets none of them through.
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Close::protocol_error("packet that only a server sends"))
            }
        }
    }

    /// The bytes of the client are no packet. `version` is what the decoder knows of the client.
    ///
    /// A CONNECT of a version nobody speaks is answered [MQTT-3.1.2-2] [MQTT311-3.1.2-2], and so is a
    /// malformed one of MQTT 5.0; an older client is closed without a word [MQTT311-3.1.4-1]. What follows
    /// an accepted CONNECT ends it with DISCONNECT.
    #[must_use]
    pub fn handle_malformed(
        &mut self,
        error: &DecodeError,
        version: ProtocolVersion,
        turn: &mut Turn,
    ) -> Close {
        let close = Close::malformed(error);
        let is_first = matches!(self.state, State::AwaitConnect(_));
        match error {
            // In the form of 3.1.1, which every client of whatever level can be expected to know.
            DecodeError::UnsupportedProtocolVersion { .. } if is_first => {
                self.refuse_malformed(ProtocolVersion::V3_1_1, close, turn)
            }
            _ if is_first && version.is_v5() => self.refuse_malformed(version, close, turn),
            _ => close,
        }
    }

    /// Hands over the answer that [`Flow::Wait`] waited for.
    pub fn handle_answer(&mut self, answered: Answered) {
        self.is_waiting = false;
        match answered.0 {
            AnsweredKind::Admission(answer) => {
                if let State::AwaitConnect(waiting) = &mut self.state {
                    waiting.admission = Some(answer);
                }
            }
            AnsweredKind::Verdict(action, topic, late) => {
                self.verdicts.get_or_insert_default().add(action, topic, late);
            }
            AnsweredKind::Grants(answered) => {
                if let Some(recheck) = &mut self.recheck {
                    recheck.answer(answered);
                }
            }
        }
    }

    /// Ends this channel's part of the turn: its replies join the outbox, acknowledgements that the store
    /// has made safe leave.
    ///
    /// # Errors
    /// The session was taken over, or the channel was asked to close; or memory is used up, and much of it is held
    /// before a CONNECT.
    pub fn end_turn(&mut self, turn: &mut Turn) -> Result<(), Close> {
        turn.end_run();
        self.is_ahead = self.has_come_ahead(turn);
        let received = self.tell_traffic(turn);
        self.release_acks(turn)?;
        let State::Connected(connected) = &self.state else {
            turn.settle_memory();
            let is_too_much = turn.out.pressure.is_over() && self.early_bytes > EARLY_BYTES_MAX;
            let refused = Close::from(CloseCause::Refused(ReasonCode::QuotaExceeded));
            return if is_too_much { Err(refused) } else { Ok(()) };
        };
        let limits = connected.limits.clone();
        let owes_pump = std::mem::take(&mut self.owes_pump);
        if owes_pump || !turn.reply.is_empty() {
            let is_congested = connected.session.reply(self.id, &turn.reply, &mut turn.out);
            turn.reply.clear();
            let Some(is_congested) = is_congested else {
                return Err(Close::from(CloseCause::TakenOver));
            };
            self.is_congested = is_congested;
        } else if self.is_congested {
            self.is_congested = connected.session.is_congested();
        }
        turn.settle_memory();
        if turn.out.pressure.is_near() {
            self.spare_memory(received, turn);
        }
        limits.map_or(Ok(()), |limits| self.end_paced_turn(&limits, received, turn))
    }

    /// True if its client sends faster than its receivers take: all it has published in the last turn waits behind other
    /// messages for clients that are there, and it has nothing to acknowledge itself. A shell that has others to serve reads
    /// it a little later, and more at once: no message leaves later for that.
    #[must_use]
    pub const fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    fn has_come_ahead(&self, turn: &mut Turn) -> bool {
        let State::Connected(connected) = &self.state else { return false };
        std::mem::take(&mut turn.out.fates).all_wait()
            && connected.session.lock().inflight.len() == 0
    }

    /// Makes known what the turn has received, and returns it.
    fn tell_traffic(&mut self, turn: &mut Turn) -> Tally {
        let received = std::mem::take(&mut turn.received);
        let shell_bytes = std::mem::take(&mut turn.held_bytes);
        let held_bytes = shell_bytes + size_of::<Self>() + self.heap_bytes();
        let is_early = matches!(self.state, State::AwaitConnect(_) | State::Authenticating(_));
        self.charge_early(if is_early { held_bytes } else { 0 }, turn);
        match &mut self.state {
            State::Connected(connected) => {
                connected.client.told.end_turn(received);
                connected.session.note_channel_bytes(held_bytes);
            }
            State::AwaitConnect(waiting) => waiting.traffic.received += received,
            State::Authenticating(waiting) => waiting.traffic.received += received,
            State::Closed => {}
        }
        received
    }

    /// Accounts for what is held before there is a session; 0 ends it.
    fn charge_early(&mut self, bytes: usize, turn: &mut Turn) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        turn.out.memory += bytes as isize - self.early_bytes as isize;
        self.early_bytes = bytes;
    }

    /// Bytes it holds beside itself, more or less.
    fn heap_bytes(&self) -> usize {
        self.aliases.as_ref().map_or(0, |aliases| aliases.heap_bytes())
            + self.acl_cache.as_ref().map_or(0, |cache| cache.heap_bytes())
            + self.pending_acks.as_ref().map_or(0, |acks| acks.heap_bytes())
    }

    /// What was received and sent before there is a session.
    fn early_traffic(&self) -> Traffic {
        match &self.state {
            State::AwaitConnect(waiting) => waiting.traffic,
            State::Authenticating(waiting) => waiting.traffic,
            State::Connected(_) | State::Closed => Traffic::default(),
        }
    }

    /// The socket takes bytes again.
    pub fn handle_writable(&mut self, turn: &mut Turn) {
        if let State::Connected(connected) = &self.state {
            connected.session.handle_writable(self.id, &mut turn.out);
            self.is_congested = self.is_congested && connected.session.is_congested();
        }
    }

    /// Since when, on the monotonic clock, the socket has taken no byte of those that wait for it.
    ///
    /// `None` if none wait. The [`Sink`] is woken when that begins; it is for the shell to say how long it
    /// may last, and to close with [`CloseCause::SendTimeout`].
    #[must_use]
    pub fn stalled_since_ms(&self, turn: &Turn) -> Option<u64> {
        let State::Connected(connected) = &self.state else { return None };
        let since_ms = connected.session.stalled_since_ms(self.id)?;
        // It may last, and is an alarm then.
        let client_id = &connected.client.client_id;
        turn.broker.client_alarms.note_stalled(self.id, client_id, turn.now);
        Some(since_ms)
    }

    /// The socket took bytes that the shell had taken over before, and has room for no more.
    pub fn note_progress(&self, turn: &Turn) {
        if let State::Connected(connected) = &self.state {
            connected.session.note_progress(self.id, turn.now.mono_ms);
        }
    }

    /// The [`Sink`] was woken: somebody wants something of this channel.
    ///
    /// # Errors
    /// It was asked to close, or its session was taken over.
    pub fn handle_wake(&mut self, turn: &mut Turn) -> Result<(), Close> {
        if let State::Connected(connected) = &self.state {
            let rights_generation = connected.session.look_at_wake(self.id)?;
            if rights_generation < turn.rights_generation {
                self.recheck.get_or_insert_default();
            }
        }
        // Perhaps the store is ready for what the session keeps back.
        self.owes_pump = true;
        self.end_turn(turn)
    }

    /// False while nothing more should be read from the client.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.is_waiting
            && !self.is_paused
            && !self.is_congested
            && !self.waits_for_store
            && self.pending_acks.as_ref().is_none_or(|acks| acks.len() < PENDING_ACKS_MAX)
    }

    /// True from the accepted CONNECT on.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// Corrects what is known of the peer once handshakes below MQTT are over.
    pub fn set_peer(&mut self, change: impl FnOnce(&mut Peer)) {
        if let State::AwaitConnect(waiting) = &mut self.state {
            change(&mut waiting.peer);
        }
    }

    /// Has the CONNECT that is to come refused: what was found out below MQTT forbids it. Returns false if it has come
    /// already.
    pub fn refuse_connect(&mut self, reason_code: ReasonCode) -> bool {
        match &mut self.state {
            // An answer that is waited for would take the place of this one.
            State::AwaitConnect(waiting) if !self.is_waiting => {
                waiting.admission = Some(Admission::Refused(reason_code));
                true
            }
            _ => false,
        }
    }

    /// The client, from the accepted CONNECT on.
    #[must_use]
    pub fn client(&self) -> Option<&Arc<ClientInfo>> {
        match &self.state {
            State::Connected(connected) => Some(&connected.client),
            _ => None,
        }
    }

    /// What a connection had still unread when its session was taken over must not touch the session: an
    /// acknowledgement would count for the new connection, a PUBLISH come after its successors.
    fn check_serves(&self) -> Result<(), Close> {
        match &self.state {
            State::Connected(connected) if !connected.session.is_served_by(self.id) => {
                Err(Close::from(CloseCause::TakenOver))
            }
            _ => Ok(()),
        }
    }

    fn connected(&self) -> Result<&Connected, Close> {
        match &self.state {
            State::Connected(connected) => Ok(connected),
            _ => Err(Close::protocol_error("packet before CONNECT was accepted")),
        }
    }

    fn zone(&self) -> Option<&Arc<ZoneConfig>> {
        match &self.state {
            State::AwaitConnect(waiting) => Some(&waiting.peer.zone),
            State::Authenticating(waiting) => Some(&waiting.peer.zone),
            State::Connected(connected) => Some(&connected.client.zone),
            State::Closed => None,
        }
    }

    /// What an extension has answered to the packet at work.
    pub(crate) fn verdict(&self, action: Action, topic: &str, generation: u64) -> Option<Verdict> {
        self.verdicts.as_ref()?.look_up(action, topic, generation)
    }

    pub(crate) const fn recheck(&mut self) -> &mut Option<Box<Recheck>> {
        &mut self.recheck
    }

    pub(crate) const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Nothing more is read until an answer has come.
    pub(crate) const fn wait(&mut self) {
        self.is_waiting = true;
    }

    pub(crate) fn session_and_client(&self) -> Option<(Arc<Session>, Arc<ClientInfo>)> {
        let connected = self.connected().ok()?;
        Some((Arc::clone(&connected.session), Arc::clone(&connected.client)))
    }

    pub(crate) fn acl_cache(&self) -> Option<&AclCache> {
        self.acl_cache.as_deref()
    }

    pub(crate) fn acl_cache_mut(&mut self) -> &mut Option<Box<AclCache>> {
        &mut self.acl_cache
    }

    /// Whether the client takes a packet of that size [MQTT-3.1.2-24].
    fn takes(&self, packet: &Packet<'_>) -> bool {
        self.max_packet_size == PACKET_MAX
            || packet.encoded_len(self.version) <= self.max_packet_size as usize
    }

    /// Sends what has a size of the client's making, and cannot be shortened; the client must not get more
    /// than it takes [MQTT-3.1.2-24].
    fn reply_if_taken(&self, packet: &Packet<'_>, turn: &mut Turn) -> Result<(), Close> {
        if !self.takes(packet) {
            return Err(too_large_for_client());
        }
        self.reply(packet, turn);
        Ok(())
    }

    fn reply(&self, packet: &Packet<'_>, turn: &mut Turn) {
        turn.reply.encode(packet, self.version);
        if turn.out.tracer.is_on() {
            self.trace_sent(packet, turn);
        }
        Metric::sent(packet).into_iter().for_each(|m| turn.out.counters.inc(m));
    }
}

fn too_large_for_client() -> Close {
    Close::violation(
        ReasonCode::PacketTooLarge,
        "answer above the Maximum Packet Size of the client",
    )
}

/// The Reason Code of an extension that refuses, if packets of that kind have it.
fn code_for(kind: PacketKind, code: ReasonCode) -> ReasonCode {
    if code.is_error() && code.is_valid_for(kind) {
        code
    } else {
        ReasonCode::ImplementationSpecificError
    }
}

/// Largest Control Packet there is.
const PACKET_MAX: u32 = 268_435_460;
/// What may be held of a first packet when memory is used up: who sends no more is told so by CONNACK.
const EARLY_BYTES_MAX: u32 = 16 * 1024;
/// Acknowledgements that may wait for the store before reading stops.
const PENDING_ACKS_MAX: usize = 65_536;
