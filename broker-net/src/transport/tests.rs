//! Both halves over socket pairs, against clients of other make where there are any.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::config::{Cidr, ListenerConfig, PeerCertField, TlsConfig};
use crate::listener::tests::config;
use crate::tls_setup::Fetched;
use crate::tls_setup::tests::Folder;
use websocket::tests::frame;
use websocket::upgrade_tests::{REQUEST, config as websocket_config};

const PEER: &str = "10.0.0.1:4000";

/// A server's connection and the raw other end.
struct Server {
    reader: Reader,
    writer: Arc<Writer>,
}

impl Server {
    fn new(listener: &ListenerSetup) -> (Self, UnixStream) {
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        server.set_nonblocking(true).unwrap();
        let socket = Socket::Unix(mio::net::UnixStream::from_std(server));
        let (reader, writer) = open(socket, listener, Some(PEER.parse().unwrap()));
        (Self { reader, writer: Arc::new(writer) }, client)
    }

    /// All MQTT bytes there are, and how it ended: `None` for "nothing more for now".
    fn read(&mut self) -> (Vec<u8>, Option<io::Result<()>>) {
        self.read_with(64 * 1024)
    }

    fn read_with(&mut self, buf_len: usize) -> (Vec<u8>, Option<io::Result<()>>) {
        let mut buf = vec![0; buf_len];
        let mut data = Vec::new();
        loop {
            match self.reader.read(&self.writer, &mut buf) {
                Ok(ReadOutcome::Data { n, drained }) => {
                    assert!(n > 0);
                    data.extend(&buf[..n]);
                    if drained {
                        return (data, None);
                    }
                }
                Ok(ReadOutcome::WouldBlock) => return (data, None),
                Ok(ReadOutcome::Eof) => return (data, Some(Ok(()))),
                Err(error) => return (data, Some(Err(error))),
            }
        }
    }

    fn read_data(&mut self) -> Vec<u8> {
        let (data, end) = self.read();
        assert!(end.is_none(), "{end:?}");
        data
    }

    fn read_error(&mut self) -> String {
        match self.read() {
            (_, Some(Err(error))) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.try_write(&[IoSlice::new(bytes)])
    }
}

fn setup(change: impl FnOnce(&mut ListenerConfig)) -> ListenerSetup {
    let mut config = config();
    change(&mut config);
    ListenerSetup::new(config, std::path::Path::new(""), &Fetched::default()).unwrap()
}

fn with_proxy(config: &mut ListenerConfig) {
    config.proxy_protocol = true;
    config.proxy_protocol_peers = vec![Cidr { addr: "10.0.0.0".parse().unwrap(), prefix: 8 }];
}

/// What the peer has in its socket.
fn drain(mut client: &UnixStream) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), [0; 65_536]);
    loop {
        match client.read(&mut buf) {
            Ok(0) => return all,
            Ok(n) => all.extend(&buf[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn halves_are_small() {
    assert!(size_of::<Reader>() <= 16, "{}", size_of::<Reader>());
    // Debug builds of mio keep more in a stream.
    let writer_max = if cfg!(debug_assertions) { 32 } else { 16 };
    assert!(size_of::<Writer>() <= writer_max, "{}", size_of::<Writer>());
}

#[test]
fn plain_bytes_pass_both_ways() {
    let (mut server, mut client) = Server::new(&setup(|_| {}));
    assert!(server.reader.handshake_done());
    assert_eq!(server.reader.peer().addr, Some(PEER.parse().unwrap()));
    assert_eq!(server.read_data(), b"");
    client.write_all(b"hello").unwrap();
    let mut buf = [0; 5];
    let full = server.reader.read(&server.writer, &mut buf).unwrap();
    assert_eq!(full, ReadOutcome::Data { n: 5, drained: false });
    client.write_all(b"hello").unwrap();
    let short = server.reader.read(&server.writer, &mut [0; 6]).unwrap();
    assert_eq!(short, ReadOutcome::Data { n: 5, drained: true });
    let slices = [IoSlice::new(b"one "), IoSlice::new(b"two")];
    assert_eq!(server.writer.try_write(&slices).unwrap(), 7);
    assert_eq!(drain(&client), b"one two");
    server.writer.close();
    assert_eq!(client.read(&mut buf).unwrap(), 0);
    drop(client);
    assert!(matches!(server.read(), (_, Some(Ok(())))));
}

#[test]
fn a_proxy_header_names_the_peer_and_leaves_a_plain_reader() {
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\r\n";
    let stream = [&header[..], b"\x10\x0cCONNECT"].concat();
    for split in 0..stream.len() {
        let (mut server, mut client) = Server::new(&setup(with_proxy));
        assert!(!server.reader.handshake_done());
        client.write_all(&stream[..split]).unwrap();
        let mut data = server.read_data();
        client.write_all(&stream[split..]).unwrap();
        data.extend(server.read_data());
        assert_eq!(data, b"\x10\x0cCONNECT");
        assert_eq!(server.reader.peer().addr, Some("192.0.2.1:56324".parse().unwrap()));
        assert!(server.reader.handshake_done());
        assert!(matches!(server.reader.0, Kind::PlainV4(_)));
    }
}

#[test]
fn a_proxy_that_names_nobody_speaks_for_no_client_of_this_machine() {
    let v2 = |command| [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0, 0, 0][..]].concat();
    for (header, is_elsewhere) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), true),
        (v2(0x20), true),
        (v2(0x21), true),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 56324 443\r\n".to_vec(), false),
    ] {
        let (mut server, mut client) = Server::new(&setup(with_proxy));
        client.write_all(&header).unwrap();
        client.write_all(b"\x10\x0cCONNECT").unwrap();
        assert_eq!(server.read_data(), b"\x10\x0cCONNECT");
        assert!(server.reader.handshake_done());
        assert_eq!(server.reader.peer().is_elsewhere, is_elsewhere, "{header:?}");
        client.write_all(b"more").unwrap();
        assert_eq!(server.read_data(), b"more");
    }
}

