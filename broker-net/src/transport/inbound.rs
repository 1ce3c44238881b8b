//! The reading side of a connection with PROXY header, TLS or WebSocket, in this order.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use broker_core::Certificate;
use parking_lot::Mutex;

use super::certificate::Subject;
use super::outbound::{Outbound, WebSocketState};
use super::proxy_protocol::{self, HeaderParser};
use super::secure::Secure;
use super::websocket::{self, Decoder, Upgrade};
use super::{PeerInfo, ReadOutcome, Socket, Writer, read_socket};
use crate::config::ListenerConfig;
use crate::transport::websocket::Origin;

/// Everything before MQTT bytes.
#[derive(Debug)]
pub(crate) struct Inbound {
    config: Arc<ListenerConfig>,
    peer: PeerInfo,
    proxy: Option<Box<HeaderParser>>,
    tls: Option<TlsInbound>,
    websocket: Option<WebSocketInbound>,
    /// The peer has said in its protocol's words that it sends no more.
    eof: bool,
    failed: Option<io::ErrorKind>,
}

#[derive(Debug, Default)]
struct TlsInbound {
    ready: bool,
    /// Length of [`Secure::incoming`], which only this side changes; known without taking the lock.
    n_incoming: usize,
    /// Plaintext that did not fit the reader's buffer; those before `plaintext_at` are read.
    plaintext: Vec<u8>,
    plaintext_at: usize,
    /// close_notify came after that plaintext.
    eof_after_plaintext: bool,
}

#[derive(Debug)]
enum WebSocketInbound {
    Upgrade(Upgrade),
    Open(Box<Decoder>),
}

/// Bytes on their way up; unlike in [`ReadOutcome`], `n` may be 0.
enum Step {
    Data { n: usize, drained: bool },
    WouldBlock,
    Eof,
}

impl Inbound {
    pub(crate) fn new(config: &Arc<ListenerConfig>, peer: Option<SocketAddr>) -> Self {
        let trusted = peer.is_some_and(|peer| config.trusts_proxy(peer.ip()));
        Self {
            peer: PeerInfo { addr: peer, ..PeerInfo::default() },
            proxy: config.proxy_protocol.then(Box::default),
            tls: config.tls.is_some().then(TlsInbound::default),
            websocket: config
                .websocket
                .is_some()
                .then(|| WebSocketInbound::Upgrade(Upgrade::default())),
            eof: false,
            failed: (config.proxy_protocol && !trusted).then_some(io::ErrorKind::PermissionDenied),
            config: Arc::clone(config),
        }
    }

    /// Lets every read fail.
    pub(crate) fn fail(&mut self, kind: io::ErrorKind) {
        self.failed = Some(kind);
    }

