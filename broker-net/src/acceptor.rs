//! Acceptor: one thread that accepts for all listeners and deals the connections out to the loops.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use broker_core::{Broker, LISTENER_FAILED, Now, Peer, Report, Severity};
use crossbeam_channel::{Receiver, Sender};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::io_loop::{Command, LoopHandle, Newcomer};
use crate::listener::{Listener, ListenerSetup};
use crate::{balance, clock};

/// What the control plane wants of the acceptor.
pub(crate) enum Order {
    /// Accept for this listener.
    Open(Box<Opened>),
    /// Stop accepting for the listener of this name and close it.
    /// Says so when it is done.
    Close(Arc<str>, Sender<()>),
    /// Stop accepting altogether.
    Stop,
}

/// A listener that is bound.
pub(crate) struct Opened {
    /// `mqtt:tcp:external`.
    pub(crate) name: Arc<str>,
    pub(crate) listener: Listener,
    pub(crate) setup: Arc<ListenerSetup>,
}

/// The way into the acceptor from other threads.
pub(crate) struct AcceptorHandle {
    orders: Sender<Order>,
    waker: Waker,
}

impl AcceptorHandle {
    pub(crate) fn send(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

pub(crate) struct Acceptor {
    poll: Poll,
    orders: Receiver<Order>,
    listeners: Vec<(Token, Opened)>,
    next_token: usize,
    loops: Vec<Arc<LoopHandle>>,
    broker: Arc<Broker>,
    descriptors: Descriptors,
    /// Listeners to come back to: more is waiting, or descriptors ran out.
    again: Vec<Token>,
}

/// Whether there are file descriptors to accept with.
struct Descriptors {
    /// One in reserve: when there are no more, it is given up for long enough to accept and close
    /// a connection, so that the peer is not left waiting.
    reserve: Option<File>,
    is_exhausted: bool,
    /// While the alarm is up, when it is over on the monotonic clock if they do not run out again: one that comes
    /// back for a moment is no relief.
    calm_at_ms: Option<u64>,
}

const WAKER: Token = Token(0);
const ALARM: &str = "too_many_open_files";
/// The alarm is over when there were descriptors for so long.
const CALM_MS: u64 = 5_000;

impl Acceptor {
    pub(crate) fn new(
        broker: &Arc<Broker>,
        loops: Vec<Arc<LoopHandle>>,
    ) -> io::Result<(Self, AcceptorHandle)> {
        let poll = Poll::new()?;
        let (sender, orders) = crossbeam_channel::unbounded();
        let handle = AcceptorHandle { orders: sender, waker: Waker::new(poll.registry(), WAKER)? };
        let acceptor = Self {
            poll,
            orders,
            listeners: Vec::new(),
            next_token: 1,
            loops,
            broker: Arc::clone(broker),
            descriptors: Descriptors::new(),
            again: Vec::new(),
        };
        Ok((acceptor, handle))
    }

    pub(crate) fn start(mut self) -> io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("broker-accept".into()).spawn(move || {
            if let Err(error) = self.run() {
                log::error!("acceptor failed: {error}");
            }
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = match (self.again.is_empty(), self.descriptors.is_exhausted) {
                (true, _) => self.descriptors.until_calm(),
                (false, false) => Some(Duration::ZERO),
                // Calm: descriptors come back when connections end, not by asking often.
                (false, true) => Some(Duration::from_millis(100)),
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut tokens = std::mem::take(&mut self.again);
            for event in &events {
                if event.token() != WAKER && !tokens.contains(&event.token()) {
                    tokens.push(event.token());
                }
            }
            for token in tokens {
                self.accept(token);
            }
            if self.again.is_empty() {
                // Nobody waits for one: whoever did was closed.
                self.descriptors.are_back();
            }
            self.descriptors.end_alarm(&self.broker, clock::now());
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Open(opened) => self.open(*opened),
                    Order::Close(name, done) => {
                        self.listeners.retain(|(_, l)| l.name != name);
                        let _ = done.send(());
                    }
                    Order::Stop => return Ok(()),
                }
            }
        }
    }

    fn open(&mut self, mut opened: Opened) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut opened.listener, token, Interest::READABLE) {
            let what = format!("listener {} cannot be polled: {error}", opened.name);
            self.failed(&opened.name, what);
            return;
        }
        self.works(&opened.name);
        self.listeners.push((token, opened));
        self.again.push(token);
    }

    /// Accepts what waits at one listener, up to its `acceptors`.
    fn accept(&mut self, token: Token) {
        let Some((_, opened)) = self.listeners.iter().find(|(t, _)| *t == token) else { return };
        let now = clock::now();
        for _ in 0..opened.setup.config().acceptors.max(1) {
            match opened.listener.accept() {
                Ok((socket, addr)) => {
                    self.descriptors.are_back();
                    let ip = addr.map(|addr| addr.ip());
                    let admission = match opened.setup.admit(ip, now.mono_ms) {
                        Ok(admission) => admission,
                        Err(refused) => {
                            log::debug!(
                                "connection refused: {} listener={} peer={addr:?}",
                                refused.as_str(),
                                opened.name
                            );
                            continue;
                        }
                    };
                    let config = self.broker.config();
                    let Some(zone) = config.zones.get(&opened.setup.config().zone) else {
                        continue;
                    };
                    let peer = Peer {
                        addr,
                        local_addr: socket.local_addr(),
                        limits: opened.setup.limits().cloned(),
                        ..Peer::new(Arc::clone(&opened.name), Arc::clone(zone))
                    };
                    let newcomer = Newcomer { socket, peer, admission };
                    if let Some(chosen) = balance::choose(&self.loops) {
                        chosen.send(Command::Serve(Box::new(newcomer)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The kernel takes the descriptor before it looks for a connection, so there is one.
                    self.descriptors.are_back();
                    return;
                }
                Err(error) if is_exhaustion(&error) => {
                    self.descriptors.ran_out(&self.broker, &error, now);
                    if self.descriptors.reserve.take().is_some() {
                        // Accepted into the place of the reserve, and closed at once.
                        drop(opened.listener.accept());
                        self.descriptors.reserve = open_reserve();
                    }
                    break;
                }
                Err(error) if is_broken(&error) => {
                    // Asking again would not help; it waits to be opened again.
                    let what = format!("listener {} does not accept: {error}", opened.name);
                    return self.failed(&opened.name, what);
                }
                // The peer gave up while it waited.
                Err(error) => log::debug!("accept failed: {error} listener={}", opened.name),
            }
        }
        self.again.push(token);
    }

    fn failed(&self, name: &str, what: String) {
        let report = Report::new(Severity::Error, "", what).with_detail("listener", name);
        let alarms = self.broker.alarms();
        alarms.raise(&format!("{LISTENER_FAILED}/{name}"), report, clock::now().wall_ms);
    }

    fn works(&self, name: &str) {
        let alarms = self.broker.alarms();
        alarms.clear(&format!("{LISTENER_FAILED}/{name}"), clock::now().wall_ms);
    }
}

impl Descriptors {
    fn new() -> Self {
        Self { reserve: open_reserve(), is_exhausted: false, calm_at_ms: None }
    }

    fn ran_out(&mut self, broker: &Broker, error: &io::Error, now: Now) {
        self.is_exhausted = true;
        self.calm_at_ms = Some(now.mono_ms + CALM_MS);
        let what = format!("connections cannot be accepted: {error}");
        broker.alarms().raise(ALARM, Report::new(Severity::Error, "", what), now.wall_ms);
    }

    fn are_back(&mut self) {
        if std::mem::take(&mut self.is_exhausted) {
            self.reserve = self.reserve.take().or_else(open_reserve);
        }
    }

    /// How long the acceptor may sleep; `None` for ever.
    fn until_calm(&self) -> Option<Duration> {
        let left_ms = self.calm_at_ms?.saturating_sub(clock::now().mono_ms);
        Some(Duration::from_millis(left_ms))
    }

    fn end_alarm(&mut self, broker: &Broker, now: Now) {
        let is_over = |calm_at_ms: &mut u64| *calm_at_ms <= now.mono_ms;
        if !self.is_exhausted && self.calm_at_ms.take_if(is_over).is_some() {
            broker.alarms().clear(ALARM, now.wall_ms);
        }
    }
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The socket itself is at fault, not its peer.
fn is_broken(error: &io::Error) -> bool {
    // EBADF, EFAULT, EINVAL, ENOTSOCK.
    matches!(error.raw_os_error(), Some(9 | 14 | 22 | 88))
}

fn is_exhaustion(error: &io::Error) -> bool {
    // ENFILE, EMFILE, ENOBUFS, ENOMEM.
    matches!(error.raw_os_error(), Some(23 | 24 | 105 | 12))
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::fd::AsFd;

    use super::*;
    use crate::config::ListenerConfig;
    use crate::listener;
    use crate::tls_setup::Fetched;

    fn opened() -> (Opened, socket2::Socket) {
        let config = ListenerConfig::tcp("external", "127.0.0.1:0".parse().unwrap());
        let listener = listener::bind(&config).unwrap();
        let Listener::Tcp(tcp) = &listener else { panic!("a socket of TCP") };
        let same = tcp.as_fd().try_clone_to_owned().unwrap().into();
        let setup = Arc::new(ListenerSetup::new(config, "".as_ref(), &Fetched::default()).unwrap());
        (Opened { name: "mqtt:tcp:external".into(), listener, setup }, same)
    }

    #[test]
    fn descriptors_that_run_out_again_soon_are_one_alarm() {
        let broker = Broker::builder().build().unwrap();
        let mut descriptors = Descriptors::new();
        let is_up = || !broker.alarms().list().is_empty();
        let error = io::Error::from_raw_os_error(24);
        let now = Now::default();
        descriptors.ran_out(&broker, &error, now);
        descriptors.end_alarm(&broker, now.plus_ms(CALM_MS));
        assert!(is_up(), "there are still none");
        descriptors.are_back();
        descriptors.ran_out(&broker, &error, now.plus_ms(4_000));
        descriptors.are_back();
        descriptors.end_alarm(&broker, now.plus_ms(8_999));
        assert!(is_up());
        descriptors.end_alarm(&broker, now.plus_ms(9_000));
        assert!(!is_up());
        assert_eq!(broker.alarms().history().len(), 1);
        assert_eq!(descriptors.until_calm(), None);
    }

    #[test]
    fn a_listener_that_does_not_accept_is_an_alarm_until_it_is_opened_again() {
        let broker = Broker::builder().build().unwrap();
        let (mut acceptor, _handle) = Acceptor::new(&broker, Vec::new()).unwrap();
        let (listener, same) = opened();
        acceptor.open(listener);
        let [token] = std::mem::take(&mut acceptor.again)[..] else { panic!("it is looked at") };
        acceptor.accept(token);
        assert_eq!(broker.alarms().list(), [], "nobody has come yet");
        same.shutdown(Shutdown::Both).unwrap();
        acceptor.accept(token);
        let [alarm] = &broker.alarms().list()[..] else { panic!("an alarm") };
        assert_eq!(alarm.id, "listener_failed/mqtt:tcp:external");
        assert!(alarm.report.summary.contains("does not accept"), "{alarm:?}");
        assert!(acceptor.again.is_empty(), "it is not asked again and again");
        acceptor.open(opened().0);
        assert_eq!(broker.alarms().list(), []);
    }
}
