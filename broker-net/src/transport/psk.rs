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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openssl::ssl::{SslMethod, SslVersion};
    use proptest::prelude::*;

    use super::*;
    use crate::config::PskCipher;
    use crate::tls_setup::{Fetched, psk};

    fn server() -> PskTls {
        let fetched = Fetched::default();
        let lookup = |identity: &[u8]| (identity == b"client1").then(|| b"1234".to_vec());
        fetched.set_psk_lookup(Arc::new(lookup));
        let ciphers: Vec<_> = PskCipher::all().collect();
        PskTls::new(&psk::context(&ciphers, &fetched).unwrap()).unwrap()
    }

    struct Client {
        stream: SslStream<Pipe>,
        is_through: bool,
    }

    impl Client {
        fn new(identity: &'static str, secret: &'static [u8]) -> Self {
            let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
            builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
            builder.set_cipher_list("PSK").unwrap();
            builder.set_psk_client_callback(move |_, _, name, key| {
                name[..identity.len()].copy_from_slice(identity.as_bytes());
                name[identity.len()] = 0;
                key[..secret.len()].copy_from_slice(secret);
                Ok(secret.len())
            });
            let mut ssl = Ssl::new(&builder.build()).unwrap();
            ssl.set_connect_state();
            let stream = SslStream::new(ssl, Pipe::default()).unwrap();
            Self { stream, is_through: false }
        }

        /// Takes bytes; returns plaintext and what is to be sent.
        fn turn(&mut self, received: &[u8]) -> (Vec<u8>, Vec<u8>) {
            let pipe = self.stream.get_mut();
            pipe.received.drain(..pipe.received_at);
            pipe.received_at = 0;
            pipe.received.extend_from_slice(received);
            let mut plain = Vec::new();
            self.is_through = self.is_through || self.stream.connect().is_ok();
            let mut record = [0; RECORD_BYTES];
            while self.is_through
                && let Ok(n @ 1..) = self.stream.ssl_read(&mut record)
            {
                plain.extend_from_slice(&record[..n]);
            }
            (plain, std::mem::take(&mut self.stream.get_mut().to_send))
        }
    }

    /// Goes on until both are silent, with pieces of `len` bytes for the server; returns what it has read.
    fn talk(client: &mut Client, server: &mut PskTls, len: usize) -> io::Result<Vec<u8>> {
        let (mut read, mut to_client) = (Vec::new(), Vec::new());
        loop {
            let (_, to_server) = client.turn(&std::mem::take(&mut to_client));
            for piece in to_server.chunks(len) {
                server.receive(piece, &mut to_client, |bytes| read.extend_from_slice(bytes))?;
            }
            if to_client.is_empty() {
                return Ok(read);
            }
        }
    }

    #[test]
    fn both_are_through_and_talk_however_the_bytes_come() {
        for len in [1, 7, 1_000, usize::MAX] {
            let (mut client, mut server) = (Client::new("client1", b"1234"), server());
            assert!(server.seal(b"early", &mut Vec::new()).is_err());
            talk(&mut client, &mut server, len).unwrap();
            assert!(!server.is_handshaking() && client.is_through);
            let large = vec![7; 3 * RECORD_BYTES + 5];
            client.stream.ssl_write(&large[..RECORD_BYTES]).unwrap();
            client.stream.ssl_write(&large[RECORD_BYTES..]).unwrap();
            assert_eq!(talk(&mut client, &mut server, len).unwrap(), large, "{len}");
            let mut out = Vec::new();
            let n = server.seal(&large, &mut out).unwrap();
            assert_eq!(client.turn(&out[..n]).0, large);
            let n = server.seal_close_notify(&mut out).unwrap();
            client.turn(&out[..n]);
            let error = client.stream.ssl_read(&mut [0]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::ZERO_RETURN);
            assert!(server.seal(b"late", &mut out).is_err());
        }
    }

    #[test]
    fn a_client_that_closes_is_at_its_end() {
        let (mut client, mut server) = (Client::new("client1", b"1234"), server());
        talk(&mut client, &mut server, usize::MAX).unwrap();
        client.stream.shutdown().unwrap();
        let (_, last) = client.turn(&[]);
        assert!(server.receive(&last, &mut Vec::new(), |_| ()).unwrap());
    }

    #[test]
    fn wrong_keys_and_unknown_identities_fail_with_the_same_alert() {
        let alert = |identity, secret| {
            let (mut client, mut server) = (Client::new(identity, secret), server());
            let (_, hello) = client.turn(&[]);
            let mut answer = Vec::new();
            server.receive(&hello, &mut answer, |_| ()).unwrap();
            let (_, finished) = client.turn(&answer);
            let mut alert = Vec::new();
            assert!(server.receive(&finished, &mut alert, |_| ()).is_err());
            assert!(server.is_handshaking());
            assert!(server.receive(&finished, &mut alert, |_| ()).unwrap(), "it has ended");
            alert
        };
        let wrong = alert("client1", b"4321");
        assert_eq!(wrong[0], 21, "an alert");
        assert_eq!(wrong, alert("nobody", b"4321"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn damaged_handshakes_come_to_an_end(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            rubbish in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (mut client, mut server) = (Client::new("client1", b"1234"), server());
            let (_, mut hello) = client.turn(&[]);
            for (at, byte) in flips {
                *at.get_mut(&mut hello) = byte;
            }
            let mut out = Vec::new();
            let _ = server.receive(&hello, &mut out, |_| ());
            let _ = server.receive(&rubbish, &mut out, |_| ());
            prop_assert!(out.len() < 1_000);
        }
    }
}
