//! Slow readers over TLS: of what was acknowledged to its publishers, what a subscriber does not get is counted.
//!
//! A subscriber that reads in bursts gathers the messages of all publishers in its queue, which drops the oldest
//! when it is full (`max_mqueue_len`). Nothing else may be missing, nothing come twice and nothing out of order,
//! while connections move between loops. `STRESS_SECS` says for how long (1 by default).

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use broker_codec::{
    Ack, Connect, Decoder, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, ReasonCode,
    Subscribe, SubscriptionOptions, SubscriptionRequest,
};
use broker_core::{Broker, Metric};
use broker_net::config::{ListenerConfig, Protocol, TlsConfig};
use broker_net::{Server, ServerOptions};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
const PUBLISHERS: u32 = 4;
/// Default of `max_mqueue_len`.
const QUEUE: u64 = 1_000;
/// Messages a publisher has unacknowledged.
const WINDOW: u64 = 200;
/// Messages a slow reader takes before it rests.
const BURST: u64 = 300;
const REST: Duration = Duration::from_millis(8);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishers that no reader holds back.
#[test]
fn what_a_slow_reader_misses_is_counted() {
    let counts = run("misses", u64::MAX);
    assert!(counts.iter().all(|count| count.dropped > 0), "the queues overflow: {counts:?}");
}

/// As many messages on their way as the queue holds, and some for the window.
#[test]
fn a_slow_reader_misses_nothing_that_its_queue_holds() {
    let counts = run("holds", QUEUE);
    assert!(counts.iter().all(|count| count.dropped == 0), "{counts:?}");
}

/// Publishes to three readers, and holds what came against what was acknowledged. Publishers are ahead of the
/// slowest reader by at most `lead` messages.
fn run(name: &str, lead: u64) -> Vec<Count> {
    let server = TlsServer::start(name);
    let readers = [("slow", Some(REST)), ("slower", Some(3 * REST)), ("fast", None)];
    let race = Arc::new(Race { lead, ..Race::default() });
    let subscribers: Vec<_> = readers
        .into_iter()
        .enumerate()
        .map(|(place, (id, rest))| {
            let mut client = server.connect(id);
            client.subscribe("t/#", QoS::AtLeastOnce);
            let (broker, race) = (Arc::clone(&server.broker), Arc::clone(&race));
            thread::spawn(move || read_all(client, id, rest, &broker, &race, place))
        })
        .collect();
    let until = Instant::now() + stress_time();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| {
            let client = server.connect(&format!("p{number}"));
            let race = Arc::clone(&race);
            thread::spawn(move || publish_until(client, number, until, &race))
        })
        .collect();
    let acked: u64 = publishers.into_iter().map(|thread| thread.join().unwrap()).sum();
    race.is_over.store(true, Ordering::Release);
    let counts: Vec<_> = subscribers.into_iter().map(|thread| thread.join().unwrap()).collect();
    eprintln!("{name}: {acked} acknowledged, {counts:?}");
    for count in &counts {
        assert_eq!(acked - count.delivered, count.dropped, "{count:?}");
    }
    // Counters of a thread are published at the end of its pass.
    let dropped = counts.iter().map(|count| count.dropped).sum();
    wait_for("the counter", || server.broker.metrics().value(Metric::DroppedQueueFull) == dropped);
    counts
}

/// How far publishers and readers are.
#[derive(Default)]
struct Race {
    lead: u64,
    sent: AtomicU64,
    delivered: [AtomicU64; 3],
    is_over: AtomicBool,
}

impl Race {
    /// Counts one more message if it may be sent now.
    fn may_send(&self) -> bool {
        let slowest = self.delivered.iter().map(|n| n.load(Ordering::Relaxed)).min().unwrap();
        let most = slowest.saturating_add(self.lead);
        let next = |sent: u64| (sent < most).then_some(sent + 1);
        self.sent.try_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// What became of the messages for one reader.
#[derive(Debug)]
struct Count {
    delivered: u64,
    /// By what the broker says of its session.
    dropped: u64,
}

/// Publishes with a window of unacknowledged messages. Returns how many were acknowledged.
fn publish_until(mut client: Client, number: u32, until: Instant, race: &Race) -> u64 {
    let (mut sent, mut acked) = (0_u64, 0);
    let mut burst = Vec::new();
    while Instant::now() < until || acked < sent {
        while sent - acked < WINDOW && Instant::now() < until && race.may_send() {
            // Small ones are copied into the outbox, large ones shared.
            let size = if sent.is_multiple_of(10) { 3_000 } else { 16 + (sent % 100) as usize };
            let mut payload = vec![b'.'; size];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            payload[4..12].copy_from_slice(&sent.to_be_bytes());
            Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: &format!("t/{number}"),
                packet_id: PacketId::new((sent % 65_535) as u16 + 1),
                properties: Properties::EMPTY,
                payload: &payload,
            })
            .encode(V3, &mut burst);
            sent += 1;
        }
        client.stream.write_all(&burst).unwrap();
        burst.clear();
        if sent == acked {
            thread::yield_now();
            continue;
        }
        client.receive(|packet| match packet {
            Packet::PubAck(ack) => {
                assert_eq!(u64::from(ack.packet_id.get()), acked % 65_535 + 1, "in order");
                acked += 1;
            }
            other => panic!("{other:?}"),
        });
    }
    acked
}

