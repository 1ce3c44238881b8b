//! One TLS connection, driven by hand through the unbuffered interface of rustls.
//!
//! That interface owns no buffers: records are decrypted where they were read and encrypted where
//! they are written from, so an idle connection keeps none (the buffered one keeps 4 KiB) and one
//! system call carries many records.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

/// The state both halves of a connection share.
pub(crate) struct Tls {
    connection: UnbufferedServerConnection,
    /// Received bytes that are not a whole record, or a handshake message in pieces.
    ///
    /// It must be given to every call of rustls, also to those that only write: rustls keeps
    /// positions in it.
    incoming: Vec<u8>,
    /// After an error or our own close_notify rustls must not be given anything more.
    finished: bool,
}

impl Tls {
    pub(crate) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { connection, incoming: Vec::new(), finished: false })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The client's certificate, if it sent one, and those that it sent along; already verified.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.connection.peer_certificates()
    }

    /// Bytes that have to be in front of the next ones received.
    pub(crate) fn incoming(&self) -> &[u8] {
        &self.incoming
    }

    /// Takes received bytes, [`Self::incoming`] included. Hands plaintext to `deliver` and appends
    /// to `outgoing` what is to be sent, also when it fails: an alert tells the peer why.
    ///
    /// Returns whether no more will come: the peer has said so, or we have ended the connection.
    pub(crate) fn receive(
        &mut self,
        received: &mut [u8],
        outgoing: &mut Vec<u8>,
        mut deliver: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        if self.finished {
            return Ok(true);
        }
        let result = self.receive_records(received, outgoing, &mut deliver);
        self.finished = result.is_err();
        result
    }

    fn receive_records(
        &mut self,
        received: &mut [u8],
        outgoing: &mut Vec<u8>,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> io::Result<bool> {
        let mut at = 0;
        let mut eof = false;
        loop {
            let status = self.connection.process_tls_records(&mut received[at..]);
            let UnbufferedStatus { mut discard, state } = status;
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    at += discard;
                    self.encode_alert(&mut received[at..], outgoing);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            let done = match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        deliver(record.payload);
                    }
                    false
                }
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, outgoing)?;
                    false
                }
                // What was encoded is in `outgoing`, which the caller sends in order.
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    eof = true;
                    false
                }
                ConnectionState::Closed => {
                    eof = true;
                    true
                }
                ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => true,
                // Early data is not enabled; a new kind of state is not one we asked for.
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            at += discard;
            if done {
                break;
            }
        }
        let rest = &received[at..];
        if rest.len() > INCOMING_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // A fresh vector: what a large record needed is not kept by an idle connection.
        self.incoming = rest.to_vec();
        Ok(eof)
    }

    /// Encrypts `plaintext` in records as large as possible; returns the length of what is now at
    /// the front of `out`, which only grows.
    pub(crate) fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        self.with_write_traffic(out, |mut traffic, out, at| {
            let needed =
                at + plaintext.len() + (plaintext.len() / RECORD_BYTES + 1) * OVERHEAD_BYTES;
            if out.len() < needed {
                out.resize(needed, 0);
            }
            loop {
                match traffic.encrypt(plaintext, &mut out[at..]) {
                    Ok(n) => return Ok(at + n),
                    Err(EncryptError::InsufficientSize(size)) => {
                        out.resize(at + size.required_size, 0);
                    }
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        })
    }

    /// As [`Self::seal`], for the alert that ends the stream.
    pub(crate) fn seal_close_notify(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let sealed = self.with_write_traffic(out, |mut traffic, out, at| {
            out.resize(out.len().max(at + RECORD_BYTES), 0);
            match traffic.queue_close_notify(&mut out[at..]) {
                Ok(n) => Ok(at + n),
                Err(error) => Err(io::Error::other(error)),
            }
        });
        self.finished = true;
        sealed
    }

    /// Brings rustls to the state in which it writes. What it has to send before is put at the front
    /// of `out`; `write` gets to know where that ends.
    fn with_write_traffic(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(
            WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut Vec<u8>,
            usize,
        ) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut before = Vec::new();
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.incoming);
            let state = state.map_err(|error| {
                self.finished = true;
                io::Error::other(error)
            })?;
            match state {
                ConnectionState::WriteTraffic(traffic) => {
                    if out.len() < before.len() {
                        out.resize(before.len(), 0);
                    }
                    out[..before.len()].copy_from_slice(&before);
                    let n = write(traffic, out, before.len());
                    self.incoming.drain(..discard);
                    return n;
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut before)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                // Received plaintext is always taken at once, by `receive`.
                _ => return Err(io::ErrorKind::NotConnected.into()),
            }
            self.incoming.drain(..discard);
        }
    }

    /// After an error: what rustls wants to tell the peer about it. That is one record, and only the
    /// first call hands it out; another would judge the bad input again.
    fn encode_alert(&mut self, received: &mut [u8], outgoing: &mut Vec<u8>) {
        if let Ok(ConnectionState::EncodeTlsData(data)) =
            self.connection.process_tls_records(received).state
        {
            // The connection has failed already; without the alert the peer just sees it end.
            let _ = encode(data, outgoing);
        }
    }
}

/// Appends one message of rustls' own.
fn encode(
    mut data: EncodeTlsData<'_, rustls::server::ServerConnectionData>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    // Asked for no room it answers how much it needs, and encodes nothing yet.
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
        return Ok(());
    };
    let at = out.len();
    out.resize(at + size.required_size, 0);
    data.encode(&mut out[at..]).map_err(io::Error::other)?;
    Ok(())
}

/// Plaintext of one record, at most.
pub(crate) const RECORD_BYTES: usize = 16 * 1024;
/// Header, nonce, tag and type of one record: 29 bytes at most, in versions 1.2 and 1.3.
const OVERHEAD_BYTES: usize = 32;
/// One handshake message (64 KiB, where rustls stops) and a record; more is never incomplete.
const INCOMING_BYTES_MAX: usize = 96 * 1024;