#[test]
fn a_websocket_of_a_page_from_elsewhere_is_not_of_this_machine() {
    let of = |change: fn(&mut ListenerConfig), lines: &str| {
        let (mut server, mut client) = Server::new(&setup(|config| {
            with_websocket(config);
            change(config);
        }));
        client.write_all(REQUEST.replace("Host: broker", lines).as_bytes()).unwrap();
        assert_eq!(server.read_data(), b"");
        assert!(server.reader.handshake_done());
        server.reader.peer().is_elsewhere
    };
    assert!(!of(|_| {}, "Host: broker"));
    assert!(!of(|_| {}, "Origin: http://localhost:8080"));
    assert!(of(|_| {}, "Origin: https://evil.example"));
    // The proxy of 10.0.0.0/8 has a header to name its client in.
    let trusting: fn(&mut ListenerConfig) = |config| {
        with_proxy(config);
        config.proxy_protocol = false;
    };
    assert!(of(trusting, "Host: broker"));
    assert!(!of(trusting, "X-Forwarded-For: 127.0.0.1"));
}

#[test]
fn a_missing_or_untrusted_proxy_header_is_an_error() {
    let (mut server, mut client) = Server::new(&setup(with_proxy));
    client.write_all(b"\x10\x0c\0\x04MQTT").unwrap();
    assert_eq!(server.read_error(), "malformed PROXY header");

    let (mut server, mut client) = Server::new(&setup(|config| {
        with_proxy(config);
        config.proxy_protocol_peers.clear();
    }));
    client.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\r\n").unwrap();
    assert_eq!(server.read_error(), "permission denied");
}

fn with_websocket(config: &mut ListenerConfig) {
    config.websocket = Some(websocket_config());
}

/// An open WebSocket, the response read.
fn websocket() -> (Server, UnixStream) {
    let (mut server, mut client) = Server::new(&setup(with_websocket));
    assert_eq!(server.write(b"early").unwrap_err().kind(), io::ErrorKind::NotConnected);
    client.write_all(REQUEST.as_bytes()).unwrap();
    assert_eq!(server.read_data(), b"");
    assert!(server.reader.handshake_done());
    assert!(drain(&client).starts_with(b"HTTP/1.1 101 "));
    (server, client)
}

#[test]
fn mqtt_travels_in_websocket_frames() {
    let (mut server, mut client) = websocket();
    let stream = [frame(0x02, b"one "), frame(0x80, b"two "), frame(0x82, b"three")].concat();
    for byte in stream.chunks(3) {
        client.write_all(byte).unwrap();
    }
    assert_eq!(server.read_data(), b"one two three");
    let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")];
    assert_eq!(server.writer.try_write(&slices).unwrap(), 3);
    assert_eq!(drain(&client), b"\x82\x03abc");
}

