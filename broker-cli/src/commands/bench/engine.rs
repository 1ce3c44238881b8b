//! Engine: connects the clients of a plan, drives their load on one event loop, and reports.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use broker_codec::{
    Properties, PropertiesBuf, QoS, ReasonCode, SubscriptionOptions, SubscriptionRequest,
};
use mio::{Events, Poll, Token};

use super::progress::Progress;
use super::report::{Acknowledged, Clients, Published, Quantiles, Received, Report, rate};
use super::stamp::{self, Clock, nanos};
use super::tally::Tally;
use super::timer::Timer;
use crate::client::{Client, Event, Message};
use crate::interrupt::Interrupt;
use crate::options::Connection;
use crate::output::{Notes, Reason};

/// What a load consists of.
#[derive(Debug)]
pub(super) struct Plan {
    /// One client each.
    pub(super) roles: Vec<Role>,
    pub(super) client_id_prefix: String,
    /// Connections per second; 0 is as fast as possible.
    pub(super) connect_rate: f64,
    pub(super) publishing: Option<Publishing>,
    pub(super) qos: QoS,
    pub(super) duration: Duration,
}

/// What a client does once it is connected.
#[derive(Debug)]
pub(super) enum Role {
    Idle,
    Publisher(String),
    Subscriber(String),
}

/// How the publishers publish.
#[derive(Debug)]
pub(super) struct Publishing {
    /// Messages per second of all together; `None` is as fast as possible.
    pub(super) rate: Option<f64>,
    pub(super) retain: bool,
    pub(super) messages_max: u64,
    pub(super) inflight_max: usize,
    pub(super) payload: Vec<u8>,
    pub(super) is_stamped: bool,
    /// How often each message should arrive, if that is known.
    pub(super) deliveries_per_message: Option<u64>,
}

/// One client of the load.
#[derive(Debug)]
struct Slot {
    role: Role,
    client: Option<Client>,
    state: State,
    /// When its connection was due.
    due_at: Instant,
    /// It is in the queue of those to be served.
    is_queued: bool,
    /// Number among the publishers.
    publisher: u64,
    n_sent: u64,
    /// Messages that are due and not sent.
    n_due: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not begun.
    New,
    Connecting,
    Greeting,
    Subscribing,
    Ready,
    Over,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Engine<'a> {
    connection: &'a Connection,
    slots: Vec<Slot>,
    /// Slots whose role is to publish.
    publishers: Vec<usize>,
    shared: Shared<'a>,
    /// Slots to serve though no event says so: they stopped at a bound, or messages became due.
    queue: VecDeque<usize>,
    client_id_prefix: String,
    connect_rate: f64,
    duration: Duration,
    n_settled: usize,
    poll: Poll,
    events: Events,
    timer: Timer,
    interrupt: Interrupt,
    progress: Progress,
    notes: Notes,
}

/// What slots share while they are served.
#[derive(Debug)]
struct Shared<'a> {
    tally: Tally,
    clock: Clock,
    scratch: Box<[u8]>,
    qos: QoS,
    publishing: Option<Publishing>,
    n_publishers: u64,
    /// While messages are published: the start of their schedule.
    schedule: Option<Instant>,
    publish_properties: Properties<'a>,
    subscribe_properties: &'a PropertiesBuf,
}

