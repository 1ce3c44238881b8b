//! `emqx_auth_http`: a web server of the operator's says who may connect, who is a superuser, and who may do what.

mod ask;
mod params;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_rules::http::{ANSWER_BYTES_MAX, EndpointOptions, HttpEndpoint};
use parking_lot::Mutex;

use self::ask::{Asker, Login, Request, Retry, Rights};
pub use self::params::HttpParams;
use self::params::Purpose;
use crate::config::PluginsConfig;
use crate::plugin::{Parts, Plugin, Ready};
use crate::workers::Workers;

/// `auth.http.*`.
#[derive(Clone, PartialEq)]
pub struct HttpAuthConfig {
    /// `auth_req`: who may connect.
    pub auth: HttpRequestConfig,
    /// `super_req`: who is a superuser.
    pub superuser: HttpRequestConfig,
    /// `acl_req`: who may do what.
    pub acl: HttpRequestConfig,
    /// `headers`: sent with each request.
    pub headers: BTreeMap<String, String>,
    /// `request.connect_timeout`; 0 is the default.
    pub connect_timeout_ms: u64,
    /// `request.timeout`; 0 is the default.
    pub timeout_ms: u64,
    /// `request.retry_times`: how often a request is made again whose connection was refused or cut off.
    pub retry_times: u32,
    /// `request.retry_interval`: the first wait in between.
    pub retry_interval_ms: u64,
    /// `request.retry_backoff`: by how much each wait is longer than the one before it.
    pub retry_backoff: f64,
    /// `pool_size`: requests of a kind that are under way at once, and connections that are kept for them.
    pub pool_size: usize,
    /// `ssl.cacertfile`: authorities that are trusted; those of the system without it.
    pub cacertfile: Option<PathBuf>,
    /// `ssl.certfile`: the broker's own certificates.
    pub certfile: Option<PathBuf>,
    /// `ssl.keyfile`: their key.
    pub keyfile: Option<PathBuf>,
}

/// One kind of request.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequestConfig {
    /// `url`: where it goes; without it nobody is asked.
    pub url: Option<String>,
    /// `method`.
    pub method: HttpMethod,
    /// `params`.
    pub params: HttpParams,
}

/// How a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// Parameters as query of the URL.
    Get,
    /// Parameters as a form in the body.
    Post,
}

/// The plugin.
#[derive(Default)]
pub struct HttpAuth {
    running: Mutex<Running>,
}

/// What is at work.
#[derive(Default)]
struct Running {
    /// Tells it that it no longer is.
    stopped: Arc<AtomicBool>,
    workers: Vec<Arc<Workers>>,
    /// Of the configuration before: connections may come to them until they have seen the change.
    before: Vec<Arc<Workers>>,
}

impl Default for HttpAuthConfig {
    /// As the original's file has it, but that nobody is asked: which URLs count is for the operator to say.
    fn default() -> Self {
        let request = |method, params| HttpRequestConfig {
            url: None,
            method,
            params: HttpParams::parse(params).unwrap_or_default(),
        };
        Self {
            auth: request(HttpMethod::Post, "clientid=%c,username=%u,password=%P"),
            superuser: request(HttpMethod::Post, "clientid=%c,username=%u"),
            acl: request(HttpMethod::Get, "access=%A,username=%u,clientid=%c,ipaddr=%a,topic=%t"),
            headers: BTreeMap::new(),
            connect_timeout_ms: DEFAULT_TIMEOUT_MS,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            retry_times: 3,
            retry_interval_ms: 1,
            retry_backoff: 10.0,
            pool_size: 32,
            cacertfile: None,
            certfile: None,
            keyfile: None,
        }
    }
}

