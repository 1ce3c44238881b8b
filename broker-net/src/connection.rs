//! Connection: one socket, its decoder and its channel; from readable bytes to handled packets.

mod vouch;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_codec::Decoder;
use broker_core::{Channel, Close, CloseCause, Flow, ReasonCode, Sink, Turn};
use parking_lot::Mutex;

use crate::io_loop::{LINGER_MS, LoopHandle};
use crate::listener::Admission;
use crate::resting::REST_US;
use crate::transport::{ReadOutcome, Reader, Writer};
use vouch::Vouch;

/// The writing half of a connection, and the way back to the loop that owns it.
pub(crate) struct Link {
    pub(crate) writer: Writer,
    /// The socket has refused bytes: a writable event is awaited. Without it such events, which come with
    /// every readable one, mean nothing.
    is_blocked: AtomicBool,
    pub(crate) home: Mutex<Home>,
}

/// The loop that reads for a connection now, and the connection's key there.
pub(crate) struct Home {
    pub(crate) owner: Arc<LoopHandle>,
    pub(crate) key: u64,
    /// A wake-up is on its way to the owner, so that a thousand of them are one command.
    pub(crate) is_woken: bool,
}

impl Link {
    pub(crate) fn new(writer: Writer, owner: Arc<LoopHandle>, key: u64) -> Self {
        let home = Mutex::new(Home { owner, key, is_woken: false });
        Self { writer, is_blocked: AtomicBool::new(false), home }
    }

    /// True if a writable event is to be followed.
    pub(crate) fn awaits_writable(&self) -> bool {
        !self.writer.is_plain() || self.is_blocked.swap(false, Ordering::AcqRel)
    }
}

impl Sink for Link {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.writer.try_write(slices);
        if matches!(&written, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.is_blocked.store(true, Ordering::Release);
            // The socket may have become writable in between, and its event have passed unheeded.
            return self.writer.try_write(slices);
        }
        written
    }

    fn wake(&self) {
        let mut home = self.home.lock();
        if !std::mem::replace(&mut home.is_woken, true) {
            home.owner.wake(home.key);
        }
    }
}

/// What a loop keeps of one socket. Idle, it owns no buffer.
pub(crate) struct Connection {
    pub(crate) link: Arc<Link>,
    pub(crate) channel: Channel,
    reader: Reader,
    decoder: Decoder,
    admission: Admission,
    /// Bytes read and not yet handled: the beginning of a packet, or what came while the channel wanted
    /// no input.
    pending: Vec<u8>,
    /// Deadline that stands in the loop's timers.
    pub(crate) timer_ms: u64,
    /// The poll has said that the peer sends no more: its end must be read for, a short read does not show it.
    pub(crate) has_peer_closed: bool,
    /// It has something to read, and rests.
    pub(crate) is_resting: bool,
    /// Until when it may rest, on the monotonic clock in microseconds; 0 if it may not.
    pub(crate) may_rest_until_us: u64,
    /// Closed for the client, open for the kernel.
    linger: Option<Box<Linger>>,
    /// `None` where no responder is asked about its certificate.
    vouch: Option<Box<Vouch>>,
    is_handshaken: bool,
    /// When the handshakes below MQTT must be over.
    handshake_until_ms: u64,
    /// When the connection is closed if its socket takes no byte until then.
    stall_until_ms: u64,
    is_counted_in: bool,
}

/// What still comes is read and thrown away, so that our last words are not lost in a reset.
struct Linger {
    until_ms: u64,
    /// Bytes that are thrown away at most.
    bytes_left: usize,
}

/// What a pass over a connection's input asks of the loop.
pub(crate) enum Next {
    /// Wait for the socket.
    Wait,
    /// Come back in this pass: the socket has more.
    Again,
    /// An extension must answer; the loop has the future polled.
    Ask(Flow),
}

/// What a client may have had on its way when it was closed: a window of TCP, mostly.
const LINGER_BYTES: usize = 1 << 20;
/// What is read of a connection when others have kept the loop busy for long enough.
const SHARE_BYTES: usize = 4 * 1024;
/// Reads of one connection before others have their turn.
const READS_PER_TURN: usize = 4;

