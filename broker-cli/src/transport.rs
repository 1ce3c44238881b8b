//! Transport: the byte stream under MQTT, non-blocking: TCP or Unix socket, TLS, WebSocket.

mod tls;
mod websocket;

pub(crate) use tls::{TlsOptions, trusted_certificates};

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use websocket::WebSocket;

/// Where a broker is and how to talk to it, resolved once and shared by all connections.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(crate) websocket: Option<WebSocketTarget>,
    /// Local addresses to connect from; connections take them in turn.
    pub(crate) bind: Vec<IpAddr>,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Tcp { name: String, addresses: Vec<SocketAddr> },
    Unix(PathBuf),
}

#[derive(Debug, Clone)]
pub(crate) struct WebSocketTarget {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Place {
    /// Looks `host` up, which blocks.
    pub(crate) fn resolve(host: &str, port: u16) -> Result<Self> {
        let name =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let looked_up = (host, port).to_socket_addrs();
        let mut addresses: Vec<_> =
            looked_up.with_context(|| format!("looking up -h/--host '{host}'"))?.collect();
        if addresses.is_empty() {
            bail!("-h/--host '{host}' has no address");
        }
        // A local broker often listens on IPv4 only; a refused attempt per connection would be waste.
        addresses.sort_by_key(|it| it.is_ipv6() && it.ip().is_loopback());
        Ok(Self::Tcp { name, addresses })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { name, .. } => f.write_str(name),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// Connects, trying one address after the other, each for `timeout` at most.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<Transport> {
        let stream = match &self.place {
            Place::Unix(_) => return self.start_connect(0),
            Place::Tcp { addresses, .. } => {
                let mut result = Err(io::Error::from(ErrorKind::AddrNotAvailable));
                for &address in addresses {
                    result = self.socket(address, 0).and_then(|socket| {
                        socket.connect_timeout(&SockAddr::from(address), timeout)?;
                        Ok(socket)
                    });
                    if result.is_ok() {
                        break;
                    }
                }
                result.with_context(|| format!("connecting to {}", self.place))?
            }
        };
        stream.set_nonblocking(true)?;
        self.layers(Link::Tcp(TcpStream::from_std(stream.into())))
    }

    /// Starts to connect to the first address; the socket becomes writable when that is done.
    ///
    /// `nth` chooses the local address, if several are given.
    pub(crate) fn start_connect(&self, nth: usize) -> Result<Transport> {
        let connect = || match &self.place {
            Place::Unix(path) => {
                let stream = StdUnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Link::Unix(UnixStream::from_std(stream)))
            }
            Place::Tcp { addresses, .. } => {
                let socket = self.socket(addresses[0], nth)?;
                socket.set_nonblocking(true)?;
                match socket.connect(&SockAddr::from(addresses[0])) {
                    Err(error) if !is_in_progress(&error) => Err(error),
                    _ => Ok(Link::Tcp(TcpStream::from_std(socket.into()))),
                }
            }
        };
        let link = connect().with_context(|| format!("connecting to {}", self.place))?;
        self.layers(link)
    }

    fn socket(&self, address: SocketAddr, nth: usize) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A small PUBLISH must not wait for the acknowledgement of the one before.
        socket.set_tcp_nodelay(true)?;
        if !self.bind.is_empty() {
            let local = SocketAddr::new(self.bind[nth % self.bind.len()], 0);
            socket.bind(&SockAddr::from(local))?;
        }
        Ok(socket)
    }

    fn layers(&self, link: Link) -> Result<Transport> {
        let tls = match &self.tls {
            Some((config, name)) => {
                Some(Box::new(ClientConnection::new(Arc::clone(config), name.clone())?))
            }
            None => None,
        };
        let open = |it: &WebSocketTarget| Box::new(WebSocket::open(&it.host, it.port, &it.path));
        let websocket = self.websocket.as_ref().map(open);
        Ok(Transport { stream: Stream { link, tls }, websocket })
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(EINPROGRESS)
}

/// One connection to a broker; its owner calls the `try_*` methods when the socket is ready.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Stream,
    websocket: Option<Box<WebSocket>>,
}

