//! An accepted stream socket, TCP or Unix, usable from any thread through a shared reference.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};

/// A non-blocking stream; reading and writing need no exclusive access, as in the kernel.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Our end of it; `None` for a Unix socket. An IPv4 address is not mapped into IPv6.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        let Self::Tcp(socket) = self else { return None };
        let address = socket.local_addr().ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Registers through a shared reference, for a socket that already sits in its [`Writer`].
    ///
    /// Closing the socket takes it out of the poll again; there is no need to deregister.
    ///
    /// [`Writer`]: super::Writer
    pub(crate) fn register(
        &self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.raw_fd()), token, interest)
    }

    /// Changes what [`Self::register`] asked for.
    pub(crate) fn reregister(
        &self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.reregister(&mut SourceFd(&self.raw_fd()), token, interest)
    }

    /// Takes the socket out of the poll while it stays open.
    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.raw_fd()))
    }

    /// Ends one or both directions.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Lets the end of the socket be a reset: what the peer has not taken is not kept for it.
    pub(crate) fn reset_when_closed(&self) {
        if let Self::Tcp(stream) = self {
            // Else the kernel tries for some minutes more, which harms nobody but its memory.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn raw_fd(&self) -> i32 {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Read for &Socket {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Socket::Tcp(stream) => (&*stream).read(buf),
                Socket::Unix(stream) => (&*stream).read(buf),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Write for &Socket {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Socket::Tcp(stream) => (&*stream).write(buf),
                Socket::Unix(stream) => (&*stream).write(buf),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    #[inline]
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let result = match self {
                Socket::Tcp(stream) => (&*stream).write_vectored(slices),
                Socket::Unix(stream) => (&*stream).write_vectored(slices),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl event::Source for Socket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        Self::register(self, registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        Self::reregister(self, registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        Self::deregister(self, registry)
    }
}

/// An IPv4 peer of a dual-stack socket is an IPv4 peer.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
