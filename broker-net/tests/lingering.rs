//! A connection that the broker closes is read on for a while, so that the last words are not lost in a reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use broker_core::Broker;
use broker_net::config::ListenerConfig;
use broker_net::{Server, ServerOptions};

/// CONNECT of MQTT 5.0 with an assigned identifier; a second one is a Protocol Error [MQTT-3.1.0-2].
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 0];
const DISCONNECT: [u8; 2] = [0xE0, 0x82];

fn start() -> (Server, SocketAddr) {
    let broker = Broker::builder().build().unwrap();
    let mut listener = ListenerConfig::tcp("a", "127.0.0.1:0".parse().unwrap());
    // Little, so that what the kernel keeps does not blur what the broker reads.
    listener.tcp.recbuf = Some(32 * 1024);
    let options = ServerOptions { listeners: vec![listener], ..ServerOptions::default() };
    let server = Server::start(&broker, options).unwrap();
    let address = broker.listeners().unwrap().list()[0].address.parse().unwrap();
    (server, address)
}

/// A client that is about to be closed.
fn offender(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&[CONNECT, CONNECT].concat()).unwrap();
    stream
}

#[test]
fn the_last_words_reach_a_client_that_was_still_sending() {
    let (server, address) = start();
    let mut stream = offender(address);
    for _ in 0..64 {
        stream.write_all(&[0; 8 * 1024]).unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let last = answer.len() - 3;
    assert_eq!([answer[last], answer[last + 2]], DISCONNECT, "{answer:?}");
    drop(stream);
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}

#[test]
fn a_flood_is_not_read_for_long() {
    let (server, address) = start();
    let mut stream = offender(address);
    let mut n_sent = 0;
    let error = loop {
        match stream.write(&[0; 4 * 1024]) {
            Ok(n) => n_sent += n,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{error:?}"
    );
    // What the broker reads, and what two kernels keep between it and us.
    assert!(n_sent < 8 << 20, "{n_sent} bytes");
    drop(stream);
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}