#[test]
fn a_websocket_request_is_taken_byte_by_byte_with_what_follows() {
    let stream = [REQUEST.as_bytes(), &frame(0x82, b"CONNECT")].concat();
    let (mut server, mut client) = Server::new(&setup(with_websocket));
    let mut data = Vec::new();
    for byte in &stream {
        client.write_all(&[*byte]).unwrap();
        data.extend(server.read_data());
    }
    assert_eq!(data, b"CONNECT");
    let (mut server, mut client) = Server::new(&setup(with_websocket));
    client.write_all(&stream).unwrap();
    assert_eq!(server.read_data(), b"CONNECT");
}

#[test]
fn a_refused_upgrade_is_answered() {
    let (mut server, mut client) = Server::new(&setup(with_websocket));
    client.write_all(REQUEST.replace("/mqtt", "/admin").as_bytes()).unwrap();
    assert_eq!(server.read_error(), "websocket upgrade refused: NotFound");
    server.writer.close();
    assert!(drain(&client).starts_with(b"HTTP/1.1 404 "));
}

#[test]
fn pings_are_answered_and_close_is_echoed() {
    let (mut server, mut client) = websocket();
    client.write_all(&frame(0x89, b"hi")).unwrap();
    assert_eq!(server.read_data(), b"");
    assert_eq!(drain(&client), b"\x8a\x02hi");
    let end = [frame(0x82, b"last"), frame(0x88, &1001u16.to_be_bytes())].concat();
    client.write_all(&end).unwrap();
    let (data, end) = server.read();
    assert_eq!(data, b"last");
    assert!(matches!(end, Some(Ok(()))));
    assert_eq!(server.write(b"late").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    server.writer.close();
    assert_eq!(drain(&client), b"\x88\x02\x03\xe9");
}

#[test]
fn a_broken_frame_is_answered_with_its_close_code() {
    let (mut server, mut client) = websocket();
    client.write_all(&frame(0x81, b"text")).unwrap();
    assert_eq!(server.read_error(), "websocket closed with status 1003");
    server.writer.close();
    assert_eq!(drain(&client), b"\x88\x02\x03\xeb");
}

#[test]
fn a_full_socket_bounds_what_is_kept_and_one_pong_waits() {
    let (mut server, mut client) = websocket();
    let payload: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    let mut n_taken = 0;
    loop {
        match server.write(&payload[n_taken % payload.len()..]) {
            Ok(n) => n_taken += n,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    for i in 0..1000 {
        client.write_all(&frame(0x89, format!("{i}").as_bytes())).unwrap();
        assert_eq!(server.read_data(), b"");
    }
    assert!(server.writer.layers().unwrap().lock().pending_mut().len() <= 64 * 1024 + 10);
    let mut stream = Vec::new();
    loop {
        stream.extend(drain(&client));
        if server.writer.flush_pending().unwrap() {
            break;
        }
    }
    stream.extend(drain(&client));
    assert!(stream.ends_with(b"\x8a\x03999"));
    stream.truncate(stream.len() - 5);
    let received = unframe(&stream);
    assert_eq!(received.len(), n_taken);
    assert!(received.iter().enumerate().all(|(i, byte)| *byte == payload[i % payload.len()]));
}

/// The payload of a server's binary frames.
fn unframe(mut stream: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    while let [first, len, rest @ ..] = stream {
        assert_eq!(*first, 0x82);
        let (len, rest) = match *len {
            126 => (u64::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()), &rest[8..]),
            len => (u64::from(len), rest),
        };
        payload.extend(&rest[..len as usize]);
        stream = &rest[len as usize..];
    }
    payload
}

/// An authority and what it signed.
struct Pki {
    folder: Folder,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { folder: Folder::new(), ca }
    }

    fn issue(&self, name: &str) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.ca).unwrap().der().clone(), key)
    }

    fn server(&self) -> TlsConfig {
        let (certificate, key) = self.issue("localhost");
        TlsConfig {
            certfile: Some(self.folder.write("server.crt", "CERTIFICATE", &certificate)),
            keyfile: Some(self.folder.write("server.key", "PRIVATE KEY", key.serialized_der())),
            cacertfile: Some(self.folder.write("ca.crt", "CERTIFICATE", self.ca.der())),
            ..TlsConfig::default()
        }
    }

    fn setup(&self, change: impl FnOnce(&mut ListenerConfig, &mut TlsConfig)) -> ListenerSetup {
        setup(|config| {
            let mut tls = self.server();
            change(config, &mut tls);
            config.tls = Some(tls);
        })
    }

    fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.issue(name);
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        })
    }
}

