//! Listener set: the listeners of a server, to be looked at, added, stopped and started while it runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use broker_core::{Broker, ListenerInfo, Listeners};
use parking_lot::Mutex;

use crate::acceptor::{AcceptorHandle, Opened, Order};
use crate::config::ListenerConfig;
use crate::listener::{self, ListenerSetup};
use crate::server::StartError;

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

/// The listeners of a server.
pub struct ListenerSet {
    /// Not held: the broker knows this set.
    broker: Weak<Broker>,
    data_dir: PathBuf,
    acceptor: AcceptorHandle,
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    name: Arc<str>,
    setup: Arc<ListenerSetup>,
    address: String,
    is_running: bool,
}

impl ListenerSet {
    pub(crate) fn new(broker: &Arc<Broker>, data_dir: PathBuf, acceptor: AcceptorHandle) -> Self {
        let broker = Arc::downgrade(broker);
        Self { broker, data_dir, acceptor, entries: Mutex::default() }
    }

    pub(crate) fn stop_accepting(&self) {
        self.acceptor.send(Order::Stop);
    }

    pub(crate) fn run(&self, opened: Opened) {
        let address = opened
            .listener
            .local_addr()
            .map_or_else(|| bind_text(opened.setup.config()), |addr| addr.to_string());
        let mut entries = self.entries.lock();
        entries.retain(|entry| entry.name != opened.name);
        entries.push(Entry {
            name: Arc::clone(&opened.name),
            setup: Arc::clone(&opened.setup),
            address,
            is_running: true,
        });
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
        let name = listener_name(&config);
        if self.entries.lock().iter().any(|entry| *entry.name == *name && entry.is_running) {
            return Err(StartError::State { name: name.to_string(), what: "runs already" });
        }
        let Some(broker) = self.broker.upgrade() else {
            return Err(StartError::State { name: name.to_string(), what: "the broker is gone" });
        };
        self.run(open(&broker, config, &self.data_dir)?);
        Ok(())
    }

    /// Stops accepting at a listener; its connections go on.
    ///
    /// # Errors
    /// There is none of that name, or it is stopped.
    pub fn stop(&self, name: &str) -> Result<(), StartError> {
        let mut entries = self.entries.lock();
        let entry = entries
            .iter_mut()
            .find(|entry| *entry.name == *name && entry.is_running)
            .ok_or_else(|| StartError::State { name: name.to_owned(), what: "does not run" })?;
        entry.is_running = false;
        let name = Arc::clone(&entry.name);
        drop(entries);
        // The address is free once the acceptor has let go of it.
        let (done, closed) = crossbeam_channel::bounded(1);
        self.acceptor.send(Order::Close(name, done));
        let _ = closed.recv_timeout(Duration::from_secs(5));
        Ok(())
    }

    /// Opens a stopped listener again, with its old settings.
    ///
    /// # Errors
    /// There is none of that name, it runs, or cannot be opened.
    pub fn start(&self, name: &str) -> Result<(), StartError> {
        let config = {
            let entries = self.entries.lock();
            let entry = entries.iter().find(|entry| *entry.name == *name);
            let Some(entry) = entry else {
                return Err(StartError::State { name: name.to_owned(), what: "does not exist" });
            };
            entry.setup.config().as_ref().clone()
        };
        self.add(config)
    }

    /// Reads all certificates again. New connections get the new ones; where one cannot be read, the old
    /// one stays in force.
    ///
    /// # Errors
    /// What could not be read, one text for each listener.
    pub fn reload_certificates(&self) -> Result<(), Vec<String>> {
        let entries = self.entries.lock();
        let errors: Vec<_> = entries
            .iter()
            .filter_map(|entry| entry.setup.reload().err().map(|error| error.to_string()))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

impl Listeners for ListenerSet {
    fn list(&self) -> Vec<ListenerInfo> {
        let info = |view: ListenerView| ListenerInfo {
            name: view.name,
            address: view.address,
            is_running: view.is_running,
            acceptors: view.config.acceptors,
            max_connections: view.config.max_connections,
            connections: view.connections,
            shutdown_counts: view.shutdown_counts,
        };
        self.views().into_iter().map(info).collect()
    }

    fn stop(&self, name: &str) -> Result<(), String> {
        Self::stop(self, name).map_err(|error| error.to_string())
    }

    fn start(&self, name: &str) -> Result<(), String> {
        Self::start(self, name).map_err(|error| error.to_string())
    }
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

pub(crate) fn open(
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
