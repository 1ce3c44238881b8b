//! Publishers and subscribers at work while the broker is killed again and again.
//!
//! The clients live on and keep their side of their sessions, as the specification demands of them. In the
//! end every message that was acknowledged must have come to each subscriber: once or more at QoS 1, exactly
//! once at QoS 2, and in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::broker::{Broker, DEADLINE, eventually};
use crate::client::v5;
use crate::wire::{self, Packet, Prop, Publish, V5, publish};

/// PUBLISH packets of one publisher that are not acknowledged.
const WINDOW: usize = 20;

#[test]
fn what_was_acknowledged_comes_whenever_the_broker_is_killed() {
    run("fsync", rounds());
}

#[test]
fn level_written_survives_a_kill_too() {
    run("written", rounds().div_ceil(3));
}

fn rounds() -> u32 {
    number_from("KILL_ROUNDS").unwrap_or(5) as u32
}

fn run(level: &str, rounds: u32) {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number_from("KILL_SEED").unwrap_or(clock.as_nanos() as u64);
    eprintln!("KILL_SEED={seed} level {level}, {rounds} rounds");
    let mut random = Random(seed);
    let level = format!("{level:?}");
    let mut broker = Broker::new(&[
        ("durability.level", &level),
        ("mqtt.max_mqueue_len", "0"),
        ("mqtt.max_mqueue_bytes", "0"),
    ]);
    let world = Arc::new(World::default());
    world.moved_to(broker.address());
    let constant = Subscriber::start(&world, "constant", "kill/#", random.next());
    let sleepy = Subscriber::start(&world, "sleepy", "kill/#", random.next());
    sleepy.pause();
    let members = ["member1", "member2"]
        .map(|name| Subscriber::start(&world, name, "$share/group/kill/#", random.next()));
    let publishers = [("p1", 1), ("p2", 2), ("p3", 2)]
        .map(|(id, qos)| Publisher::start(&world, id, qos, random.next()));

    for _ in 0..rounds {
        let ms = if random.below(4) == 0 { random.below(40) } else { 50 + random.below(400) };
        std::thread::sleep(Duration::from_millis(ms));
        broker.kill();
        // Sometimes the one that was away comes back, and is there when the next kill strikes.
        if random.below(3) == 0 {
            sleepy.resume();
        } else {
            sleepy.pause_soon();
        }
        broker.restart();
        world.moved_to(broker.address());
    }

    // Work on what was recovered goes on as before.
    std::thread::sleep(Duration::from_millis(300));
    world.publishing_ends.store(true, Ordering::Relaxed);
    let published = publishers.map(Publisher::finish);
    sleepy.resume();
    for ledger in &published {
        wait_for(ledger, &[&constant]);
        wait_for(ledger, &[&sleepy]);
        wait_for(ledger, &[&members[0], &members[1]]);
    }
    check_retained(&published[0]);
    // What comes twice may come late.
    std::thread::sleep(Duration::from_millis(300));
    world.is_over.store(true, Ordering::Relaxed);
    for subscriber in [constant, sleepy] {
        let (name, received) = subscriber.finish();
        for ledger in &published {
            let got = received.get(ledger.topic).map_or(&[][..], Vec::as_slice);
            check(name, ledger, got);
        }
    }
    let shares = members.map(|member| member.finish().1);
    for ledger in &published {
        check_shares(ledger, &shares);
    }
    let n: usize = published.iter().map(|ledger| ledger.acknowledged.len()).sum();
    eprintln!("{n} messages acknowledged, none lost");
}

/// Compares what came with what was promised.
fn check(subscriber: &str, ledger: &Ledger, got: &[u32]) {
    let Ledger { topic, qos, acknowledged, .. } = ledger;
    let set: BTreeSet<u32> = got.iter().copied().collect();
    let lost: Vec<_> = acknowledged.difference(&set).collect();
    assert!(lost.is_empty(), "{subscriber}, {topic}: acknowledged and lost: {lost:?}");
    let mut seen = BTreeSet::new();
    let mut highest = 0;
    for number in got {
        if !seen.insert(*number) {
            assert_eq!(*qos, 1, "{subscriber}, {topic}: {number} came twice at QoS 2");
            continue;
        }
        assert!(*number > highest, "{subscriber}, {topic}: {number} came after {highest}");
        highest = *number;
    }
}

