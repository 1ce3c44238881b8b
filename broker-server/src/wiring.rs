//! Wiring: the one place where the parts meet.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use broker_core::Broker;
use broker_core::config::{Anonymous, BrokerConfig};
use broker_core::extension::{AuthMethod, Authenticator, Extensions};
use broker_mgmt::Management;
use broker_mgmt::ports::{AclRules, Ports};
use broker_net::config::{ListenerConfig, TlsConfig};
use broker_net::{Fetched, Server, ServerOptions};
use broker_plugins::{MosquittoPasswords, PskFile};

use crate::acl::{Acl, Reloadable};
use crate::auth::scram::{self, Scram};
use crate::config::HttpsListener;
use crate::facts::Facts;
use crate::live_config::LiveConfig;
use crate::monitor::{Monitor, machine};
use crate::plugins::Plugins;
use crate::revocation::{Responders, Revocation};
use crate::rules::Rules;
use crate::signals::{Incoming, Signal};
use crate::storage::{self, Storage};
use crate::trace_files::TraceFolder;
use crate::{logging, management};

/// Runs the broker until it is told to stop.
pub(crate) fn run(live: LiveConfig) -> anyhow::Result<()> {
    let begun = Instant::now();
    let live = Arc::new(live);
    let config = live.server_config();
    logging::set_up(&config.log);
    for note in &config.notes {
        log::warn!("{note}");
    }
    let mut signals = Incoming::new()?;
    raise_file_limit();
    dump_no_core();
    make_data_dir(&config.node.data_dir)?;
    log::debug!("store {:?}", config.store);
    let mut extensions = Extensions::default();
    extensions.auth_methods.extend(scram_method(config.scram_users)?);
    extensions.auth_methods.extend(scram_method(config.scram_512_users)?);
    let acl = config.acl_file.as_deref().map(Acl::load).transpose().context("acl_file")?;
    extensions.authorizers.extend(acl.as_ref().map(Acl::authorizer));
    let passwords = config.password_file.as_deref().map(MosquittoPasswords::load).transpose();
    let passwords = passwords.context("auth.mosquitto.password_file")?.map(Arc::new);
    let source = passwords.clone().map(|it| it as Arc<dyn Authenticator>);
    extensions.authenticators.extend(source);
    let mut settings = config.broker;
    settings.durability.queue_memory_bytes = storage::queue_memory_bytes(&config.store)?;
    settings.memory_limit_bytes = machine::memory_limit(config.node.memory_limit)?;
    let storage = Storage::open(&config.store, settings.durability.level)?;
    let mut builder = Broker::builder().config(settings).extensions(extensions);
    if let Some(storage) = &storage {
        builder = builder.store(storage.port());
    }
    let broker = builder.build().context("module.rewrite")?;
    let restoring = Arc::clone(&live);
    broker.when_settings_are_back(move |broker| restoring.restore(broker));
    if let Some(storage) = &storage {
        storage.start(&broker)?;
    }
    let acl = acl.map(|acl| acl.with(&broker));
    // Before anybody can connect: no message passes them unseen.
    let rules = Arc::new(Rules::start(&broker, &live.server_config()).context("rules")?);
    // Before anybody can connect: they may have a say in it.
    let psk_file = PskFile::default();
    let plugins = Plugins::start(&broker, &live, &rules, &psk_file).context("plugins")?;
    let who_is_let_in = who_is_let_in(&config.listeners, &broker.config());
    let fetched = Fetched::default();
    fetched.set_psk_lookup(Arc::new(move |identity| psk_file.secret(identity)));
    let asks_ocsp = asks_ocsp(&config.listeners, &config.management.https);
    let options = ServerOptions {
        fetched: fetched.clone(),
        listeners: config.listeners,
        io_threads: config.node.io_threads,
        data_dir: config.node.data_dir.clone(),
    };
    let bound = Server::bind(&broker, options)?;
    let ports = Ports {
        broker: Arc::clone(&broker),
        node: Arc::new(Facts::new(config.node.name.clone(), begun)),
        log: Arc::new(logging::Runtime),
        store: storage.as_ref().map(Storage::admin),
        acl: acl.clone().map(|acl| acl as Arc<dyn AclRules>),
        trace_files: Arc::new(TraceFolder::new(&config.node.data_dir)),
        configuration: plugins.configuration(&broker),
        plugins: plugins.for_api(),
        client_ids: plugins.client_ids(),
        usernames: plugins.usernames(),
        pushed_metrics: plugins.pushed_metrics(),
        inspection: plugins.inspection(),
        rules: rules.engine(),
    };
    let https = management::load_tls(&config.management, &config.node.data_dir, &fetched)?;
    // Before anybody can connect: its port may be taken, and then nothing has been half-started.
    let management = management::start(config.management, config.dashboard, ports, https.as_ref())?;
    let management = management.map(Arc::new);
    if let Some(management) = &management {
        rules.spare(management);
    }
    let server = bound.serve()?;
    for listener in server.listeners() {
        log::info!("listening name={} address={}", listener.name, listener.address);
    }
    if let Some(line) = who_is_let_in {
        log::info!("{line}");
    }
    for listener in management.iter().flat_map(|it| it.listeners()) {
        log::info!("listening name={} address={}", listener.name, listener.address);
    }
    let listeners = server.listener_set();
    let responders = asks_ocsp
        .then(|| Responders::start(&broker, listeners, &fetched, rules.addresses()))
        .transpose()?;
    let revocation = Revocation::start(&broker, listeners, https, fetched)?;
    let (monitored, ticked) = (Arc::clone(&live), Arc::clone(&rules));
    let monitor = Monitor::start(
        &broker,
        move || monitored.monitor_config(),
        &config.node.data_dir,
        move |now| ticked.tick(now),
    )?;
    log::info!(
        "broker is ready node={} version={} time_ms={}",
        config.node.name,
        env!("CARGO_PKG_VERSION"),
        begun.elapsed().as_millis()
    );
    while let Some(signal) = signals.wait() {
        match signal {
            Signal::Reload => {
                reload_passwords(passwords.as_deref());
                reload(&server, management.as_deref(), acl.as_deref(), &live);
                if let Some(revocation) = &revocation {
                    revocation.refresh();
                }
                if let Some(responders) = &responders {
                    responders.refresh();
                }
            }
            Signal::Stop => break,
        }
    }
    log::info!("stopping");
    signals.exit_on_second();
    if let Some(storage) = &storage {
        storage.cancel_backups();
    }
    drop(monitor);
    drop(revocation);
    drop(responders);
    drop(management);
    let shutdown_timeout_ms = live.server_config().node.shutdown_timeout_ms;
    let cut_off = server.shut_down(Duration::from_millis(shutdown_timeout_ms));
    if cut_off > 0 {
        log::warn!("connections cut off at the end of node.shutdown_timeout: {cut_off}");
    }
    drop(server);
    rules.close();
    if let Some(storage) = storage {
        let _ = broker.keep_alarms();
        storage.close()?;
    }
    log::info!("stopped");
    Ok(())
}

