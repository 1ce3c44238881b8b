//! Certificates that name users: what becomes of a client whose certificate names none.

mod pki;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use broker_core::Broker;
use broker_net::config::{PeerCertField, TlsConfig};
use broker_net::{Server, ServerOptions};
use rustls::{ClientConnection, StreamOwned};

use self::pki::Pki;

/// CONNECT of MQTT 3.1.1 as client `c` and user `root`.
const CONNECT: [u8; 21] = [
    0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x82, 0, 60, 0, 1, b'c', 0, 4, b'r', b'o', b'o',
    b't',
];

/// What a client with a certificate of this common name is answered with.
fn answer(pki: &Pki, address: SocketAddr, name: Option<&str>) -> Vec<u8> {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let tls = ClientConnection::new(pki.client(name), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(tls, socket);
    let mut answer = Vec::new();
    let mut byte = [0];
    // A server that has gone away may not take all of it.
    let _ = stream.write_all(&CONNECT);
    while answer.len() < 4 && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        answer.push(byte[0]);
    }
    answer
}

#[test]
fn a_certificate_without_the_name_that_users_have_is_refused() {
    let pki = Pki::new("names");
    let tls = TlsConfig { peer_cert_as_username: Some(PeerCertField::Cn), ..pki.server() };
    let listener = pki::listener(tls);
    let broker = Broker::builder().build().unwrap();
    let options = ServerOptions { listeners: vec![listener], ..ServerOptions::default() };
    let server = Server::start(&broker, options).unwrap();
    let listeners = broker.listeners().unwrap();
    let address = listeners.list()[0].address.parse().unwrap();

    assert_eq!(answer(&pki, address, None), b"");
    assert!(broker.session("c").is_none(), "neither without a user nor as root");
    assert_eq!(answer(&pki, address, Some("")), b"");
    assert!(broker.session("c").is_none());
    // The client may see the end before it is counted.
    let refused = [("not_authorized".to_owned(), 2)];
    let deadline = Instant::now() + Duration::from_secs(10);
    while listeners.list()[0].shutdown_counts != refused {
        assert!(Instant::now() < deadline, "{:?}", listeners.list()[0].shutdown_counts);
        std::thread::yield_now();
    }

    assert_eq!(answer(&pki, address, Some("sensor-7")), [0x20, 2, 0, 0]);
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}
