//! Client: one HTTP request for each item, over connections that are kept.

use std::sync::Arc;

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
        Ok(Self { http, config, n_failures: 0 })
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

    fn request(&self, envelope: &Envelope<'_>) -> Result<u16, Error> {
        let WebHookConfig { target, method, headers, .. } = &self.config;
        let url = target.url(envelope.label);
        let answer = self.http.request(method, url, headers, envelope.body)?;
        Ok(answer.status)
    }
}

impl Remote for Client {
    fn deliver(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), Trouble> {
        for item in items {
            if report.is_stopping() {
                return Ok(());
            }
            match self.send(item) {
                Verdict::Taken => report.delivered(1),
                Verdict::Refused(why) => report.refused(why),
                Verdict::Later(why) => return Err(Trouble(why)),
                // One that it always fails on must not hold up those behind it for ever.
                Verdict::Failed(why) if self.n_failures >= self.config.max_retries => {
                    report.refused(why);
                }
                Verdict::Failed(why) => {
                    self.n_failures += 1;
                    return Err(Trouble(why));
                }
            }
            self.n_failures = 0;
        }
        Ok(())
    }
}

fn judge(result: Result<u16, Error>) -> Verdict {
    match result {
        Ok(200..=299) => Verdict::Taken,
        // Somebody on the way, or too much to do.
        Ok(status @ (408 | 429 | 502..=504)) => Verdict::Later(format!("HTTP status {status}")),
        Ok(status @ 500..=599) => Verdict::Failed(format!("HTTP status {status}")),
        Ok(status) => Verdict::Refused(format!("HTTP status {status}")),
        Err(error) => match describe(&error) {
            (text, true) => Verdict::Later(text),
            (text, false) => Verdict::Refused(text),
        },
    }
}