impl<'a> Engine<'a> {
    pub(super) fn new(connection: &'a Connection, plan: Plan, notes: Notes) -> Result<Self> {
        let poll = Poll::new().context("event loop")?;
        let is_publisher = |role: &Role| matches!(role, Role::Publisher(_));
        let roles = plan.roles.iter().enumerate();
        let publishers: Vec<_> =
            roles.filter(|(_, role)| is_publisher(role)).map(|(i, _)| i).collect();
        let mut slots: Vec<_> = plan.roles.into_iter().map(Slot::new).collect();
        for (number, &i) in publishers.iter().enumerate() {
            slots[i].publisher = number as u64;
        }
        let shared = Shared {
            tally: Tally::new(),
            clock: Clock::start(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            qos: plan.qos,
            publishing: plan.publishing,
            n_publishers: publishers.len() as u64,
            schedule: None,
            publish_properties: connection.properties.publish.as_properties(),
            subscribe_properties: &connection.properties.subscribe,
        };
        Ok(Self {
            connection,
            slots,
            publishers,
            shared,
            queue: VecDeque::new(),
            client_id_prefix: plan.client_id_prefix,
            connect_rate: plan.connect_rate,
            duration: plan.duration,
            n_settled: 0,
            timer: Timer::register(poll.registry(), TIMER)?,
            interrupt: Interrupt::register(poll.registry(), INTERRUPT)?,
            poll,
            events: Events::with_capacity(1024),
            progress: Progress::new(notes.is_quiet),
            notes,
        })
    }

    /// Runs all phases.
    pub(super) fn run(mut self) -> Result<Report> {
        let started = Instant::now();
        let mut is_interrupted = self.connect_all()?;
        let connect_seconds = started.elapsed().as_secs_f64();
        self.note_failures();
        let load_started = Instant::now();
        let mut load_ended = load_started;
        if !is_interrupted && self.shared.tally.n_connected > 0 {
            is_interrupted = self.run_load(load_started)?;
            load_ended = Instant::now();
            self.shared.schedule = None;
            self.drain()?;
        }
        self.progress.clear();
        let report = self.report(connect_seconds, load_ended - load_started, is_interrupted);
        self.disconnect_all();
        Ok(report)
    }

    /// Opens the connections; ends when each is ready or failed, true if the user had enough.
    fn connect_all(&mut self) -> Result<bool> {
        let started = Instant::now();
        let mut next = 0;
        let mut checked_at = started;
        while self.n_settled < self.slots.len() {
            let now = Instant::now();
            let until = started + self.offset_of_connection(next);
            while next < self.slots.len()
                && next - self.n_settled.min(next) < CONNECTING_MAX
                && now >= started + self.offset_of_connection(next)
            {
                // With a rate the wait begins when the connection was due, not when its turn came.
                let is_paced = self.connect_rate > 0.0;
                let due = started + self.offset_of_connection(next);
                self.slots[next].due_at = if is_paced { due } else { now };
                self.start(next);
                next += 1;
            }
            if now.saturating_duration_since(checked_at) >= CHECK_INTERVAL {
                checked_at = now;
                self.fail_late(now);
                self.keep_alive(now);
            }
            let wake_at = (next < self.slots.len() && until > now).then_some(until);
            let done = self.n_settled as f64 / self.slots.len() as f64;
            self.progress.show(now, "connecting", done, &self.shared.tally);
            self.turn(wake_at)?;
            if self.interrupt.is_raised() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn offset_of_connection(&self, i: usize) -> Duration {
        if self.connect_rate > 0.0 {
            Duration::from_secs_f64(i as f64 / self.connect_rate)
        } else {
            Duration::ZERO
        }
    }

    fn start(&mut self, i: usize) {
        let open = || -> Result<Client> {
            let mut transport = self.connection.target.start_connect(i)?;
            transport.register(self.poll.registry(), Token(i))?;
            let id = format!("{}-{i}", self.client_id_prefix);
            let inflight_max = self.shared.publishing.as_ref().map_or(1, |it| it.inflight_max);
            let notes = Notes::default();
            Ok(Client::new(transport, &self.connection.greeting, id, inflight_max, notes))
        };
        match open() {
            Ok(client) => {
                self.slots[i].client = Some(client);
                self.slots[i].state = State::Connecting;
            }
            Err(error) => self.fail(i, &error),
        }
    }

    /// Fails those that have not been accepted in time.
    fn fail_late(&mut self, now: Instant) {
        let timeout = self.connection.connect_timeout;
        for i in 0..self.slots.len() {
            let slot = &self.slots[i];
            let is_late =
                slot.state.is_connecting() && now.saturating_duration_since(slot.due_at) > timeout;
            if is_late {
                let seconds = timeout.as_secs_f64();
                self.fail(i, &anyhow::anyhow!("not accepted within {seconds} s"));
            }
        }
    }

    /// Publishes, receives or holds for the duration; true if the user had enough.
    fn run_load(&mut self, started: Instant) -> Result<bool> {
        let ends_at = started + self.duration;
        if self.shared.publishing.is_some() {
            self.shared.schedule = Some(started);
            let is_open_loop = self.rate().is_some();
            if !is_open_loop {
                (0..self.publishers.len()).for_each(|at| self.enqueue(self.publishers[at]));
            }
        }
        let mut n_scheduled = 0;
        let mut checked_at = started;
        loop {
            let now = Instant::now();
            if now >= ends_at || self.is_done(n_scheduled) {
                return Ok(false);
            }
            if self.interrupt.is_raised() {
                return Ok(true);
            }
            let next_due = self.make_due(started, now, &mut n_scheduled);
            if now.saturating_duration_since(checked_at) >= CHECK_INTERVAL {
                checked_at = now;
                self.keep_alive(now);
                let done = (now - started).as_secs_f64() / self.duration.as_secs_f64();
                let phase = if self.shared.publishing.is_some() { "publishing" } else { "holding" };
                self.progress.show(now, phase, done, &self.shared.tally);
            }
            self.turn(Some(next_due.unwrap_or(ends_at).min(ends_at)))?;
        }
    }

    fn rate(&self) -> Option<f64> {
        self.shared.publishing.as_ref().and_then(|it| it.rate)
    }

    /// Whether all messages of `-n` are out.
    fn is_done(&self, n_scheduled: u64) -> bool {
        let Some(publishing) = &self.shared.publishing else { return false };
        let is_scheduled = publishing.rate.is_none() || n_scheduled >= publishing.messages_max;
        is_scheduled && self.shared.tally.n_sent >= publishing.messages_max
    }

    /// Hands out the messages that are due by now, in turn to the publishers; says when the next is.
    fn make_due(
        &mut self,
        started: Instant,
        now: Instant,
        n_scheduled: &mut u64,
    ) -> Option<Instant> {
        let rate = self.rate()?;
        let max = self.shared.publishing.as_ref()?.messages_max;
        let due = ((now - started).as_secs_f64() * rate) as u64 + 1;
        while *n_scheduled < due.min(max) {
            let i = self.publishers[(*n_scheduled % self.publishers.len() as u64) as usize];
            *n_scheduled += 1;
            // Those that are gone keep their share: a broker that drops clients must not look better.
            self.slots[i].n_due += 1;
            if self.slots[i].state == State::Ready {
                self.enqueue(i);
            }
        }
        (*n_scheduled < max).then(|| started + Duration::from_secs_f64(*n_scheduled as f64 / rate))
    }

    /// Waits until what is under way has arrived, or nothing has come for a while.
    fn drain(&mut self) -> Result<()> {
        let mut idle_since = Instant::now();
        loop {
            let before = self.n_arrived();
            let tally = &self.shared.tally;
            let is_acknowledged = self.shared.qos == QoS::AtMostOnce
                || tally.n_acknowledged + tally.n_refused >= tally.n_sent;
            let is_delivered = self.expected().is_none_or(|it| tally.n_received >= it);
            let is_flushed = self
                .slots
                .iter()
                .filter_map(|it| it.client.as_ref())
                .all(|it| it.n_output_bytes() == 0);
            let is_over =
                self.shared.publishing.is_none() || (is_acknowledged && is_delivered && is_flushed);
            let now = Instant::now();
            if is_over || now - idle_since > DRAIN_PATIENCE {
                return Ok(());
            }
            self.progress.show(now, "draining", 1.0, &self.shared.tally);
            self.turn(Some(now + CHECK_INTERVAL))?;
            if self.n_arrived() > before {
                idle_since = Instant::now();
            }
        }
    }

    fn n_arrived(&self) -> u64 {
        self.shared.tally.n_received + self.shared.tally.n_acknowledged
    }

    /// How many messages should arrive, where that is known.
    fn expected(&self) -> Option<u64> {
        let per_message = self.shared.publishing.as_ref()?.deliveries_per_message?;
        Some(per_message * self.shared.tally.n_sent)
    }

    /// Serves the queue, then waits for events until `until` and serves those.
    fn turn(&mut self, until: Option<Instant>) -> Result<()> {
        for _ in 0..self.queue.len() {
            let Some(i) = self.queue.pop_front() else { break };
            self.slots[i].is_queued = false;
            self.serve(i);
        }
        let mut timeout = CHECK_INTERVAL;
        if !self.queue.is_empty() {
            timeout = Duration::ZERO;
        } else if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                timeout = Duration::ZERO;
            } else if left < timeout {
                self.timer.set(left)?;
            }
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result.context("event loop")?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(i) = event.token();
            if i < self.slots.len() {
                self.serve(i);
            }
        }
        self.events = events;
        Ok(())
    }

    fn enqueue(&mut self, i: usize) {
        let slot = &mut self.slots[i];
        if !slot.is_queued && slot.state != State::Over {
            slot.is_queued = true;
            self.queue.push_back(i);
        }
    }

    fn serve(&mut self, i: usize) {
        let was_connecting = self.slots[i].state.is_connecting();
        match self.slots[i].serve(&mut self.shared) {
            Ok(wants_more) => {
                if was_connecting && self.slots[i].state == State::Ready {
                    self.n_settled += 1;
                }
                if wants_more {
                    self.enqueue(i);
                }
            }
            Err(error) => self.fail(i, &error),
        }
    }

    fn fail(&mut self, i: usize, error: &anyhow::Error) {
        let slot = &mut self.slots[i];
        let tally = &mut self.shared.tally;
        match slot.state {
            State::Ready => tally.n_lost += 1,
            State::Over => return,
            _ => {
                // Also after CONNACK: without its subscription it is of no use.
                tally.n_connected -= u64::from(slot.state == State::Subscribing);
                tally.n_failed += 1;
                self.n_settled += 1;
            }
        }
        tally.count_error(format!("{error:#}"));
        slot.state = State::Over;
        slot.client = None;
    }

    fn keep_alive(&mut self, now: Instant) {
        for i in 0..self.slots.len() {
            let Some(client) = &mut self.slots[i].client else { continue };
            if client.poll_timeout().is_none_or(|at| now < at) {
                continue;
            }
            match client.handle_timeout(now) {
                Ok(()) => self.enqueue(i),
                Err(error) => self.fail(i, &error),
            }
        }
    }

    fn note_failures(&self) {
        if self.shared.tally.n_failed > 0 {
            self.progress.clear();
            let errors = &self.shared.tally.errors;
            let first = errors.keys().next().map_or("", String::as_str);
            self.notes.warn(format_args!("{} clients failed: {first}", self.shared.tally.n_failed));
        }
    }

    fn disconnect_all(&mut self) {
        let now = Instant::now();
        let properties = self.connection.properties.disconnect.as_properties();
        for slot in &mut self.slots {
            if let Some(client) = &mut slot.client
                && client.is_connected()
            {
                client.disconnect(ReasonCode::Success, properties);
                // Best effort: the broker notices the closed socket as well.
                let _ = client.flush(now);
                client.transport().close();
            }
        }
    }

    fn report(&self, connect_seconds: f64, load: Duration, is_interrupted: bool) -> Report {
        let tally = &self.shared.tally;
        let connected = tally.n_connected;
        let clients = Clients {
            wanted: self.slots.len() as u64,
            connected,
            failed: tally.n_failed,
            lost: tally.n_lost,
            seconds: connect_seconds,
            per_second: rate(connected, connect_seconds),
            latency_us: Quantiles::of(&tally.connect_ns),
        };
        let published = self.shared.publishing.as_ref().map(|publishing| {
            let seconds = load.as_secs_f64();
            let per_second = rate(tally.n_sent, seconds);
            let missing = tally.n_sent.saturating_sub(tally.n_acknowledged + tally.n_refused);
            let acknowledged = (self.shared.qos > QoS::AtMostOnce).then(|| Acknowledged {
                count: tally.n_acknowledged,
                refused: tally.n_refused,
                missing,
                latency_us: Quantiles::of(&tally.acknowledge_ns),
            });
            Published {
                sent: tally.n_sent,
                seconds,
                per_second,
                payload_bytes_per_second: per_second * publishing.payload.len() as f64,
                unsent: self.slots.iter().map(|it| it.n_due).sum(),
                acknowledged,
            }
        });
        let has_subscribers = self.slots.iter().any(|it| matches!(it.role, Role::Subscriber(_)));
        let received = has_subscribers.then(|| Received::of(tally, self.expected()));
        Report { clients, published, received, errors: tally.errors.clone(), is_interrupted }
    }
}

impl State {
    fn is_connecting(self) -> bool {
        matches!(self, Self::Connecting | Self::Greeting | Self::Subscribing)
    }
}

impl Slot {
    fn new(role: Role) -> Self {
        Self {
            role,
            client: None,
            state: State::New,
            due_at: Instant::now(),
            is_queued: false,
            publisher: 0,
            n_sent: 0,
            n_due: 0,
        }
    }

