//! HTTP as the broker asks for it: over connections that are kept, in a bounded time, without proxies and redirects.

pub(crate) mod target;
mod transport;

use std::fmt::{self, Write as _};
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout, RustlsConnector};
use ureq::{Agent, Error};

use self::target::Target;
use self::transport::DirectConnector;
use crate::remote::tls::TlsFiles;
use crate::remote::{AddressRules, look_up};

/// Makes HTTP requests; connections are kept and shared by all threads that use it.
pub struct HttpClient {
    agent: Agent,
    answer_bytes_max: usize,
}

/// How requests are made.
pub(crate) struct HttpOptions<'a> {
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    /// Connections that are kept while nobody uses them.
    pub(crate) pool_size: usize,
    /// Bytes of an answer's body that are read.
    pub(crate) answer_bytes_max: usize,
    /// `None` where TLS is not used.
    pub(crate) tls: Option<&'a TlsFiles>,
    /// `None` lets through whatever address the host has.
    pub(crate) addresses: Option<Arc<AddressRules>>,
}

/// How an [`HttpEndpoint`] is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointOptions {
    /// Time to look the host up, and to connect.
    pub connect_timeout: Duration,
    /// Time from then on to the end of the answer.
    pub request_timeout: Duration,
    /// Connections that are kept while nobody uses them.
    pub pool_size: usize,
    /// Bytes of an answer's body that are read; what is behind them is left.
    pub answer_bytes_max: usize,
    /// PEM file of the authorities that are trusted; those of the system without it.
    pub cacertfile: Option<PathBuf>,
    /// PEM file of the broker's own certificates.
    pub certfile: Option<PathBuf>,
    /// PEM file of its key.
    pub keyfile: Option<PathBuf>,
}

/// One URL of the operator's own, which may be on any network, and how it is asked.
pub struct HttpEndpoint {
    client: HttpClient,
    target: Target,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a server has answered.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body, or the first [`answer_bytes_max`](EndpointOptions::answer_bytes_max) of it.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct NoAnswer {
    text: String,
    /// The server could not be reached or has closed the connection: another attempt may have more luck.
    pub is_cut_off: bool,
}

impl HttpClient {
    pub(crate) fn new(options: HttpOptions<'_>) -> Result<Self, String> {
        let HttpOptions { connect_timeout, request_timeout, pool_size, .. } = options;
        let HttpOptions { answer_bytes_max, tls: files, addresses, .. } = options;
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        if let Some(files) = files {
            let trusted = files.trusted()?;
            let trusted = trusted.iter().map(|it| Certificate::from_der(it).to_owned());
            tls = tls.root_certs(RootCerts::from(trusted));
            if let Some((chain, _)) = files.identity()? {
                let chain: Vec<_> =
                    chain.iter().map(|it| Certificate::from_der(it).to_owned()).collect();
                let key = PrivateKey::from_pem(&files.key_pem()?)
                    .map_err(|_| "keyfile: no key in PEM format")?;
                tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
            }
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The way around is the operator's: variables for a browser's proxy do not mean the broker.
            .proxy(None)
            .timeout_resolve(Some(connect_timeout))
            .timeout_connect(Some(connect_timeout))
            .timeout_global(Some(connect_timeout + request_timeout))
            .max_idle_connections_per_host(pool_size)
            .max_idle_connections(pool_size)
            .max_response_header_size(HEADER_BYTES_MAX)
            .user_agent(concat!("mqtt-broker/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build();
        let connector = DirectConnector.chain(RustlsConnector::default());
        let agent = Agent::with_parts(config, connector, CheckedResolver(addresses));
        Ok(Self { agent, answer_bytes_max })
    }

    /// Makes one request; without a body in methods that have none.
    pub(crate) fn request(
        &self,
        method: &Method,
        url: String,
        headers: &[(HeaderName, HeaderValue)],
        body: &[u8],
    ) -> Result<HttpAnswer, Error> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = if has_body(method) {
            self.agent.run(request.body(body).map_err(Error::Http)?)?
        } else {
            self.agent.run(request.body(()).map_err(Error::Http)?)?
        };
        let status = response.status().as_u16();
        // Read to its end the connection can be used again; a long answer is not worth it.
        let mut body = Vec::new();
        let reader = response.body_mut().as_reader();
        let read = reader.take(self.answer_bytes_max as u64).read_to_end(&mut body);
        if read.is_err() {
            // The status says what counts; half of a body must not be taken for a whole one.
            body.clear();
        }
        Ok(HttpAnswer { status, body })
    }
}

impl HttpEndpoint {
    /// Checks URL, headers and files.
    ///
    /// # Errors
    /// What is wrong, by the word of its parameter: `url`, `headers`, `cacertfile`, `certfile`, `keyfile`. No
    /// part of URL or headers is in it: there may be a secret in them.
    pub fn new<'a>(
        url: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        options: &EndpointOptions,
    ) -> Result<Self, String> {
        Self::within(None, url, headers, options)
    }

    /// The same for a URL that is somebody else's, and must not lead where `addresses` forbid it.
    ///
    /// # Errors
    /// As those of [`Self::new`].
    pub fn within<'a>(
        addresses: Option<Arc<AddressRules>>,
        url: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        options: &EndpointOptions,
    ) -> Result<Self, String> {
        let (target, login) = Target::parse(url)?;
        let mut all = Vec::new();
        for (name, value) in headers {
            all.push(header(name, value)?);
        }
        if let Some(login) = login
            && !all.iter().any(|(name, _)| *name == AUTHORIZATION)
        {
            let mut value = HeaderValue::from_str(&login.0).map_err(|_| "url")?;
            value.set_sensitive(true);
            all.push((AUTHORIZATION, value));
        }
        let files = TlsFiles::of_paths(
            options.cacertfile.clone(),
            options.certfile.clone(),
            options.keyfile.clone(),
        )?;
        let client = HttpClient::new(HttpOptions {
            connect_timeout: options.connect_timeout,
            request_timeout: options.request_timeout,
            pool_size: options.pool_size,
            answer_bytes_max: options.answer_bytes_max,
            tls: target.is_https.then_some(&files),
            addresses,
        })?;
        Ok(Self { client, target, headers: all })
    }

