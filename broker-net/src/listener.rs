//! Listening sockets, and who is let in through them.

mod gate;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token, event};
use socket2::{Domain, SockAddr, Type};

use crate::config::{Bind, ListenerConfig, TcpOptions};
use crate::transport::Socket;
use crate::transport::socket::canonical;

pub(crate) use gate::{Admission, ListenerSetup};

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    /// With the file, which goes when the listener does.
    Unix(UnixListener, #[expect(dead_code, reason = "kept to be dropped")] SocketFile),
}

/// Why a listener cannot listen; the operator's to fix.
#[derive(Debug, thiserror::Error)]
#[error("{key}.bind = {address}: {}", describe(source))]
pub(crate) struct ListenError {
    /// `listener.tcp.external`.
    pub(crate) key: String,
    pub(crate) address: String,
    pub(crate) source: io::Error,
}

/// Binds and listens as configured.
pub(crate) fn bind(config: &ListenerConfig) -> Result<Listener, ListenError> {
    let bound = match &config.bind {
        Bind::Inet(addr) => bind_tcp(*addr, &config.tcp),
        Bind::Port(port) => bind_tcp((Ipv4Addr::UNSPECIFIED, *port).into(), &config.tcp),
        Bind::Unix(path) => bind_unix(path, config.tcp.backlog),
    };
    let address = config.bind.to_string();
    bound.map_err(|source| ListenError { key: config.key(), address, source })
}

impl Listener {
    /// The next connection and its peer; `WouldBlock` when there is none.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Socket::Tcp(stream), Some(canonical(peer))))
            }
            Self::Unix(listener, _) => Ok((Socket::Unix(listener.accept()?.0), None)),
        }
    }

    /// Where it listens, with the port the system chose; `None` for a Unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

impl event::Source for Listener {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, interest),
            Self::Unix(listener, _) => listener.register(registry, token, interest),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.reregister(registry, token, interest),
            Self::Unix(listener, _) => listener.reregister(registry, token, interest),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.deregister(registry),
            Self::Unix(listener, _) => listener.deregister(registry),
        }
    }
}

