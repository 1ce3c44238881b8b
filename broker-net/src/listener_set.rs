//! Listener set: the listeners of a server, to be looked at, added, stopped and started while it runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use broker_core::{Broker, ListenerError, ListenerInfo, Listeners, NewListener};
use parking_lot::Mutex;

use crate::acceptor::{AcceptorHandle, Opened, Order};
use crate::config::{Bind, ListenerConfig};
use crate::io_loop::{Command, LoopHandle};
use crate::listener::{self, ListenerSetup};
use crate::server::StartError;
use crate::tls_setup::{Fetched, Lists, RevocationState};

/// One listener as it stands.
#[derive(Debug, Clone)]
pub struct ListenerView {
    /// `mqtt:tcp:external`.
    pub name: Arc<str>,
    /// Its settings.
    pub config: Arc<ListenerConfig>,
    /// The address it is bound to, with the port the system chose for port 0.
    pub address: String,
    /// The same in the way it was configured.
    pub listen_on: Bind,
    /// True while it accepts.
    pub is_running: bool,
    /// Connections it has now.
    pub connections: usize,
    /// How many connections ended for which reason.
    pub shutdown_counts: Vec<(String, u64)>,
}

/// The listeners of a server.
pub struct ListenerSet {
    /// Not held: the broker knows this set.
    broker: Weak<Broker>,
    data_dir: PathBuf,
    fetched: Fetched,
    acceptor: AcceptorHandle,
    loops: Vec<Arc<LoopHandle>>,
    entries: Mutex<Vec<Entry>>,
    /// Held for an order and while files are read again, which may take its time: one after the other, so that
    /// nothing read before replaces what was read later, while `entries` can be looked at.
    orders: Mutex<()>,
}

struct Entry {
    name: Arc<str>,
    setup: Arc<ListenerSetup>,
    address: String,
    listen_on: Bind,
    is_running: bool,
}

impl ListenerSet {
    pub(crate) fn new(
        broker: &Arc<Broker>,
        (data_dir, fetched): (PathBuf, Fetched),
        acceptor: AcceptorHandle,
        loops: Vec<Arc<LoopHandle>>,
    ) -> Self {
        let broker = Arc::downgrade(broker);
        let (entries, orders) = (Mutex::default(), Mutex::default());
        Self { broker, data_dir, fetched, acceptor, loops, entries, orders }
    }

    pub(crate) fn stop_accepting(&self) {
        self.acceptor.send(Order::Stop);
    }

    pub(crate) fn run(&self, opened: Opened) {
        let bind = &opened.setup.config().bind;
        let (address, listen_on) = match opened.listener.local_addr() {
            Some(addr) => (addr.to_string(), bind.bound_at(addr)),
            None => (bind.to_string(), bind.clone()),
        };
        let entry = Entry {
            name: Arc::clone(&opened.name),
            setup: Arc::clone(&opened.setup),
            address,
            listen_on,
            is_running: true,
        };
        let mut entries = self.entries.lock();
        match entries.iter_mut().find(|other| other.name == entry.name) {
            Some(stopped) => *stopped = entry,
            None => entries.push(entry),
        }
        self.acceptor.send(Order::Open(Box::new(opened)));
    }

    /// All listeners, running or stopped.
    #[must_use]
    pub fn views(&self) -> Vec<ListenerView> {
        let entries = self.entries.lock();
        let view = |entry: &Entry| ListenerView {
            name: Arc::clone(&entry.name),
            config: Arc::clone(entry.setup.config()),
            address: entry.address.clone(),
            listen_on: entry.listen_on.clone(),
            is_running: entry.is_running,
            connections: entry.setup.n_connections(),
            shutdown_counts: entry.setup.shutdown_counts(),
        };
        entries.iter().map(view).collect()
    }

    /// Opens a further listener.
    ///
    /// # Errors
    /// It cannot be opened, or one of its name runs.
    pub fn add(&self, config: ListenerConfig) -> Result<(), StartError> {
        let _one = self.orders.lock();
        self.open(config)
    }

