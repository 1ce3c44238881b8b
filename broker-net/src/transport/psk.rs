//! One TLS connection that begins with a pre-shared key, which rustls does not speak: openssl, between two buffers.
//!
//! openssl reads from what was received and writes to what is to be sent; it touches no socket and waits for nothing.

use std::fmt;
use std::io::{self, Read, Write};

use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};

/// The same face as that of [`super::tls::Tls`].
pub(crate) struct PskTls {
    stream: SslStream<Pipe>,
    is_handshaking: bool,
    /// After an error or our own close_notify openssl must not be asked for anything more.
    finished: bool,
}

/// What openssl takes for the socket.
#[derive(Default)]
struct Pipe {
    received: Vec<u8>,
    received_at: usize,
    to_send: Vec<u8>,
}

impl PskTls {
    pub(crate) fn new(context: &SslContext) -> io::Result<Self> {
        let mut ssl = Ssl::new(context).map_err(io::Error::other)?;
        ssl.set_accept_state();
        let stream = SslStream::new(ssl, Pipe::default()).map_err(io::Error::other)?;
        Ok(Self { stream, is_handshaking: true, finished: false })
    }

    pub(crate) const fn is_handshaking(&self) -> bool {
        self.is_handshaking
    }

    /// See [`super::tls::Tls::receive`]. All that was received is taken: openssl keeps what is no whole record, which is
    /// no more than one.
    pub(crate) fn receive(
        &mut self,
        received: &[u8],
        outgoing: &mut Vec<u8>,
        mut deliver: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        if self.finished {
            return Ok(true);
        }
        let pipe = self.stream.get_mut();
        (pipe.received, pipe.received_at) = (received.to_vec(), 0);
        let result = self.receive_records(&mut deliver);
        let pipe = self.stream.get_mut();
        outgoing.append(&mut pipe.to_send);
        // Nobody keeps memory that is idle.
        (pipe.received, pipe.to_send) = (Vec::new(), Vec::new());
        self.finished = result.is_err();
        result
    }

    fn receive_records(&mut self, deliver: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        if self.is_handshaking {
            match self.stream.accept() {
                Ok(()) => self.is_handshaking = false,
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(false),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        let mut record = [0; RECORD_BYTES];
        loop {
            match self.stream.ssl_read(&mut record) {
                Ok(n) => deliver(&record[..n]),
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(false),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return Ok(true),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }

    /// See [`super::tls::Tls::seal`].
    pub(crate) fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        if self.finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.is_handshaking {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut rest = plaintext;
        while !rest.is_empty() {
            let n = self.stream.ssl_write(rest).map_err(|error| {
                self.finished = true;
                io::Error::other(error)
            })?;
            rest = &rest[n..];
        }
        Ok(self.put_in_front(out))
    }

    /// See [`super::tls::Tls::seal_close_notify`].
    pub(crate) fn seal_close_notify(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        if self.finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.finished = true;
        self.stream.shutdown().map_err(io::Error::other)?;
        Ok(self.put_in_front(out))
    }

    fn put_in_front(&mut self, out: &mut Vec<u8>) -> usize {
        let sealed = std::mem::take(&mut self.stream.get_mut().to_send);
        if out.len() < sealed.len() {
            out.resize(sealed.len(), 0);
        }
        out[..sealed.len()].copy_from_slice(&sealed);
        sealed.len()
    }
}

impl fmt::Debug for PskTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PskTls").field("finished", &self.finished).finish_non_exhaustive()
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = &self.received[self.received_at..];
        if left.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = left.len().min(buf.len());
        buf[..n].copy_from_slice(&left[..n]);
        self.received_at += n;
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.to_send.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Plaintext of one record, at most.
const RECORD_BYTES: usize = 16 * 1024;