/// A message of a shared subscription is for one member; at QoS 2 it comes to no other.
fn check_shares(ledger: &Ledger, shares: &[Received]) {
    let Ledger { topic, qos, acknowledged, .. } = ledger;
    let got: Vec<u32> =
        shares.iter().filter_map(|share| share.get(*topic)).flatten().copied().collect();
    let set: BTreeSet<u32> = got.iter().copied().collect();
    let lost: Vec<_> = acknowledged.difference(&set).collect();
    assert!(lost.is_empty(), "members, {topic}: acknowledged and lost: {lost:?}");
    assert!(*qos == 1 || set.len() == got.len(), "members, {topic}: more than once at QoS 2");
}

/// The last of the messages that were to be retained is the one that is.
fn check_retained(ledger: &Ledger) {
    let Some(last) = ledger.acknowledged.iter().rfind(|number| is_retained(**number)) else {
        return;
    };
    let mut client = v5().open();
    client.subscribe(ledger.topic, 1);
    let message = client.take();
    assert!(message.retain);
    assert_eq!(message.text().split(' ').next().unwrap(), last.to_string());
}

/// Of the publisher at QoS 1, which has no number that may be given up.
const fn is_retained(number: u32) -> bool {
    number.is_multiple_of(7)
}

/// Waits until all that was acknowledged came to one of them; the check says what did not.
fn wait_for(ledger: &Ledger, subscribers: &[&Subscriber]) {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline && subscribers.iter().all(|s| !s.thread.is_finished()) {
        let mut got = BTreeSet::new();
        for subscriber in subscribers {
            let received = subscriber.shared.received.lock();
            got.extend(received.get(ledger.topic).into_iter().flatten().copied());
        }
        if ledger.acknowledged.difference(&got).next().is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What all clients know.
#[derive(Default)]
struct World {
    address: Mutex<String>,
    publishing_ends: AtomicBool,
    is_over: AtomicBool,
}

impl World {
    fn moved_to(&self, address: &str) {
        address.clone_into(&mut self.address.lock());
    }

    /// Connects, again and again until there is a CONNACK; the flag is Session Present.
    fn connect(&self, connect: &crate::client::Connect) -> (Link, bool) {
        eventually(|| {
            let address = self.address.lock().clone();
            let mut link = Link::open(&address)?;
            link.out.extend(connect.encode());
            link.flush().ok()?;
            let deadline = Instant::now() + DEADLINE;
            loop {
                match link.poll(Duration::from_millis(100)) {
                    Ok(Some(Packet::ConnAck { session_present, code, .. })) => {
                        assert_eq!(code, 0, "{}: Reason Code of CONNACK", connect.id);
                        return Some((link, session_present));
                    }
                    Ok(None) => assert!(Instant::now() < deadline, "no CONNACK"),
                    Ok(Some(other)) => panic!("{}: CONNACK expected, got {other:?}", connect.id),
                    Err(Broken) => return None,
                }
            }
        })
    }
}

/// What a publisher knows in the end.
struct Ledger {
    topic: &'static str,
    qos: u8,
    acknowledged: BTreeSet<u32>,
}

struct Publisher(JoinHandle<Ledger>);

impl Publisher {
    fn start(world: &Arc<World>, id: &'static str, qos: u8, seed: u64) -> Self {
        let world = Arc::clone(world);
        let topic: &'static str = match id {
            "p1" => "kill/one",
            "p2" => "kill/two",
            _ => "kill/three",
        };
        let state = PublisherState {
            id,
            topic,
            qos,
            random: Random(seed),
            last: 0,
            last_id: 0,
            in_flight: VecDeque::new(),
            acknowledged: BTreeSet::new(),
        };
        Self(std::thread::spawn(move || state.run(&world)))
    }

    fn finish(self) -> Ledger {
        self.0.join().expect("the publisher's expectations hold")
    }
}

struct PublisherState {
    id: &'static str,
    topic: &'static str,
    qos: u8,
    random: Random,
    last: u32,
    last_id: u16,
    /// In the order they were sent.
    in_flight: VecDeque<Sent>,
    acknowledged: BTreeSet<u32>,
}

struct Sent {
    packet_id: u16,
    number: u32,
    payload: String,
    /// PUBREC came, PUBREL was sent.
    is_released: bool,
}

impl PublisherState {
    fn run(mut self, world: &World) -> Ledger {
        let connect = v5().id(self.id).resume().expiry(3_600);
        loop {
            let (mut link, is_present) = world.connect(&connect);
            self.resume(&mut link, is_present);
            if self.publish(world, &mut link).is_ok() {
                let Self { topic, qos, acknowledged, .. } = self;
                return Ledger { topic, qos, acknowledged };
            }
        }
    }

    /// What is not acknowledged is sent again, with its identifier and in its order [MQTT-4.4.0-1].
    fn resume(&mut self, link: &mut Link, is_present: bool) {
        if !is_present {
            let id = self.id;
            assert!(self.acknowledged.is_empty(), "{id}: the session is gone");
            // The state of the session goes [MQTT-3.2.2-5]. What QoS 1 repeats does no harm; of QoS 2 nobody
            // knows whether it went through, so those numbers are not used again.
            if self.qos == 2 {
                self.in_flight.clear();
            }
        }
        for sent in &self.in_flight {
            let bytes = if sent.is_released {
                wire::ack(wire::PUBREL, sent.packet_id)
            } else {
                let again = self.message(sent.number, &sent.payload).id(sent.packet_id);
                if is_present { again.dup() } else { again }.encode(V5)
            };
            link.out.extend(bytes);
        }
    }

    /// `Ok` once all is acknowledged and no more is to be published.
    fn publish(&mut self, world: &World, link: &mut Link) -> Result<(), Broken> {
        loop {
            let ends = world.publishing_ends.load(Ordering::Relaxed);
            while !ends && self.in_flight.len() < WINDOW {
                self.publish_next(link);
            }
            link.flush()?;
            if ends && self.in_flight.is_empty() {
                return Ok(());
            }
            let mut packet = link.poll(Duration::from_millis(50))?;
            while let Some(answer) = packet {
                self.handle(answer, link);
                packet = link.take();
            }
        }
    }

    fn publish_next(&mut self, link: &mut Link) {
        self.last += 1;
        let packet_id = self.free_packet_id();
        let padding = "x".repeat(self.random.below(400) as usize);
        let payload = format!("{} {padding}", self.last);
        link.out.extend(self.message(self.last, &payload).id(packet_id).encode(V5));
        let number = self.last;
        self.in_flight.push_back(Sent { packet_id, number, payload, is_released: false });
    }

    fn message(&self, number: u32, payload: &str) -> Publish {
        let message = publish(self.topic, self.qos, payload);
        if self.qos == 1 && is_retained(number) { message.retain() } else { message }
    }

    /// A small range, so that each is used again soon.
    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % 50 + 1;
            if self.in_flight.iter().all(|sent| sent.packet_id != self.last_id) {
                return self.last_id;
            }
        }
    }

    fn handle(&mut self, packet: Packet, link: &mut Link) {
        let id = self.id;
        let at = |packet_id: u16| {
            let found = self.in_flight.iter().position(|sent| sent.packet_id == packet_id);
            found.unwrap_or_else(|| panic!("{id}: {packet_id} is not in flight"))
        };
        match packet {
            Packet::PubAck(ack) if self.qos == 1 => {
                assert_eq!(ack.code, 0, "{id}: Reason Code of PUBACK");
                let sent = self.in_flight.remove(at(ack.id)).unwrap();
                self.acknowledged.insert(sent.number);
            }
            Packet::PubRec(ack) if self.qos == 2 => {
                assert_eq!(ack.code, 0, "{id}: Reason Code of PUBREC");
                let at = at(ack.id);
                self.in_flight[at].is_released = true;
                self.acknowledged.insert(self.in_flight[at].number);
                link.out.extend(wire::ack(wire::PUBREL, ack.id));
            }
            Packet::PubComp(ack) if self.qos == 2 => {
                // 0x92: it had released it before it was killed, and PUBCOMP did not come through.
                assert!([0, 0x92].contains(&ack.code), "{id}: PUBCOMP with {:#04x}", ack.code);
                let at = at(ack.id);
                self.in_flight.remove(at);
            }
            other => panic!("{id}: unexpected {other:?}"),
        }
    }
}

