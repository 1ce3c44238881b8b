//! TLS of a connection: rustls, or openssl where it begins with a pre-shared key.

use std::io;
use std::sync::Arc;

#[cfg(feature = "psk")]
use openssl::ssl::SslContext;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

#[cfg(feature = "psk")]
use super::psk::PskTls;
use super::tls::Tls;

/// What handshakes of a listener go by.
#[derive(Debug, Clone)]
pub(crate) enum Acceptor {
    Certificate(Arc<ServerConfig>),
    #[cfg(feature = "psk")]
    Psk(SslContext),
}

/// The state both halves of a connection share.
#[cfg_attr(
    feature = "psk",
    expect(
        clippy::large_enum_variant,
        reason = "its owner boxes it, and most are of the larger kind"
    )
)]
pub(crate) enum Secure {
    Certificate(Tls),
    #[cfg(feature = "psk")]
    Psk(PskTls),
}

/// The same of whichever it is.
macro_rules! of_either {
    ($secure:expr, $tls:ident => $value:expr) => {
        match $secure {
            Secure::Certificate($tls) => $value,
            #[cfg(feature = "psk")]
            Secure::Psk($tls) => $value,
        }
    };
}

impl Secure {
    pub(crate) fn new(acceptor: Acceptor) -> io::Result<Self> {
        match acceptor {
            Acceptor::Certificate(config) => Tls::new(config).map(Self::Certificate),
            #[cfg(feature = "psk")]
            Acceptor::Psk(context) => PskTls::new(&context).map(Self::Psk),
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        of_either!(self, tls => tls.is_handshaking())
    }

    /// The client's certificate, if it sent one, and those that it sent along; already verified.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Certificate(tls) => tls.peer_certificates(),
            #[cfg(feature = "psk")]
            Self::Psk(_) => None,
        }
    }

    /// Bytes that have to be in front of the next ones received.
    pub(crate) fn incoming(&self) -> &[u8] {
        match self {
            Self::Certificate(tls) => tls.incoming(),
            #[cfg(feature = "psk")]
            Self::Psk(_) => &[],
        }
    }

    /// See [`Tls::receive`].
    pub(crate) fn receive(
        &mut self,
        received: &mut [u8],
        outgoing: &mut Vec<u8>,
        deliver: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        of_either!(self, tls => tls.receive(received, outgoing, deliver))
    }

    /// See [`Tls::seal`].
    pub(crate) fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        of_either!(self, tls => tls.seal(plaintext, out))
    }

    /// See [`Tls::seal_close_notify`].
    pub(crate) fn seal_close_notify(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        of_either!(self, tls => tls.seal_close_notify(out))
    }
}
