//! Revocation lists and stapled answers while the broker runs: read and fetched again, and told of when they cannot
//! be or are out of date.

mod responders;
mod schedule;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use broker_core::{Alarms, Broker, Report, Severity};
use broker_net::{
    CRL_BYTES_MAX, Fetched, ListenerSet, OCSP_BYTES_MAX, OcspQuestion, ReloadableTls,
    RevocationState, clock,
};
use broker_rules::http::{EndpointOptions, HttpEndpoint};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

pub(crate) use self::responders::Responders;
use self::schedule::{RETRY, Schedule, Source};

/// The thread that keeps the lists fresh; it ends when this is dropped.
pub(crate) struct Revocation {
    /// `None` tells it to end.
    orders: Option<Sender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Whoever goes by them.
struct Keeper {
    broker: Arc<Broker>,
    listeners: Arc<ListenerSet>,
    management: Option<Arc<ReloadableTls>>,
    fetched: Fetched,
    schedule: Schedule,
    /// What could not be read when all was read last, by the key of the listener.
    unread: HashMap<String, String>,
}

impl Revocation {
    /// Begins to keep lists fresh, and fetches what has to be fetched; `None` where there are none.
    pub(crate) fn start(
        broker: &Arc<Broker>,
        listeners: &Arc<ListenerSet>,
        management: Option<Arc<ReloadableTls>>,
        fetched: Fetched,
    ) -> io::Result<Option<Self>> {
        let mut keeper = Keeper {
            broker: Arc::clone(broker),
            listeners: Arc::clone(listeners),
            management,
            fetched,
            schedule: Schedule::default(),
            unread: HashMap::new(),
        };
        if keeper.states().is_empty() {
            return Ok(None);
        }
        let (orders, ordered) = bounded(1);
        let (end, ended) = bounded(0);
        let thread = thread::Builder::new().name("broker-crl".into()).spawn(move || {
            // Dropped behind the keeper: whoever waits for the end may take it that nothing is held any more.
            let _end: Sender<()> = end;
            keeper.run(&ordered);
            drop(keeper);
        })?;
        Ok(Some(Self { orders: Some(orders), ended, thread: Some(thread) }))
    }

