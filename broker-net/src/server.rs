//! Server: starts loops, acceptor and listeners, controls them while they run, and stops them gracefully.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use broker_core::Broker;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::acceptor::{Acceptor, AcceptorHandle, Opened, Order};
use crate::clock;
use crate::config::ListenerConfig;
use crate::io_loop::{Command, IoLoop, LoopHandle};
use crate::listener::{self, ListenError, ListenerSetup};
use crate::requests::{self, Requests};
use crate::tls_setup::TlsSetupError;

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Listeners to open.
    pub listeners: Vec<ListenerConfig>,
    /// Threads that serve connections; 0 for one per processor.
    pub io_threads: usize,
    /// Where certificates that are made here are kept.
    pub data_dir: PathBuf,
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
    /// There is no such listener, or it runs already.
    #[error("listener {name}: {what}")]
    State {
        /// `mqtt:tcp:external`.
        name: String,
        /// What is the matter.
        what: &'static str,
    },
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

/// One listener as it stands.
#[derive(Debug, Clone)]
pub struct ListenerView {
    /// `mqtt:tcp:external`.
    pub name: Arc<str>,
    /// Its settings.
    pub config: Arc<ListenerConfig>,
    /// The address it is bound to, with the port the system chose for port 0.
    pub address: String,
    /// True while it accepts.
    pub is_running: bool,
    /// Connections it has now.
    pub connections: usize,
    /// How many connections ended for which reason.
    pub shutdown_counts: Vec<(&'static str, u64)>,
}

/// A running server.
pub struct Server {
    broker: Arc<Broker>,
    data_dir: PathBuf,
    loops: Vec<Arc<LoopHandle>>,
    acceptor: AcceptorHandle,
    threads: Mutex<Vec<JoinHandle<()>>>,
    listeners: Mutex<Vec<Entry>>,
    is_stopping: Arc<AtomicBool>,
    housekeeper: Mutex<Option<JoinHandle<()>>>,
    /// Dropped last: extensions may still answer while connections end.
    _runtime: Runtime,
}

struct Entry {
    name: Arc<str>,
    setup: Arc<ListenerSetup>,
    address: String,
    is_running: bool,
}

/// Pause of the housekeeper: session expiry, Wills and delayed messages are late by this at most.
const HOUSEKEEPING_MS: u64 = 100;

impl Server {
    /// Binds all listeners, then starts to serve them.
    ///
    /// # Errors
    /// One listener cannot be opened: then none is.
    pub fn start(broker: &Arc<Broker>, options: ServerOptions) -> Result<Self, StartError> {
        let ServerOptions { listeners, io_threads, data_dir } = options;
        let opened = listeners
            .into_iter()
            .map(|config| open(broker, config, &data_dir))
            .collect::<Result<Vec<_>, _>>()?;
        let runtime = requests::runtime()?;
        let io_threads = match io_threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let loops = (0..io_threads)
            .map(|_| IoLoop::new(broker, Requests::new(&runtime)))
            .collect::<io::Result<Vec<_>>>()?;
        let handles: Vec<_> = loops.iter().map(|l| Arc::clone(l.handle())).collect();
        let (acceptor, acceptor_handle) = Acceptor::new(broker, handles.clone())?;
        let all: Arc<[_]> = handles.iter().cloned().collect();
        let mut threads = Vec::new();
        for (number, io_loop) in loops.into_iter().enumerate() {
            threads.push(io_loop.start(number, Arc::clone(&all))?);
        }
        threads.push(acceptor.start()?);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let housekeeper = keep_house(broker, &is_stopping)?;
        let server = Self {
            broker: Arc::clone(broker),
            data_dir,
            loops: handles,
            acceptor: acceptor_handle,
            threads: Mutex::new(threads),
            listeners: Mutex::default(),
            is_stopping,
            housekeeper: Mutex::new(Some(housekeeper)),
            _runtime: runtime,
        };
        for listener in opened {
            server.run_listener(listener);
        }
        Ok(server)
    }