/// Reads until all is over and nothing is left for the client.
fn read_all(
    mut client: Client,
    id: &str,
    rest: Option<Duration>,
    broker: &Broker,
    race: &Race,
    place: usize,
) -> Count {
    let mut last: HashMap<u32, u64> = HashMap::new();
    let mut delivered = 0;
    let mut acks = Vec::new();
    let mut deadline = None;
    loop {
        let before = delivered;
        client.receive(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            assert!(!publish.dup);
            let number = u32::from_be_bytes(publish.payload[..4].try_into().unwrap());
            let sequence = u64::from_be_bytes(publish.payload[4..12].try_into().unwrap());
            if let Some(last) = last.insert(number, sequence) {
                assert!(sequence > last, "{id}: {sequence} of {number} after {last}");
            }
            delivered += 1;
            ack(publish.packet_id.unwrap()).encode(V3, &mut acks);
        });
        client.stream.write_all(&acks).unwrap();
        acks.clear();
        race.delivered[place].store(delivered, Ordering::Relaxed);
        if let Some(rest) = rest
            && delivered / BURST > before / BURST
        {
            // What makes it slow.
            thread::sleep(rest);
        }
        if race.is_over.load(Ordering::Acquire) && delivered == before {
            let session = broker.session(id).unwrap();
            if session.queued == 0 && session.inflight == 0 && session.outbox_bytes == 0 {
                return Count { delivered, dropped: session.dropped };
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            assert!(Instant::now() < deadline, "{id}: stuck with {session:?}");
        }
    }
}

fn ack(packet_id: PacketId) -> Packet<'static> {
    let reason_code = ReasonCode::Success;
    Packet::PubAck(Ack { packet_id, reason_code, properties: Properties::EMPTY })
}

fn stress_time() -> Duration {
    let seconds = std::env::var("STRESS_SECS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} in time");
        thread::yield_now();
    }
}

/// A broker behind a TLS listener, with a certificate of its own.
struct TlsServer {
    broker: Arc<Broker>,
    server: Server,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    dir: PathBuf,
}

impl TlsServer {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("broker-net-{name}-{}", std::process::id()));
        let broker = Broker::builder().build().unwrap();
        let mut listener = ListenerConfig::tcp("stress", "127.0.0.1:0".parse().unwrap());
        listener.protocol = Protocol::Ssl;
        listener.tls = Some(TlsConfig::default());
        let options = ServerOptions {
            listeners: vec![listener],
            io_threads: 3,
            data_dir: dir.clone(),
            ..ServerOptions::default()
        };
        let server = Server::start(&broker, options).unwrap();
        let address = broker.listeners().unwrap().list()[0].address.parse().unwrap();
        let config = client_config(&dir.join("certs/server.crt"));
        Self { broker, server, address, config, dir }
    }

    fn connect(&self, id: &str) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut client = Client {
            stream: StreamOwned::new(tls, socket),
            decoder: Decoder::for_client(V3, u32::MAX),
            unread: Vec::new(),
        };
        client.send(&Packet::Connect(Connect {
            version: V3,
            is_bridge: false,
            clean_start: true,
            keep_alive_s: 0,
            properties: Properties::EMPTY,
            client_id: id,
            will: None,
            username: None,
            password: None,
        }));
        client.receive(|packet| assert!(matches!(packet, Packet::ConnAck(_)), "{packet:?}"));
        client.stream.sock.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        client
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.server.shut_down(Duration::from_secs(5));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn client_config(certificate: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Client {
    fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(V3, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            filters: vec![SubscriptionRequest { filter, options }],
        }));
        let deadline = Instant::now() + PATIENCE;
        let mut is_done = false;
        while !is_done {
            assert!(Instant::now() < deadline, "SUBACK in time");
            self.receive(|packet| is_done = matches!(packet, Packet::SubAck(_)));
        }
    }

    /// Reads once and hands over the whole packets there are; none if none came in time.
    fn receive(&mut self, mut handle: impl FnMut(&Packet<'_>)) {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => panic!("the broker closed"),
            Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        let mut at = 0;
        while let Some((packet, len)) = self.decoder.decode(&self.unread[at..]).unwrap() {
            handle(&packet);
            at += len;
        }
        self.unread.drain(..at);
    }
}
