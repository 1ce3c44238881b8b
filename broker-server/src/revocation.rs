//! Revocation lists and stapled answers while the broker runs: read and fetched again, and told of when they cannot
//! be or are out of date.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use broker_core::{Alarms, Broker, Report, Severity};
use broker_net::{
    CRL_BYTES_MAX, Fetched, ListenerSet, OCSP_BYTES_MAX, OcspQuestion, ReloadableTls,
    RevocationState, clock,
};
use broker_rules::http::{EndpointOptions, HttpEndpoint};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// The thread that keeps the lists fresh; it ends when this is dropped, at the latest after the fetch at work.
pub(crate) struct Revocation(Sender<()>);

/// Whoever goes by them.
struct Keeper {
    broker: Arc<Broker>,
    listeners: Arc<ListenerSet>,
    management: Option<Arc<ReloadableTls>>,
    fetched: Fetched,
    /// When the lists of a listener are due again, by its key.
    due: HashMap<String, Instant>,
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
        let (mut problems, mut unanswered) = (HashMap::new(), HashMap::new());
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
            if let Some(staple) = &state.staple
                && let Some(question) = &staple.question
            {
                match self.ask(question) {
                    Ok(fresh) => pause = pause.min(fresh),
                    Err(why) => {
                        pause = pause.min(RETRY);
                        unanswered.insert(state.key.clone(), why);
                    }
                }
            }
            self.due.insert(state.key.clone(), now + pause);
            looked_at.insert(state.key);
        }
        let mut errors = self.listeners.refresh().err().unwrap_or_default();
        errors.extend(self.management.as_ref().and_then(|tls| {
            let key = tls.revocation_state()?.key;
            Some((key, tls.refresh().err()?.to_string()))
        }));
        looked_at.extend(errors.iter().map(|(key, _)| key.clone()));
        problems.extend(errors);
        let states = self.states();
        for state in &states {
            if looked_at.contains(&state.key) {
                self.tell_of_problem(&state.key, problems.get(&state.key));
            }
            self.tell_of_age(state);
            self.tell_of_staple(state, unanswered.get(&state.key));
        }
        let next = self.due.values().min().map_or(RETRY, |due| due.duration_since(now));
        // With a list that is out of date sessions of clients that were let in before end too.
        let ends = |state: &RevocationState| {
            [state.next_update_s, state.staple.as_ref().and_then(|staple| staple.until_s)]
        };
        let ages = states.iter().flat_map(ends).flatten().filter_map(|at| at.checked_sub(now_s()));
        ages.filter(|s| *s > 0).map(Duration::from_secs).min().map_or(next, |age| age.min(next))
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

    /// `problem` is why there is no new answer, if one was asked for now.
    fn tell_of_staple(&self, state: &RevocationState, problem: Option<&String>) {
        let Some(staple) = &state.staple else { return };
        let id = format!("ocsp_not_stapled/{}", state.key);
        if staple.is_there {
            self.broker.alarms().clear(&id, clock::now().wall_ms);
        } else if let Some(problem) = problem {
            let summary = format!("no OCSP answer for the certificate of {}: {problem}", state.key);
            raise(self.broker.alarms(), &id, summary);
        } else if staple.question.is_none() {
            let summary = format!("{}.ocsp_stapling: the answer is out of date", state.key);
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
/// Answers hold for hours or days; one that is an hour old, or has passed half of its time, is made new.
const ANSWER_AGE: Duration = Duration::from_secs(3_600);
