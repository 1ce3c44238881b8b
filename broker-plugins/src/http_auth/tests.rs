//! A server that says one thing, and what is made of it; parameters; what is refused before anybody is asked.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use broker_core::config::ZoneConfig;
use broker_core::extension::{Action, Answer, Authentication, Authenticator, Credentials};
use broker_core::{ClientId, Peer, ProtocolVersion, ReasonCode};

use super::params::Facts;
use super::*;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(answer: Answer<T>) -> T {
    let future = match answer {
        Answer::Now(value) => return value,
        Answer::Later(future) => future,
    };
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::park_timeout(Duration::from_millis(100));
    }
    panic!("the answer never came");
}

/// Answers each connection with the next of `answers`, and tells what it was asked.
fn serve(answers: &[&'static str]) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/auth", listener.local_addr().unwrap());
    let (tell, asked) = mpsc::channel();
    let answers = answers.to_vec();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            // Header and body are small; the body ends with its last parameter.
            while !String::from_utf8_lossy(&request).contains("end=1") {
                let n = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..n]);
            }
            tell.send(String::from_utf8(request).unwrap()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, asked)
}

fn config(url: &str) -> HttpAuthConfig {
    let mut config = HttpAuthConfig { timeout_ms: 2_000, ..HttpAuthConfig::default() };
    config.auth.url = Some(url.to_owned());
    config.auth.params = HttpParams::parse("clientid=%c,password=%P,end=1").unwrap();
    config
}

fn prepared(plugin: &HttpAuth, config: HttpAuthConfig) -> Result<Parts, String> {
    let config = PluginsConfig { auth_http: config, ..PluginsConfig::default() };
    Ok(plugin.prepare(&config)?())
}

fn credentials(client_id: &str, username: Option<&str>) -> Arc<Credentials> {
    Arc::new(Credentials {
        client_id: client_id.into(),
        username: username.map(Into::into),
        password: Some(Arc::from(&b"\xff&="[..])),
        version: ProtocolVersion::V5,
        peer: Peer::new("mqtt:tcp:external", Arc::new(ZoneConfig::default())),
    })
}

fn ask(login: &Arc<dyn Authenticator>) -> Authentication {
    wait(login.authenticate(&credentials("c&x=1", Some("u"))))
}

fn unwrap_login(parts: Parts) -> Arc<dyn Authenticator> {
    assert!(parts.authorizer.is_none());
    parts.authenticator.unwrap()
}