    /// Stops accepting at a listener and closes its connections with 0x98 Administrative action; waits up to
    /// 5 seconds for them to be gone.
    ///
    /// # Errors
    /// There is none of that name, or it is stopped.
    pub fn stop(&self, name: &str) -> Result<(), StartError> {
        let _one = self.orders.lock();
        self.find(name)?;
        if self.close(name) { Ok(()) } else { Err(StartError::Stopped { name: name.to_owned() }) }
    }

    /// Opens a stopped listener again, with its old settings.
    ///
    /// # Errors
    /// There is none of that name, it runs, or cannot be opened.
    pub fn start(&self, name: &str) -> Result<(), StartError> {
        let _one = self.orders.lock();
        let config = self.find(name)?;
        self.open(ListenerConfig::clone(&config))
    }

    /// Stops a listener if it runs, and opens it again with its old settings and what is in its files now.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be opened. What is wrong with its files shows before it is stopped:
    /// then it runs on.
    pub fn restart(&self, name: &str) -> Result<(), StartError> {
        let _one = self.orders.lock();
        let config = self.find(name)?;
        let setup =
            ListenerSetup::new(ListenerConfig::clone(&config), &self.data_dir, &self.fetched)?;
        self.close(name);
        let listener = listener::bind(&config)?;
        self.run(Opened { name: name.into(), listener, setup: Arc::new(setup) });
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Arc<ListenerConfig>, StartError> {
        let entries = self.entries.lock();
        let entry = entries.iter().find(|entry| *entry.name == *name);
        entry
            .map(|entry| Arc::clone(entry.setup.config()))
            .ok_or_else(|| StartError::Unknown { name: name.to_owned() })
    }

    fn open(&self, config: ListenerConfig) -> Result<(), StartError> {
        let name = listener_name(&config);
        if self.entries.lock().iter().any(|entry| *entry.name == *name && entry.is_running) {
            return Err(StartError::Running { name: name.to_string() });
        }
        let broker = self.broker.upgrade().ok_or(StartError::Ended)?;
        self.run(open(&broker, config, &self.data_dir, &self.fetched)?);
        Ok(())
    }

    /// Returns false if it does not run.
    fn close(&self, name: &str) -> bool {
        let mut entries = self.entries.lock();
        let running = |entry: &&mut Entry| *entry.name == *name && entry.is_running;
        let Some(entry) = entries.iter_mut().find(running) else { return false };
        entry.is_running = false;
        let (name, setup) = (Arc::clone(&entry.name), Arc::clone(&entry.setup));
        drop(entries);
        let until = Instant::now() + CLOSE_TIMEOUT;
        // The address is free once the acceptor has let go of it; what it has accepted the loops have by then.
        let (done, closed) = crossbeam_channel::bounded(1);
        self.acceptor.send(Order::Close(name, done));
        let _ = closed.recv_deadline(until);
        setup.set_stopped();
        self.close_unwanted();
        while setup.n_connections() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Reads all certificates and revocation lists again. New connections get the new ones, and whom they revoke is
    /// closed; where one cannot be read, the old one stays in force.
    ///
    /// # Errors
    /// What could not be read, one text for each listener.
    pub fn reload_certificates(&self) -> Result<(), Vec<String>> {
        let _one = self.orders.lock();
        let setups = self.setups();
        let errors: Vec<_> = setups
            .iter()
            .filter_map(|setup| setup.reload().err().map(|error| error.to_string()))
            .collect();
        if setups.iter().any(|setup| setup.has_crls()) {
            self.close_unwanted();
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Takes revocation lists and stapled answers of all listeners again, those of files and those fetched; whom lists
    /// revoke is closed. Where one cannot be read, the old one stays in force, and the others are taken all the same.
    ///
    /// # Errors
    /// What could not be read, by the key of the listener.
    pub fn refresh(&self) -> Result<(), Vec<(String, String)>> {
        let _one = self.orders.lock();
        let (mut errors, mut has_changed) = (Vec::new(), false);
        for setup in self.setups() {
            let (lists, unread) = setup.refresh();
            has_changed |= lists == Lists::New;
            let key = setup.config().key();
            errors.extend(unread.iter().map(|error| (key.clone(), error.to_string())));
        }
        if has_changed {
            self.close_unwanted();
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Closes whom an OCSP responder has revoked since.
    pub fn close_revoked(&self) {
        self.close_unwanted();
    }

    /// What those listeners know about revocation that are to.
    #[must_use]
    pub fn revocation_states(&self) -> Vec<RevocationState> {
        self.entries.lock().iter().filter_map(|entry| entry.setup.revocation_state()).collect()
    }

    /// To be read for without `entries`: reading may take its time.
    fn setups(&self) -> Vec<Arc<ListenerSetup>> {
        self.entries.lock().iter().map(|entry| Arc::clone(&entry.setup)).collect()
    }

    fn close_unwanted(&self) {
        for handle in &self.loops {
            handle.send(Command::CloseUnwanted);
        }
    }
}

impl Listeners for ListenerSet {
    fn list(&self) -> Vec<ListenerInfo> {
        let info = |view: ListenerView| ListenerInfo {
            name: view.name,
            address: view.address,
            listen_on: view.listen_on.to_string(),
            is_running: view.is_running,
            acceptors: view.config.acceptors,
            max_connections: view.config.max_connections,
            connections: view.connections,
            shutdown_counts: view.shutdown_counts,
        };
        self.views().into_iter().map(info).collect()
    }

    fn add(&self, listener: &NewListener) -> Result<(), ListenerError> {
        let _one = self.orders.lock();
        let like = self.find(&listener.like)?;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if listener.name.is_empty() || !listener.name.bytes().all(is_name) {
            return Err(ListenerError::Failed(format!("{:?} is no name", listener.name)));
        }
        let config = ListenerConfig {
            name: listener.name.clone(),
            bind: bind_like(&like.bind, &listener.listen_on)?,
            zone: listener.zone.clone().unwrap_or_else(|| like.zone.clone()),
            ..ListenerConfig::clone(&like)
        };
        let name = listener_name(&config);
        // One that is stopped has settings of its own to be started with.
        if self.entries.lock().iter().any(|entry| entry.name == name && !entry.is_running) {
            return Err(ListenerError::Failed(format!("{name} is there, and stopped")));
        }
        Ok(self.open(config)?)
    }

    fn stop(&self, name: &str) -> Result<(), ListenerError> {
        Ok(Self::stop(self, name)?)
    }

    fn start(&self, name: &str) -> Result<(), ListenerError> {
        Ok(Self::start(self, name)?)
    }

    fn restart(&self, name: &str) -> Result<(), ListenerError> {
        Ok(Self::restart(self, name)?)
    }
}

impl From<StartError> for ListenerError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Unknown { .. } => Self::Unknown,
            StartError::Running { .. } => Self::Running,
            StartError::Stopped { .. } => Self::Stopped,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// An address of the kind that `like` is.
fn bind_like(like: &Bind, text: &str) -> Result<Bind, ListenerError> {
    let bind = match like {
        Bind::Unix(_) => (!text.is_empty()).then(|| Bind::Unix(text.into())),
        Bind::Inet(_) | Bind::Port(_) => {
            text.parse().map(Bind::Port).or_else(|_| text.parse().map(Bind::Inet)).ok()
        }
    };
    bind.ok_or_else(|| ListenerError::Failed(format!("{text:?} is no address of this kind")))
}

fn listener_name(config: &ListenerConfig) -> Arc<str> {
    format!("mqtt:{}:{}", config.protocol.as_str(), config.name).as_str().into()
}

pub(crate) fn open(
    broker: &Arc<Broker>,
    config: ListenerConfig,
    data_dir: &Path,
    fetched: &Fetched,
) -> Result<Opened, StartError> {
    if !broker.config().zones.contains_key(&config.zone) {
        return Err(StartError::Zone { key: config.key(), zone: config.zone });
    }
    let name = listener_name(&config);
    let listener = listener::bind(&config)?;
    let setup = Arc::new(ListenerSetup::new(config, data_dir, fetched)?);
    Ok(Opened { name, listener, setup })
}

/// A socket that was closed lingers for a second at most, if its peer does not close it too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