impl Connection {
    pub(crate) fn new(
        link: Arc<Link>,
        channel: Channel,
        reader: Reader,
        decoder: Decoder,
        admission: Admission,
        now_ms: u64,
    ) -> Self {
        let handshake_until_ms =
            admission.setup().handshake_timeout_ms().map_or(u64::MAX, |ms| now_ms + ms);
        Self {
            link,
            channel,
            reader,
            decoder,
            admission,
            pending: Vec::new(),
            timer_ms: u64::MAX,
            has_peer_closed: false,
            is_resting: false,
            may_rest_until_us: 0,
            linger: None,
            vouch: None,
            is_handshaken: false,
            handshake_until_ms,
            stall_until_ms: u64::MAX,
            is_counted_in: false,
        }
    }

    /// Reads and handles what has come, up to a bound.
    pub(crate) fn handle_readable(
        &mut self,
        scratch: &mut [u8],
        turn: &mut Turn,
    ) -> Result<Next, Close> {
        let next = self.read(scratch, turn);
        turn.note_held(self.held_bytes());
        let ended = self.channel.end_turn(turn);
        self.is_resting = false;
        self.may_rest_until_us =
            if self.channel.is_ahead() { turn.now.mono_us() + REST_US } else { 0 };
        let next = next?;
        ended?;
        if !self.is_counted_in && self.channel.is_connected() {
            self.is_counted_in = true;
            self.admission.handshaken();
        }
        Ok(next)
    }

    fn read(&mut self, scratch: &mut [u8], turn: &mut Turn) -> Result<Next, Close> {
        if self.is_unvouched() {
            return Ok(Next::Wait);
        }
        if let Some(flow) = self.channel.recheck_rights(turn)? {
            return Ok(Next::Ask(flow));
        }
        // First what was left when the channel wanted no input.
        if !self.pending.is_empty()
            && let Some(flow) = self.handle_pending(turn)?
        {
            return Ok(Next::Ask(flow));
        }
        for _ in 0..READS_PER_TURN {
            if !self.channel.wants_input() {
                return Ok(Next::Wait);
            }
            if turn.wants_flush() {
                return Ok(Next::Again);
            }
            let room = self.channel.read_room(turn).min(self.share(turn)).min(scratch.len());
            if room == 0 {
                return Ok(Next::Wait);
            }
            let scratch = &mut scratch[..room];
            match self.reader.read(&self.link.writer, scratch) {
                Ok(ReadOutcome::Data { n, drained }) => {
                    self.finish_handshake(turn)?;
                    turn.count_received(n);
                    if self.is_unvouched() {
                        self.pending.extend_from_slice(&scratch[..n]);
                        return Ok(Next::Wait);
                    }
                    if let Some(flow) = self.handle_bytes(&scratch[..n], turn)? {
                        return Ok(Next::Ask(flow));
                    }
                    if drained && !self.has_peer_closed {
                        return Ok(Next::Wait);
                    }
                    if turn.has_done_enough() {
                        return Ok(Next::Again);
                    }
                }
                Ok(ReadOutcome::WouldBlock) => {
                    self.finish_handshake(turn)?;
                    return Ok(Next::Wait);
                }
                Ok(ReadOutcome::Eof) => return Err(Close::from(CloseCause::ConnectionLost)),
                Err(error) => {
                    log::debug!("connection lost: {error}");
                    return Err(Close::from(CloseCause::ConnectionLost));
                }
            }
        }
        Ok(Next::Again)
    }

    /// Bytes of its next read: in a pass that has done enough just a few, or what lacks of a packet that has begun.
    fn share(&self, turn: &Turn) -> usize {
        if !turn.has_done_enough() {
            return usize::MAX;
        }
        match self.decoder.frame_len(&self.pending) {
            Ok(Some(len)) => len.saturating_sub(self.pending.len()).max(SHARE_BYTES),
            Ok(None) | Err(_) => SHARE_BYTES,
        }
    }