impl fmt::Debug for HttpAuthConfig {
    /// Leaves URLs and headers out, so that no log can hold what is secret in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAuthConfig")
            .field("auth", &self.auth)
            .field("superuser", &self.superuser)
            .field("acl", &self.acl)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("timeout_ms", &self.timeout_ms)
            .field("retry_times", &self.retry_times)
            .field("retry_interval_ms", &self.retry_interval_ms)
            .field("retry_backoff", &self.retry_backoff)
            .field("pool_size", &self.pool_size)
            .field("cacertfile", &self.cacertfile)
            .field("certfile", &self.certfile)
            .field("keyfile", &self.keyfile)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpRequestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequestConfig")
            .field("is_asked", &self.url.is_some())
            .field("method", &self.method)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl HttpAuthConfig {
    fn timeout(ms: u64) -> Duration {
        Duration::from_millis(if ms == 0 { DEFAULT_TIMEOUT_MS } else { ms })
    }

    fn options(&self) -> EndpointOptions {
        EndpointOptions {
            connect_timeout: Self::timeout(self.connect_timeout_ms),
            request_timeout: Self::timeout(self.timeout_ms),
            pool_size: self.pool_size,
            answer_bytes_max: ANSWER_BYTES_MAX,
            cacertfile: self.cacertfile.clone(),
            certfile: self.certfile.clone(),
            keyfile: self.keyfile.clone(),
        }
    }

    fn retry(&self) -> Retry {
        Retry {
            times: self.retry_times,
            interval: Duration::from_millis(self.retry_interval_ms),
            backoff: self.retry_backoff,
            within: Self::timeout(self.connect_timeout_ms) + Self::timeout(self.timeout_ms),
        }
    }

    /// A request that is ready to be made; `None` where nobody is asked.
    fn request(&self, purpose: Purpose) -> Result<Option<Request>, String> {
        let (key, config) = match purpose {
            Purpose::Auth => ("auth_req", &self.auth),
            Purpose::Superuser => ("super_req", &self.superuser),
            Purpose::Acl => ("acl_req", &self.acl),
        };
        let Some(url) = &config.url else { return Ok(None) };
        let form = ("content-type", "application/x-www-form-urlencoded");
        let of_body = (config.method == HttpMethod::Post).then_some(form);
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| !name.eq_ignore_ascii_case(form.0));
        let headers = of_body.into_iter().chain(own);
        let endpoint = HttpEndpoint::new(url, headers, &self.options()).map_err(|why| {
            if why.starts_with("url") {
                format!("auth.http.{key}.{why}")
            } else if why.starts_with("headers") {
                format!("auth.http.{why}")
            } else {
                format!("auth.http.ssl.{why}")
            }
        })?;
        config.params.check(purpose).map_err(|why| format!("auth.http.{key}.params: {why}"))?;
        Ok(Some(Request { key, endpoint, method: config.method, params: config.params.clone() }))
    }
}

impl HttpAuth {
    /// The plugin, not yet at work.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Plugin for HttpAuth {
    fn name(&self) -> &'static str {
        "emqx_auth_http"
    }

    fn stop(&self) {
        let Running { stopped, workers, before } = std::mem::take(&mut *self.running.lock());
        stopped.store(true, Ordering::Relaxed);
        // Connections that are quiet keep what they ask until they are heard again.
        workers.iter().chain(&before).for_each(|it| it.close());
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let config = &config.auth_http;
        let auth = config.request(Purpose::Auth)?;
        let superuser = config.request(Purpose::Superuser)?;
        let acl = config.request(Purpose::Acl)?;
        if auth.is_none() && superuser.is_some() {
            return Err("auth.http.super_req.url: needs auth.http.auth_req.url".to_owned());
        }
        if auth.is_none() && acl.is_none() {
            return Err(
                "auth.http.auth_req.url, auth.http.acl_req.url: one must be given".to_owned()
            );
        }
        let stopped = Arc::<AtomicBool>::default();
        let asker = |requests| Asker {
            // One kind does not wait behind the other: those who are connected not behind those who want to be.
            workers: Arc::new(Workers::for_requests(config.pool_size)),
            requests: Arc::new(requests),
        };
        let new = |request| ask::Requests::new(request, config.retry(), Arc::clone(&stopped));
        let authenticator = auth.map(|auth| Login(asker(new(auth).with_superuser(superuser))));
        let authorizer = acl.map(|acl| Rights(asker(new(acl))));
        Ok(Box::new(move || {
            // What is under way with the old configuration comes to its end with it.
            let of_login = authenticator.iter().map(|it| Arc::clone(&it.0.workers));
            let of_rights = authorizer.iter().map(|it| Arc::clone(&it.0.workers));
            let workers = of_login.chain(of_rights).collect();
            let mut running = self.running.lock();
            running.before.iter().for_each(|it| it.close());
            let before = std::mem::take(&mut running.workers);
            *running = Running { stopped, workers, before };
            Parts {
                authenticator: authenticator.map(|it| Arc::new(it) as _),
                authorizer: authorizer.map(|it| Arc::new(it) as _),
            }
        }))
    }
}

/// Also where 0 is given, which is "never" in the original: a thread must not wait for ever.
const DEFAULT_TIMEOUT_MS: u64 = 5_000;
