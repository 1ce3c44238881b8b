//! Client: one HTTP request for each item, over connections that are kept.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

use rustls::crypto::ring;
use ureq::config::Config;
use ureq::http::{Request, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout, RustlsConnector};
use ureq::{Agent, Error};

use super::config::{WebHookConfig, has_body};
use super::transport::DirectConnector;
use crate::remote::{AddressRules, Envelope, look_up};
use crate::sink::{Item, Remote, Report, Trouble};

/// Sends the items of a web hook.
pub(super) struct Client {
    agent: Agent,
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
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        if config.target.is_https {
            let trusted = config.tls.trusted()?;
            let trusted = trusted.iter().map(|it| Certificate::from_der(it).to_owned());
            tls = tls.root_certs(RootCerts::from(trusted));
            if let Some((chain, _)) = config.tls.identity()? {
                let chain: Vec<_> =
                    chain.iter().map(|it| Certificate::from_der(it).to_owned()).collect();
                let key = PrivateKey::from_pem(&config.tls.key_pem()?)
                    .map_err(|_| "keyfile: no key in PEM format")?;
                tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
            }
        }
        let agent_config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The way around is the operator's: variables for a browser's proxy do not mean the broker.
            .proxy(None)
            .timeout_resolve(Some(config.connect_timeout))
            .timeout_connect(Some(config.connect_timeout))
            .timeout_global(Some(config.connect_timeout + config.request_timeout))
            .max_idle_connections_per_host(config.pool_size)
            .max_idle_connections(config.pool_size)
            .max_response_header_size(HEADER_BYTES_MAX)
            .user_agent(concat!("mqtt-broker/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build();
        let resolver = CheckedResolver(addresses);
        let connector = DirectConnector.chain(RustlsConnector::default());
        let agent = Agent::with_parts(agent_config, connector, resolver);
        Ok(Self { agent, config, n_failures: 0 })
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
        let mut request = Request::builder().method(method).uri(target.url(envelope.label));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = if has_body(method) {
            self.agent.run(request.body(envelope.body).map_err(Error::Http)?)?
        } else {
            self.agent.run(request.body(()).map_err(Error::Http)?)?
        };
        let status = response.status().as_u16();
        // Read to its end the connection can be used again; a long answer is not worth it.
        let body = response.body_mut().as_reader();
        let _ = io::copy(&mut body.take(ANSWER_BYTES_MAX), &mut io::sink());
        Ok(status)
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

/// Looks names up once, and lets through what may be connected to: it is this that the connection is made to.
#[derive(Debug)]
struct CheckedResolver(Arc<AddressRules>);

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let found = look_up(host, port, *timeout.after)?;
        let mut addresses = self.empty();
        for address in self.0.filter(found.into_iter())?.into_iter().take(ADDRESSES_MAX) {
            addresses.push(address);
        }
        Ok(addresses)
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

/// Says what is wrong, without what the library may have put in of the URL, and whether it may pass.
fn describe(error: &Error) -> (String, bool) {
    match error {
        Error::Io(error) => (error.to_string(), true),
        Error::Timeout(timeout) => (format!("timeout: {timeout}"), true),
        Error::HostNotFound => ("host not found".to_owned(), true),
        Error::Rustls(error) => (format!("TLS: {error}"), true),
        Error::BadUri(_) | Error::Http(_) => ("the path makes no URL".to_owned(), false),
        Error::Protocol(_) => ("the answer is no HTTP".to_owned(), true),
        Error::LargeResponseHeader(..) => ("the answer's header is too large".to_owned(), true),
        _ => ("connection failed".to_owned(), true),
    }
}

fn is_cut_off(error: &Error) -> bool {
    let Error::Io(error) = error else { return false };
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// What the library has room for.
const ADDRESSES_MAX: usize = 16;
const HEADER_BYTES_MAX: usize = 64 * 1024;
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
