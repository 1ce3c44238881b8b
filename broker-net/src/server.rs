//! Server: starts loops, acceptor and listeners, controls them while they run, and stops them gracefully.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use broker_core::{Broker, Listeners};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::acceptor::{Acceptor, Opened};
use crate::clock;
use crate::config::ListenerConfig;
use crate::io_loop::{Command, IoLoop, LoopHandle};
use crate::listener::ListenError;
use crate::listener_set::{self, ListenerSet, ListenerView};
use crate::requests::{self, Requests};
use crate::tls_setup::{Fetched, TlsSetupError};

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Listeners to open.
    pub listeners: Vec<ListenerConfig>,
    /// Threads that serve connections; 0 for one per processor.
    pub io_threads: usize,
    /// Where certificates that are made here are kept.
    pub data_dir: PathBuf,
    /// Revocation lists of `crl_url`, as far as they have been fetched.
    pub fetched: Fetched,
}

/// Why a server, or one listener, does not start. Nothing is left half-started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened at.
    #[error("{0}")]
    Listen(String),
    /// The certificate cannot be used.
    #[error("{0}")]
    Tls(String),
    /// There is no such zone.
    #[error("{key}.zone = {zone:?}: there is no such zone")]
    Zone {
        /// Key of the listener.
        key: String,
        /// The zone it names.
        zone: String,
    },
    /// There is no such listener.
    #[error("listener {name}: does not exist")]
    Unknown {
        /// `mqtt:tcp:external`.
        name: String,
    },
    /// It runs already.
    #[error("listener {name}: runs already")]
    Running {
        /// `mqtt:tcp:external`.
        name: String,
    },
    /// It is stopped already.
    #[error("listener {name}: does not run")]
    Stopped {
        /// `mqtt:tcp:external`.
        name: String,
    },
    /// The broker is gone.
    #[error("the broker has ended")]
    Ended,
    /// The system refuses threads or polls.
    #[error("starting threads: {0}")]
    Io(#[from] io::Error),
}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error.to_string())
    }
}

impl From<TlsSetupError> for StartError {
    fn from(error: TlsSetupError) -> Self {
        Self::Tls(error.to_string())
    }
}

/// A server whose listeners are bound. It serves nobody; dropped, it frees their addresses.
pub struct BoundServer {
    broker: Arc<Broker>,
    opened: Vec<Opened>,
    io_threads: usize,
    data_dir: PathBuf,
    fetched: Fetched,
}

/// A running server.
pub struct Server {
    broker: Arc<Broker>,
    loops: Vec<Arc<LoopHandle>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    listeners: Arc<ListenerSet>,
    is_stopping: Arc<AtomicBool>,
    housekeeper: Mutex<Option<JoinHandle<()>>>,
    /// Dropped last: extensions may still answer while connections end.
    _runtime: Runtime,
}

/// Pause of the housekeeper: session expiry, Wills and delayed messages are late by this at most.
const HOUSEKEEPING_MS: u64 = 100;

impl Server {
    /// Binds all listeners, then starts to serve them.
    ///
    /// # Errors
    /// One listener cannot be opened: then none is.
    pub fn start(broker: &Arc<Broker>, options: ServerOptions) -> Result<Self, StartError> {
        Self::bind(broker, options)?.serve()
    }

    /// Binds all listeners and accepts nobody yet: what else may fail at a start comes before [`BoundServer::serve`].
    ///
    /// # Errors
    /// One listener cannot be opened: then none is.
    pub fn bind(broker: &Arc<Broker>, options: ServerOptions) -> Result<BoundServer, StartError> {
        let ServerOptions { listeners, io_threads, data_dir, fetched } = options;
        let opened = listeners
            .into_iter()
            .map(|config| listener_set::open(broker, config, &data_dir, &fetched))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(BoundServer { broker: Arc::clone(broker), opened, io_threads, data_dir, fetched })
    }

    /// All listeners, running or stopped.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerView> {
        self.listeners.views()
    }

    /// The listeners, to be controlled; the same that [`Broker::listeners`] gives the control plane.
    #[must_use]
    pub const fn listener_set(&self) -> &Arc<ListenerSet> {
        &self.listeners
    }

    /// Stops accepting, tells every client, and waits for the connections to end, at most `timeout`.
    ///
    /// Returns the number of connections that were cut off.
    pub fn shut_down(&self, timeout: Duration) -> usize {
        let until = Instant::now() + timeout;
        self.listeners.stop_accepting();
        self.broker.close_all();
        for handle in &self.loops {
            handle.send(Command::Stop);
        }
        let left = || self.loops.iter().map(|handle| handle.connections()).sum::<usize>();
        while left() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.is_stopping.store(true, Ordering::Release);
        if let Some(housekeeper) = self.housekeeper.lock().take() {
            housekeeper.thread().unpark();
            let _ = housekeeper.join();
        }
        let cut_off = left();
        if cut_off == 0 {
            for thread in self.threads.lock().drain(..) {
                let _ = thread.join();
            }
        }
        cut_off
    }
}

impl BoundServer {
    /// Starts the threads, and accepts.
    ///
    /// # Errors
    /// The system refuses threads or polls.
    pub fn serve(self) -> Result<Server, StartError> {
        let Self { broker, opened, io_threads, data_dir, fetched } = self;
        let runtime = requests::runtime()?;
        let io_threads = match io_threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let loops = (0..io_threads)
            .map(|_| IoLoop::new(&broker, Requests::new(&runtime)))
            .collect::<io::Result<Vec<_>>>()?;
        let handles: Vec<_> = loops.iter().map(|l| Arc::clone(l.handle())).collect();
        let (acceptor, acceptor_handle) = Acceptor::new(&broker, handles.clone())?;
        let all: Arc<[_]> = handles.iter().cloned().collect();
        let mut threads = Vec::new();
        for (number, io_loop) in loops.into_iter().enumerate() {
            threads.push(io_loop.start(number, Arc::clone(&all))?);
        }
        threads.push(acceptor.start()?);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let housekeeper = keep_house(&broker, &is_stopping)?;
        let files = (data_dir, fetched);
        let listeners =
            Arc::new(ListenerSet::new(&broker, files, acceptor_handle, handles.clone()));
        for listener in opened {
            listeners.run(listener);
        }
        let port: Weak<dyn Listeners> = Arc::<ListenerSet>::downgrade(&listeners);
        broker.set_listeners(port);
        Ok(Server {
            broker,
            loops: handles,
            threads: Mutex::new(threads),
            listeners,
            is_stopping,
            housekeeper: Mutex::new(Some(housekeeper)),
            _runtime: runtime,
        })
    }
}

/// The thread that does what is due by time alone.
fn keep_house(broker: &Arc<Broker>, stop: &Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
    let (broker, stop) = (Arc::clone(broker), Arc::clone(stop));
    thread::Builder::new().name("broker-timers".into()).spawn(move || {
        let mut turn = broker.turn();
        while !stop.load(Ordering::Acquire) {
            let now = clock::now();
            if broker.poll_timeout().is_some_and(|due_ms| due_ms <= now.mono_ms) || turn.has_work()
            {
                turn.begin(now);
                broker.handle_timeout(&mut turn);
                turn.finish();
            }
            thread::park_timeout(Duration::from_millis(HOUSEKEEPING_MS));
        }
    })
}
