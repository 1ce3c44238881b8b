//! What is said, and with which exit status, when it does not work.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::server::{Server, data, ok};
use crate::{Outcome, program, run, scratch};

#[track_caller]
fn assert_fails(outcome: &Outcome, status: i32, said: &[&str]) {
    assert_eq!(outcome.status, status, "{outcome:?}");
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    for text in said {
        assert!(outcome.stderr.contains(text), "{text}: {outcome:?}");
    }
}

#[test]
fn a_broker_that_is_not_there_is_a_three() {
    // Bound and not listening: nobody else gets the port meanwhile.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let api = format!("http://{address}");
    let mut command = program(env!("CARGO_BIN_EXE_broker-cli"));
    let outcome = command.args(["status", "--api", &api]).output().unwrap().into();
    let refused =
        format!("cannot reach the broker at {api}: connection refused; is it running there?");
    assert_fails(&outcome, 3, &[&refused, "BROKER_API"]);
}

#[test]
fn a_broker_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = listener.local_addr().unwrap().to_string();
    let mut command = program(env!("CARGO_BIN_EXE_broker-cli"));
    let outcome = command.args(["status", "--api", &api, "--timeout", "0.2"]).output().unwrap();
    assert_fails(&outcome.into(), 3, &["no answer in time", "--timeout"]);
}

#[test]
fn a_web_site_is_not_the_api() {
    let outcome = run(&Server::with(ok("<html>")), &["status"]);
    assert_fails(&outcome, 3, &["is not the management API: HTTP status 200", "--api URL"]);
    let outcome = run(&Server::with((301, String::new())), &["status"]);
    assert_fails(&outcome, 3, &["is not the management API: HTTP status 301"]);
}

#[test]
fn a_wrong_secret_is_told_without_the_secret() {
    let server = Server::with((401, "UNAUTHORIZED".to_owned()));
    let outcome = run(&server, &["status", "--app", "me", "--secret", "hush-hush"]);
    assert_fails(&outcome, 1, &["does not know application 'me'", "broker-cli apps insert"]);
    assert!(!outcome.stderr.contains("hush-hush"), "{outcome:?}");
    assert_eq!(server.take_requests()[0].credentials, "me:hush-hush");
}

#[test]
fn no_by_the_api_shows_its_message_and_code() {
    let server = Server::with(ok(r#"{"code":112,"message":"session_not_found"}"#));
    let outcome = run(&server, &["subscriptions", "add", "c", "t", "1"]);
    assert_fails(&outcome, 1, &["error: session_not_found (code 112)\n"]);
    let server = Server::with((500, "Internal Error".to_owned()));
    assert_fails(&run(&server, &["routes"]), 1, &["the broker answered 500: Internal Error"]);
}

#[test]
fn a_route_of_a_plugin_says_how_to_load_it() {
    let server = Server::with((404, "Not found.".to_owned()));
    let outcome = run(&server, &["auth-clientid", "list"]);
    let said = "this broker has no GET auth_clientid: plugin emqx_auth_clientid is not loaded; \
                'broker-cli plugins load emqx_auth_clientid' loads it";
    assert_fails(&outcome, 1, &[said]);
    let outcome = run(&server, &["trace", "list"]);
    assert_fails(&outcome, 1, &["this broker has no GET traces: it may be older"]);
}

#[test]
fn wrong_flags_are_a_two() {
    let server = Server::with(data(&json!([])));
    for words in [
        &["clients", "kick"][..],
        &["clients", "kick", ""],
        &["clients", "list", "--limit", "x"],
        &["subscriptions", "add", "c", "t", "3"],
        &["publish", "-t", "t"],
        &["status", "--app", "x"],
        &["status", "--api", "ftp://x"],
        &["banned", "add", "x", "--for", "5"],
        &["apps", "update", "x"],
        &["mnesia"],
        &["nonsense"],
    ] {
        let outcome = run(&server, words);
        assert_eq!(outcome.status, 2, "{words:?}: {outcome:?}");
        assert_eq!(server.take_lines(), [""; 0], "{words:?}");
    }
    let outcome = run(&server, &["mnesia"]);
    assert_fails(&outcome, 2, &["there is no 'mnesia' here: ", "broker-cli store stats"]);
}

#[test]
fn secret_comes_from_a_variable_a_file_or_stdin() {
    let server = Server::with(data(&json!([{"node": "n"}])));
    let credentials = || server.take_requests()[0].credentials.clone();
    run(&server, &["nodes"]);
    assert_eq!(credentials(), "admin:public");
    let start = || {
        let mut command = program(env!("CARGO_BIN_EXE_broker-cli"));
        command.arg("nodes").env("BROKER_API", server.url());
        command
    };
    assert!(
        start()
            .env("BROKER_APP", "a")
            .env("BROKER_SECRET", "s:t")
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(credentials(), "a:s:t");
    let path = scratch("secret");
    std::fs::write(&path, "from file\n").unwrap();
    assert!(
        start().args(["--app", "a", "--secret-file"]).arg(&path).output().unwrap().status.success()
    );
    assert_eq!(credentials(), "a:from file");
    std::fs::remove_file(path).unwrap();
    let mut child = start()
        .args(["--secret-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(credentials(), "admin:typed");
}

#[test]
fn proxies_of_browsers_are_not_asked() {
    let server = Server::with(data(&json!([{"node": "n"}])));
    let mut command = program(env!("CARGO_BIN_EXE_broker-cli"));
    command.arg("nodes").env("BROKER_API", server.url());
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    assert!(command.output().unwrap().status.success());
}

#[test]
fn tls_trusts_the_ca_that_is_named() {
    let (ca, config) = certificates("right");
    let (other_ca, _) = certificates("other");
    let server = Server::start_on(Some(config), |_| data(&json!([{"node": "n"}])));
    let with = |flags: &[&str]| run(&server, &[&["nodes"], flags].concat());
    let outcome = with(&["--ca-file", &ca]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(with(&["--insecure"]).status, 0);
    assert_fails(
        &with(&["--ca-file", &other_ca]),
        3,
        &["invalid peer certificate", "--ca-file names"],
    );
    let outcome = with(&["--ca-file", "/nonexistent"]);
    assert_fails(&outcome, 1, &["--ca-file /nonexistent"]);
    // TLS to a listener without, and the other way round.
    let plain = Server::with(data(&json!([])));
    let api = plain.url().replace("http:", "https:");
    let outcome = run(&plain, &["nodes", "--api", &api, "--insecure"]);
    assert_eq!(outcome.status, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("http://"), "{outcome:?}");
    let api = server.url().replace("https:", "http:");
    let outcome = run(&server, &["nodes", "--api", &api]);
    assert_eq!(outcome.status, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("https://"), "{outcome:?}");
    for path in [ca, other_ca] {
        std::fs::remove_file(path).unwrap();
    }
}

/// A CA in a file, and a server with a certificate of it for localhost.
fn certificates(name: &str) -> (String, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let path = scratch(&format!("{name}.pem"));
    std::fs::write(&path, ca.pem()).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (path.to_str().unwrap().to_owned(), Arc::new(config))
}