    /// Reads, publishes and writes, each up to a bound; true if it should be served again soon.
    fn serve(&mut self, shared: &mut Shared<'_>) -> Result<bool> {
        let Some(client) = &mut self.client else { return Ok(false) };
        if self.state == State::Connecting {
            let is_connected = client.transport().check_connected();
            if !is_connected.context("connecting")? {
                return Ok(false);
            }
            self.state = State::Greeting;
        }
        let mut wants_more = client.handle_readable(&mut shared.scratch, READ_BYTES_MAX)?;
        let now = Instant::now();
        self.take_events(shared, now)?;
        if self.state == State::Ready {
            wants_more |= self.publish(shared, now)?;
        }
        let Some(client) = &mut self.client else { return Ok(false) };
        client.flush(now)?;
        // Output above the bound is what the socket refused: it will say when it has room.
        Ok(wants_more && client.n_output_bytes() < OUTPUT_BYTES_MAX)
    }

    fn take_events(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<()> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let now_ns = shared.clock.ns(now);
        let tally = &mut shared.tally;
        let mut is_greeted = false;
        while let Some(event) = client.next_event()? {
            match event {
                Event::Message(publish) => {
                    tally.n_received += 1;
                    tally.n_received_bytes += publish.payload.len() as u64;
                    tally.first_received_at.get_or_insert(now);
                    tally.last_received_at = Some(now);
                    if let Some(due_ns) = stamp::read(publish.payload) {
                        tally.deliver_ns.record(now_ns.saturating_sub(due_ns));
                    }
                }
                Event::Published { code, .. } if code.is_error() => {
                    tally.n_refused += 1;
                    tally.count_error(format!("message refused: {}", Reason(code)));
                }
                Event::Published { tag, .. } => {
                    tally.n_acknowledged += 1;
                    tally.acknowledge_ns.record(now_ns.saturating_sub(tag));
                }
                Event::Connected => is_greeted = true,
                Event::Subscribed(suback) => {
                    let code = suback.reason_codes.first().copied().unwrap_or_default();
                    ensure!(!code.is_error(), "subscription refused: {}", Reason(code));
                    self.state = State::Ready;
                }
                Event::Unsubscribed => {}
            }
        }
        if is_greeted {
            tally.n_connected += 1;
            tally.connect_ns.record(nanos(now.saturating_duration_since(self.due_at)));
            if let Role::Subscriber(filter) = &self.role {
                let options = SubscriptionOptions { qos: shared.qos, ..Default::default() };
                let requests = vec![SubscriptionRequest { filter, options }];
                client.subscribe(requests, shared.subscribe_properties.as_properties());
                self.state = State::Subscribing;
            } else {
                self.state = State::Ready;
            }
        }
        Ok(())
    }