/// A client of rustls' buffered interface.
struct TlsClient {
    tls: ClientConnection,
    socket: UnixStream,
    received: Vec<u8>,
}

impl TlsClient {
    fn new(config: Arc<ClientConfig>, socket: UnixStream) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self { tls: ClientConnection::new(config, name).unwrap(), socket, received: Vec::new() }
    }

    /// Sends and receives what is there; an error is rustls' complaint about the server.
    fn turn(&mut self) -> Result<(), rustls::Error> {
        while self.tls.wants_write() && self.tls.write_tls(&mut self.socket).is_ok() {}
        while let Ok(1..) = self.tls.read_tls(&mut self.socket) {
            self.tls.process_new_packets()?;
            let mut buf = [0; 32 * 1024];
            while let Ok(n @ 1..) = self.tls.reader().read(&mut buf) {
                self.received.extend(&buf[..n]);
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).unwrap();
    }

    fn handshake(&mut self, server: &mut Server) {
        for _ in 0..6 {
            self.turn().unwrap();
            assert_eq!(server.read_data(), b"");
        }
        assert!(server.reader.handshake_done());
        assert!(!self.tls.is_handshaking());
    }
}

fn tls(listener: &ListenerSetup, config: Arc<ClientConfig>) -> (Server, TlsClient) {
    let (mut server, socket) = Server::new(listener);
    let mut client = TlsClient::new(config, socket);
    assert_eq!(server.write(b"early").unwrap_err().kind(), io::ErrorKind::NotConnected);
    client.handshake(&mut server);
    (server, client)
}

#[test]
fn bytes_pass_both_ways_through_tls() {
    let pki = Pki::new();
    for tls12 in [false, true] {
        let listener = pki.setup(|_, tls| (tls.tls12, tls.tls13) = (tls12, !tls12));
        let (mut server, mut client) = tls(&listener, pki.client(None));
        assert_eq!(server.reader.peer().certificate, None);
        let long: Vec<u8> = (0..40_000u32).map(|i| (i / 7) as u8).collect();
        for _ in 0..10 {
            client.send(b"hello");
            client.send(&long);
            let mut data = Vec::new();
            while data.len() < 40_005 {
                client.turn().unwrap();
                let (more, end) = server.read_with(1000);
                assert!(end.is_none(), "{end:?}");
                data.extend(more);
            }
            assert_eq!(data, [b"hello", &long[..]].concat());
        }
        let mut n_taken = 0;
        let slices = [IoSlice::new(b"one "), IoSlice::new(b"two "), IoSlice::new(b"three")];
        assert_eq!(server.writer.try_write(&slices).unwrap(), 13);
        while n_taken < 10 * long.len() {
            match server.write(&long[n_taken % long.len()..]) {
                Ok(n) => n_taken += n,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    client.turn().unwrap();
                    let _ = server.writer.flush_pending().unwrap();
                }
            }
        }
        while !server.writer.flush_pending().unwrap() {
            client.turn().unwrap();
        }
        client.turn().unwrap();
        assert_eq!(client.received, [b"one two three", &long.repeat(10)[..]].concat());
    }
}

#[test]
fn many_small_packets_share_a_record() {
    let pki = Pki::new();
    let (server, client) = tls(&pki.setup(|_, _| {}), pki.client(None));
    drain(&client.socket);
    let packets = [[0u8; 30]; 200];
    let slices: Vec<_> = packets.iter().map(|packet| IoSlice::new(packet)).collect();
    assert_eq!(server.writer.try_write(&slices).unwrap(), 6000);
    let sent = drain(&client.socket);
    assert_eq!(sent.len(), 6000 + 22, "one record");
}

#[test]
fn an_idle_tls_connection_keeps_no_buffers() {
    let pki = Pki::new();
    let (mut server, mut client) = tls(&pki.setup(|_, _| {}), pki.client(None));
    client.send(&[7; 50_000]);
    client.turn().unwrap();
    server.read_data();
    server.write(&[8; 50_000]).unwrap();
    client.turn().unwrap();
    assert!(server.writer.flush_pending().unwrap());
    let mut out = server.writer.layers().unwrap().lock();
    assert_eq!(out.pending_mut().capacity(), 0);
    assert!(out.tls.as_ref().unwrap().incoming().is_empty());
}

