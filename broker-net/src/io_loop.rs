//! IO loop: one thread, one poll, the connections it owns.
//!
//! A pass takes all events of the poll, reads and routes for each of them, and only then flushes the outboxes
//! that were touched: what a pass brings for one socket leaves in one write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use broker_codec::Decoder;
use broker_core::{Answered, Broker, Channel, Close, CloseCause, Flow, Peer, Sink, Turn};
use crossbeam_channel::{Receiver, Sender};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::balance::{Balance, Load};
use crate::clock;
use crate::connection::{Connection, Home, Link, Next};
use crate::listener::Admission;
use crate::requests::Requests;
use crate::resting::Resting;
use crate::timers::{Timer, Timers};
use crate::tls_setup::Verdict;
use crate::transport::{self, Socket};

/// What other threads want of a loop.
pub(crate) enum Command {
    /// Serve this socket.
    Serve(Box<Newcomer>),
    /// The connection `key` is wanted by [`Sink::wake`].
    Wake(u64),
    /// Another loop gives this connection away.
    Adopt(Box<Connection>),
    /// An extension has answered.
    Answer(u64, Answered),
    /// An OCSP responder has been heard about the certificate of this connection.
    Vouched(u64, Verdict),
    /// A listener was stopped, or certificates were revoked: look for connections that have to go.
    CloseUnwanted,
    /// Close who has not been let in, and end when no connection is left.
    Stop,
}

/// A connection that was accepted and let in.
pub(crate) struct Newcomer {
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    pub(crate) admission: Admission,
}

/// The way into a loop from other threads.
pub(crate) struct LoopHandle {
    commands: Sender<Command>,
    waker: Waker,
    /// Set while a wake-up is on its way, so that a burst of commands costs one.
    is_woken: AtomicBool,
    connections: AtomicUsize,
    pub(crate) load: Load,
}

impl LoopHandle {
    fn new(commands: Sender<Command>, waker: Waker) -> Self {
        Self {
            commands,
            waker,
            is_woken: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            load: Load::default(),
        }
    }

    /// The way to a loop that is not there.
    #[cfg(test)]
    pub(crate) fn to_nowhere() -> io::Result<Self> {
        let waker = Waker::new(Poll::new()?.registry(), WAKER)?;
        Ok(Self::new(crossbeam_channel::unbounded().0, waker))
    }

    pub(crate) fn send(&self, command: Command) {
        // A loop that has ended wants nothing more.
        if self.commands.send(command).is_ok() && !self.is_woken.swap(true, Ordering::AcqRel) {
            let _ = self.waker.wake();
        }
    }

