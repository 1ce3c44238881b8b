//! The life of plugins, seen by plugins that note it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use broker_core::ClientInfo;
use broker_core::ReasonCode;
use broker_core::extension::{Action, Answer, Authentication, Credentials, Extensions, Verdict};

use super::*;
use crate::plugin::{Ready, ServedElsewhere};

/// A plugin that notes its life and adds a link to each chain.
struct Probe {
    name: &'static str,
    life: Arc<Life>,
}

#[derive(Default)]
struct Life {
    is_wrong: AtomicBool,
    begun: AtomicUsize,
    stopped: AtomicUsize,
}

struct Link(Authentication);

impl Authenticator for Link {
    fn authenticate(&self, _: &Arc<Credentials>) -> Answer<Authentication> {
        Answer::Now(self.0.clone())
    }
}

impl Authorizer for Link {
    fn authorize(&self, _: &Arc<ClientInfo>, _: Action, _: &str) -> Answer<Verdict> {
        Answer::Now(Verdict::Ignore)
    }
}

impl Plugin for Probe {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare<'a>(&'a self, _: &PluginsConfig) -> Result<Ready<'a>, String> {
        if self.life.is_wrong.load(Ordering::Relaxed) {
            return Err("probe.key = 7: must be even".into());
        }
        Ok(Box::new(|| {
            self.life.begun.fetch_add(1, Ordering::Relaxed);
            let link = Arc::new(Link(Authentication::Ignore));
            Parts { authenticator: Some(Arc::clone(&link) as _), authorizer: Some(link) }
        }))
    }

    fn stop(&self) {
        self.life.stopped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The configuration with these plugins, or an error.
#[derive(Default, Clone)]
struct Source(Arc<Mutex<Option<String>>>);

impl ConfigSource for Source {
    fn read(&self) -> Result<PluginsConfig, String> {
        match &*self.0.lock() {
            Some(problem) => Err(problem.clone()),
            None => Ok(config(&[])),
        }
    }
}

fn config(loaded: &[&str]) -> PluginsConfig {
    let loaded = loaded.iter().map(|name| (*name).into()).collect();
    PluginsConfig { loaded, ..PluginsConfig::default() }
}

struct World {
    broker: Arc<Broker>,
    source: Source,
    lives: [Arc<Life>; 2],
    host: PluginHost,
}

const A: &str = "emqx_auth_clientid";
const B: &str = "emqx_auth_username";
const FIXED: &str = "emqx_management";

fn broker() -> Arc<Broker> {
    // What stands in the chains without any plugin.
    let extensions = Extensions {
        authenticators: vec![Arc::new(Link(Authentication::Deny(ReasonCode::Banned)))],
        authorizers: vec![Arc::new(Link(Authentication::Ignore))],
        ..Extensions::default()
    };
    Broker::builder().extensions(extensions).build().unwrap()
}

fn try_start(broker: &Arc<Broker>, loaded: &[&str]) -> Result<World, PluginError> {
    let lives: [Arc<Life>; 2] = Default::default();
    let source = Source::default();
    let plugins: Vec<Box<dyn Plugin>> = vec![
        Box::new(Probe { name: A, life: Arc::clone(&lives[0]) }),
        Box::new(Probe { name: B, life: Arc::clone(&lives[1]) }),
        Box::new(ServedElsewhere { name: FIXED, is_fixed: true }),
    ];
    let host = PluginHost::start(broker, plugins, &config(loaded), Box::new(source.clone()))?;
    Ok(World { broker: Arc::clone(broker), source, lives, host })
}

fn start(loaded: &[&str]) -> World {
    try_start(&broker(), loaded).unwrap()
}

impl World {
    fn active(&self) -> Vec<&'static str> {
        self.host.running.read().iter().map(|running| running.name).collect()
    }

    /// How many links there are in both chains.
    fn links(&self) -> (usize, usize) {
        let mut lengths = (0, 0);
        self.broker.change_extensions(|e| lengths = (e.authenticators.len(), e.authorizers.len()));
        lengths
    }

    fn counts(&self, at: usize) -> (usize, usize) {
        let life = &self.lives[at];
        (life.begun.load(Ordering::Relaxed), life.stopped.load(Ordering::Relaxed))
    }
}

#[test]
fn all_are_listed_and_those_that_are_not_here_are_called_so() {
    let world = start(&[A]);
    let list = world.host.list();
    assert_eq!(list.len(), 25);
    let state = |name: &str| list.iter().find(|it| it.entry.name == name).unwrap().state;
    assert_eq!(state(A), State::Active);
    assert_eq!(state(B), State::Inactive);
    assert_eq!(state(FIXED), State::Active, "whatever the configuration says");
    assert_eq!(state("emqx_coap"), State::Absent);
}