    /// When the loop must look at the connection, whatever the socket does.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let handshake = (!self.is_handshaken).then_some(self.handshake_until_ms);
        self.linger
            .as_ref()
            .map(|linger| linger.until_ms)
            .or_else(|| {
                let due = [self.channel.poll_timeout(), handshake, self.vouched_by_ms()];
                due.into_iter().flatten().min()
            })
            .map_or(self.stall_until_ms, |due_ms| due_ms.min(self.stall_until_ms))
    }

    /// Holds a socket that takes nothing against `send_timeout`; a stop waits for no more than a second of that.
    pub(crate) fn check_stall(&mut self, turn: &Turn) -> Result<(), Close> {
        let (timeout_ms, cause) = if turn.is_closing() {
            (LINGER_MS, CloseCause::ServerShuttingDown)
        } else {
            let timeout_ms = self.admission.setup().config().tcp.send_timeout_ms;
            (timeout_ms, CloseCause::SendTimeout)
        };
        self.stall_until_ms = match self.channel.stalled_since_ms(turn) {
            Some(since_ms) if timeout_ms > 0 => since_ms + timeout_ms,
            _ => u64::MAX,
        };
        if turn.now.mono_ms < self.stall_until_ms { Ok(()) } else { Err(cause.into()) }
    }

    /// Whether what the client sends is looked at now.
    pub(crate) fn wants_input(&self) -> bool {
        self.channel.wants_input() && !self.is_unvouched()
    }

    /// Does what is due by time.
    pub(crate) fn handle_timeout(&mut self, turn: &mut Turn) -> Result<(), Close> {
        if !self.is_handshaken && turn.now.mono_ms >= self.handshake_until_ms {
            return Err(Close::from(CloseCause::ConnectTimeout));
        }
        if turn.now.mono_ms >= self.stall_until_ms {
            self.check_stall(turn)?;
        }
        self.end_patience(turn.now.mono_ms);
        self.channel.handle_timeout(turn)
    }

    /// Takes over what TLS and PROXY say of the peer, once, before the first packet.
    fn finish_handshake(&mut self, turn: &Turn) -> Result<(), Close> {
        if self.is_handshaken || !self.reader.handshake_done() {
            return Ok(());
        }
        self.is_handshaken = true;
        let setup = self.admission.setup();
        let config = setup.config();
        if config.tls.is_none() && config.websocket.is_none() && !config.proxy_protocol {
            return Ok(());
        }
        let is_proxied = config.proxy_protocol;
        let info = self.reader.peer();
        if is_proxied && self.admission.readmit(info.addr.map(|addr| addr.ip())).is_err() {
            return Err(Close::from(CloseCause::ConnectionLost));
        }
        // The handshake may have begun before the list came in that the others were held against.
        if self.is_on_revocation_list() {
            return Err(Close::from(CloseCause::CertificateRevoked));
        }
        // Neither nobody nor whom CONNECT names: the listener says that certificates name users.
        if info.username_from_cert == Some(None) {
            return Err(Close {
                cause: CloseCause::Refused(ReasonCode::NotAuthorized),
                detail: "the certificate has no name for peer_cert_as_username".into(),
            });
        }
        self.channel.set_peer(|peer| {
            peer.addr = info.addr;
            peer.is_elsewhere = info.is_elsewhere;
            peer.certificate_username = info.username_from_cert.flatten().map(Into::into);
            peer.certificate = info.certificate;
            peer.ws_cookies = info.ws_cookies;
        });
        self.begin_to_vouch(turn.now.mono_ms);
        Ok(())
    }

    /// Handles the packets in `bytes`; what is left of them is kept.
    fn handle_bytes(&mut self, mut bytes: &[u8], turn: &mut Turn) -> Result<Option<Flow>, Close> {
        // A packet that began in an earlier read is completed with just the bytes it lacks.
        while !self.pending.is_empty() && !bytes.is_empty() {
            let wanted = match self.decoder.frame_len(&self.pending) {
                Ok(Some(len)) => len.saturating_sub(self.pending.len()).max(1),
                Ok(None) => 1,
                Err(error) => return Err(self.malformed(&error, turn)),
            };
            let (head, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.pending.extend_from_slice(head);
            bytes = rest;
            if let Some(flow) = self.handle_pending(turn)? {
                self.pending.extend_from_slice(bytes);
                return Ok(Some(flow));
            }
            if !self.channel.wants_input() {
                self.pending.extend_from_slice(bytes);
                return Ok(None);
            }
        }
        let (used, flow) = self.handle_packets(bytes, turn)?;
        self.pending.extend_from_slice(&bytes[used..]);
        Ok(flow)
    }

    /// Handles whole packets among the bytes kept.
    fn handle_pending(&mut self, turn: &mut Turn) -> Result<Option<Flow>, Close> {
        let bytes = std::mem::take(&mut self.pending);
        let (used, flow) = self.handle_packets(&bytes, turn)?;
        if used == 0 {
            self.pending = bytes;
        } else if used < bytes.len() {
            self.pending = bytes[used..].to_vec();
        }
        Ok(flow)
    }

    fn handle_packets(
        &mut self,
        bytes: &[u8],
        turn: &mut Turn,
    ) -> Result<(usize, Option<Flow>), Close> {
        let mut at = 0;
        while at < bytes.len() && self.channel.wants_input() {
            match self.decoder.decode(&bytes[at..]) {
                Ok(Some((packet, len))) => match self.channel.handle_packet(&packet, turn)? {
                    Flow::Next => at += len,
                    Flow::Pause => break,
                    flow @ Flow::Wait(_) => return Ok((at, Some(flow))),
                },
                Ok(None) => break,
                Err(error) => return Err(self.malformed(&error, turn)),
            }
        }
        Ok((at, None))
    }

    fn malformed(&mut self, error: &broker_codec::DecodeError, turn: &mut Turn) -> Close {
        let version = self.decoder.version();
        self.channel.handle_malformed(error, version, turn)
    }

    /// From now on nothing is read but for the sake of the kernel.
    pub(crate) fn begin_to_linger(&mut self, until_ms: u64) {
        self.pending = Vec::new();
        self.linger = Some(Box::new(Linger { until_ms, bytes_left: LINGER_BYTES }));
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.linger.is_some()
    }

    /// Bytes of memory it takes, beside its channel.
    fn held_bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Channel>()
            + size_of::<Link>()
            + self.pending.capacity()
            + self.vouch.as_ref().map_or(0, |_| size_of::<Vouch>())
            + self.reader.held_bytes()
    }

    /// Reads on for the sake of the kernel only. Returns false when the peer is gone, or has sent so much more
    /// that it does not listen.
    pub(crate) fn drain(&mut self, scratch: &mut [u8]) -> bool {
        let Some(linger) = &mut self.linger else { return false };
        loop {
            // As the bytes come: what is thrown away need not be decrypted.
            match self.link.writer.read_raw(scratch) {
                Ok(ReadOutcome::Data { n, drained }) => {
                    let Some(left) = linger.bytes_left.checked_sub(n) else { return false };
                    linger.bytes_left = left;
                    if drained && !self.has_peer_closed {
                        return true;
                    }
                }
                Ok(ReadOutcome::WouldBlock) => return true,
                Ok(ReadOutcome::Eof) | Err(_) => return false,
            }
        }
    }

    /// True if another loop may take the connection over: nothing that would look for it here is under way.
    pub(crate) fn may_move(&self) -> bool {
        self.channel.is_connected() && self.channel.wants_input() && !self.is_lingering()
    }

    /// The listener's count of why connections ended.
    pub(crate) fn count_shutdown(&self, cause: CloseCause) {
        self.admission.setup().count_shutdown(self.counted_as(cause));
    }

    /// True if [`Self::why_to_go`] is worth asking.
    pub(crate) fn may_have_to_go(&self, is_stopping: bool) -> bool {
        let setup = self.admission.setup();
        let may_be_unwanted = setup.is_stopped() || setup.has_crls() || self.vouch.is_some();
        !self.is_lingering() && (may_be_unwanted || self.comes_too_late(is_stopping))
    }

    /// Why it is to be closed, if it is and has not been yet: the server stops, its listener was stopped, or the client's
    /// certificate revoked.
    pub(crate) fn why_to_go(&mut self, is_stopping: bool) -> Option<CloseCause> {
        if self.is_lingering() {
            return None;
        }
        if self.comes_too_late(is_stopping) {
            return Some(CloseCause::ServerShuttingDown);
        }
        if self.admission.setup().is_stopped() {
            return Some(CloseCause::Kicked);
        }
        let must_go = if self.is_revoked_by_responder() {
            !self.refuse_revoked()
        } else {
            self.is_on_revocation_list()
        };
        must_go.then_some(CloseCause::CertificateRevoked)
    }

    /// True if it has not been let in, and will not be: the core closes those who were.
    fn comes_too_late(&self, is_stopping: bool) -> bool {
        is_stopping && !self.channel.is_connected()
    }

    fn is_on_revocation_list(&self) -> bool {
        let setup = self.admission.setup();
        setup.has_crls() && self.link.writer.has_peer_chain(|chain| setup.is_revoked(chain))
    }
}