    fn run_listener(&self, opened: Opened) {
        let address = opened
            .listener
            .local_addr()
            .map_or_else(|| bind_text(opened.setup.config()), |addr| addr.to_string());
        let mut listeners = self.listeners.lock();
        listeners.retain(|entry| entry.name != opened.name);
        listeners.push(Entry {
            name: Arc::clone(&opened.name),
            setup: Arc::clone(&opened.setup),
            address,
            is_running: true,
        });
        self.acceptor.send(Order::Open(Box::new(opened)));
    }

    /// All listeners, running or stopped.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerView> {
        let listeners = self.listeners.lock();
        let view = |entry: &Entry| ListenerView {
            name: Arc::clone(&entry.name),
            config: Arc::clone(entry.setup.config()),
            address: entry.address.clone(),
            is_running: entry.is_running,
            connections: entry.setup.n_connections(),
            shutdown_counts: entry.setup.shutdown_counts(),
        };
        listeners.iter().map(view).collect()
    }

    /// Opens a further listener.
    ///
    /// # Errors
    /// It cannot be opened, or one of its name runs.
    pub fn add_listener(&self, config: ListenerConfig) -> Result<(), StartError> {
        let name = listener_name(&config);
        if self.listeners.lock().iter().any(|entry| *entry.name == *name && entry.is_running) {
            return Err(StartError::State { name: name.to_string(), what: "runs already" });
        }
        self.run_listener(open(&self.broker, config, &self.data_dir)?);
        Ok(())
    }

    /// Stops accepting at a listener; its connections go on.
    ///
    /// # Errors
    /// There is none of that name, or it is stopped.
    pub fn stop_listener(&self, name: &str) -> Result<(), StartError> {
        let mut listeners = self.listeners.lock();
        let entry = listeners
            .iter_mut()
            .find(|entry| *entry.name == *name && entry.is_running)
            .ok_or_else(|| StartError::State { name: name.to_owned(), what: "does not run" })?;
        entry.is_running = false;
        self.acceptor.send(Order::Close(Arc::clone(&entry.name)));
        Ok(())
    }

    /// Opens a stopped listener again, with its old settings.
    ///
    /// # Errors
    /// There is none of that name, it runs, or cannot be opened.
    pub fn start_listener(&self, name: &str) -> Result<(), StartError> {
        let config = {
            let listeners = self.listeners.lock();
            let entry = listeners.iter().find(|entry| *entry.name == *name);
            let Some(entry) = entry else {
                return Err(StartError::State { name: name.to_owned(), what: "does not exist" });
            };
            entry.setup.config().as_ref().clone()
        };
        self.add_listener(config)
    }

    /// Reads all certificates again. New connections get the new ones; where one cannot be read, the old
    /// one stays in force.
    ///
    /// # Errors
    /// What could not be read, one text for each listener.
    pub fn reload_certificates(&self) -> Result<(), Vec<String>> {
        let listeners = self.listeners.lock();
        let errors: Vec<_> = listeners
            .iter()
            .filter_map(|entry| entry.setup.reload().err().map(|error| error.to_string()))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Stops accepting, tells every client, and waits for the connections to end, at most `timeout`.
    ///
    /// Returns the number of connections that were cut off.
    pub fn shut_down(&self, timeout: Duration) -> usize {
        let until = Instant::now() + timeout;
        self.acceptor.send(Order::Stop);
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

fn listener_name(config: &ListenerConfig) -> Arc<str> {
    format!("mqtt:{}:{}", config.protocol.as_str(), config.name).as_str().into()
}

fn bind_text(config: &ListenerConfig) -> String {
    match &config.bind {
        crate::config::Bind::Inet(addr) => addr.to_string(),
        crate::config::Bind::Unix(path) => path.display().to_string(),
    }
}

fn open(
    broker: &Arc<Broker>,
    config: ListenerConfig,
    data_dir: &Path,
) -> Result<Opened, StartError> {
    if !broker.config().zones.contains_key(&config.zone) {
        return Err(StartError::Zone { key: config.key(), zone: config.zone });
    }
    let name = listener_name(&config);
    let listener = listener::bind(&config)?;
    let setup = Arc::new(ListenerSetup::new(config, data_dir)?);
    Ok(Opened { name, listener, setup })
}
