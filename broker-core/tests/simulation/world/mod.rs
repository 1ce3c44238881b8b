//! World: a broker, a network with short writes and delays, clients that come and go; all from one seed.
//!
//! Most worlds have a disk. Their threads leave passes open while others go on, and their broker dies now and
//! then and comes back with what the disk has kept.

mod acts;
mod checks;
mod crash;
mod network;

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_codec::{Decoder, PacketId, ProtocolVersion};
use broker_core::config::{BrokerConfig, SharedStrategy, ZoneConfig};
use broker_core::extension::{Consumer, Store};
use broker_core::{Attachment, Broker, Channel, Message, Metric, Now, Turn};
use parking_lot::Mutex;

use crate::client::Client;
use crate::disk::{self, Disk};
use crate::model::{Model, Pass, PlannedWill};
use crate::rig::{Socket, V3, V5};
use crate::rng::Rng;
use crate::totals::Totals;
use checks::Promise;
use crash::Draft;

/// Hears every message that is routed, when it is.
#[derive(Default)]
struct Ear(Mutex<Vec<Arc<Message>>>);

impl Consumer for Ear {
    fn consume(&self, message: &Arc<Message>) {
        self.0.lock().push(Arc::clone(message));
    }
}

/// One connection, the broker's end and the wire.
struct Conn {
    client: usize,
    version: ProtocolVersion,
    channel: Channel,
    /// The thread that serves it, where that matters.
    thread: usize,
    socket: Arc<Socket>,
    decoder: Decoder,
    /// Sent by the client and still on its way.
    on_the_way: Vec<u8>,
    unhandled: Vec<u8>,
    /// Written by the broker and not yet looked at.
    written: Vec<u8>,
    watcher: Decoder,
    /// The payload last sent under an identifier.
    sent: BTreeMap<PacketId, String>,
    promises: Vec<Promise>,
    /// The client is gone; the broker finds out some time.
    is_cut: bool,
    is_closed: bool,
    plan: Plan,
}

/// What a CONNECT says, for the model.
#[derive(Clone)]
struct Plan {
    clean: bool,
    expiry_s: u32,
    will: Option<PlannedWill>,
    max_packet_size: usize,
}

/// One thread of the broker.
struct Thread {
    turn: Turn,
    /// The pass that is under way.
    pass: Option<Pass>,
}

pub struct World {
    rng: Rng,
    now: Now,
    config: BrokerConfig,
    broker: Arc<Broker>,
    zone: Arc<ZoneConfig>,
    threads: Vec<Thread>,
    clients: Vec<Client>,
    conns: Vec<Conn>,
    model: Model,
    ear: Arc<Ear>,
    attachment: Attachment,
    disk: Option<Arc<Disk>>,
    /// Crashes in ten thousand steps.
    crash_rate: usize,
    /// A snapshot that does not count yet.
    draft: Option<Draft>,
    /// By client: messages in the queue and in flight that were there after a restart, whatever the bounds.
    restored: BTreeMap<String, (usize, usize)>,
    /// Client and identifier to the payload the broker has handled last.
    handled: BTreeMap<(usize, u16), String>,
    totals: Totals,
    is_traced: bool,
}

const THREADS: usize = 3;
const TOPICS: &[&str] = &["t/0", "t/1", "t/0/x", "a", "long/topic/of/many/levels/0"];
const FILTERS: &[&str] = &["t/#", "t/+", "t/0", "+/+/x", "a", "long/#", "t/0/#"];
const SHARED_TOPICS: &[&str] = &["sh0", "sh1"];
const SHARES: &[&str] = &["$share/g/sh0", "$share/g/sh1", "$share/h/sh0"];

