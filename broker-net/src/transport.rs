//! What carries MQTT bytes: one half reads for the owning loop, the other writes for any thread.

pub(crate) mod socket;

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use crate::listener::ListenerSetup;

pub(crate) use socket::Socket;

/// Splits an accepted socket into the half the owning loop reads with and the half any thread
/// writes through.
pub(crate) fn open(
    socket: Socket,
    _listener: &ListenerSetup,
    peer: Option<SocketAddr>,
) -> (Reader, Arc<Writer>) {
    (Reader::plain(peer), Arc::new(Writer { socket }))
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Reader(Kind);

// The peer of a plain connection is kept here, small enough to need no allocation for IPv4.
#[derive(Debug)]
enum Kind {
    PlainV4(SocketAddrV4),
    Plain(Option<Box<SocketAddr>>),
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
    pub(crate) cert_common_name: Option<String>,
    pub(crate) cert_subject: Option<String>,
    /// What `peer_cert_as_username` asks for.
    pub(crate) username_from_cert: Option<String>,
}

impl Reader {
    fn plain(peer: Option<SocketAddr>) -> Self {
        Self(match peer {
            Some(SocketAddr::V4(addr)) => Kind::PlainV4(addr),
            other => Kind::Plain(other.map(Box::new)),
        })
    }

    /// Plain MQTT bytes into `buf`, which must not be empty. Any error ends the connection.
    #[inline]
    pub(crate) fn read(&mut self, writer: &Writer, buf: &mut [u8]) -> io::Result<ReadOutcome> {
        read_socket(&writer.socket, buf)
    }

    /// Who is at the other end; final once [`Self::handshake_done`].
    pub(crate) fn peer(&self) -> PeerInfo {
        match &self.0 {
            Kind::PlainV4(addr) => PeerInfo { addr: Some((*addr).into()), ..PeerInfo::default() },
            Kind::Plain(addr) => PeerInfo { addr: addr.as_deref().copied(), ..PeerInfo::default() },
        }
    }

    /// Whether everything that comes before MQTT is over.
    pub(crate) fn handshake_done(&self) -> bool {
        true
    }
}

/// The writing half, shared by all threads.
#[derive(Debug)]
pub(crate) struct Writer {
    socket: Socket,
}

impl Writer {
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Accepts up to all MQTT bytes of the slices, never blocks.
    ///
    /// `Ok(n)`: n bytes are taken over and will reach the socket. Fewer than offered: the socket is
    /// full, a writable event follows. `WouldBlock`: nothing taken, likewise.
    #[inline]
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.socket).write_vectored(slices)
    }

    /// Pushes bytes taken over earlier, at a writable event. `Ok(true)`: none are left.
    #[inline]
    pub(crate) fn flush_pending(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Says goodbye in the words of the transport, as far as the socket takes them now, and shuts
    /// the sending direction.
    pub(crate) fn close(&self) {
        // The peer may be gone already; there is nobody left to tell.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// One read of the raw socket.
#[inline]
fn read_socket(mut socket: &Socket, buf: &mut [u8]) -> io::Result<ReadOutcome> {
    debug_assert!(!buf.is_empty());
    match socket.read(buf) {
        Ok(0) => Ok(ReadOutcome::Eof),
        // A short read empties the kernel's buffer; epoll(7) guarantees an edge for what follows.
        Ok(n) => Ok(ReadOutcome::Data { n, drained: n < buf.len() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadOutcome::WouldBlock),
        Err(error) => Err(error),
    }
}
