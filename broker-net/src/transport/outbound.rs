//! The writing side of a connection with TLS or WebSocket, behind the lock of its Writer.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write};

use super::secure::Secure;
use super::socket::Socket;
use super::websocket::{self, CloseCode};

/// What is between MQTT bytes and the socket, and the bytes that the socket would not take yet.
#[derive(Default)]
pub(crate) struct Outbound {
    pub(crate) tls: Option<Box<Secure>>,
    pub(crate) websocket: WebSocketState,
    closed: bool,
    /// Encoded bytes; those before `pending_at` are sent. Empty and without memory when all are.
    pending: Vec<u8>,
    pending_at: usize,
    /// Payload of the latest Ping, to be answered when `pending` is gone.
    pong: Option<Vec<u8>>,
}

/// How far the WebSocket of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WebSocketState {
    /// There is none.
    #[default]
    Absent,
    Opening,
    Open,
    /// A Close frame is sent; nothing may follow.
    Closed,
}

impl Outbound {
    pub(crate) fn new(tls: Option<Box<Secure>>, websocket: WebSocketState) -> Self {
        Self { tls, websocket, ..Self::default() }
    }

    /// See [`super::Writer::try_write`].
    pub(crate) fn try_write(
        &mut self,
        socket: &Socket,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        if self.closed || self.websocket == WebSocketState::Closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.websocket == WebSocketState::Opening
            || self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
        {
            return Err(io::ErrorKind::NotConnected.into());
        }
        // One batch may wait encoded, no more: so memory is bounded.
        if !self.flush(socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        SCRATCH.with_borrow_mut(|scratch| self.write_batches(socket, slices, scratch))
    }

    fn write_batches(
        &mut self,
        socket: &Socket,
        slices: &[IoSlice<'_>],
        scratch: &mut Scratch,
    ) -> io::Result<usize> {
        let Scratch { gathered, sealed } = scratch;
        let n_total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut n_taken = 0;
        let mut rest = Cursor { slices, at: 0 };
        while n_taken < n_total && self.pending.is_empty() {
            let n = (n_total - n_taken).min(BATCH_BYTES);
            let batch = match rest.contiguous(n) {
                // The common large payload: one slice, which is encrypted where it is.
                Some(batch) if self.websocket == WebSocketState::Absent => batch,
                _ => {
                    gathered.clear();
                    if self.websocket == WebSocketState::Open {
                        websocket::encode_binary_header(n, gathered);
                    }
                    rest.copy_to(n, gathered);
                    &*gathered
                }
            };
            self.send(socket, batch, sealed)?;
            rest.advance(n);
            n_taken += n;
        }
        Ok(n_taken)
    }

    /// Pushes what is pending; whether none is left.
    pub(crate) fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        loop {
            while self.pending_at < self.pending.len() {
                match write(socket, &self.pending[self.pending_at..])? {
                    0 => return Ok(false),
                    n => self.pending_at += n,
                }
            }
            if !self.pending.is_empty() {
                self.pending = Vec::new();
                self.pending_at = 0;
            }
            let Some(payload) = self.pong.take() else { return Ok(true) };
            self.send_frame(socket, |out| websocket::encode_pong(&payload, out))?;
        }
    }

    /// Answers a Ping, now or when the socket has room; of several that wait only the latest.
    pub(crate) fn pong(&mut self, socket: &Socket, payload: Vec<u8>) -> io::Result<()> {
        if self.websocket == WebSocketState::Open {
            self.pong = Some(payload);
            self.flush(socket)?;
        }
        Ok(())
    }

    /// Sends a Close frame, once.
    pub(crate) fn close_websocket(&mut self, socket: &Socket, code: CloseCode) -> io::Result<()> {
        if self.websocket == WebSocketState::Open {
            self.send_frame(socket, |out| websocket::encode_close(code, out))?;
            self.pong = None;
            self.websocket = WebSocketState::Closed;
        }
        Ok(())
    }

    /// Sends bytes as they are, through TLS if there is one.
    pub(crate) fn send_plain(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| self.send(socket, bytes, &mut scratch.sealed))
    }

    /// Queues bytes of TLS itself, without sending.
    pub(crate) fn pending_mut(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// See [`super::Writer::close`].
    pub(crate) fn close(&mut self, socket: &Socket) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        self.close_websocket(socket, CloseCode::NORMAL)?;
        if let Some(tls) = &mut self.tls
            && !tls.is_handshaking()
        {
            SCRATCH.with_borrow_mut(|scratch| {
                let n = tls.seal_close_notify(&mut scratch.sealed)?;
                self.pending.extend_from_slice(&scratch.sealed[..n]);
                io::Result::Ok(())
            })?;
        }
        self.flush(socket)?;
        Ok(())
    }

    fn send_frame(&mut self, socket: &Socket, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|Scratch { gathered, sealed }| {
            gathered.clear();
            encode(gathered);
            self.send(socket, gathered, sealed)
        })
    }

    /// Encrypts and sends; what the socket does not take is kept, after what already waits.
    fn send(&mut self, socket: &Socket, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        let bytes = match &mut self.tls {
            Some(tls) => {
                let n = tls.seal(plain, sealed)?;
                &sealed[..n]
            }
            None => plain,
        };
        let n = if self.pending.is_empty() { write(socket, bytes)? } else { 0 };
        self.pending.extend_from_slice(&bytes[n..]);
        Ok(())
    }
}

/// One write; 0 when the socket is full.
fn write(mut socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// A place in a list of slices.
struct Cursor<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes taken of the first.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next `n` bytes, if they lie in one slice.
    fn contiguous(&self, n: usize) -> Option<&'a [u8]> {
        self.slices.first()?.get(self.at..self.at + n)
    }

    fn copy_to(&self, mut n: usize, out: &mut Vec<u8>) {
        let mut at = self.at;
        for slice in self.slices {
            let part = &slice[at..];
            let part = &part[..part.len().min(n)];
            out.extend_from_slice(part);
            n -= part.len();
            at = 0;
            if n == 0 {
                return;
            }
        }
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.slices.first() {
            let left = first.len() - self.at;
            if n < left {
                self.at += n;
                return;
            }
            n -= left;
            self.at = 0;
            self.slices = &self.slices[1..];
        }
    }
}

/// Buffers of a thread, used only during one call: a connection owns none.
#[derive(Default)]
struct Scratch {
    gathered: Vec<u8>,
    sealed: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// MQTT bytes sent by one system call, as one WebSocket frame and four records of TLS at most; also
/// about what a connection whose socket is full keeps.
const BATCH_BYTES: usize = 64 * 1024;
