//! The listeners of the API itself: opened, stopped and started while the others serve.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{Extensions, Server, ServerHandle};
use actix_web::rt::System;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use broker_core::ListenerError;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use socket2::SockRef;

use crate::api::Api;
use crate::options::{ListenerOptions, TlsOptions};
use crate::server::{Bound, StartError, answer};

/// The listeners of the API.
pub(crate) struct HttpListeners {
    /// What they serve; it owns this.
    api: Weak<Api>,
    /// The thread of the API, once it runs.
    system: OnceLock<System>,
    entries: Mutex<Vec<Entry>>,
    /// Held for an order, which may take its time: one after the other, while `entries` can be looked at.
    orders: Mutex<()>,
}

/// A listener as it stands.
#[derive(Debug, Clone)]
pub(crate) struct HttpListener {
    /// `http:management`.
    pub(crate) name: Arc<str>,
    /// Where it listens, as it was configured.
    pub(crate) listen_on: String,
    pub(crate) is_running: bool,
    pub(crate) acceptors: usize,
    pub(crate) max_clients: usize,
    pub(crate) connections: usize,
}

struct Entry {
    options: ListenerOptions,
    name: Arc<str>,
    bound: Bound,
    connections: Arc<AtomicUsize>,
    /// `None` while it is stopped.
    handle: Option<ServerHandle>,
}

/// The name of the listener that a request came by.
#[derive(Debug, Clone)]
pub(crate) struct CameBy(pub(crate) Arc<str>);

/// A connection; counted while it is there.
pub(crate) struct Connected {
    counter: Arc<AtomicUsize>,
    /// Of the client, if it has shown a certificate, and who knows of revoked ones.
    chain: Option<(Vec<CertificateDer<'static>>, TlsOptions)>,
}

impl Connected {
    /// Whether the client's certificate has been revoked since it came in.
    pub(crate) fn is_revoked(&self) -> bool {
        self.chain.as_ref().is_some_and(|(chain, tls)| (tls.is_revoked)(chain))
    }

    /// Whether somebody vouches for it, where one is asked; looked at anew for each request, for what is known grows old.
    pub(crate) async fn is_vouched_for(&self) -> bool {
        let Some((chain, tls)) = &self.chain else { return true };
        match (tls.vouch)(chain) {
            Ok(is_vouched_for) => is_vouched_for,
            Err(asked) => asked.await,
        }
    }
}

impl HttpListeners {
    pub(crate) fn new(api: Weak<Api>) -> Self {
        let (entries, orders) = (Mutex::default(), Mutex::default());
        Self { api, system: OnceLock::new(), entries, orders }
    }

    /// The thread of the API: opens the listeners, tells of it, and serves until it is shut down.
    pub(crate) fn serve(
        &self,
        listeners: Vec<ListenerOptions>,
        tell: &SyncSender<Result<(), StartError>>,
    ) {
        let runner = System::new();
        let opened = runner.block_on(async {
            let _ = self.system.set(System::current());
            // All of them are bound before one of them serves.
            let bound = listeners.into_iter().map(|options| self.bind(options));
            let bound = bound.collect::<Result<Vec<_>, _>>()?;
            bound.into_iter().for_each(|(entry, server)| self.run(entry, server));
            Ok(())
        });
        let is_open = opened.is_ok();
        if tell.send(opened).is_ok()
            && is_open
            && let Err(error) = runner.run()
        {
            log::error!("the management API ended: {error}");
        }
    }

    pub(crate) fn list(&self) -> Vec<HttpListener> {
        let entries = self.entries.lock();
        let view = |entry: &Entry| HttpListener {
            name: Arc::clone(&entry.name),
            listen_on: if entry.options.is_port_alone {
                entry.bound.address.port().to_string()
            } else {
                entry.bound.address.to_string()
            },
            is_running: entry.handle.is_some(),
            acceptors: entry.options.acceptors,
            max_clients: entry.options.max_clients,
            connections: entry.connections.load(Ordering::Relaxed),
        };
        entries.iter().map(view).collect()
    }

    /// Where they listen.
    pub(crate) fn bound(&self) -> Vec<Bound> {
        self.entries.lock().iter().map(|entry| entry.bound.clone()).collect()
    }

    /// Closes a listener and its connections; requests at work have a second to end.
    pub(crate) fn stop(&self, name: &str) -> Result<(), ListenerError> {
        let _one = self.orders.lock();
        self.check(name)?;
        if self.close(name) { Ok(()) } else { Err(ListenerError::Stopped) }
    }

    /// Opens a listener that was stopped.
    pub(crate) fn start(&self, name: &str) -> Result<(), ListenerError> {
        let _one = self.orders.lock();
        self.check(name)?;
        self.open(name)
    }

    /// Reads its certificates, stops it if it runs, and opens it.
    pub(crate) fn restart(&self, name: &str) -> Result<(), ListenerError> {
        let _one = self.orders.lock();
        let options = self.check(name)?;
        if let Some(tls) = &options.tls {
            (tls.reload)().map_err(ListenerError::Failed)?;
        }
        self.close(name);
        self.open(name)
    }

    /// Stops all of them, and the thread.
    pub(crate) fn shut_down(&self) {
        let _one = self.orders.lock();
        let Some(system) = self.system.get() else { return };
        let handles: Vec<_> =
            self.entries.lock().iter_mut().filter_map(|it| it.handle.take()).collect();
        let stopping = system.clone();
        system.arbiter().spawn(async move {
            // All are told before one is waited for.
            let stopped: Vec<_> = handles.iter().map(|handle| handle.stop(true)).collect();
            for stopped in stopped {
                stopped.await;
            }
            stopping.stop();
        });
    }