    /// Bytes of memory it takes: its state, and plaintext that waits.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.tls.as_ref().map_or(0, |tls| tls.plaintext.capacity())
    }

    pub(crate) fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    pub(crate) fn handshake_done(&self) -> bool {
        self.proxy.is_none()
            && self.tls.as_ref().is_none_or(|tls| tls.ready)
            && !matches!(self.websocket, Some(WebSocketInbound::Upgrade(_)))
    }

    /// Whether nothing is left between the socket and MQTT.
    pub(crate) fn is_plain(&self) -> bool {
        self.proxy.is_none() && self.tls.is_none() && self.websocket.is_none()
    }

    /// See [`super::Reader::read`].
    pub(crate) fn read(&mut self, writer: &Writer, buf: &mut [u8]) -> io::Result<ReadOutcome> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        let mut n_futile = 0;
        loop {
            if self.eof {
                return Ok(ReadOutcome::Eof);
            }
            let (n_read, drained) = match self.read_below(writer, buf)? {
                Step::Data { n, drained } => (n, drained),
                Step::WouldBlock => return Ok(ReadOutcome::WouldBlock),
                Step::Eof => return Ok(ReadOutcome::Eof),
            };
            let n = self.read_websocket(writer, &mut buf[..n_read])?;
            if n > 0 {
                return Ok(ReadOutcome::Data { n, drained: drained && !self.eof });
            }
            if drained && !self.eof {
                return Ok(ReadOutcome::WouldBlock);
            }
            // Control frames and empty records at line rate must not keep the thread here.
            n_futile += n_read.max(4096);
            if n_futile > FUTILE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    /// Bytes below WebSocket: of the socket, or the plaintext of TLS.
    fn read_below(&mut self, writer: &Writer, buf: &mut [u8]) -> io::Result<Step> {
        match (&self.tls, writer.layers()) {
            (Some(_), Some(layers)) => SCRATCH
                .with_borrow_mut(|scratch| self.read_tls(writer.socket(), layers, scratch, buf)),
            _ => self.read_raw(writer.socket(), buf),
        }
    }

    /// Bytes of the socket after the PROXY header.
    fn read_raw(&mut self, socket: &Socket, buf: &mut [u8]) -> io::Result<Step> {
        let (n, drained) = match read_socket(socket, buf)? {
            ReadOutcome::Data { n, drained } => (n, drained),
            ReadOutcome::WouldBlock => return Ok(Step::WouldBlock),
            ReadOutcome::Eof => return Ok(Step::Eof),
        };
        let Some(parser) = &mut self.proxy else { return Ok(Step::Data { n, drained }) };
        let progress = parser
            .receive(&buf[..n])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let proxy_protocol::Progress::Done { consumed, source } = progress else {
            return Ok(Step::Data { n: 0, drained });
        };
        self.proxy = None;
        self.peer.addr = source.or(self.peer.addr);
        // The address that is left is the proxy's own.
        self.peer.is_elsewhere = source.is_none();
        buf.copy_within(consumed..n, 0);
        Ok(Step::Data { n: n - consumed, drained })
    }

    fn read_tls(
        &mut self,
        socket: &Socket,
        layers: &Mutex<Outbound>,
        scratch: &mut Vec<u8>,
        buf: &mut [u8],
    ) -> io::Result<Step> {
        let Some(inbound) = &mut self.tls else { return Ok(Step::WouldBlock) };
        if let Some(n) = inbound.take_plaintext(buf) {
            self.eof = inbound.eof_after_plaintext && inbound.plaintext.is_empty();
            return Ok(Step::Data { n, drained: false });
        }
        // Read before locking: writers of other threads need not wait for the kernel.
        let n_incoming = inbound.n_incoming;
        let n_wanted = n_incoming + READ_BYTES;
        if scratch.len() < n_wanted {
            scratch.resize(n_wanted, 0);
        }
        let (n, mut drained) = match self.read_raw(socket, &mut scratch[n_incoming..n_wanted])? {
            Step::Data { n, drained } => (n, drained),
            other => return Ok(other),
        };
        if n == 0 {
            return Ok(Step::Data { n, drained });
        }
        let Some(inbound) = &mut self.tls else { return Ok(Step::WouldBlock) };
        let mut out = layers.lock();
        let Some(mut tls) = out.tls.take() else { return Ok(Step::Eof) };
        // Never longer than before: other threads only write, at most consuming some of it.
        let start = n_incoming.saturating_sub(tls.incoming().len());
        scratch[start..n_incoming].copy_from_slice(tls.incoming());
        let mut n_plain = 0;
        let received = &mut scratch[start..n_incoming + n];
        let result = tls.receive(received, out.pending_mut(), |plaintext| {
            let now = plaintext.len().min(buf.len() - n_plain);
            buf[n_plain..n_plain + now].copy_from_slice(&plaintext[..now]);
            n_plain += now;
            inbound.plaintext.extend_from_slice(&plaintext[now..]);
        });
        inbound.n_incoming = tls.incoming().len();
        let became_ready = !inbound.ready && !tls.is_handshaking();
        if became_ready {
            inbound.ready = true;
            self.peer.take_certificate(&tls, &self.config);
        }
        out.tls = Some(tls);
        out.flush(socket)?;
        drop(out);
        let eof = result?;
        if inbound.plaintext.is_empty() {
            self.eof = eof;
        } else {
            inbound.eof_after_plaintext = eof;
            drained = false;
        }
        Ok(Step::Data { n: n_plain, drained })
    }

    /// Turns what the layer below brought into MQTT bytes; returns how many.
    fn read_websocket(&mut self, writer: &Writer, buf: &mut [u8]) -> io::Result<usize> {
        let Some(layers) = writer.layers() else { return Ok(buf.len()) };
        let socket = writer.socket();
        let mut n = buf.len();
        if let Some(WebSocketInbound::Upgrade(_)) = &self.websocket {
            let Some(consumed) = self.upgrade(socket, layers, buf)? else { return Ok(0) };
            buf.copy_within(consumed.., 0);
            n -= consumed;
        }
        let Some(WebSocketInbound::Open(decoder)) = &mut self.websocket else { return Ok(n) };
        let decoded = match decoder.decode(&mut buf[..n]) {
            Ok(decoded) => decoded,
            Err(code) => {
                layers.lock().close_websocket(socket, code)?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, BrokenWebSocket(code.0)));
            }
        };
        if let Some(code) = decoded.close {
            self.eof = true;
            layers.lock().close_websocket(socket, code)?;
        } else if let Some(payload) = decoded.ping {
            layers.lock().pong(socket, payload)?;
        }
        Ok(decoded.n)
    }

    /// Answers the HTTP request when it is complete; returns where it ended.
    fn upgrade(
        &mut self,
        socket: &Socket,
        layers: &Mutex<Outbound>,
        input: &[u8],
    ) -> io::Result<Option<usize>> {
        let (Some(WebSocketInbound::Upgrade(upgrade)), Some(config)) =
            (&mut self.websocket, &self.config.websocket)
        else {
            return Ok(None);
        };
        let is_proxy = |ip| self.config.trusts_proxy(ip);
        let origin = Origin { addr: self.peer.addr, is_proxy: &is_proxy };
        match upgrade.receive(input, config, &origin) {
            Ok(websocket::Progress::Incomplete) => Ok(None),
            Ok(websocket::Progress::Done { consumed, request }) => {
                let mut out = layers.lock();
                out.send_plain(socket, &request.response)?;
                out.websocket = WebSocketState::Open;
                self.peer.addr = request.source.or(self.peer.addr);
                self.peer.is_elsewhere |= request.is_elsewhere;
                self.peer.ws_cookies = request.cookies.map(Arc::new);
                let decoder = Box::new(Decoder::new(config.max_frame_size));
                self.websocket = Some(WebSocketInbound::Open(decoder));
                Ok(Some(consumed))
            }
            Err(response) => {
                layers.lock().send_plain(socket, &response.encode())?;
                Err(io::Error::new(io::ErrorKind::InvalidData, response))
            }
        }
    }
}

