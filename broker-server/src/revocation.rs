//! Revocation lists while the broker runs: read and fetched again, and told of when they cannot be or are out of date.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use broker_core::{Alarms, Broker, Report, Severity};
use broker_net::{CRL_BYTES_MAX, CrlState, FetchedCrls, ListenerSet, ReloadableTls, clock};
use broker_rules::http::{EndpointOptions, HttpEndpoint};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// The thread that keeps the lists fresh; it ends when this is dropped, at the latest after the fetch at work.
pub(crate) struct Revocation(Sender<()>);

/// Whoever goes by revocation lists.
struct Keeper {
    broker: Arc<Broker>,
    listeners: Arc<ListenerSet>,
    management: Option<Arc<ReloadableTls>>,
    fetched: FetchedCrls,
    /// When the lists of a listener are due again, by its key.
    due: HashMap<String, Instant>,
}

impl Revocation {
    /// Begins to keep lists fresh, and fetches what has to be fetched; `None` where there are none.
    pub(crate) fn start(
        broker: &Arc<Broker>,
        listeners: &Arc<ListenerSet>,
        management: Option<Arc<ReloadableTls>>,
        fetched: FetchedCrls,
    ) -> io::Result<Option<Self>> {
        let mut keeper = Keeper {
            broker: Arc::clone(broker),
            listeners: Arc::clone(listeners),
            management,
            fetched,
            due: HashMap::new(),
        };
        if keeper.states().is_empty() {
            return Ok(None);
        }
        let (orders, ordered) = bounded(1);
        thread::Builder::new().name("broker-crl".into()).spawn(move || keeper.run(&ordered))?;
        Ok(Some(Self(orders)))
    }

    /// Has all of them fetched and read now.
    pub(crate) fn refresh(&self) {
        // Full: one order stands there already.
        let _ = self.0.try_send(());
    }
}

impl Keeper {
    fn run(&mut self, ordered: &Receiver<()>) {
        loop {
            let wait = self.keep_fresh(Instant::now());
            match ordered.recv_timeout(wait) {
                Ok(()) => self.due.clear(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does what is due; returns how long nothing is.
    fn keep_fresh(&mut self, now: Instant) -> Duration {
        let mut problems = HashMap::new();
        let mut asked = HashMap::new();
        let mut looked_at = HashSet::new();
        for state in self.states() {
            if self.due.get(&state.key).is_some_and(|due| *due > now) {
                continue;
            }
            let mut pause = Duration::from_millis(state.refresh_ms);
            for url in &state.urls {
                let answer = asked.entry(url.clone()).or_insert_with(|| self.fetch(url));
                if let Err(why) = answer {
                    pause = pause.min(RETRY);
                    problems
                        .insert(state.key.clone(), format!("{}.crl_url = {url}: {why}", state.key));
                }
            }
            self.due.insert(state.key.clone(), now + pause);
            looked_at.insert(state.key);
        }
        let mut errors = self.listeners.reload_crls().err().unwrap_or_default();
        errors.extend(self.management.as_ref().and_then(|tls| {
            let key = tls.crl_state()?.key;
            Some((key, tls.reload_crls().err()?.to_string()))
        }));
        looked_at.extend(errors.iter().map(|(key, _)| key.clone()));
        problems.extend(errors);
        let states = self.states();
        for state in &states {
            if looked_at.contains(&state.key) {
                self.tell_of_problem(&state.key, problems.get(&state.key));
            }
            self.tell_of_age(state);
        }
        let next = self.due.values().min().map_or(RETRY, |due| due.duration_since(now));
        // With a list that is out of date sessions of clients that were let in before end too.
        let ages = states.iter().filter_map(|state| state.next_update_s?.checked_sub(now_s()));
        ages.filter(|s| *s > 0).map(Duration::from_secs).min().map_or(next, |age| age.min(next))
    }

    fn states(&self) -> Vec<CrlState> {
        let mut states = self.listeners.crl_states();
        states.extend(self.management.as_ref().and_then(|tls| tls.crl_state()));
        states
    }

    fn fetch(&self, url: &str) -> Result<(), String> {
        let endpoint = HttpEndpoint::new(url, [], &fetch_options())?;
        let answer = endpoint.get("").map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("the server answered {}", answer.status));
        }
        self.fetched.put(url, &answer.body).map_err(|error| error.to_string())
    }

    fn tell_of_problem(&self, key: &str, problem: Option<&String>) {
        let id = format!("crl_unreadable/{key}");
        match problem {
            Some(problem) => {
                let summary = format!("the old revocation lists stay: {problem}");
                raise(self.broker.alarms(), &id, summary);
            }
            None => {
                self.broker.alarms().clear(&id, clock::now().wall_ms);
            }
        }
    }

    fn tell_of_age(&self, state: &CrlState) {
        let id = format!("crl_expired/{}", state.key);
        if state.next_update_s.is_some_and(|at_s| at_s <= now_s()) {
            let summary = format!("a revocation list of {} is out of date", state.key);
            raise(self.broker.alarms(), &id, summary);
        } else {
            self.broker.alarms().clear(&id, clock::now().wall_ms);
        }
    }
}

fn raise(alarms: &Alarms, id: &str, summary: String) {
    let report = Report::new(Severity::Error, "", summary);
    alarms.raise(id, report, clock::now().wall_ms);
}

fn now_s() -> u64 {
    clock::now().wall_ms / 1_000
}

/// How a list is fetched.
pub(crate) fn fetch_options() -> EndpointOptions {
    EndpointOptions {
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        pool_size: 0,
        answer_bytes_max: CRL_BYTES_MAX + 1,
        cacertfile: None,
        certfile: None,
        keyfile: None,
    }
}

/// Until a server that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(10);
