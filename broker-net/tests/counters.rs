//! What is counted of a connection, and known of its client, over real sockets.

mod pki;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_core::{Broker, ConnectionView, SessionView, Tally, Transport};
use broker_net::config::ListenerConfig;
use broker_net::{Server, ServerOptions};
use rustls::{ClientConnection, StreamOwned};

use self::pki::Pki;

/// CONNECT of MQTT 3.1.1 as `c`.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'c'];

fn start(listener: ListenerConfig) -> (Arc<Broker>, Server, SocketAddr) {
    let broker = Broker::builder().build().unwrap();
    let options = ServerOptions { listeners: vec![listener], ..ServerOptions::default() };
    let server = Server::start(&broker, options).unwrap();
    let address = broker.listeners().unwrap().list()[0].address.parse().unwrap();
    (broker, server, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn exchange(stream: &mut (impl Read + Write), packet: &[u8], answer: &[u8]) {
    stream.write_all(packet).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, answer);
}

/// The client may have its answer before the pass that wrote it has ended.
fn wait_for(broker: &Broker, is_there: impl Fn(&SessionView, &ConnectionView) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let view = broker.session("c").unwrap();
        if view.connection.as_ref().is_some_and(|connection| is_there(&view, connection)) {
            return;
        }
        assert!(Instant::now() < deadline, "{view:?}");
        std::thread::yield_now();
    }
}

#[test]
fn reads_and_writes_of_a_socket_are_counted() {
    let (broker, server, address) = start(ListenerConfig::tcp("a", "127.0.0.1:0".parse().unwrap()));
    let mut stream = connect(address);
    exchange(&mut stream, &CONNECT, &[0x20, 2, 0, 0]);
    for _ in 0..3 {
        exchange(&mut stream, &[0xC0, 0], &[0xD0, 0]);
    }
    // 15 + 3 * 2, one read each; 4 + 3 * 2, one write each.
    let received = Tally { bytes: 21, calls: 4, packets: 4, messages: 0 };
    let sent = Tally { bytes: 10, calls: 4, packets: 4, messages: 0 };
    wait_for(&broker, |_, c| c.received == received && c.sent == sent && c.turns >= 4);
    // The beginning of a packet is kept, and seen to be.
    let idle = broker.session("c").unwrap().connection.unwrap().heap_bytes;
    assert!((500..5_000).contains(&idle), "{idle}");
    let mut begun = vec![0x30, 0xA0, 0x8D, 0x06];
    begun.resize(30_000, b'x');
    begun[4..6].copy_from_slice(&[0, 1]);
    stream.write_all(&begun).unwrap();
    wait_for(&broker, |_, c| c.received.bytes == 30_021 && c.heap_bytes >= idle + 30_000);
    let client = broker.session("c").unwrap().client;
    assert_eq!(client.transport(), Some(Transport::Tcp));
    assert_eq!(client.certificate, None);
    drop(stream);
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}

#[test]
fn what_is_held_of_a_first_packet_counts_as_memory() {
    let (broker, server, address) = start(ListenerConfig::tcp("a", "127.0.0.1:0".parse().unwrap()));
    let memory = |is_such: &dyn Fn(usize) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_such(broker.memory_used()) {
            assert!(Instant::now() < deadline, "{} bytes", broker.memory_used());
            std::thread::yield_now();
        }
    };
    let mut begun = vec![0x10, 0x80, 0x80, 0x1E];
    begun.resize(400_000, b'x');
    let mut streams: Vec<_> = (0..3).map(|_| connect(address)).collect();
    streams.iter_mut().for_each(|stream| stream.write_all(&begun).unwrap());
    memory(&|bytes| bytes >= 1_200_000);
    // One is ended by the broker, for what it sends, and the others by themselves.
    streams[0].write_all(&vec![b'x'; 91_524]).unwrap();
    memory(&|bytes| (800_000..1_100_000).contains(&bytes));
    drop(streams);
    memory(&|bytes| bytes < 100_000);
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}

#[test]
fn the_owner_of_a_client_certificate_is_known_and_bytes_are_those_of_mqtt() {
    let pki = Pki::new("counters");
    let (broker, server, address) = start(pki::listener(pki.server()));
    let tls = ClientConnection::new(pki.client(Some("sensor-7")), "localhost".try_into().unwrap());
    let mut stream = StreamOwned::new(tls.unwrap(), connect(address));
    exchange(&mut stream, &CONNECT, &[0x20, 2, 0, 0]);
    wait_for(&broker, |_, c| c.received.bytes == 15 && c.sent.bytes == 4);
    let client = broker.session("c").unwrap().client;
    assert_eq!(client.transport(), Some(Transport::Tls));
    let certificate = client.certificate.as_ref().unwrap();
    assert_eq!(certificate.subject.as_deref(), Some("CN=sensor-7"));
    assert_eq!(certificate.common_name.as_deref(), Some("sensor-7"));
    drop(stream);
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}