/// Numbers in the order they came, by topic.
type Received = BTreeMap<String, Vec<u32>>;

struct Subscriber {
    name: &'static str,
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Received>,
    wants_pause: AtomicBool,
    is_away: AtomicBool,
}

impl Subscriber {
    /// Returns once it is subscribed.
    fn start(world: &Arc<World>, name: &'static str, filter: &str, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let connect = v5().id(name).resume().expiry(3_600).prop(Prop::ReceiveMaximum(15));
        let (mut link, is_present) = world.connect(&connect);
        assert!(!is_present);
        link.out.extend(wire::subscribe(V5, 1, &[(filter, 2)], &[]));
        link.flush().unwrap();
        match eventually(|| link.poll(Duration::from_millis(100)).unwrap()) {
            Packet::SubAck { codes, .. } => assert_eq!(codes, [2]),
            other => panic!("{name}: SUBACK expected, got {other:?}"),
        }
        let state = SubscriberState {
            name,
            shared: Arc::clone(&shared),
            random: Random(seed),
            unreleased: BTreeSet::new(),
        };
        let world = Arc::clone(world);
        let thread = std::thread::spawn(move || state.run(&world, link, &connect));
        Self { name, thread, shared }
    }

    /// Disconnects, and is away until told otherwise.
    fn pause(&self) {
        self.pause_soon();
        eventually(|| self.shared.is_away.load(Ordering::Relaxed).then_some(()));
    }