/// The method for these users; without any it is not offered.
fn scram_method<H: scram::Hash>(
    users: BTreeMap<String, scram::Verifier<H>>,
) -> anyhow::Result<Option<Arc<dyn AuthMethod>>> {
    if users.is_empty() {
        return Ok(None);
    }
    let method = Scram::new(users)
        .map_err(|_| anyhow!("{}: the system gives no random numbers", H::METHOD))?;
    Ok(Some(Arc::new(method)))
}

/// Whether one of the listeners asks responders about client certificates.
fn asks_ocsp(listeners: &[ListenerConfig], https: &HttpsListener) -> bool {
    let of_mqtt = listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let of_api = https.listener.enabled.then_some(&https.tls);
    of_mqtt.chain(of_api).any(TlsConfig::asks_ocsp)
}

/// Whom listeners that others can reach let in without a user, and what to do about it.
fn who_is_let_in(listeners: &[ListenerConfig], config: &BrokerConfig) -> Option<&'static str> {
    let reachable = listeners.iter().filter(|it| match it.bind.socket_addr() {
        Some(address) => !address.ip().is_loopback(),
        None => false,
    });
    let zones: Vec<_> = reachable.filter_map(|it| config.zones.get(&it.zone)).collect();
    let any = |who| zones.iter().any(|zone| zone.allow_anonymous == who);
    if any(Anonymous::All) {
        Some("clients without a user are let in from everywhere: allow_anonymous = true")
    } else if any(Anonymous::Local) {
        Some(
            "clients without a user are let in from this machine only: 'broker-cli users add NAME' makes a \
             user, allow_anonymous = true lets everybody in",
        )
    } else {
        None
    }
}

/// What SIGHUP asks for: certificates, access rules and log levels. What cannot be read leaves the old in force.
fn reload(
    server: &Server,
    management: Option<&Management>,
    acl: Option<&Reloadable>,
    live: &LiveConfig,
) {
    match acl.map(AclRules::reload) {
        Some(Ok(n_rules)) => log::info!("access rules read again rules={n_rules}"),
        Some(Err(error)) => log::error!("the old access rules stay: {error}"),
        None => {}
    }
    match live.reload_log() {
        Ok(()) => log::info!("log levels read again"),
        Err(errors) => log::error!("log levels stay as they are: {errors}"),
    }
    let mut errors = server.listener_set().reload_certificates().err().unwrap_or_default();
    errors.extend(management.and_then(|it| it.reload_certificates().err()).into_iter().flatten());
    if errors.is_empty() {
        log::info!("certificates read again");
    }
    errors.iter().for_each(|error| log::error!("the old certificate stays: {error}"));
}

fn reload_passwords(passwords: Option<&MosquittoPasswords>) {
    match passwords.map(MosquittoPasswords::reload) {
        Some(Ok(n_users)) => log::info!("password file read again users={n_users}"),
        Some(Err(error)) => log::error!("the old passwords stay: {error}"),
        None => {}
    }
}

/// Lets the process open as many files as the system allows it to.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Passwords and keys are in memory, and a dump of it lies where others may read it. `prlimit` turns them on again
/// for a process that is to be looked into.
fn dump_no_core() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        log::warn!("core dumps stay on: {error}");
    }
}

fn make_data_dir(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| anyhow!("node.data_dir = {}: {error}", path.display()))
}
