//! HTTP: a thread of its own with the listeners, bounds on what a client may send, and the way of a request.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::rt::time::timeout;
use actix_web::{HttpRequest, HttpResponse, web};
use parking_lot::Mutex;

use crate::api::{self, Api};
use crate::applications::{Applications, PUBLIC, Role};
use crate::auth::{Authentication, Refused};
use crate::dispatch::{self, Found};
use crate::error::{ApiError, Code};
use crate::listeners::{CameBy, Connected, HttpListeners};
use crate::options::{ListenerOptions, ManagementOptions, TlsOptions};
use crate::ports::Ports;
use crate::prometheus;
use crate::reply::Reply;
use crate::request::{Request, parse_query};
use crate::route::Method;
use crate::site;
use crate::users::Users;

/// The management API at work. It ends when it is dropped.
pub struct Management {
    api: Arc<Api>,
    /// Of the listeners that have certificates.
    tls: Vec<TlsOptions>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A listener of the management API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// `http:management`.
    pub name: String,
    /// With the port that the system chose, if it had to.
    pub address: SocketAddr,
}

/// Why the management API does not start; the operator's to mend, but for the last two.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of a listener is not to be had.
    #[error("{key}.bind = {bind}: {error}")]
    Bind {
        /// `management.listener.http`.
        key: String,
        /// Where it was to listen.
        bind: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Everybody would know how to get in.
    #[error("{name} would listen on {bind}, and {}", public(applications, users))]
    Public {
        /// `http:management`.
        name: String,
        /// Where it was to listen.
        bind: SocketAddr,
        /// Ids of the applications that have the secret that everybody knows.
        applications: Vec<String>,
        /// Names of the users of the dashboard that have that password.
        users: Vec<String>,
    },
    /// The system gives no thread or no random numbers.
    #[error("the management API does not start: {0}")]
    System(#[from] io::Error),
}

/// Who has the secret that everybody knows, and how that is changed.
fn public(applications: &[String], users: &[String]) -> String {
    let has = |what: &str, names: &[String], secret: &str| {
        let verb = if names.len() == 1 { "has" } else { "have" };
        format!(
            "{what} {} {verb} the {secret} that everybody knows, \"{PUBLIC}\"",
            names.join(", ")
        )
    };
    let curl = "curl -u admin:... -X PUT http://127.0.0.1:8080/api/v3";
    let (mut who, mut how, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(first) = applications.first() {
        who.push(has("application", applications, "secret"));
        how.push(format!("{curl}/apps/{first} -d '{{\"secret\":\"...\"}}'"));
        keys.push("management.application.default_secret");
    }
    if let Some(first) = users.first() {
        who.push(has("user", users, "password"));
        how.push(format!("{curl}/users/{first} -d '{{\"password\":\"...\"}}'"));
        keys.push("dashboard.default_user.password");
    }
    format!(
        "{}. Start on 127.0.0.1 and change it: {}; a new broker takes {}",
        who.join(", and "),
        how.join("; "),
        keys.join(" and ")
    )
}

impl Management {
    /// Binds all listeners and serves them.
    ///
    /// # Errors
    /// A listener cannot be bound, or the secret that everybody knows would be open to others than this host.
    pub fn start(options: ManagementOptions, ports: Ports) -> Result<Self, StartError> {
        let no_random = || io::Error::other("the system gives no random numbers");
        let Ports {
            broker,
            node,
            log,
            store,
            acl,
            trace_files,
            configuration,
            plugins,
            client_ids,
            usernames,
            pushed_metrics,
            inspection,
            rules,
        } = ports;
        let applications = Applications::load(Arc::clone(&broker), options.default_secret)
            .map_err(|_| no_random())?;
        let applications = Arc::new(applications);
        let users = Users::load(Arc::clone(&broker), &options.default_user);
        let users = users.map_err(|_| no_random())?;
        check_exposure(&options.listeners, &applications, &users)?;
        let authentication =
            Authentication::new(Arc::clone(&applications)).ok_or_else(no_random)?;
        let api = Arc::new_cyclic(|api| Api {
            broker,
            node,
            configuration,
            plugins,
            client_ids,
            usernames,
            pushed_metrics,
            inspection,
            applications,
            users,
            authentication: Arc::new(authentication),
            max_row_limit: options.max_row_limit,
            listeners: HttpListeners::new(api.clone()),
            log,
            store,
            acl,
            trace_files,
            rules,
            trials: Default::default(),
            aside: Default::default(),
            turns: Mutex::default(),
        });
        let (tell, told) = mpsc::sync_channel(1);
        let listeners = options.listeners;
        let tls = listeners.iter().filter_map(|listener| listener.tls.clone()).collect();
        let thread = thread::Builder::new().name("management".into()).spawn({
            let api = Arc::clone(&api);
            move || api.listeners.serve(listeners, &tell)
        })?;
        told.recv().map_err(|_| io::Error::other("its thread ended"))??;
        Ok(Self { api, tls, thread: Mutex::new(Some(thread)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn listeners(&self) -> Vec<Bound> {
        self.api.listeners.bound()
    }

    /// Reads all certificates again, for connections to come.
    ///
    /// # Errors
    /// One of them cannot be used; the old ones stay in force there. One text for each listener.
    pub fn reload_certificates(&self) -> Result<(), Vec<String>> {
        let errors: Vec<_> = self.tls.iter().filter_map(|tls| (tls.reload)().err()).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Stops accepting, lets requests at work end for a second, and waits for it.
    pub fn shut_down(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.api.listeners.shut_down();
        let _ = thread.join();
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn check_exposure(
    listeners: &[ListenerOptions],
    applications: &Applications,
    users: &Users,
) -> Result<(), StartError> {
    let Some(open) = listeners.iter().find(|listener| !listener.bind.ip().is_loopback()) else {
        return Ok(());
    };
    let (applications, users) = (applications.with_public_secret(), users.with_public_password());
    if applications.is_empty() && users.is_empty() {
        return Ok(());
    }
    Err(StartError::Public { name: open.name.clone(), bind: open.bind, applications, users })
}

/// Answers one request.
pub(crate) async fn answer(
    http: HttpRequest,
    payload: web::Payload,
    api: web::Data<Api>,
    came_by: web::Data<CameBy>,
) -> HttpResponse {
    if http.conn_data::<Connected>().is_some_and(Connected::is_revoked) {
        return close(plain(StatusCode::FORBIDDEN, "The certificate has been revoked."));
    }
    if let Some(connected) = http.conn_data::<Connected>()
        && !connected.is_vouched_for().await
    {
        let why = "No OCSP responder says that the certificate has not been revoked.";
        return close(plain(StatusCode::FORBIDDEN, why));
    }
    if site::is_foreign_write(&http) {
        return close(send(foreign().into_reply()));
    }
    let path = http.uri().path();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let is_exposition = match (segments.next(), segments.next(), segments.next()) {
        (Some("status"), None, _) => return status(&http, &api),
        (Some("metrics"), None, _) => true,
        (Some("api"), Some("v3"), _) => false,
        _ => return plain(StatusCode::NOT_FOUND, "Not found."),
    };
    let from = http.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let principal = {
        let header = http.headers().get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        api.authentication.check(header, from, api.now().wall_ms / 1_000).await
    };
    let principal = match principal {
        Ok(principal) => principal,
        Err(refused) => return refuse(refused),
    };
    if is_exposition {
        return metrics(&http, api).await;
    }
    let (method, segments) = match dispatch::segments(path) {
        Ok(segments) => (Method::from_word(http.method().as_str()), segments),
        Err(error) => return send(error.into_reply()),
    };
    let (route, named) = match dispatch::find(api::routes(), method, &segments[2..]) {
        Found::Route(route, named) => (route, named),
        Found::Methods(methods) => return wrong_method(&methods),
        Found::Nothing => return plain(StatusCode::NOT_FOUND, "Not found."),
    };
    if route.plugin.is_some_and(|plugin| !api.plugins.is_active(plugin)) {
        return plain(StatusCode::NOT_FOUND, "Not found.");
    }
    if principal.role == Role::Viewer && route.method != Method::Get {
        let message = format!("application {} may only read", principal.app_id);
        return send(ApiError::new(Code::Unknown, message).with_status(403).into_reply());
    }
    let query = match parse_query(http.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return send(error.into_reply()),
    };
    let length = http.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_MAX as u64) {
        return close(too_large());
    }
    let body = match timeout(BODY_TIMEOUT, payload.to_bytes_limited(BODY_MAX)).await {
        Ok(Ok(Ok(body))) => body.to_vec(),
        Ok(Ok(Err(error))) => return plain(StatusCode::BAD_REQUEST, &error.to_string()),
        Ok(Err(_)) => return close(too_large()),
        Err(_) => return close(plain(StatusCode::REQUEST_TIMEOUT, "The body took too long.")),
    };
    let came_by = came_by.0.to_string();
    let request = Request { segments: named, query, body, principal, came_by, from };
    let handled = if route.waits {
        let theirs = web::Data::clone(&api);
        match api.aside.run(move || (route.handler)(&theirs, &request)) {
            Some(awaited) => awaited.await,
            None => return send(too_many_wait().into_reply()),
        }
    } else {
        web::block(move || (route.handler)(&api, &request)).await.ok()
    };
    match handled {
        Some(Ok(reply)) => send(reply),
        Some(Err(error)) => send(error.into_reply()),
        None => {
            log::error!("handler panicked, which is a bug route={}", route.name);
            plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Error")
        }
    }
}

/// `GET /status`, for whoever asks.
fn status(http: &HttpRequest, api: &Api) -> HttpResponse {
    if http.method() != actix_web::http::Method::GET {
        return plain(StatusCode::BAD_REQUEST, "Not found.");
    }
    let text = format!("Node {} is started\nemqx is running", api.node.name());
    plain(StatusCode::OK, &text)
}

/// `GET /metrics`, for Prometheus.
async fn metrics(http: &HttpRequest, api: web::Data<Api>) -> HttpResponse {
    if http.method() != actix_web::http::Method::GET {
        return wrong_method(&[Method::Get]);
    }
    match web::block(move || prometheus::text(&api)).await {
        Ok(text) => send(Reply::text(prometheus::CONTENT_TYPE, text)),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Error"),
    }
}

fn refuse(refused: Refused) -> HttpResponse {
    match refused {
        Refused::Unauthorized => HttpResponse::Unauthorized()
            .insert_header((header::WWW_AUTHENTICATE, "Basic Realm=\"minirest-server\""))
            .content_type(TEXT)
            .body("UNAUTHORIZED"),
        Refused::TooMany(seconds) => HttpResponse::TooManyRequests()
            .insert_header((header::RETRY_AFTER, seconds))
            .content_type(TEXT)
            .body("Too many failed logins from this address."),
        Refused::Busy => HttpResponse::ServiceUnavailable()
            .insert_header((header::RETRY_AFTER, 1))
            .content_type(TEXT)
            .body("Too many logins at once."),
    }
}

fn wrong_method(methods: &[Method]) -> HttpResponse {
    let allowed: Vec<_> = methods.iter().map(|method| method.word()).collect();
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, allowed.join(", ")))
        .content_type(TEXT)
        .body("Not found.")
}

fn too_large() -> HttpResponse {
    let message = format!("the body has more than {BODY_MAX} bytes");
    send(ApiError::request(Code::BadParameter, message).with_status(413).into_reply())
}

fn foreign() -> ApiError {
    ApiError::new(Code::Unknown, "asked for by a page of another site").with_status(403)
}

fn too_many_wait() -> ApiError {
    ApiError::new(Code::Unknown, "too many requests wait for somebody else").with_status(503)
}

/// What was not read stands between this request and the next.
fn close(mut response: HttpResponse) -> HttpResponse {
    response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    response
}

fn plain(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status).content_type(TEXT).body(text.to_owned())
}

fn send(reply: Reply) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).content_type(reply.content_type).body(reply.body)
}

const TEXT: &str = "text/plain";
/// As the original reads.
const BODY_MAX: usize = 8 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