impl TlsInbound {
    /// Plaintext left over from an earlier read.
    fn take_plaintext(&mut self, buf: &mut [u8]) -> Option<usize> {
        let left = &self.plaintext[self.plaintext_at..];
        if left.is_empty() {
            return None;
        }
        let n = left.len().min(buf.len());
        buf[..n].copy_from_slice(&left[..n]);
        self.plaintext_at += n;
        if self.plaintext_at == self.plaintext.len() {
            self.plaintext = Vec::new();
            self.plaintext_at = 0;
        }
        Some(n)
    }
}

impl PeerInfo {
    fn take_certificate(&mut self, tls: &Secure, config: &ListenerConfig) {
        let Some([certificate, ..]) = tls.peer_certificates() else { return };
        let subject = Subject::of(certificate);
        let field = config.tls.as_ref().and_then(|tls| tls.peer_cert_as_username);
        self.username_from_cert = field.map(|field| subject.username(field, certificate));
        self.certificate = Some(Arc::new(Certificate {
            subject: subject.distinguished_name.map(Into::into),
            common_name: subject.common_name.map(Into::into),
        }));
    }
}

/// The client broke RFC 6455; it was told so with this status code.
#[derive(Debug, thiserror::Error)]
#[error("websocket closed with status {0}")]
struct BrokenWebSocket(u16);

thread_local! {
    /// Ciphertext of a thread during one call.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::default();
}

/// Ciphertext read by one system call.
const READ_BYTES: usize = 64 * 1024;
/// Bytes without a byte of MQTT in them that one call puts up with.
const FUTILE_BYTES_MAX: usize = 1024 * 1024;