    /// Publishes what is due; true if it stopped at a bound of its own, so that no event will follow.
    fn publish(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<bool> {
        let (Role::Publisher(topic), Some(client)) = (&self.role, &mut self.client) else {
            return Ok(false);
        };
        let (Some(publishing), Some(started)) = (&mut shared.publishing, shared.schedule) else {
            return Ok(false);
        };
        let tally = &mut shared.tally;
        for _ in 0..MESSAGES_PER_TURN {
            if !client.has_quota() || tally.n_sent >= publishing.messages_max {
                return Ok(false);
            }
            if client.n_output_bytes() >= OUTPUT_BYTES_MAX {
                return Ok(true);
            }
            let due = match publishing.rate {
                None => now,
                Some(_) if self.n_due == 0 => return Ok(false),
                Some(rate) => {
                    self.n_due -= 1;
                    let number = self.publisher + self.n_sent * shared.n_publishers;
                    started + Duration::from_secs_f64(number as f64 / rate)
                }
            };
            let due_ns = shared.clock.ns(due);
            if publishing.is_stamped {
                stamp::put(&mut publishing.payload, due_ns);
            }
            let message = Message {
                topic,
                payload: &publishing.payload,
                qos: shared.qos,
                retain: publishing.retain,
                properties: shared.publish_properties,
            };
            client.publish(&message, due_ns)?;
            self.n_sent += 1;
            tally.n_sent += 1;
        }
        Ok(true)
    }
}

const TIMER: Token = Token(usize::MAX - 1);
const INTERRUPT: Token = Token(usize::MAX - 2);

/// Connections under way at a time: less than the backlog of most listeners.
const CONNECTING_MAX: usize = 100;
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
const SCRATCH_BYTES: usize = 64 * 1024;
/// Bounds of one turn of one client, so that none starves the others.
const READ_BYTES_MAX: usize = 256 * 1024;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
const MESSAGES_PER_TURN: usize = 32;
