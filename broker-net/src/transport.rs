//! What carries MQTT bytes: one half reads for the owning loop, the other writes for any thread.

mod certificate;
mod inbound;
mod outbound;
pub mod proxy_protocol;
#[cfg(feature = "psk")]
mod psk;
mod secure;
pub(crate) mod socket;
mod tls;
pub mod websocket;

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use broker_core::{Certificate, Cookies};
use parking_lot::Mutex;

use crate::listener::ListenerSetup;
use inbound::Inbound;
use outbound::{Outbound, WebSocketState};
use rustls::pki_types::CertificateDer;
use secure::Secure;

pub(crate) use secure::Acceptor;
pub(crate) use socket::Socket;

/// Splits an accepted socket into the half the owning loop reads with and the half any thread
/// writes through.
pub(crate) fn open(
    socket: Socket,
    listener: &ListenerSetup,
    peer: Option<SocketAddr>,
) -> (Reader, Writer) {
    let config = listener.config();
    let tls_config = listener.tls();
    if tls_config.is_none() && config.websocket.is_none() && !config.proxy_protocol {
        return (Reader::plain(peer), Writer { socket, layers: None });
    }
    let mut inbound = Inbound::new(config, peer);
    let tls = tls_config.and_then(|acceptor| {
        let tls = Secure::new(acceptor).inspect_err(|error| inbound.fail(error.kind()));
        Some(Box::new(tls.ok()?))
    });
    let websocket = match config.websocket {
        Some(_) => WebSocketState::Opening,
        None => WebSocketState::Absent,
    };
    let layers = (config.tls.is_some() || config.websocket.is_some())
        .then(|| Box::new(Mutex::new(Outbound::new(tls, websocket))));
    (Reader(Kind::Layered(Box::new(inbound))), Writer { socket, layers })
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Reader(Kind);

// The peer of a plain connection is kept here, small enough to need no allocation for IPv4.
#[derive(Debug)]
enum Kind {
    PlainV4(SocketAddrV4),
    Plain(Option<Box<SocketAddr>>),
    Layered(Box<Inbound>),
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// `n > 0` bytes of MQTT. `drained`: nothing more is buffered, here or in the kernel, so an
    /// edge-triggered poll will report what comes next.
    Data { n: usize, drained: bool },
    /// Nothing for now; the poll will report what comes next.
    WouldBlock,
    /// The peer sends no more.
    Eof,
}

/// Who is at the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    /// The socket's peer, or the one a trusted proxy named. `None`: a Unix socket or unknown.
    pub(crate) addr: Option<SocketAddr>,
    /// Whether it says of itself that it is not of this machine: a trusted proxy that names nobody, or a page of
    /// another host in a browser.
    pub(crate) is_elsewhere: bool,
    /// The client certificate.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// What `peer_cert_as_username` asks for; `Some(None)`: the certificate has nothing of the kind.
    pub(crate) username_from_cert: Option<Option<String>>,
    /// Cookies that the WebSocket was opened with.
    pub(crate) ws_cookies: Option<Arc<Cookies>>,
}

impl Reader {
    fn plain(peer: Option<SocketAddr>) -> Self {
        Self(match peer {
            Some(SocketAddr::V4(addr)) => Kind::PlainV4(addr),
            other => Kind::Plain(other.map(Box::new)),
        })
    }

    /// Plain MQTT bytes into `buf`, which must not be empty. Any error ends the connection; `writer`
    /// still wants to be closed, so that the peer learns why.
    #[inline]
    pub(crate) fn read(&mut self, writer: &Writer, buf: &mut [u8]) -> io::Result<ReadOutcome> {
        debug_assert!(!buf.is_empty());
        let Kind::Layered(inbound) = &mut self.0 else {
            return read_socket(&writer.socket, buf);
        };
        let outcome = inbound.read(writer, buf)?;
        if inbound.is_plain() && !inbound.peer().is_elsewhere {
            // Only a PROXY header came first: nothing of it stays in memory but the address.
            *self = Self::plain(inbound.peer().addr);
        }
        Ok(outcome)
    }

