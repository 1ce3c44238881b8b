//! Responders: the threads that ask OCSP responders about clients' certificates.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use broker_core::{Broker, Report, Severity};
use broker_net::{Fetched, Inquiry, ListenerSet, OCSP_BYTES_MAX, clock};
use broker_rules::AddressRules;
use broker_rules::http::{EndpointOptions, HttpEndpoint};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::{END, fetch_options};

/// They end when this is dropped.
pub(crate) struct Responders {
    fetched: Fetched,
    ended: Receiver<()>,
}

/// One of the threads.
#[derive(Clone)]
struct Asker {
    broker: Arc<Broker>,
    listeners: Arc<ListenerSet>,
    fetched: Fetched,
    /// Where URLs may lead that certificates name.
    addresses: Arc<AddressRules>,
    /// The responders that have not answered when they were asked last.
    silent: Arc<Mutex<HashSet<String>>>,
}

impl Responders {
    pub(crate) fn start(
        broker: &Arc<Broker>,
        listeners: &Arc<ListenerSet>,
        fetched: &Fetched,
        addresses: &Arc<AddressRules>,
    ) -> io::Result<Self> {
        let asker = Asker {
            broker: Arc::clone(broker),
            listeners: Arc::clone(listeners),
            fetched: fetched.clone(),
            addresses: Arc::clone(addresses),
            silent: Arc::default(),
        };
        let (end, ended) = bounded(0);
        let responders = Self { fetched: fetched.clone(), ended };
        for number in 0..THREADS {
            let (asker, end): (Asker, Sender<()>) = (asker.clone(), end.clone());
            thread::Builder::new().name(format!("broker-ocsp-{number}")).spawn(move || {
                // Dropped behind the asker: whoever waits for the end may take it that nothing is held any more.
                let _end = end;
                asker.run();
                drop(asker);
            })?;
        }
        Ok(responders)
    }

    /// Has all of it asked again.
    pub(crate) fn refresh(&self) {
        self.fetched.ask_again();
    }
}

impl Drop for Responders {
    fn drop(&mut self) {
        self.fetched.close_inquiries();
        // An inquiry cannot be cut short; nothing comes of it any more.
        if self.ended.recv_timeout(END) == Err(RecvTimeoutError::Timeout) {
            log::debug!("an inquiry at an OCSP responder is left to its time-out");
        }
    }
}

impl Asker {
    fn run(&self) {
        while let Some(inquiry) = self.fetched.next_inquiry() {
            let begun = Instant::now();
            let (origin, answer) = match self.endpoint(&inquiry) {
                Ok(endpoint) => (endpoint.origin().to_owned(), self.ask(&endpoint, &inquiry)),
                Err(why) => (NO_URL.to_owned(), Err(why)),
            };
            let concluded = self.fetched.put_status(&inquiry, answer);
            log::debug!(
                "OCSP asked responder={origin} time_ms={} problem={:?}",
                begun.elapsed().as_millis(),
                concluded.problem
            );
            self.tell(&origin, concluded.problem);
            if concluded.cuts_off {
                self.listeners.close_revoked();
            }
        }
    }

    fn endpoint(&self, inquiry: &Inquiry) -> Result<HttpEndpoint, String> {
        let half = inquiry.timeout() / 2;
        let options = EndpointOptions {
            // Both together are what clients wait.
            connect_timeout: half,
            request_timeout: half,
            answer_bytes_max: OCSP_BYTES_MAX + 1,
            ..fetch_options()
        };
        let addresses = inquiry.is_url_of_certificate().then(|| Arc::clone(&self.addresses));
        let headers = [("content-type", "application/ocsp-request")];
        HttpEndpoint::within(addresses, inquiry.url(), headers, &options)
            .map_err(|_| "what the certificate names is no URL".to_owned())
    }

    fn ask(&self, endpoint: &HttpEndpoint, inquiry: &Inquiry) -> Result<Vec<u8>, String> {
        let request = inquiry.request().map_err(|error| error.to_string())?;
        let answer = endpoint.post(&request).map_err(|error| error.to_string())?;
        match (answer.status, answer.body.len()) {
            (200, ..=OCSP_BYTES_MAX) => Ok(answer.body),
            (200, _) => Err(format!("the answer is longer than {OCSP_BYTES_MAX} bytes")),
            (status, _) => Err(format!("the server answered {status}")),
        }
    }

    /// An alarm for each responder, and not for each listener: who shares an answer hears of its end as well.
    fn tell(&self, origin: &str, problem: Option<String>) {
        let id = format!("ocsp_unanswered/{origin}");
        let (alarms, now_ms) = (self.broker.alarms(), clock::now().wall_ms);
        let mut silent = self.silent.lock();
        match problem {
            Some(problem) => {
                if silent.len() >= SILENT_MAX && !silent.contains(origin) {
                    return;
                }
                silent.insert(origin.to_owned());
                let summary =
                    format!("{origin} says nothing about clients' certificates: {problem}");
                alarms.raise(&id, Report::new(Severity::Error, "", summary), now_ms);
            }
            None => {
                if silent.remove(origin) {
                    alarms.clear(&id, now_ms);
                }
            }
        }
    }
}

/// Where a certificate names what is no URL.
const NO_URL: &str = "certificate";
/// Responders that have an alarm; certificates may name any number.
const SILENT_MAX: usize = 64;
/// Twice as many as one responder may keep busy.
const THREADS: usize = 8;
