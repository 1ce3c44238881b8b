//! Attacks on the management API, and what it may give away.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::broker::{DEADLINE, Target, start};
use crate::client::v5;
use crate::wire::publish;

const API: &str = "[management.listener.http]\nbind = \"127.0.0.1:0\"\n";
/// `admin:public`.
const ADMIN: &str = "Basic YWRtaW46cHVibGlj";

/// Status line, headers and body of the answer to one request.
fn ask(process: &Target, request: &str, authorization: &str, body: &[u8]) -> String {
    ask_with(process, request, authorization, "Content-Type: application/json", body)
}

/// The same with further lines of the head.
fn ask_with(
    process: &Target,
    request: &str,
    authorization: &str,
    lines: &str,
    body: &[u8],
) -> String {
    let mut socket = TcpStream::connect(process.address("http:management")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {authorization}\r\n\
         {lines}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    // An answer may come, and the connection end, before all was sent.
    let _ = socket.write_all(body);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[test]
fn d28_guessing_secrets_gets_nowhere_and_holds_no_client_up() {
    let mut process = start(API, "");
    let bystanders = process.bystanders();
    for wrong in ["", "Basic", "Basic !!!", "Basic YWRtaW46", "Bearer x", "Basic YWRtaW46cHVibGlk"]
    {
        for _ in 0..5 {
            let answer = ask(&process, "GET /api/v3/connections", wrong, b"");
            assert!(matches!(status(&answer), 401 | 429), "{wrong}: {answer}");
            assert!(!answer.contains("\"data\""), "{wrong}: {answer}");
        }
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// No page of another site may read an answer, or have anything done, with a browser that knows the secret.
#[test]
fn d28_other_sites_are_not_let_in() {
    let process = start(API, "");
    let foreign = "Origin: https://evil.example\r\nContent-Type: text/plain";
    for request in ["GET /api/v3/brokers", "OPTIONS /api/v3/brokers", "GET /api/v3/docs"] {
        let answer = ask_with(&process, request, ADMIN, foreign, b"").to_ascii_lowercase();
        assert!(!answer.contains("access-control-allow"), "{request}: {answer}");
        assert!(!answer.contains("set-cookie"), "{request}: {answer}");
    }
    let app = br#"{"app_id":"evil","name":"evil"}"#;
    let others = [
        "Origin: https://evil.example",
        "Origin: http://localhost:8080",
        "Origin: http://localhost.evil.example",
        "Origin: null",
        "Origin: localhost",
        "Origin: http://localhost\r\nOrigin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Origin: http://localhost\r\nSec-Fetch-Site: Cross-Site",
    ];
    for other in others {
        let lines = format!("{other}\r\nContent-Type: text/plain");
        for request in ["POST /api/v3/apps", "DELETE /api/v3/apps/admin", "PUT /api/v3/apps/admin"]
        {
            let answer = ask_with(&process, request, ADMIN, &lines, app);
            assert_eq!(status(&answer), 403, "{request} {other}: {answer}");
        }
    }
    let apps = ask(&process, "GET /api/v3/apps", ADMIN, b"");
    assert!(apps.contains("\"admin\"") && !apps.contains("evil"), "{apps}");
    // A page of its own, and who is no browser.
    for own in ["Origin: http://LOCALHOST\r\nSec-Fetch-Site: same-origin", "Accept: */*"] {
        let answer = ask_with(&process, "POST /api/v3/apps", ADMIN, own, app);
        assert!(answer.contains("\"code\":0"), "{own}: {answer}");
        let answer = ask_with(&process, "DELETE /api/v3/apps/evil", ADMIN, own, b"");
        assert!(answer.contains("\"code\":0"), "{own}: {answer}");
    }
}

#[test]
fn d29_nested_and_endless_bodies_are_refused() {
    let mut process = start(API, "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let deep = [b"{\"rawsql\":".to_vec(), vec![b'['; 200_000]].concat();
    let long = [b"{\"rawsql\":\"".to_vec(), vec![b'x'; 64 << 20]].concat();
    for path in ["rules", "rule_test", "resources", "mqtt/publish", "banned"] {
        for body in [&deep, &long] {
            let answer = ask(&process, &format!("POST /api/v3/{path}"), ADMIN, body);
            assert!(!answer.contains("\"code\":0"), "{path}: {answer}");
        }
    }
    process.assert_grown_less(before, 32 << 20);
    bystanders.assert_fine();
    process.assert_serves();
}

/// At the level that says most: neither password nor payload nor secret is in it.
#[test]
fn d30_no_secret_is_in_the_log() {
    let tables = format!(
        "[log]\nlevel = \"trace\"\n[auth.user.1]\nusername = \"bob\"\npassword = \"hidden-one\"\n\
         [plugins]\nloaded = [\"emqx_management\", \"emqx_auth_username\"]\n{API}"
    );
    let mut process = start(&tables, "");
    for password in ["hidden-one", "hidden-two"] {
        let mut client = v5().username("bob").password(password.as_bytes()).begin();
        let _ = client.recv();
    }
    let mut client = v5().open();
    client.publish(publish("t", 1, "hidden-three"));
    let account = br#"{"username":"eve","password":"hidden-four"}"#;
    assert_eq!(status(&ask(&process, "POST /api/v3/auth_username", ADMIN, account)), 200);
    ask(&process, "GET /api/v3/brokers", "Basic YWRtaW46aGlkZGVuLWZpdmU=", b"");
    let shown = ask(&process, "GET /api/v3/auth_username/bob", ADMIN, b"");
    process.assert_serves();
    let log = process.log();
    // Something was logged of it all.
    assert!(log.contains("client connected"), "{log}");
    for secret in ["hidden-", "aGlkZGVu", "YWRtaW46"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    assert!(!shown.contains("hidden-") && !shown.contains("argon2"), "{shown}");
}

/// What a client calls itself comes as JSON, which no browser takes for a page.
#[test]
fn d31_names_do_not_become_markup() {
    let process = start(API, "");
    let name = "<script>alert(1)</script>";
    let _client = v5().id(name).username("<img src=x onerror=alert(1)>").open();
    for path in ["connections", "sessions", "subscriptions"] {
        let answer = ask(&process, &format!("GET /api/v3/{path}"), ADMIN, b"");
        assert_eq!(status(&answer), 200, "{answer}");
        let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
        assert!(head.contains("content-type: application/json"), "{head}");
    }
    let answer = ask(&process, "GET /api/v3/%3Cscript%3Ealert(1)%3C/script%3E", ADMIN, b"");
    assert!(!answer.to_ascii_lowercase().contains("text/html"), "{answer}");
}

#[test]
fn d33_a_trace_is_written_to_its_folder_alone() {
    let mut process = start(API, "");
    for file in ["../evil", "/tmp/evil", "a/../../evil", "..", "evil\\u0000.log", ""] {
        let body = format!(r#"{{"kind":"client_id","value":"c","file":"{file}"}}"#);
        let answer = ask(&process, "POST /api/v3/traces", ADMIN, body.as_bytes());
        assert!(!answer.contains("\"code\":0"), "{file}: {answer}");
    }
    let written: Vec<_> = std::fs::read_dir(process.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["broker.toml", "data"].contains(&name.as_str()))
        .collect();
    assert!(written.is_empty(), "{written:?}");
    process.assert_serves();
}
