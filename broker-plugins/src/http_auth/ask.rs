//! Asking the server: requests on threads of their own, and what their answers mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use broker_core::extension::{
    Action, Answer, Authentication, Authenticator, Authorizer, Credentials, Verdict,
};
use broker_core::{ClientInfo, ReasonCode};
use broker_rules::http::HttpEndpoint;
use parking_lot::Mutex;

use super::HttpMethod;
use super::params::{Facts, HttpParams};
use crate::workers::{Outcome, Overloaded, Workers};

/// One kind of request.
pub(super) struct Request {
    /// Of the configuration: `auth_req`.
    pub(super) key: &'static str,
    pub(super) endpoint: HttpEndpoint,
    pub(super) method: HttpMethod,
    pub(super) params: HttpParams,
}

/// When a request is made again whose connection was refused or cut off.
#[derive(Clone, Copy)]
pub(super) struct Retry {
    pub(super) times: u32,
    pub(super) interval: Duration,
    pub(super) backoff: f64,
    /// None begins when this much time has passed since the first.
    pub(super) within: Duration,
}

/// What is asked, and when it no longer is.
pub(super) struct Requests {
    first: Request,
    superuser: Option<Request>,
    retry: Retry,
    stopped: Arc<AtomicBool>,
    failures: Complaint,
    full: Complaint,
}

/// Asked when a client connects.
pub(super) struct Login(pub(super) Asker);

/// Asked what a client may do.
pub(super) struct Rights(pub(super) Asker);

/// Requests, and the threads that make them.
pub(super) struct Asker {
    pub(super) workers: Arc<Workers>,
    pub(super) requests: Arc<Requests>,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Yes,
    No,
    Ignore,
}

/// There is no answer, for one reason or another.
struct Silent;

impl Asker {
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Requests) -> T + Send + 'static,
    ) -> Result<Outcome<T>, Overloaded> {
        let requests = Arc::clone(&self.requests);
        let outcome = self.workers.run(move || work(&requests));
        if outcome.is_err() {
            let Request { key, endpoint, .. } = &self.requests.first;
            let origin = endpoint.origin();
            self.requests.full.say(|n| {
                log::error!("auth.http.{key}: too much waits for {origin}; refused so far: {n}");
            });
        }
        outcome
    }
}

impl Requests {
    pub(super) fn new(first: Request, retry: Retry, stopped: Arc<AtomicBool>) -> Self {
        let (failures, full) = Default::default();
        Self { first, superuser: None, retry, stopped, failures, full }
    }

    pub(super) fn with_superuser(mut self, superuser: Option<Request>) -> Self {
        self.superuser = superuser;
        self
    }

    fn log_in(&self, credentials: &Credentials) -> Authentication {
        let facts = Facts {
            client_id: &credentials.client_id,
            username: credentials.username.as_deref(),
            password: credentials.password.as_deref(),
            address: credentials.peer.addr.map(|addr| addr.ip()),
            certificate: credentials.peer.certificate.as_deref(),
            right: None,
        };
        match self.ask(&self.first, &facts) {
            Ok(Said::Yes) => {
                // Who cannot be told to be one is none.
                let ask = |request| matches!(self.ask(request, &facts), Ok(Said::Yes));
                Authentication::Allow { superuser: self.superuser.as_ref().is_some_and(ask) }
            }
            Ok(Said::No) => Authentication::Deny(ReasonCode::NotAuthorized),
            Ok(Said::Ignore) => Authentication::Ignore,
            Err(Silent) => Authentication::Deny(ReasonCode::ServerUnavailable),
        }
    }

    fn right(&self, client: &ClientInfo, action: Action, topic: &str) -> Verdict {
        let facts = Facts {
            client_id: &client.client_id,
            username: client.username.as_deref(),
            password: None,
            address: client.peer.map(|addr| addr.ip()),
            certificate: client.certificate.as_deref(),
            right: Some((action, topic, &client.mountpoint)),
        };
        match self.ask(&self.first, &facts) {
            Ok(Said::Yes) => Verdict::Allow,
            Ok(Said::No) => Verdict::Deny,
            Ok(Said::Ignore) => Verdict::Ignore,
            Err(Silent) => Verdict::Failed,
        }
    }

    fn ask(&self, request: &Request, facts: &Facts<'_>) -> Result<Said, Silent> {
        let params = request.params.encode(facts);
        let begun = Instant::now();
        let mut wait = self.retry.interval;
        for attempt in 0.. {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(Silent);
            }
            let answer = match request.method {
                HttpMethod::Get => request.endpoint.get(&params),
                HttpMethod::Post => request.endpoint.post(params.as_bytes()),
            };
            let error = match answer {
                Ok(answer) if answer.status == 200 && answer.body == b"ignore" => {
                    return Ok(Said::Ignore);
                }
                Ok(answer) if answer.status == 200 => return Ok(Said::Yes),
                Ok(_) => return Ok(Said::No),
                Err(error) => error,
            };
            let is_in_time = begun.elapsed() + wait < self.retry.within;
            if !error.is_cut_off || attempt >= self.retry.times || !is_in_time {
                let (key, origin) = (request.key, request.endpoint.origin());
                self.failures.say(|n| {
                    log::error!("auth.http.{key}: {origin}: {error}; failed so far: {n}");
                });
                break;
            }
            thread::sleep(wait);
            wait = wait.mul_f64(self.retry.backoff.clamp(1.0, BACKOFF_MAX)).min(self.retry.within);
        }
        Err(Silent)
    }
}

impl Authenticator for Login {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let is_missing = |text: Option<&[u8]>| text.is_none_or(<[u8]>::is_empty);
        if is_missing(credentials.username.as_deref().map(str::as_bytes))
            || is_missing(credentials.password.as_deref())
        {
            return Answer::Now(Authentication::Missing(ReasonCode::BadUserNameOrPassword));
        }
        let credentials = Arc::clone(credentials);
        match self.0.run(move |requests| requests.log_in(&credentials)) {
            Ok(outcome) => Answer::later(async {
                outcome.await.unwrap_or(Authentication::Deny(ReasonCode::ServerUnavailable))
            }),
            Err(Overloaded) => Answer::Now(Authentication::Deny(ReasonCode::ServerBusy)),
        }
    }
}

impl Authorizer for Rights {
    fn asks_others(&self) -> bool {
        true
    }

    fn authorize(&self, client: &Arc<ClientInfo>, action: Action, topic: &str) -> Answer<Verdict> {
        let (client, topic) = (Arc::clone(client), topic.to_owned());
        match self.0.run(move |requests| requests.right(&client, action, &topic)) {
            Ok(outcome) => Answer::later(async { outcome.await.unwrap_or(Verdict::Failed) }),
            Err(Overloaded) => Answer::Now(Verdict::Failed),
        }
    }
}

/// Something that goes wrong for many at once: counted, and said once in a while.
#[derive(Default)]
struct Complaint(Mutex<(u64, Option<Instant>)>);

impl Complaint {
    fn say(&self, say: impl FnOnce(u64)) {
        let mut state = self.0.lock();
        state.0 += 1;
        if state.1.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            state.1 = Some(Instant::now());
            say(state.0);
        }
    }
}

const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// What the configuration takes.
const BACKOFF_MAX: f64 = 100.0;