/// Runs one world from its beginning to the silence after it.
pub fn run(seed: u64) -> Totals {
    let mut world = World::new(seed);
    world.model.is_traced = world.is_traced;
    let steps = 300 + world.rng.below(500);
    for _ in 0..steps {
        world.step();
        world.totals.steps += 1;
    }
    world.come_to_rest();
    world.check_end()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let zone = ZoneConfig {
            max_inflight: *rng.pick(&[0, 1, 3, 32]),
            max_mqueue_len: *rng.pick(&[0, 5, 20, 1000]),
            max_outbox_bytes: *rng.pick(&[100, 2_000, 1 << 20]),
            max_topic_alias: *rng.pick(&[0, 3]),
            mqueue_store_qos0: rng.chance(50),
            retry_interval_ms: *rng.pick(&[0, 0, 5_000]),
            max_awaiting_rel: *rng.pick(&[2, 10]),
            await_rel_timeout_ms: 0,
            session_expiry_interval_s: *rng.pick(&[10, 100_000]),
            ..ZoneConfig::default()
        };
        let mut config = BrokerConfig {
            sys_interval_ms: 0,
            shared_strategy: *rng.pick(&[
                SharedStrategy::Random,
                SharedStrategy::RoundRobin,
                SharedStrategy::Sticky,
                SharedStrategy::Hash,
                SharedStrategy::HashTopic,
            ]),
            shared_dispatch_ack: rng.chance(30),
            ..BrokerConfig::default()
        };
        // Sessions that are restored find their zone by its name.
        config.zones.insert(zone.name.clone(), Arc::new(zone.clone()));
        let disk = rng.chance(disk::CHANCE).then(|| disk::new(seed));
        let mut crash_rate = 0;
        if disk.is_some() {
            config.durability.queue_memory_bytes = *rng.pick(&[0, 2_000]);
            crash_rate = *rng.pick(&[0, 50, 200]);
        }
        let broker = build(&config, disk.as_ref());
        let ear = Arc::new(Ear::default());
        let attachment = listen_with(&ear, &broker);
        let now = Now { mono_ms: 1_000, us: 0, wall_ms: 1_700_000_000_000 };
        if let Some(disk) = &disk {
            disk::begin(disk, &broker, now);
        }
        let n_clients = 3 + rng.below(4);
        let retries = zone.retry_interval_ms > 0;
        let clients = (0..n_clients)
            .map(|index| {
                let version = *rng.pick(&[V3, V5, V5]);
                Client::new(index, version, retries && version == V3, zone.max_awaiting_rel)
            })
            .collect();
        Self {
            now,
            threads: threads(&broker),
            config,
            broker,
            zone: Arc::new(zone),
            clients,
            conns: Vec::new(),
            model: Model::new(now, disk.is_some()),
            ear,
            attachment,
            disk,
            crash_rate,
            draft: None,
            restored: BTreeMap::new(),
            handled: BTreeMap::new(),
            totals: Totals::default(),
            is_traced: std::env::var_os("SIM_TRACE").is_some(),
            rng,
        }
    }

    fn step(&mut self) {
        let c = self.rng.below(self.clients.len());
        match self.rng.below(100) {
            0..30 => self.act(c),
            30..58 => self.deliver_some(),
            58..84 => self.client_reads(c),
            84..89 => {
                let ms = *self.rng.pick(&[1, 1, 10, 100, 1_000, 3_000, 20_000]);
                self.pass(ms);
            }
            89..93 => self.sync_some(),
            93 if self.rng.chance(70) => self.client_goes(c),
            94 if self.rng.chance(20) => {
                // The operator ends a connection.
                let id = self.clients[c].id.clone();
                let _ = self.broker.kick(&id);
            }
            _ => self.look_at_sockets(true),
        }
        if self.rng.chance(40) {
            self.look_at_sockets(true);
        }
        self.check_bounds();
        if self.disk.is_some() {
            self.live_with_disk();
        }
    }

    /// A thread begins a pass or goes on with the one it is in.
    fn begin(&mut self, t: usize) {
        let thread = &mut self.threads[t];
        self.model.passes.now = match thread.pass {
            Some(pass) => pass,
            None => {
                thread.turn.begin(self.now);
                *thread.pass.insert(self.model.passes.begin())
            }
        };
    }

    /// Begins a pass of any thread.
    fn any_thread(&mut self) -> usize {
        let t = self.rng.below(THREADS);
        self.begin(t);
        t
    }

    /// Begins a pass of the thread that serves a connection.
    fn thread_of(&mut self, n: usize) -> usize {
        if self.disk.is_none() {
            return self.any_thread();
        }
        let t = self.conns[n].thread;
        self.begin(t);
        t
    }

    /// The thread has done its work; whether its pass ends is the seed's choice.
    fn leave(&mut self, t: usize) {
        if self.disk.is_none() || self.rng.chance(75) {
            self.finish(t);
        }
    }

    /// Ends a pass.
    fn finish(&mut self, t: usize) {
        let Some(pass) = self.threads[t].pass.take() else { return };
        self.model.passes.now = pass;
        let frames = |world: &Self| world.disk.as_ref().map_or(0, |disk| disk.frames());
        let before = frames(self);
        self.threads[t].turn.finish();
        // What the flush has recorded beyond the pass is another frame.
        let after = frames(self).min(before + 1);
        self.model.passes.end(pass, after);
        if self.is_traced && self.disk.is_some() {
            eprintln!("         pass {pass} is over: frames {before} to {}", frames(self));
        }
        while self.threads[t].turn.has_work() {
            self.threads[t].turn.begin(self.now);
            self.threads[t].turn.finish();
        }
        self.listen();
        self.watch();
        self.further_draft();
    }

    fn finish_all(&mut self) {
        (0..THREADS).for_each(|t| self.finish(t));
    }

    fn pass(&mut self, ms: u64) {
        // A pass takes no time.
        self.finish_all();
        self.now = self.now.plus_ms(ms);
        self.model.now = self.now;
        if self.rng.chance(70) {
            self.run_timers();
        }
    }

    fn run_timers(&mut self) {
        for n in 0..self.conns.len() {
            if self.conns[n].is_closed {
                continue;
            }
            let due = self.conns[n].channel.poll_timeout();
            if due.is_none_or(|due| due > self.now.mono_ms) {
                continue;
            }
            let t = self.thread_of(n);
            if let Err(close) = self.conns[n].channel.handle_timeout(&mut self.threads[t].turn) {
                self.close_in(n, &close, None, t);
            }
            self.leave(t);
        }
        let t = self.any_thread();
        self.broker.handle_timeout(&mut self.threads[t].turn);
        self.listen();
        self.model.timers_ran();
        self.leave(t);
    }

    /// Everybody comes back, nothing is slow any more, until nothing is left to do.
    fn come_to_rest(&mut self) {
        self.crash_if_cut();
        self.finish_all();
        let mut quiet = 0;
        for round in 0.. {
            assert!(round < 5_000, "the world does not come to rest: {}", self.unrest());
            for c in 0..self.clients.len() {
                if self.clients[c].link.is_none() {
                    self.connect(c, Some(false));
                }
            }
            let before = (self.totals.routed, self.model.n_received);
            for n in 0..self.conns.len() {
                let conn = &mut self.conns[n];
                if conn.is_closed {
                    continue;
                }
                conn.socket.lock().capacity = usize::MAX;
                let bytes = std::mem::take(&mut conn.on_the_way);
                conn.unhandled.extend(bytes);
                let is_cut = conn.is_cut;
                let t = self.thread_of(n);
                self.feed(n, t);
                if is_cut && !self.conns[n].is_closed {
                    self.close_in(n, &broker_core::CloseCause::ConnectionLost.into(), None, t);
                }
                self.finish(t);
            }
            self.look_at_sockets(false);
            if let Some(disk) = &self.disk {
                disk.sync_all();
                disk.serve();
            }
            self.look_at_sockets(false);
            for c in 0..self.clients.len() {
                let Some(link) = &self.clients[c].link else { continue };
                let n = link.conn;
                let bytes = std::mem::take(&mut self.conns[n].socket.lock().unread);
                let reply = self.clients[c].read(&bytes, &mut self.model, &mut self.rng);
                self.send_bytes(c, &reply);
                loop {
                    let bytes = self.clients[c].send_owed();
                    if bytes.is_empty() {
                        break;
                    }
                    self.send_bytes(c, &bytes);
                }
                if self.conns[n].is_closed {
                    self.clients[c].hang_up();
                }
            }
            // Wills and sessions whose time has not come are not waited for.
            self.pass(1);
            self.finish_all();
            let is_idle =
                before == (self.totals.routed, self.model.n_received) && self.unrest().is_empty();
            quiet = if is_idle { quiet + 1 } else { 0 };
            if quiet > 3 {
                if !self.model.waits_for_delayed() {
                    return;
                }
                self.pass(1_000);
                quiet = 0;
            }
        }
    }

    fn check_end(mut self) -> Totals {
        self.run_timers();
        self.finish_all();
        self.check_lists();
        let dropped = |id: &str| self.broker.session(id).map_or(0, |view| view.dropped);
        self.model.check_end(dropped, &self.retained());
        self.count_metrics();
        let mut totals = self.totals;
        totals.received = self.model.n_received;
        totals.resumed = self.model.n_resumed;
        totals.restored = self.model.n_restored;
        totals.lost = self.model.n_lost;
        totals.went_on = self.clients.iter().map(|client| client.n_went_on).sum();
        totals
    }

    /// Adds what the broker has counted.
    fn count_metrics(&mut self) {
        let metrics = self.broker.metrics();
        let totals = &mut self.totals;
        totals.queue_full += metrics.value(Metric::DroppedQueueFull);
        totals.outbox_full += metrics.value(Metric::DroppedOutboxFull);
        totals.too_large += metrics.value(Metric::DroppedTooLarge);
        totals.expired += metrics.value(Metric::MessagesExpired);
        let digest = totals.digest.wrapping_mul(31).wrapping_add(self.now.wall_ms);
        totals.digest = Metric::ALL
            .iter()
            .fold(digest, |sum, m| sum.wrapping_mul(31).wrapping_add(metrics.value(*m)));
    }
}

fn build(config: &BrokerConfig, disk: Option<&Arc<Disk>>) -> Arc<Broker> {
    let mut builder = Broker::builder().config(config.clone());
    if let Some(disk) = disk {
        builder = builder.store(Arc::clone(disk) as Arc<dyn Store>);
    }
    builder.build().expect("the settings are valid")
}

fn listen_with(ear: &Arc<Ear>, broker: &Arc<Broker>) -> Attachment {
    broker.attach("#", Arc::clone(ear) as Arc<dyn Consumer>).expect("a good filter")
}

fn threads(broker: &Arc<Broker>) -> Vec<Thread> {
    (0..THREADS).map(|_| Thread { turn: broker.turn(), pass: None }).collect()
}