    pub(crate) fn wake(&self, key: u64) {
        self.send(Command::Wake(key));
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

pub(crate) struct IoLoop {
    poll: Poll,
    handle: Arc<LoopHandle>,
    commands: Receiver<Command>,
    requests: Requests,
    turn: Turn,
    connections: Slab<(u32, Connection)>,
    /// Rises with every connection: tells a slot's present tenant from its last.
    generation: u32,
    timers: Timers,
    scratch: Vec<u8>,
    /// Connections with more to read than one pass takes.
    again: Vec<u64>,
    /// Connections that are read a little later.
    resting: Resting,
    /// Connections that may have to go, looked at a few in each pass: of stopped listeners, with certificates that may have
    /// been revoked, and those that a stop finds before their CONNECT.
    going: Vec<u64>,
    is_stopping: bool,
}

const WAKER: Token = Token(usize::MAX);
const SCRATCH_BYTES: usize = 64 * 1024;
const EVENTS: usize = 1024;
/// Looked at in one pass, and perhaps closed; the rest waits for the next.
const GOING_PER_PASS: usize = 256;
/// How long a closed socket is read on for the sake of its last words.
pub(crate) const LINGER_MS: u64 = 1000;

impl IoLoop {
    pub(crate) fn new(broker: &Arc<Broker>, requests: Requests) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (sender, commands) = crossbeam_channel::unbounded();
        let handle = Arc::new(LoopHandle::new(sender, Waker::new(poll.registry(), WAKER)?));
        Ok(Self {
            poll,
            handle,
            commands,
            requests,
            turn: broker.turn(),
            connections: Slab::new(),
            generation: 0,
            timers: Timers::new(clock::now().mono_ms),
            scratch: vec![0; SCRATCH_BYTES],
            again: Vec::new(),
            resting: Resting::default(),
            going: Vec::new(),
            is_stopping: false,
        })
    }

    pub(crate) fn handle(&self) -> &Arc<LoopHandle> {
        &self.handle
    }

    /// Starts the thread. `loops` are all loops, this one at `number`.
    pub(crate) fn start(
        mut self,
        number: usize,
        loops: Arc<[Arc<LoopHandle>]>,
    ) -> io::Result<thread::JoinHandle<()>> {
        let name = format!("broker-io-{number}");
        thread::Builder::new().name(name).spawn(move || {
            let balance = Balance::new(number, loops);
            if let Err(error) = self.run(balance) {
                log::error!("io loop {number} failed: {error}");
            }
        })
    }

    fn run(&mut self, mut balance: Balance) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.turn.begin(clock::now());
            let mut again = std::mem::take(&mut self.again);
            if !again.is_empty() {
                // A pass does most for those that it begins with: each of them is the first in its turn.
                again.rotate_left(1);
                again.into_iter().for_each(|key| self.handle_readable(key));
            }
            self.end_rests(events.is_empty());
            let mut is_woken = false;
            for event in &events {
                if event.token() == WAKER {
                    is_woken = true;
                    continue;
                }
                let key = event.token().0 as u64;
                if event.is_writable() {
                    self.handle_writable(key);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    if self.rests(key, event) {
                        continue;
                    }
                    self.handle_readable(key);
                    if balance.is_giving() {
                        self.give(key, &mut balance);
                    }
                }
            }
            if is_woken {
                self.handle.is_woken.store(false, Ordering::Release);
            }
            // Commands are looked for in every pass: one of them may stand without a wake-up of its own.
            while let Ok(command) = self.commands.try_recv() {
                self.handle_command(command);
            }
            self.close_going();
            self.handle_timers();
            let handled_at = Instant::now();
            if self.turn.has_routed() {
                self.turn.note_routed(clock::mono_us(handled_at));
            }
            self.turn.finish();
            balance.look(handled_at, self.connections.len());
            if self.is_stopping && self.connections.is_empty() {
                return Ok(());
            }
        }
    }

    /// Notes an event of a connection that has something to read. Returns true if it rests first.
    fn rests(&mut self, key: u64, event: &Event) -> bool {
        let now_us = self.turn.now.mono_us();
        let Some(connection) = self.get(key) else { return false };
        connection.has_peer_closed |= event.is_read_closed();
        if connection.is_resting {
            return true;
        }
        let until_us = connection.may_rest_until_us;
        let may_rest = until_us > now_us && !event.is_read_closed() && !event.is_error();
        if may_rest {
            connection.is_resting = true;
            self.resting.add(key, until_us);
        }
        may_rest
    }

    /// Reads those whose rest is over, or all if there is nothing else to do.
    fn end_rests(&mut self, is_idle: bool) {
        let now_us = self.turn.now.mono_us();
        while let Some(key) = self.resting.next_due(now_us, is_idle) {
            // It may have been read meanwhile for other reasons, or be gone.
            if self.get(key).is_some_and(|connection| connection.is_resting) {
                self.handle_readable(key);
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty()
            || !self.resting.is_empty()
            || !self.going.is_empty()
            || self.turn.has_work()
        {
            return Some(Duration::ZERO);
        }
        self.timers.wait_ms(self.turn.now.mono_ms).map(Duration::from_millis)
    }

    fn get(&mut self, key: u64) -> Option<&mut Connection> {
        let (generation, connection) = self.connections.get_mut(key as u32 as usize)?;
        (*generation == (key >> 32) as u32).then_some(connection)
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Serve(newcomer) => self.serve(*newcomer),
            Command::Wake(key) => self.wake(key),
            Command::Adopt(connection) => self.adopt(*connection),
            Command::Answer(key, answered) => {
                if let Some(connection) = self.get(key) {
                    connection.channel.handle_answer(answered);
                    self.handle_readable(key);
                }
            }
            Command::Vouched(key, verdict) => {
                if let Some(connection) = self.get(key) {
                    connection.handle_verdict(verdict);
                    self.handle_readable(key);
                }
            }
            Command::CloseUnwanted => self.look_who_goes(),
            Command::Stop => {
                self.is_stopping = true;
                self.look_who_goes();
            }
        }
    }

    /// Notes all who may have to go; those it has noted before are among them, if they are not gone.
    fn look_who_goes(&mut self) {
        let Self { connections, is_stopping, .. } = self;
        let going = connections.iter().filter(|(_, (_, it))| it.may_have_to_go(*is_stopping));
        self.going = going.map(|(at, (generation, _))| key_of(*generation, at)).collect();
    }

    fn wake(&mut self, key: u64) {
        let Self { connections, turn, .. } = self;
        let Some((generation, connection)) = connections.get_mut(key as u32 as usize) else {
            return;
        };
        if *generation != (key >> 32) as u32 || connection.is_lingering() {
            return;
        }
        // Before the look at what is wanted: what is wanted from now on wakes again.
        connection.link.home.lock().is_woken = false;
        let woken =
            connection.channel.handle_wake(turn).and_then(|()| connection.check_stall(turn));
        match woken {
            Ok(()) => self.handle_readable(key),
            Err(close) => self.close(key, &close),
        }
    }

    fn serve(&mut self, newcomer: Newcomer) {
        let Newcomer { socket, peer, admission } = newcomer;
        let (reader, writer) = transport::open(socket, admission.setup(), peer.addr);
        let key = self.next_key();
        let link = Arc::new(Link::new(writer, Arc::clone(&self.handle), key));
        let mut decoder = Decoder::for_server(peer.zone.max_packet_size);
        decoder.set_strict(peer.zone.strict_mode);
        let channel = Channel::new(peer, Arc::clone(&link) as Arc<dyn Sink>, &self.turn);
        let now_ms = self.turn.now.mono_ms;
        self.settle(key, Connection::new(link, channel, reader, decoder, admission, now_ms));
        if self.is_stopping {
            self.going.push(key);
        }
        // Its first packet is mostly here already; the poll reports it, or what comes.
    }

    /// The key of the connection that is settled next.
    fn next_key(&mut self) -> u64 {
        self.generation = self.generation.wrapping_add(1) & 0x7FFF_FFFF;
        key_of(self.generation, self.connections.vacant_key())
    }

    /// Puts a connection into its slot and its socket into the poll.
    fn settle(&mut self, key: u64, mut connection: Connection) {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = connection.link.writer.socket();
        if let Err(error) = socket.register(self.poll.registry(), Token(key as usize), interest) {
            log::error!("connection lost: registering its socket: {error}");
            let close = Close::from(CloseCause::ConnectionLost);
            connection.channel.handle_closed(&close, &mut self.turn);
            return;
        }
        self.connections.insert((self.generation, connection));
        self.handle.connections.fetch_add(1, Ordering::Relaxed);
        self.set_timer(key);
    }

    /// Gives a connection to another loop if the balance wants it.
    fn give(&mut self, key: u64, balance: &mut Balance) {
        if !self.get(key).is_some_and(|connection| connection.may_move()) {
            return;
        }
        let Some(to) = balance.give(key) else { return };
        let (_, mut connection) = self.connections.remove(key as u32 as usize);
        self.handle.connections.fetch_sub(1, Ordering::Relaxed);
        let _ = connection.link.writer.socket().deregister(self.poll.registry());
        connection.timer_ms = u64::MAX;
        // Who wakes it from here on need ask nobody: the other loop looks at it when it has adopted it.
        *connection.link.home.lock() =
            Home { owner: Arc::clone(&to), key: u64::MAX, is_woken: true };
        to.send(Command::Adopt(Box::new(connection)));
    }

    fn adopt(&mut self, connection: Connection) {
        let key = self.next_key();
        connection.link.home.lock().key = key;
        // Its listener may have been stopped, or its certificate revoked, while it was on its way.
        if connection.may_have_to_go(self.is_stopping) {
            self.going.push(key);
        }
        self.settle(key, connection);
        self.wake(key);
    }

    fn close_going(&mut self) {
        for _ in 0..GOING_PER_PASS {
            let Some(key) = self.going.pop() else { return };
            let is_stopping = self.is_stopping;
            let cause = self.get(key).and_then(|connection| connection.why_to_go(is_stopping));
            if let Some(cause) = cause {
                self.close(key, &Close::from(cause));
            }
        }
    }

    fn handle_readable(&mut self, key: u64) {
        let Self { connections, scratch, turn, .. } = self;
        let Some((generation, connection)) = connections.get_mut(key as u32 as usize) else {
            return;
        };
        if *generation != (key >> 32) as u32 {
            return;
        }
        if connection.is_lingering() {
            if !connection.drain(scratch) {
                self.drop_connection(key);
            }
            return;
        }
        match connection.handle_readable(scratch, turn) {
            Ok(Next::Wait) => {}
            Ok(Next::Again) => self.again.push(key),
            Ok(Next::Ask(Flow::Wait(answer))) => {
                self.requests.ask(key, Arc::clone(&self.handle), answer);
            }
            Ok(Next::Ask(_)) => {}
            Err(close) => {
                self.close(key, &close);
                return;
            }
        }
        self.set_timer(key);
    }

    fn handle_writable(&mut self, key: u64) {
        let Self { connections, turn, .. } = self;
        let Some((generation, connection)) = connections.get_mut(key as u32 as usize) else {
            return;
        };
        if *generation != (key >> 32) as u32 {
            return;
        }
        if !connection.link.awaits_writable() {
            return;
        }
        match connection.link.writer.flush_pending() {
            Ok(true) => {}
            Ok(false) => return connection.channel.note_progress(turn),
            Err(_) => return self.close(key, &Close::from(CloseCause::ConnectionLost)),
        }
        let wanted_input = connection.channel.wants_input();
        connection.channel.handle_writable(turn);
        if !wanted_input && connection.channel.wants_input() {
            // What was left unread while the client did not take its acknowledgements.
            self.again.push(key);
        }
    }

    /// Puts the channel's deadline into the timers if it comes before the one that stands there.
    fn set_timer(&mut self, key: u64) {
        let Some(connection) = self.get(key) else { return };
        let due_ms = connection.deadline_ms();
        if due_ms < connection.timer_ms {
            connection.timer_ms = due_ms;
            self.timers.insert(Timer { due_ms, key });
        }
    }

    fn handle_timers(&mut self) {
        let mut due = Vec::new();
        self.timers.expire(self.turn.now.mono_ms, &mut due);
        for Timer { due_ms, key } in due {
            let Self { connections, turn, .. } = self;
            let Some((generation, connection)) = connections.get_mut(key as u32 as usize) else {
                continue;
            };
            if *generation != (key >> 32) as u32 || connection.timer_ms != due_ms {
                continue;
            }
            connection.timer_ms = u64::MAX;
            if connection.is_lingering() {
                self.drop_connection(key);
                continue;
            }
            let wanted_input = connection.wants_input();
            if let Err(close) = connection.handle_timeout(turn) {
                self.close(key, &close);
                continue;
            }
            if !wanted_input && connection.wants_input() {
                self.handle_readable(key);
            }
            self.set_timer(key);
        }
    }

    /// Ends a connection: the channel says its last words, the socket lingers if there were any.
    fn close(&mut self, key: u64, close: &Close) {
        let Self { connections, turn, .. } = self;
        let Some((_, connection)) = connections.get_mut(key as u32 as usize) else { return };
        log::debug!(
            "connection closed: {} {} client={:?}",
            close.cause.name(),
            close.detail,
            connection.channel.client().map(|client| &client.client_id)
        );
        // Who has its last words finds them counted.
        connection.count_shutdown(close.cause);
        connection.channel.handle_closed(close, turn);
        if close.cause == CloseCause::SendTimeout {
            connection.link.writer.socket().reset_when_closed();
        } else {
            connection.link.writer.close();
        }
        let is_gone = matches!(close.cause, CloseCause::ConnectionLost | CloseCause::SendTimeout);
        if is_gone {
            self.drop_connection(key);
            return;
        }
        connection.begin_to_linger(turn.now.mono_ms + LINGER_MS);
        connection.timer_ms = u64::MAX;
        self.set_timer(key);
        self.handle_readable(key);
    }

    fn drop_connection(&mut self, key: u64) {
        let (_, connection) = self.connections.remove(key as u32 as usize);
        // Another thread may hold the link for a write that is under way.
        let _ = connection.link.writer.socket().deregister(self.poll.registry());
        self.handle.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn key_of(generation: u32, at: usize) -> u64 {
    u64::from(generation) << 32 | at as u64
}