/// The file of a Unix listener; removed when the listener goes, unless another took its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // A file left behind is stale and removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_tcp(addr: SocketAddr, options: &TcpOptions) -> io::Result<Listener> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(options.reuseaddr)?;
    if addr.is_ipv6() {
        // Only the wildcard takes IPv4 as well, whatever the system's default is.
        socket.set_only_v6(addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    // Linux hands these down to accepted sockets: no system calls per connection. Buffer sizes must
    // be known before the handshake anyway, they decide the window scale.
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(bytes) = options.recbuf {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.sndbuf {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog(options.backlog))?;
    Ok(Listener::Tcp(TcpListener::from_std(socket.into())))
}

fn bind_unix(path: &Path, backlog_max: u32) -> io::Result<Listener> {
    let address = SockAddr::unix(path)?;
    make_room(path, &address)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let file = SocketFile { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() };
    socket.listen(backlog(backlog_max))?;
    let listener = std::os::unix::net::UnixListener::from(OwnedFd::from(socket));
    Ok(Listener::Unix(UnixListener::from_std(listener), file))
}

/// Removes the socket file of a process that is gone; leaves everything else alone.
fn make_room(path: &Path, address: &SockAddr) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
    }
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Non-blocking: with a full backlog the connect of a Unix socket would wait.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn backlog(configured: u32) -> i32 {
    i32::try_from(configured).unwrap_or(i32::MAX)
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "address not available on this host".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use broker_core::config::GroupLimits;

    use crate::config::Protocol;

    /// A listener on a free port of the loopback interface that lets everybody in.
    pub(crate) fn config() -> ListenerConfig {
        ListenerConfig {
            name: "external".into(),
            protocol: Protocol::Tcp,
            bind: Bind::Inet("127.0.0.1:0".parse().unwrap()),
            zone: "external".into(),
            acceptors: 16,
            max_connections: 1000,
            max_conn_rate: 0,
            rate_limit: None,
            limits: GroupLimits::default(),
            max_half_open_per_ip: 0,
            access: Vec::new(),
            proxy_protocol: false,
            proxy_protocol_peers: Vec::new(),
            proxy_protocol_timeout_ms: 3000,
            tcp: TcpOptions {
                backlog: 128,
                nodelay: true,
                reuseaddr: true,
                recbuf: None,
                sndbuf: None,
                send_timeout_ms: 15_000,
            },
            tls: None,
            websocket: None,
        }
    }

    fn scratch_path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("broker-net-{}-{name}.sock", std::process::id()))
    }

    fn unix_config(path: &Path) -> ListenerConfig {
        ListenerConfig { protocol: Protocol::Unix, bind: Bind::Unix(path.to_owned()), ..config() }
    }

    /// Blocks until the listener has somebody.
    fn accept(listener: &Listener) -> (Socket, Option<SocketAddr>) {
        loop {
            match listener.accept() {
                Ok(accepted) => return accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_taken_address_is_named_in_the_error() {
        let first = bind(&config()).unwrap();
        let addr = first.local_addr().unwrap();
        let error = bind(&ListenerConfig { bind: Bind::Inet(addr), ..config() }).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("listener.tcp.external.bind = {addr}: address already in use")
        );
    }

    /// A listener with these options, and a connection that it has accepted.
    fn accepted(tcp: TcpOptions) -> mio::net::TcpStream {
        let listener = bind(&ListenerConfig { tcp, ..config() }).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = accept(&listener);
        assert_eq!(peer, Some(client.local_addr().unwrap()));
        let Socket::Tcp(stream) = socket else { panic!("not TCP") };
        stream
    }

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let given = TcpOptions { sndbuf: Some(40_000), recbuf: Some(50_000), ..config().tcp };
        let stream = accepted(given);
        assert!(stream.nodelay().unwrap());
        let options = socket2::SockRef::from(&stream);
        assert_eq!(options.send_buffer_size().unwrap(), 80_000, "the kernel doubles it");
        assert_eq!(options.recv_buffer_size().unwrap(), 100_000, "the kernel doubles it");

        let stream = accepted(TcpOptions { nodelay: false, ..config().tcp });
        assert!(!stream.nodelay().unwrap());
        let options = socket2::SockRef::from(&stream);
        assert_ne!(options.send_buffer_size().unwrap(), 80_000);
        assert_ne!(options.recv_buffer_size().unwrap(), 100_000);
    }

    /// With `reuseaddr` an address is free again although connections of before are not forgotten there yet.
    #[test]
    fn reuseaddr_takes_an_address_that_was_just_left() {
        let listener = bind(&config()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        // Who closes first remembers: this side.
        drop(accept(&listener));
        drop(listener);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        let again = |reuseaddr| {
            let tcp = TcpOptions { reuseaddr, ..config().tcp };
            bind(&ListenerConfig { bind: Bind::Inet(addr), tcp, ..config() })
        };
        assert!(again(false).unwrap_err().to_string().ends_with("address already in use"));
        again(true).unwrap();
    }

    /// Linux lets one more wait than it is told.
    #[test]
    fn as_many_connections_wait_as_backlog_says() {
        let backlog = 3;
        let tcp = TcpOptions { backlog, ..config().tcp };
        let listener = bind(&ListenerConfig { tcp, ..config() }).unwrap();
        let addr = listener.local_addr().unwrap();
        let connect = |ms| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(ms));
        let _waiting: Vec<_> = (0..=backlog).map(|_| connect(10_000).unwrap()).collect();
        assert_eq!(connect(300).unwrap_err().kind(), io::ErrorKind::TimedOut);
        accept(&listener);
        connect(10_000).unwrap();
    }

    #[test]
    fn the_ipv6_wildcard_also_takes_ipv4_peers() {
        let bind_at = Bind::Inet("[::]:0".parse().unwrap());
        let Ok(listener) = bind(&ListenerConfig { bind: bind_at, ..config() }) else {
            return; // a host without IPv6
        };
        let port = listener.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_, peer) = accept(&listener);
        assert_eq!(peer, Some(client.local_addr().unwrap()), "not mapped into IPv6");
    }

    #[test]
    fn a_live_unix_socket_is_not_stolen() {
        let path = scratch_path("live");
        let listener = bind(&unix_config(&path)).unwrap();
        let error = bind(&unix_config(&path)).unwrap_err();
        assert!(error.to_string().ends_with("address already in use"), "{error}");
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(accept(&listener).1, None);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_unix_socket_is_replaced() {
        let path = scratch_path("stale");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        bind(&unix_config(&path)).unwrap();
    }

    #[test]
    fn a_file_in_the_way_of_a_unix_socket_is_kept() {
        let path = scratch_path("file");
        fs::write(&path, b"precious").unwrap();
        let error = bind(&unix_config(&path)).unwrap_err();
        assert!(error.to_string().ends_with("exists and is not a socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }
}