#[test]
fn a_handshake_in_single_bytes_succeeds() {
    let pki = Pki::new();
    let (mut server, socket) = Server::new(&pki.setup(|_, _| {}));
    let mut client = TlsClient::new(pki.client(None), socket);
    while client.tls.is_handshaking() || client.tls.wants_write() {
        let mut out = Vec::new();
        client.tls.write_tls(&mut out).unwrap();
        for byte in out {
            client.socket.write_all(&[byte]).unwrap();
            assert_eq!(server.read_data(), b"");
        }
        client.turn().unwrap();
    }
    assert!(server.reader.handshake_done());
}

#[test]
fn the_client_certificate_becomes_the_user_name() {
    let pki = Pki::new();
    let listener = pki.setup(|_, tls| {
        tls.verify_peer = true;
        tls.fail_if_no_peer_cert = true;
        tls.peer_cert_as_username = Some(PeerCertField::Dn);
    });
    let (server, _client) = tls(&listener, pki.client(Some("sensor-7")));
    let expected = PeerInfo {
        addr: Some(PEER.parse().unwrap()),
        is_elsewhere: false,
        certificate: Some(Arc::new(Certificate {
            subject: Some("CN=sensor-7".into()),
            common_name: Some("sensor-7".into()),
        })),
        username_from_cert: Some(Some("CN=sensor-7".into())),
        ws_cookies: None,
    };
    assert_eq!(server.reader.peer(), expected);
}

/// Drives a handshake that the server refuses; the alert the client got.
fn refused(listener: &ListenerSetup, config: Arc<ClientConfig>) -> String {
    let (mut server, socket) = Server::new(listener);
    let mut client = TlsClient::new(config, socket);
    for _ in 0..6 {
        let complaint = client.turn();
        if let Err(error) = complaint {
            return error.to_string();
        }
        let (data, _) = server.read();
        assert_eq!(data, b"");
        assert!(!server.reader.handshake_done());
    }
    panic!("not refused")
}

#[test]
fn clients_without_a_good_certificate_are_refused_with_an_alert() {
    let (pki, foreign) = (Pki::new(), Pki::new());
    let strict = pki.setup(|_, tls| {
        tls.verify_peer = true;
        tls.fail_if_no_peer_cert = true;
    });
    assert!(refused(&strict, pki.client(None)).contains("CertificateRequired"));
    let lenient = pki.setup(|_, tls| tls.verify_peer = true);
    tls(&lenient, pki.client(None));
    let mut stranger = foreign.client(Some("stranger"));
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificate, key) = foreign.issue("stranger");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    stranger = Arc::new(
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .unwrap_or_else(|_| (*stranger).clone()),
    );
    assert!(refused(&lenient, stranger).contains("alert"));
}

#[test]
fn garbage_instead_of_tls_is_an_error() {
    let pki = Pki::new();
    let (mut server, mut client) = Server::new(&pki.setup(|_, _| {}));
    client.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0").unwrap();
    server.read_error();
    server.writer.close();
    assert!(!drain(&client).is_empty(), "an alert");
}

#[test]
fn damaged_records_end_the_connection_and_nothing_else() {
    let pki = Pki::new();
    let listener = pki.setup(|_, _| {});
    for at in [0, 1, 3, 4, 5, 12] {
        let (mut server, mut client) = tls(&listener, pki.client(None));
        client.send(b"hello");
        let mut record = Vec::new();
        client.tls.write_tls(&mut record).unwrap();
        record[at] ^= 0x55;
        client.socket.write_all(&record).unwrap();
        let _ = server.read();
        // Any thread may still try to write.
        let _ = server.write(b"x");
        server.writer.close();
        drop(client.socket.shutdown(Shutdown::Both));
        let (data, end) = server.read();
        assert!(data.is_empty() && end.is_some());
    }
}

#[test]
fn garbage_after_our_close_is_not_looked_at() {
    let pki = Pki::new();
    let (mut server, mut client) = tls(&pki.setup(|_, _| {}), pki.client(None));
    server.writer.close();
    client.socket.write_all(&[0x17, 3, 3, 0, 20, 1, 2, 3]).unwrap();
    client.socket.write_all(&[0; 100]).unwrap();
    assert!(matches!(server.read(), (_, Some(Ok(())))));
    server.writer.close();
}