    /// GET, with `query` behind what the URL has of its own.
    ///
    /// # Errors
    /// There is no answer.
    pub fn get(&self, query: &str) -> Result<HttpAnswer, NoAnswer> {
        let url = self.target.url_with(query);
        self.client
            .request(&Method::GET, url, &self.headers, &[])
            .map_err(|error| no_answer(&error))
    }

    /// POST.
    ///
    /// # Errors
    /// There is no answer.
    pub fn post(&self, body: &[u8]) -> Result<HttpAnswer, NoAnswer> {
        let url = self.target.url_with("");
        self.client
            .request(&Method::POST, url, &self.headers, body)
            .map_err(|error| no_answer(&error))
    }

    /// `http://host:port`, for a log.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.target.origin()
    }
}

impl fmt::Debug for HttpEndpoint {
    /// Without path, query and headers: there may be a secret in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEndpoint").field("origin", &self.origin()).finish_non_exhaustive()
    }
}

/// Appends bytes as part of a path or query: all but the unreserved characters of RFC 3986 are encoded.
pub fn percent_encode(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A header of the operator's; its value may be a secret.
pub(crate) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("headers: {name:?} is no header name"))?;
    if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&parsed) {
        return Err(format!("headers: {name} is set by the broker"));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("headers: {name}: not allowed in a header"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// Whether requests of a method have a body.
pub(crate) fn has_body(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT
}

fn no_answer(error: &Error) -> NoAnswer {
    let is_refused =
        matches!(error, Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused);
    NoAnswer { text: describe(error).0, is_cut_off: is_refused || is_cut_off(error) }
}

/// Looks names up once, and lets through what may be connected to: it is this that the connection is made to.
#[derive(Debug)]
struct CheckedResolver(Option<Arc<AddressRules>>);

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
        let mut found = look_up(host, port, *timeout.after)?;
        if let Some(rules) = &self.0 {
            found = rules.filter(found.into_iter())?;
        }
        let mut addresses = self.empty();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Says what is wrong, without what the library may have put in of the URL, and whether it may pass.
pub(crate) fn describe(error: &Error) -> (String, bool) {
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

/// Whether the server has closed a connection that was kept, as it may at any time.
pub(crate) fn is_cut_off(error: &Error) -> bool {
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
/// An answer that only says yes or no needs no more.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