#[test]
fn the_status_decides_and_ignore_passes() {
    const CLOSE: &str = "connection: close\r\n";
    const DENY: Authentication = Authentication::Deny(ReasonCode::NotAuthorized);
    const ALLOW: Authentication = Authentication::Allow { superuser: false };
    let unavailable = Authentication::Deny(ReasonCode::ServerUnavailable);
    for (head, body, expected) in [
        ("200 OK", "", ALLOW),
        ("200 OK", "yes", ALLOW),
        ("200 OK", "ignored", ALLOW),
        ("200 OK", "ignore", Authentication::Ignore),
        ("201 Created", "", DENY),
        ("204 No Content", "", DENY),
        ("302 Found", "ignore", DENY),
        ("403 Forbidden", "ignore", DENY),
        ("500 Internal Server Error", "", DENY),
    ] {
        let answer =
            format!("HTTP/1.1 {head}\r\n{CLOSE}content-length: {}\r\n\r\n{body}", body.len());
        let (url, asked) = serve(&[answer.leak()]);
        let login = unwrap_login(prepared(&HttpAuth::new(), config(&url)).unwrap());
        assert_eq!(ask(&login), expected, "{head} {body}");
        let asked = asked.recv().unwrap();
        assert!(asked.starts_with("POST /auth HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("content-type: application/x-www-form-urlencoded\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\nclientid=c%26x%3D1&password=%FF%26%3D&end=1"), "{asked}");
    }
    let (url, _asked) = serve(&["no HTTP\r\n\r\n"]);
    let login = unwrap_login(prepared(&HttpAuth::new(), config(&url)).unwrap());
    assert_eq!(ask(&login), unavailable);
}

#[test]
fn a_connection_that_is_cut_off_is_tried_again() {
    let answers = ["", "", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"];
    let (url, asked) = serve(&answers);
    let login = unwrap_login(prepared(&HttpAuth::new(), config(&url)).unwrap());
    assert_eq!(ask(&login), Authentication::Allow { superuser: false });
    assert_eq!(asked.iter().count(), 3);

    let (url, asked) = serve(&answers);
    let once = HttpAuthConfig { retry_times: 1, ..config(&url) };
    let login = unwrap_login(prepared(&HttpAuth::new(), once).unwrap());
    assert_eq!(ask(&login), Authentication::Deny(ReasonCode::ServerUnavailable));
    assert_eq!(asked.try_iter().count(), 2);
}

#[test]
fn more_than_can_wait_is_refused_at_once() {
    // Takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let slow = HttpAuthConfig { pool_size: 1, timeout_ms: 2_000, retry_times: 0, ..config(&url) };
    let plugin = HttpAuth::new();
    let login = unwrap_login(prepared(&plugin, slow).unwrap());
    let mut waiting = Vec::new();
    let busy = loop {
        match login.authenticate(&credentials("c", Some("u"))) {
            Answer::Now(answer) => break answer,
            later => waiting.push(later),
        }
        assert!(waiting.len() < 100);
    };
    assert_eq!(busy, Authentication::Deny(ReasonCode::ServerBusy));
    assert!(waiting.len() >= 30);
    // Unloaded, those who wait are not kept until each of them has had its time-out.
    let stopped = Instant::now();
    plugin.stop();
    for answer in waiting {
        assert_eq!(wait(answer), Authentication::Deny(ReasonCode::ServerUnavailable));
    }
    // One after the other would take a minute.
    assert!(stopped.elapsed() < Duration::from_secs(30));
}

#[test]
fn who_sends_no_name_is_not_asked_about() {
    let login = unwrap_login(prepared(&HttpAuth::new(), config("http://127.0.0.1:9/")).unwrap());
    for name in [None, Some("")] {
        let answer = login.authenticate(&credentials("c", name));
        let missing = Authentication::Missing(ReasonCode::BadUserNameOrPassword);
        assert!(matches!(answer, Answer::Now(it) if it == missing));
    }
}

#[test]
fn placeholders_are_whole_values() {
    let text = "a=%u,b=%c,c=%a,d=%P,e=%cn,f=%C,g=%dn,h=%d,i=%A,j=%t,k=%m,l=x%u,m=%p,n=,o=a=b";
    let params = HttpParams::parse(&format!(" {} ,", text.replace(',', " , "))).unwrap();
    assert_eq!(params.to_string(), text);
    let id = ClientId::from("i d");
    let mut facts = Facts {
        client_id: &id,
        username: Some("%c"),
        password: None,
        address: Some("::ffff:10.0.0.1".parse().unwrap()),
        certificate: None,
        right: Some((Action::Subscribe, "a/+/ü", "m/")),
    };
    let expected = "a=%25c&b=i%20d&c=10.0.0.1&d=undefined&e=undefined&f=undefined&g=undefined\
                    &h=undefined&i=1&j=a%2F%2B%2F%C3%BC&k=m%2F&l=x%25u&m=%25p&n=&o=a%3Db";
    assert_eq!(params.encode(&facts), expected);
    facts.right = Some((Action::Publish, "", ""));
    assert!(params.encode(&facts).contains("&i=2&j=&k=&"));
}

#[test]
fn a_wrong_configuration_names_its_key_and_no_secret() {
    let wrong = |change: fn(&mut HttpAuthConfig)| {
        let mut config = config("http://me:hidden@h/p?key=hidden");
        change(&mut config);
        assert!(!format!("{config:?}").contains("hidden"));
        let error = prepared(&HttpAuth::new(), config).err().unwrap();
        assert!(!error.contains("hidden"), "{error}");
        error
    };
    for (change, expected) in [
        (
            (|it: &mut HttpAuthConfig| it.auth.url = Some("http://me:hidden@h:x".to_owned()))
                as fn(&mut HttpAuthConfig),
            "auth.http.auth_req.url: ",
        ),
        (
            |it: &mut HttpAuthConfig| it.acl.url = Some("hidden".to_owned()),
            "auth.http.acl_req.url: ",
        ),
        (
            |it: &mut HttpAuthConfig| it.auth.params = HttpParams::parse("t=%t").unwrap(),
            "auth.http.auth_req.params: \"t=%t\": %t is for acl_req only",
        ),
        (
            |it: &mut HttpAuthConfig| {
                it.acl.url = it.auth.url.clone();
                it.acl.params = HttpParams::parse("p=%P").unwrap();
            },
            "auth.http.acl_req.params: \"p=%P\": %P is for auth_req only",
        ),
        (
            |it: &mut HttpAuthConfig| {
                it.headers.insert("x".to_owned(), "hidden\n".to_owned());
            },
            "auth.http.headers: x: not allowed",
        ),
        (
            |it: &mut HttpAuthConfig| it.certfile = Some("c.pem".into()),
            "auth.http.ssl.certfile needs keyfile",
        ),
        (
            |it: &mut HttpAuthConfig| {
                it.auth.url = Some("https://h/".to_owned());
                it.cacertfile = Some("/nowhere.pem".into());
            },
            "auth.http.ssl.cacertfile /nowhere.pem",
        ),
        (
            |it: &mut HttpAuthConfig| it.superuser.url = it.auth.url.take(),
            "auth.http.super_req.url: needs auth.http.auth_req.url",
        ),
        (|it: &mut HttpAuthConfig| it.auth.url = None, "one must be given"),
    ] {
        let error = wrong(change);
        assert!(error.contains(expected), "{error}");
    }
    for (text, expected) in [
        ("a", "\"a\": <name>=<value>"),
        ("=x", "has no name"),
        ("p=%l", "the port of the listener"),
    ] {
        assert!(HttpParams::parse(text).unwrap_err().contains(expected), "{text}");
    }
}