impl Transport {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream.link {
            Link::Tcp(stream) => stream.register(registry, token, interest),
            Link::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    /// Whether the connection stands; an error if it was refused.
    pub(crate) fn check_connected(&self) -> io::Result<bool> {
        let Link::Tcp(stream) = &self.stream.link else { return Ok(true) };
        match stream.take_error()? {
            Some(error) => Err(error),
            None => match stream.peer_addr() {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Appends what the peer sent to `mqtt`: `Ok(false)` after the last byte.
    ///
    /// Reads once, into `scratch`; nothing may have been appended even so.
    pub(crate) fn try_read(&mut self, scratch: &mut [u8], mqtt: &mut Vec<u8>) -> io::Result<bool> {
        let len = self.stream.read(scratch)?;
        match &mut self.websocket {
            None => mqtt.extend_from_slice(&scratch[..len]),
            Some(websocket) => {
                websocket.take_input(&scratch[..len], mqtt)?;
                if websocket.is_closed() {
                    return Ok(false);
                }
            }
        }
        Ok(len > 0)
    }

    /// Takes some of `mqtt` for sending and says how much; `WouldBlock` if the peer is slow.
    pub(crate) fn try_write(&mut self, mqtt: &[u8]) -> io::Result<usize> {
        let Some(websocket) = &mut self.websocket else { return self.stream.write(mqtt) };
        if !websocket.is_open() || websocket.output.len() > WEBSOCKET_OUTPUT_BYTES_MAX {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = mqtt.len().min(WEBSOCKET_FRAME_BYTES_MAX);
        websocket.put_frame(&mqtt[..len]);
        Ok(len)
    }

    /// Sends what the layers hold back; `WouldBlock` if some is left.
    pub(crate) fn try_flush(&mut self) -> io::Result<()> {
        if let Some(websocket) = &mut self.websocket {
            let mut written = 0;
            let result = loop {
                if written == websocket.output.len() {
                    break Ok(());
                }
                match self.stream.write(&websocket.output[written..]) {
                    Ok(len) => written += len,
                    Err(error) => break Err(error),
                }
            };
            websocket.output.drain(..written);
            result?;
        }
        self.stream.flush()
    }

    /// Says goodbye on each layer; what cannot be sent at once is lost.
    pub(crate) fn close(&mut self) {
        if let Some(websocket) = &mut self.websocket
            && websocket.is_open()
        {
            websocket.put_close();
        }
        let _ = self.try_flush();
        if let Some(tls) = &mut self.stream.tls {
            tls.send_close_notify();
        }
        let _ = self.stream.flush();
        let _ = match &self.stream.link {
            Link::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Link::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

/// What carries WebSocket frames, or MQTT itself.
#[derive(Debug)]
struct Stream {
    link: Link,
    tls: Option<Box<ClientConnection>>,
}

#[derive(Debug)]
enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.link.read(buf) };
        loop {
            match tls.reader().read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Many servers close without close_notify; MQTT has its own DISCONNECT.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            tls.read_tls(&mut self.link)?;
            let processed = tls.process_new_packets();
            // Also on failure, since it leaves an alert to send.
            let flushed = flush_tls(tls, &mut self.link);
            processed
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}")))?;
            match flushed {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.link.write(buf) };
        let written = tls.writer().write(buf)?;
        if written > 0 {
            return Ok(written);
        }
        // The buffer of rustls is full.
        flush_tls(tls, &mut self.link)?;
        match tls.writer().write(buf)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            written => Ok(written),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => flush_tls(tls, &mut self.link),
            None => Ok(()),
        }
    }
}

fn flush_tls(tls: &mut ClientConnection, link: &mut Link) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(link)?;
    }
    Ok(())
}

impl Read for Link {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Link {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a non-blocking connect returns; std has no `ErrorKind` for it on stable.
const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Frames are made no faster than they leave above this.
const WEBSOCKET_OUTPUT_BYTES_MAX: usize = 256 * 1024;
const WEBSOCKET_FRAME_BYTES_MAX: usize = 64 * 1024;
