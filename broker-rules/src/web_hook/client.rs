//! Client: one HTTP request for each item, over connections that are kept; as many at once as the pool has.

use std::sync::Arc;
use std::thread;

use ureq::Error;

use super::config::WebHookConfig;
use crate::http::{ANSWER_BYTES_MAX, HttpClient, HttpOptions, describe, is_cut_off};
use crate::remote::{AddressRules, Envelope};
use crate::sink::{Item, Remote, Report, Trouble};

/// Sends the items of a web hook.
pub(super) struct Client {
    http: HttpClient,
    config: WebHookConfig,
    /// How often in a row the server has failed on the first item.
    n_failures: u32,
    /// What came to an end together with one before it that did not: it is not sent again. Kept with its bytes, so that
    /// they stay where they are: that is how it is known again.
    ahead: Vec<(Item, Verdict)>,
}

/// What an answer, or none, means.
enum Verdict {
    Taken,
    /// Not now.
    Later(String),
    /// The server has a fault, perhaps with this one.
    Failed(String),
    /// Never.
    Refused(String),
}

impl Client {
    pub(super) fn new(config: WebHookConfig, addresses: Arc<AddressRules>) -> Result<Self, String> {
        let http = HttpClient::new(HttpOptions {
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout,
            pool_size: config.pool_size,
            answer_bytes_max: ANSWER_BYTES_MAX,
            tls: config.target.is_https.then_some(&config.tls),
            addresses: Some(addresses),
        })?;
        Ok(Self { http, config, n_failures: 0, ahead: Vec::new() })
    }

    fn send(&self, item: &Item) -> Verdict {
        let Some(envelope) = Envelope::open(&item.bytes) else {
            return Verdict::Refused("not an item of a web hook".to_owned());
        };
        match self.request(&envelope) {
            // The server has closed a connection that was kept, as it may at any time.
            Err(error) if is_cut_off(&error) => judge(self.request(&envelope)),
            result => judge(result),
        }
    }

    /// Sends items at once, but for those that have come to an end before, and waits for all.
    fn send_all(&mut self, items: &[Item]) -> Vec<Verdict> {
        let known: Vec<_> = items.iter().map(|item| self.take_ahead(item)).collect();
        let client = &*self;
        thread::scope(|scope| {
            let start =
                |item| thread::Builder::new().spawn_scoped(scope, move || client.send(item));
            // The last one is sent here: alone it needs no thread.
            let last = items.len() - 1;
            let sent: Vec<_> = items
                .iter()
                .zip(known)
                .enumerate()
                .map(|(at, (item, known))| match known {
                    Some(verdict) => Sent::Done(verdict),
                    None if at == last => Sent::Done(client.send(item)),
                    None => start(item).map_or_else(
                        |error| Sent::Done(Verdict::Later(format!("no thread: {error}"))),
                        Sent::UnderWay,
                    ),
                })
                .collect();
            sent.into_iter().map(Sent::wait).collect()
        })
    }

    fn take_ahead(&mut self, item: &Item) -> Option<Verdict> {
        let is_same = |(ahead, _): &(Item, Verdict)| {
            ahead.bytes.as_ptr() == item.bytes.as_ptr() && ahead == item
        };
        let at = self.ahead.iter().position(is_same)?;
        Some(self.ahead.swap_remove(at).1)
    }

    /// Reports what has come to an end up to the first item that has not; what is behind it is remembered.
    fn settle(
        &mut self,
        items: &[Item],
        verdicts: Vec<Verdict>,
        report: &mut Report<'_>,
    ) -> Result<(), Trouble> {
        let mut verdicts = items.iter().zip(verdicts);
        while let Some((_, verdict)) = verdicts.next() {
            let trouble = match verdict {
                Verdict::Taken => {
                    report.delivered(1);
                    None
                }
                // One that it always fails on must not hold up those behind it for ever.
                Verdict::Failed(why) if self.n_failures < self.config.max_retries => {
                    self.n_failures += 1;
                    Some(why)
                }
                Verdict::Refused(why) | Verdict::Failed(why) => {
                    report.refused(why);
                    None
                }
                Verdict::Later(why) => Some(why),
            };
            if let Some(why) = trouble {
                let ended = verdicts.filter(|(_, verdict)| verdict.is_end());
                self.ahead.extend(ended.map(|(item, verdict)| (item.clone(), verdict)));
                return Err(Trouble(why));
            }
            self.n_failures = 0;
        }
        Ok(())
    }

    fn request(&self, envelope: &Envelope<'_>) -> Result<u16, Error> {
        let WebHookConfig { target, method, headers, .. } = &self.config;
        let url = target.url(envelope.label);
        let answer = self.http.request(method, url, headers, envelope.body)?;
        Ok(answer.status)
    }
}

impl Remote for Client {
    fn deliver(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), Trouble> {
        for items in items.chunks(self.config.pool_size) {
            if report.is_stopping() {
                return Ok(());
            }
            let verdicts = self.send_all(items);
            self.settle(items, verdicts, report)?;
        }
        self.ahead.clear();
        Ok(())
    }
}

/// A request, or what came of it.
enum Sent<'scope> {
    Done(Verdict),
    UnderWay(thread::ScopedJoinHandle<'scope, Verdict>),
}

impl Sent<'_> {
    fn wait(self) -> Verdict {
        match self {
            Self::Done(verdict) => verdict,
            Self::UnderWay(thread) => {
                thread.join().unwrap_or_else(|_| Verdict::Later("a request panicked".to_owned()))
            }
        }
    }
}

impl Verdict {
    const fn is_end(&self) -> bool {
        matches!(self, Self::Taken | Self::Refused(_))
    }
}

fn judge(result: Result<u16, Error>) -> Verdict {
    match result {
        Ok(200..=299) => Verdict::Taken,
        // Somebody on the way, or too much to do.
        Ok(status @ (408 | 429 | 502..=504)) => Verdict::Later(format!("HTTP status {status}")),
        Ok(status @ 500..=599) => Verdict::Failed(format!("HTTP status {status}")),
        Ok(status) => Verdict::Refused(format!("HTTP status {status}")),
        // Twice in a row: it may be this one that ends the server.
        Err(error) if is_cut_off(&error) => Verdict::Failed(describe(&error).0),
        Err(error) => match describe(&error) {
            (text, true) => Verdict::Later(text),
            (text, false) => Verdict::Refused(text),
        },
    }
}