#[test]
fn a_plugin_is_loaded_once_and_unloaded_once() {
    let World { host, .. } = &start(&[]);
    assert_eq!(host.unload(A), Err(PluginError::NotStarted));
    assert_eq!(host.load(A), Ok(()));
    assert_eq!(host.load(A), Err(PluginError::AlreadyStarted));
    assert!(host.is_active(A));
    assert_eq!(host.unload(A), Ok(()));
    assert_eq!(host.unload(A), Err(PluginError::NotStarted));
    assert!(!host.is_active(A));
    for order in [PluginHost::load, PluginHost::unload, PluginHost::reload] {
        assert_eq!(order(host, "emqx_nothing"), Err(PluginError::NotFound));
    }
    assert_eq!(host.load("emqx_coap"), Err(PluginError::Absent("emqx_coap")));
    assert_eq!(host.reload("emqx_coap"), Err(PluginError::Absent("emqx_coap")));
    assert_eq!(host.unload("emqx_coap"), Err(PluginError::NotStarted));
    let fixed = host.unload(FIXED).unwrap_err();
    assert_eq!(fixed.to_string(), "emqx_management can not be unloaded");
}

/// Ours stand before what was there, in the order of loading, and nothing of them stays behind.
#[test]
fn links_come_and_go_with_their_plugin() {
    let world = start(&[B]);
    assert_eq!(world.links(), (2, 2));
    world.host.load(A).unwrap();
    assert_eq!(world.active(), [B, FIXED, A]);
    assert_eq!(world.links(), (3, 3));
    let order = |world: &World| {
        let running = world.host.running.read();
        let ours: Vec<_> = running.iter().filter_map(|it| it.parts.authenticator.clone()).collect();
        let mut chain = Vec::new();
        world.broker.change_extensions(|e| chain = e.authenticators.clone());
        assert!(ours.iter().zip(&chain).all(|(a, b)| Arc::ptr_eq(a, b)));
    };
    order(&world);
    world.host.reload(B).unwrap();
    assert_eq!(world.active(), [B, FIXED, A], "a reload keeps its place");
    order(&world);
    for _ in 0..100 {
        for name in [A, B] {
            world.host.unload(name).unwrap();
        }
        assert_eq!(world.links(), (1, 1));
        for name in [A, B] {
            world.host.load(name).unwrap();
            world.host.reload(name).unwrap();
        }
        assert_eq!(world.links(), (3, 3));
        order(&world);
    }
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    let world = start(&[A]);
    let error = || PluginError::Config("probe.key = 7: must be even".into());
    world.lives[0].is_wrong.store(true, Ordering::Relaxed);
    world.lives[1].is_wrong.store(true, Ordering::Relaxed);
    assert_eq!(world.host.reload(A), Err(error()));
    assert_eq!(world.host.load(B), Err(error()));
    assert_eq!(error().to_string(), "parse_config_file_failed: probe.key = 7: must be even");
    assert!(world.host.is_active(A) && !world.host.is_active(B));
    assert_eq!(world.links(), (2, 2));
    assert_eq!(world.counts(0), (1, 0));
    world.lives[0].is_wrong.store(false, Ordering::Relaxed);
    *world.source.0.lock() = Some("broker.toml:1:1: no TOML".into());
    let unreadable = PluginError::Config("broker.toml:1:1: no TOML".into());
    assert_eq!(world.host.reload(A), Err(unreadable));
    assert_eq!(world.counts(0), (1, 0));
    *world.source.0.lock() = None;
    world.host.reload(A).unwrap();
    assert_eq!(world.counts(0), (2, 0), "put in the place of what ran, which is not stopped first");
}

#[test]
fn reload_loads_what_is_not_loaded() {
    let world = start(&[]);
    world.host.reload(A).unwrap();
    assert!(world.host.is_active(A));
}

#[test]
fn another_configuration_is_put_in_force_where_the_plugin_is_at_work() {
    let world = start(&[A]);
    assert_eq!(world.host.configure(A, &config(&[])), Ok(()));
    assert_eq!(world.host.configure(B, &config(&[])), Ok(()));
    assert_eq!((world.counts(0), world.counts(1)), ((2, 0), (0, 1)));
    assert_eq!(world.links(), (2, 2));
    world.lives[0].is_wrong.store(true, Ordering::Relaxed);
    assert!(matches!(world.host.configure(A, &config(&[])), Err(PluginError::Config(_))));
    assert_eq!(world.counts(0), (2, 0));
    assert_eq!(world.host.configure("emqx_nothing", &config(&[])), Err(PluginError::NotFound));
}

/// What runs not is told so, at the start and when it is unloaded.
#[test]
fn what_is_not_loaded_is_stopped() {
    let world = start(&[A]);
    assert_eq!(world.counts(0), (1, 0));
    assert_eq!(world.counts(1), (0, 1));
    world.host.unload(A).unwrap();
    assert_eq!(world.counts(0), (1, 1));
}

#[test]
fn orders_outlive_the_process_and_go_before_the_configuration() {
    let world = start(&[A]);
    world.host.unload(A).unwrap();
    world.host.load(B).unwrap();
    let again = try_start(&world.broker, &[A]).unwrap();
    assert_eq!(again.active(), [B, FIXED]);
    again.host.load(A).unwrap();
    let again = try_start(&world.broker, &[A]).unwrap();
    assert_eq!(again.active(), [B, A, FIXED], "in the order of the orders");
}

/// Without a check of its clients no broker starts; without another feature it does.
#[test]
fn a_broker_does_not_start_without_the_checks_it_is_to_have() {
    let broker = broker();
    let refused = try_start(&broker, &["emqx_auth_mysql"]).err();
    assert_eq!(refused, Some(PluginError::Absent("emqx_auth_mysql")));
    assert!(try_start(&broker, &["emqx_coap"]).is_ok());
}