#[test]
fn close_notify_ends_the_stream_both_ways() {
    let pki = Pki::new();
    let (mut server, mut client) = tls(&pki.setup(|_, _| {}), pki.client(None));
    client.send(b"bye");
    client.tls.send_close_notify();
    client.turn().unwrap();
    let (data, end) = server.read_with(2);
    assert_eq!(data, b"bye");
    assert!(matches!(end, Some(Ok(()))));
    assert_eq!(server.write(b"bye").unwrap(), 3);
    server.writer.close();
    client.turn().unwrap();
    assert_eq!(client.received, b"bye");
    assert_eq!(client.tls.reader().read(&mut [0; 1]).unwrap(), 0, "a clean end");
}

#[test]
fn a_reload_serves_new_connections_and_survives_errors() {
    let pki = Pki::new();
    let listener = pki.setup(|_, _| {});
    let (mut old, mut old_client) = tls(&listener, pki.client(None));
    let before = listener.tls().unwrap();
    listener.reload().unwrap();
    let after = listener.tls().unwrap();
    assert!(!is_same(&before, &after));
    pki.folder.write("server.key", "NOTHING", b"");
    let error = listener.reload().unwrap_err().to_string();
    assert!(error.contains("listener.tcp.external.keyfile"), "{error}");
    assert!(is_same(&after, &listener.tls().unwrap()));
    tls(&listener, pki.client(None));
    old_client.send(b"still here");
    old_client.turn().unwrap();
    assert_eq!(old.read_data(), b"still here");
}

#[test]
fn tickets_resume_sessions() {
    let pki = Pki::new();
    for tls12 in [false, true] {
        let listener = pki.setup(|_, tls| (tls.tls12, tls.tls13) = (tls12, !tls12));
        let config = pki.client(None);
        let kind = |client: &TlsClient| client.tls.handshake_kind();
        let (_, first) = tls(&listener, config.clone());
        assert_eq!(kind(&first), Some(rustls::HandshakeKind::Full));
        let (_, second) = tls(&listener, config);
        assert_eq!(kind(&second), Some(rustls::HandshakeKind::Resumed));
    }
}

#[test]
fn all_layers_combine() {
    let pki = Pki::new();
    let listener = pki.setup(|config, _| {
        with_proxy(config);
        with_websocket(config);
    });
    let (mut server, mut socket) = Server::new(&listener);
    socket.write_all(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").unwrap();
    let mut client = TlsClient::new(pki.client(None), socket);
    for _ in 0..6 {
        client.turn().unwrap();
        assert_eq!(server.read_data(), b"");
    }
    assert!(!server.reader.handshake_done());
    client.send(REQUEST.as_bytes());
    client.send(&frame(0x82, b"CONNECT"));
    client.turn().unwrap();
    assert_eq!(server.read_data(), b"CONNECT");
    assert!(server.reader.handshake_done());
    let ip: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(server.reader.peer().addr.map(|addr| addr.ip()), Some(ip));
    server.write(b"CONNACK").unwrap();
    client.turn().unwrap();
    assert!(client.received.ends_with(b"\r\n\r\n\x82\x07CONNACK"));
    server.writer.close();
    client.turn().unwrap();
    assert!(client.received.ends_with(b"CONNACK\x88\x02\x03\xe8"));
}

#[test]
fn writers_of_many_threads_and_the_reader_do_not_disturb_each_other() {
    let pki = Pki::new();
    let (mut server, mut client) = tls(&pki.setup(|_, _| {}), pki.client(None));
    let n_packets = 4 * 500;
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let writer = Arc::clone(&server.writer);
            scope.spawn(move || {
                let packet = [thread; 100];
                for _ in 0..500 {
                    while let Err(error) = writer.try_write(&[IoSlice::new(&packet)]) {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        std::thread::yield_now();
                    }
                }
            });
        }
        let (mut n_sent, mut received) = (0, Vec::new());
        while client.received.len() < n_packets * 100 || received.len() < 20_000 {
            if n_sent < 20_000 {
                client.send(&[9; 100]);
                n_sent += 100;
            }
            client.turn().unwrap();
            received.extend(server.read_data());
            server.writer.flush_pending().unwrap();
        }
    });
    let packets = client.received.chunks(100);
    assert!(packets.into_iter().all(|packet| packet.iter().all(|byte| *byte == packet[0])));
}

fn is_same(one: &Acceptor, other: &Acceptor) -> bool {
    match (one, other) {
        (Acceptor::Certificate(one), Acceptor::Certificate(other)) => Arc::ptr_eq(one, other),
        #[cfg(feature = "psk")]
        _ => false,
    }
}