    /// Has all of them fetched and read now.
    pub(crate) fn refresh(&self) {
        // Full: one order stands there already.
        self.orders.as_ref().map(|orders| orders.try_send(()));
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        self.orders = None;
        // A fetch cannot be cut short; nothing comes of it any more.
        if self.ended.recv_timeout(END) == Err(RecvTimeoutError::Timeout) {
            log::debug!("a fetch of revocation lists is left to its time-out");
        } else if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Keeper {
    fn run(&mut self, ordered: &Receiver<()>) {
        loop {
            if self.bring_what_is_due(ordered).is_err() {
                return;
            }
            let states = self.states();
            states.iter().for_each(|state| self.tell(state));
            match ordered.recv_timeout(self.pause(&states)) {
                Ok(()) => self.schedule.hurry(Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Asks each source that is due, and puts what it has brought in force before it asks the next one.
    fn bring_what_is_due(&mut self, ordered: &Receiver<()>) -> Result<(), Ended> {
        let begun = Instant::now();
        let states = self.states();
        self.schedule.want(states.iter().flat_map(sources), begun);
        while let Some(source) = self.schedule.next(begun) {
            let brought = self.bring(&source, &states);
            if ordered.is_empty() && ordered.try_recv() == Err(TryRecvError::Disconnected) {
                return Err(Ended);
            }
            self.schedule.done(&source, brought, Instant::now());
            self.put_in_force();
        }
        Ok(())
    }

    /// Returns how long what it brought is fresh.
    fn bring(&self, source: &Source, states: &[RevocationState]) -> Result<Duration, String> {
        let of = |key: &String| states.iter().find(move |state| state.key == *key);
        let refresh = |state: &RevocationState| Duration::from_millis(state.refresh_ms);
        let fresh = match source {
            // They are read whenever something is put in force.
            Source::Files(key) => of(key).map(refresh),
            Source::List(url) => {
                self.fetch(url)?;
                states.iter().filter(|state| state.urls.contains(url)).map(refresh).min()
            }
            Source::Answer(key) => {
                of(key).and_then(question).map(|question| self.ask(question)).transpose()?
            }
        };
        Ok(fresh.unwrap_or(RETRY))
    }

    /// Has all listeners take what has been fetched, and read their files.
    fn put_in_force(&mut self) {
        let mut unread = self.listeners.refresh().err().unwrap_or_default();
        if let Some(tls) = &self.management
            && let Some(state) = tls.revocation_state()
        {
            let errors = tls.refresh();
            unread.extend(errors.iter().map(|error| (state.key.clone(), error.to_string())));
        }
        self.unread.clear();
        for (key, problem) in unread {
            // The first of a listener is told; when it is mended, the next.
            self.unread.entry(key).or_insert(problem);
        }
    }

    /// How long nothing is due.
    fn pause(&self, states: &[RevocationState]) -> Duration {
        // With a list that is out of date sessions of clients that were let in before end too.
        let ends = |state: &RevocationState| {
            [state.next_update_s, state.staple.as_ref().and_then(|staple| staple.until_s)]
        };
        let left = states.iter().flat_map(ends).flatten().filter_map(|at| at.checked_sub(now_s()));
        let end = left.filter(|s| *s > 0).map(Duration::from_secs).min();
        let due = self.schedule.wait(Instant::now());
        end.map_or(due, |end| end.min(due))
    }

    fn states(&self) -> Vec<RevocationState> {
        let mut states = self.listeners.revocation_states();
        states.extend(self.management.as_ref().and_then(|tls| tls.revocation_state()));
        states
    }

    fn fetch(&self, url: &str) -> Result<(), String> {
        let endpoint = HttpEndpoint::new(url, [], &fetch_options())?;
        let answer = endpoint.get("").map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("the server answered {}", answer.status));
        }
        self.fetched.put_list(url, &answer.body).map_err(|error| error.to_string())
    }

    /// Asks the responder that the certificate names; returns how long its answer is fresh.
    fn ask(&self, question: &OcspQuestion) -> Result<Duration, String> {
        let url = question.responder().ok_or("the certificate names no responder")?;
        let options = EndpointOptions { answer_bytes_max: OCSP_BYTES_MAX + 1, ..fetch_options() };
        let headers = [("content-type", "application/ocsp-request")];
        let said = |why: String| format!("{url}: {why}");
        let endpoint = HttpEndpoint::new(&url, headers, &options).map_err(said)?;
        let request = question.encode().map_err(|error| said(error.to_string()))?;
        let answer = endpoint.post(&request).map_err(|error| said(error.to_string()))?;
        if answer.status != 200 {
            return Err(said(format!("the server answered {}", answer.status)));
        }
        let until_s = self.fetched.put_answer(question, &answer.body);
        let until_s = until_s.map_err(|error| said(error.to_string()))?;
        let left = until_s.map(|at| Duration::from_secs(at.saturating_sub(now_s()) / 2));
        Ok(left.unwrap_or(ANSWER_AGE).clamp(RETRY, ANSWER_AGE))
    }

    fn tell(&self, state: &RevocationState) {
        self.tell_of_problem(state);
        self.tell_of_age(state);
        self.tell_of_staple(state);
    }

    fn tell_of_problem(&self, state: &RevocationState) {
        let key = &state.key;
        let id = format!("crl_unreadable/{key}");
        let unfetched = state.urls.iter().find_map(|url| {
            let why = self.schedule.problem(&Source::List(url.clone()))?;
            Some(format!("{key}.crl_url = {url}: {why}"))
        });
        match unfetched.or_else(|| self.unread.get(key).cloned()) {
            Some(problem) => {
                raise(self.broker.alarms(), &id, format!("what was there stays: {problem}"));
            }
            None => {
                self.broker.alarms().clear(&id, clock::now().wall_ms);
            }
        }
    }

    fn tell_of_staple(&self, state: &RevocationState) {
        let Some(staple) = &state.staple else { return };
        let key = &state.key;
        let id = format!("ocsp_not_stapled/{key}");
        if staple.is_there {
            self.broker.alarms().clear(&id, clock::now().wall_ms);
            return;
        }
        let source = Source::Answer(key.clone());
        let problem = match (staple.problem, &staple.question) {
            (Some(problem), _) => Some(problem.to_string()),
            // What has not been asked yet is no problem.
            (None, Some(_)) => self.schedule.problem(&source).map(str::to_owned),
            (None, None) => Some("the file cannot be read, and its last answer is over".to_owned()),
        };
        if let Some(problem) = problem {
            let summary = format!("no OCSP answer for the certificate of {key}: {problem}");
            raise(self.broker.alarms(), &id, summary);
        }
    }

    fn tell_of_age(&self, state: &RevocationState) {
        let id = format!("crl_expired/{}", state.key);
        if state.next_update_s.is_some_and(|at_s| at_s <= now_s()) {
            let summary = format!("a revocation list of {} is out of date", state.key);
            raise(self.broker.alarms(), &id, summary);
        } else {
            self.broker.alarms().clear(&id, clock::now().wall_ms);
        }
    }
}

/// That it is to end.
struct Ended;

/// What a listener goes by.
fn sources(state: &RevocationState) -> Vec<Source> {
    let lists = state.urls.iter().cloned().map(Source::List);
    let answer = question(state).map(|_| Source::Answer(state.key.clone()));
    [Source::Files(state.key.clone())].into_iter().chain(lists).chain(answer).collect()
}

fn question(state: &RevocationState) -> Option<&OcspQuestion> {
    state.staple.as_ref()?.question.as_ref()
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

/// How long the end of the broker waits for a fetch at work.
const END: Duration = Duration::from_secs(2);
/// Answers hold for hours or days; one that is an hour old, or has passed half of its time, is made new.
const ANSWER_AGE: Duration = Duration::from_secs(3_600);