    fn check(&self, name: &str) -> Result<ListenerOptions, ListenerError> {
        let entries = self.entries.lock();
        let entry = entries.iter().find(|entry| *entry.name == *name);
        entry.map(|entry| entry.options.clone()).ok_or(ListenerError::Unknown)
    }

    /// Returns false if it does not run.
    fn close(&self, name: &str) -> bool {
        let handle = {
            let mut entries = self.entries.lock();
            let entry = entries.iter_mut().find(|entry| *entry.name == *name);
            entry.and_then(|entry| entry.handle.take())
        };
        let (Some(handle), Some(system)) = (handle, self.system.get()) else { return false };
        let (done, stopped) = mpsc::sync_channel(1);
        system.arbiter().spawn(async move {
            handle.stop(true).await;
            let _ = done.send(());
        });
        let _ = stopped.recv_timeout(STOP_TIMEOUT);
        true
    }

    fn open(&self, name: &str) -> Result<(), ListenerError> {
        let options = {
            let entries = self.entries.lock();
            let entry = entries.iter().find(|entry| *entry.name == *name);
            let entry = entry.ok_or(ListenerError::Unknown)?;
            if entry.handle.is_some() {
                return Err(ListenerError::Running);
            }
            entry.options.clone()
        };
        let ended = || ListenerError::Failed("the management API ends".into());
        let api = self.api.upgrade().ok_or_else(ended)?;
        let (done, opened) = mpsc::sync_channel(1);
        self.system.get().ok_or_else(ended)?.arbiter().spawn_fn(move || {
            let opened = api.listeners.bind(options);
            let _ = done.send(opened.map(|(entry, server)| api.listeners.run(entry, server)));
        });
        let opened = opened.recv().map_err(|_| ended())?;
        opened.map_err(|error| ListenerError::Failed(error.to_string()))
    }

    fn bind(&self, options: ListenerOptions) -> Result<(Entry, Server), StartError> {
        let ended = || io::Error::other("the management API ends");
        let api = web::Data::from(self.api.upgrade().ok_or_else(ended)?);
        let name: Arc<str> = options.name.as_str().into();
        let came_by = web::Data::new(CameBy(Arc::clone(&name)));
        let connections = Arc::<AtomicUsize>::default();
        // Connections are shared out evenly: so many that each has its share of `max_clients`.
        let workers = options.acceptors.clamp(1, options.max_clients.max(1));
        let (send_timeout, counter) = (options.send_timeout, Arc::clone(&connections));
        let tls = options.tls.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::clone(&api))
                .app_data(web::Data::clone(&came_by))
                .default_service(web::to(answer))
        })
        .workers(workers)
        .max_connections((options.max_clients / workers).max(1))
        .worker_max_blocking_threads(HANDLERS_MAX.div_ceil(workers))
        .backlog(options.backlog)
        .tcp_nodelay(options.nodelay)
        .keep_alive(KEEP_ALIVE)
        .tls_handshake_timeout(HEAD_TIMEOUT)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(Duration::from_secs(1))
        .shutdown_timeout(1)
        .disable_signals()
        .on_connect(move |socket, extensions: &mut Extensions| {
            cut_off_idle_readers(socket, send_timeout);
            counter.fetch_add(1, Ordering::Relaxed);
            let chain = tls.clone().and_then(|tls| Some((client_chain(socket)?, tls)));
            extensions.insert(Connected { counter: Arc::clone(&counter), chain });
        });
        let bind = options.bind;
        let server = match &options.tls {
            None => server.bind(bind),
            Some(tls) => server.bind_rustls_0_23(bind, rustls::ServerConfig::clone(&tls.server)),
        };
        let refused = |error| StartError::Bind { key: options.key.clone(), bind, error };
        let server = server.map_err(refused)?;
        let address = server.addrs().first().copied().unwrap_or(bind);
        let bound = Bound { name: options.name.clone(), address };
        Ok((Entry { options, name, bound, connections, handle: None }, server.run()))
    }

    /// Serves a listener, on the thread of the API.
    fn run(&self, mut entry: Entry, server: Server) {
        entry.handle = Some(server.handle());
        actix_web::rt::spawn(async move {
            if let Err(error) = server.await {
                log::error!("the management API ended: {error}");
            }
        });
        let mut entries = self.entries.lock();
        match entries.iter_mut().find(|other| other.name == entry.name) {
            Some(stopped) => *stopped = entry,
            None => entries.push(entry),
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client that does not read its answer costs the answer's memory until then.
fn cut_off_idle_readers(socket: &dyn Any, timeout: Duration) {
    let plain = socket.downcast_ref::<TcpStream>();
    let secure = socket.downcast_ref::<TlsStream<TcpStream>>();
    if let Some(socket) = plain.or_else(|| secure.map(|tls| tls.get_ref().0))
        && let Err(error) = SockRef::from(socket).set_tcp_user_timeout(Some(timeout))
    {
        log::debug!("no timeout for a client of the management API: {error}");
    }
}

fn client_chain(socket: &dyn Any) -> Option<Vec<CertificateDer<'static>>> {
    let secure = socket.downcast_ref::<TlsStream<TcpStream>>()?;
    secure.get_ref().1.peer_certificates().map(<[_]>::to_vec)
}

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Handlers at work at a time; further requests wait.
const HANDLERS_MAX: usize = 8;
/// Requests at work have a second to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