    fn pause_soon(&self) {
        self.shared.wants_pause.store(true, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.shared.wants_pause.store(false, Ordering::Relaxed);
    }

    fn finish(self) -> (&'static str, Received) {
        self.thread.join().expect("the subscriber's expectations hold");
        let received = std::mem::take(&mut *self.shared.received.lock());
        (self.name, received)
    }
}

struct SubscriberState {
    name: &'static str,
    shared: Arc<Shared>,
    random: Random,
    /// Packet Identifiers of QoS 2 that were received and not yet released: the receiver's half of the
    /// session, which outlives the broker.
    unreleased: BTreeSet<u16>,
}

impl SubscriberState {
    fn run(mut self, world: &World, first: Link, connect: &crate::client::Connect) {
        let mut link = Some(first);
        while !world.is_over.load(Ordering::Relaxed) {
            if self.shared.wants_pause.load(Ordering::Relaxed) {
                if let Some(mut link) = link.take() {
                    link.out.extend(wire::DISCONNECT);
                    let _ = link.flush();
                }
                self.shared.is_away.store(true, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            self.shared.is_away.store(false, Ordering::Relaxed);
            let mut connected = link.take().unwrap_or_else(|| {
                let (link, is_present) = world.connect(connect);
                assert!(is_present, "{}: the session is gone", self.name);
                link
            });
            if self.receive(&mut connected).is_ok() {
                link = Some(connected);
            }
        }
    }

    /// Takes what is there. Acknowledgements are held back a little, so that the kill finds some owed.
    fn receive(&mut self, link: &mut Link) -> Result<(), Broken> {
        let mut packet = link.poll(Duration::from_millis(5))?;
        if packet.is_none() {
            link.flush()?;
        }
        while let Some(next) = packet {
            self.handle(next, link);
            if self.random.below(6) == 0 {
                link.flush()?;
            }
            packet = link.take();
        }
        Ok(())
    }

    fn handle(&mut self, packet: Packet, link: &mut Link) {
        match packet {
            Packet::Publish(message) => {
                let is_new = message.qos < 2 || self.unreleased.insert(message.id);
                if is_new {
                    let number = message.text().split(' ').next().unwrap().parse().unwrap();
                    let mut received = self.shared.received.lock();
                    received.entry(message.topic).or_default().push(number);
                }
                let kind = if message.qos == 2 { wire::PUBREC } else { wire::PUBACK };
                link.out.extend(wire::ack(kind, message.id));
            }
            Packet::PubRel(ack) => {
                let code = if self.unreleased.remove(&ack.id) { 0 } else { 0x92 };
                link.out.extend(wire::ack_code(wire::PUBCOMP, ack.id, code));
            }
            other => panic!("{}: unexpected {other:?}", self.name),
        }
    }
}

/// A connection that may break at any time.
struct Link {
    stream: TcpStream,
    buf: Vec<u8>,
    out: Vec<u8>,
}

#[derive(Debug)]
struct Broken;

impl Link {
    fn open(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(DEADLINE)).ok()?;
        Some(Self { stream, buf: Vec::new(), out: Vec::new() })
    }

    fn flush(&mut self) -> Result<(), Broken> {
        let out = std::mem::take(&mut self.out);
        self.stream.write_all(&out).map_err(|_| Broken)
    }

    /// The next packet that is here already.
    fn take(&mut self) -> Option<Packet> {
        let (packet, len) = wire::decode(&self.buf, V5).expect("the broker sends valid packets")?;
        self.buf.drain(..len);
        if let Packet::Disconnect { code, .. } = packet {
            panic!("DISCONNECT with {code:#04x}");
        }
        Some(packet)
    }

    /// The next packet, if one comes in time.
    fn poll(&mut self, wait: Duration) -> Result<Option<Packet>, Broken> {
        if let Some(packet) = self.take() {
            return Ok(Some(packet));
        }
        self.stream.set_read_timeout(Some(wait)).map_err(|_| Broken)?;
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Broken),
            Ok(n) => {
                self.buf.extend(&chunk[..n]);
                Ok(self.take())
            }
            Err(e) if is_silence(&e) => Ok(None),
            Err(_) => Err(Broken),
        }
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