    /// Bytes of memory it takes, the writer's layers included; not what the TLS library keeps.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.0 {
            Kind::Layered(inbound) => inbound.held_bytes() + size_of::<Mutex<Outbound>>(),
            Kind::Plain(Some(_)) => size_of::<SocketAddr>(),
            Kind::PlainV4(_) | Kind::Plain(None) => 0,
        }
    }

    /// Who is at the other end; final once [`Self::handshake_done`].
    pub(crate) fn peer(&self) -> PeerInfo {
        let addr = match &self.0 {
            Kind::PlainV4(addr) => Some((*addr).into()),
            Kind::Plain(addr) => addr.as_deref().copied(),
            Kind::Layered(inbound) => return inbound.peer().clone(),
        };
        PeerInfo { addr, ..PeerInfo::default() }
    }

    /// Whether everything that comes before MQTT is over.
    pub(crate) fn handshake_done(&self) -> bool {
        match &self.0 {
            Kind::Layered(inbound) => inbound.handshake_done(),
            _ => true,
        }
    }
}

/// The writing half, shared by all threads.
pub(crate) struct Writer {
    socket: Socket,
    layers: Option<Box<Mutex<Outbound>>>,
}

impl Writer {
    /// True if there is nothing between MQTT and the socket.
    pub(crate) fn is_plain(&self) -> bool {
        self.layers.is_none()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Accepts up to all MQTT bytes of the slices, never blocks.
    ///
    /// `Ok(n)`: n bytes are taken over and will reach the socket. Fewer than offered: the socket is
    /// full, a writable event follows. `WouldBlock`: nothing taken, likewise. `NotConnected`: the
    /// handshakes are not over.
    #[inline]
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.layers {
            None => match slices {
                // A plain write costs the kernel less than a vector of one.
                [one] => (&self.socket).write(one),
                _ => (&self.socket).write_vectored(slices),
            },
            Some(layers) => layers.lock().try_write(&self.socket, slices),
        }
    }

    /// Bytes as they come from the socket, for who throws them away.
    pub(crate) fn read_raw(&self, buf: &mut [u8]) -> io::Result<ReadOutcome> {
        read_socket(&self.socket, buf)
    }

    /// Pushes bytes taken over earlier, at a writable event. `Ok(true)`: none are left.
    #[inline]
    pub(crate) fn flush_pending(&self) -> io::Result<bool> {
        match &self.layers {
            None => Ok(true),
            Some(layers) => layers.lock().flush(&self.socket),
        }
    }

    /// Says goodbye in the words of the transport, as far as the socket takes them now, and shuts
    /// the sending direction.
    pub(crate) fn close(&self) {
        // In both: the peer may be gone already; there is nobody left to tell.
        if let Some(layers) = &self.layers {
            let _ = layers.lock().close(&self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Whether the client's certificate and those it sent along are such; false without.
    pub(crate) fn has_peer_chain(
        &self,
        is_such: impl FnOnce(&[CertificateDer<'static>]) -> bool,
    ) -> bool {
        let Some(layers) = &self.layers else { return false };
        let out = layers.lock();
        out.tls.as_ref().and_then(|tls| tls.peer_certificates()).is_some_and(is_such)
    }

    /// What is between MQTT and the socket; `None` for plain ones.
    fn layers(&self) -> Option<&Mutex<Outbound>> {
        self.layers.as_deref()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// One read of the raw socket.
#[inline]
fn read_socket(mut socket: &Socket, buf: &mut [u8]) -> io::Result<ReadOutcome> {
    match socket.read(buf) {
        Ok(0) => Ok(ReadOutcome::Eof),
        // A short read empties the kernel's buffer; epoll(7) guarantees an edge for what follows.
        Ok(n) => Ok(ReadOutcome::Data { n, drained: n < buf.len() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadOutcome::WouldBlock),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
