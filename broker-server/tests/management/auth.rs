//! Who gets in: Basic authentication, roles, failures that slow down.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::broker::Broker;

#[test]
fn without_credentials_nothing_is_told() {
    let broker = Broker::start();
    let api = broker.api();
    for path in ["/api/v3/brokers", "/api/v3/nothing", "/api/v3/"] {
        let answer = api.raw("GET", path, "", "");
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Basic Realm=\"minirest-server\""));
        assert_eq!(answer.body, "UNAUTHORIZED");
    }
    for header in ["Bearer x", "Basic", "Basic !!!", "Basic YWRtaW4="] {
        let header = format!("Authorization: {header}\r\n");
        assert_eq!(api.raw("GET", "/api/v3/brokers", &header, "").status, 401, "{header}");
    }
}

/// Attack case 28: of all that the description of the API names, nothing is told or done without a secret.
#[test]
fn d28_no_route_answers_who_has_not_logged_in() {
    let broker = Broker::start();
    let api = broker.api();
    let document = api.call("GET", "openapi.json", "").json();
    let mut open = Vec::new();
    let mut n_asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let filled: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let base = if path.starts_with("/api/") { "" } else { "/api/v3" };
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let answer = api.raw(&method, &format!("{base}{filled}"), "", "");
            n_asked += 1;
            if answer.status != 401 {
                open.push(format!("{method} {path} {}", answer.status));
            }
        }
    }
    assert!(n_asked > 80, "{n_asked}");
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn the_application_of_the_documents_examples_is_there() {
    let broker = Broker::start();
    let api = broker.api();
    assert!(api.curl(&["-v", "-k"], "brokers").contains("\"Running\""));
    assert_eq!(broker.api_as("admin", "Public").call("GET", "brokers", "").status, 401);
    assert_eq!(broker.api_as("nobody", "public").call("GET", "brokers", "").status, 401);
}

#[test]
fn failures_slow_new_logins_down_and_nobody_who_is_in() {
    let broker = Broker::start();
    let api = broker.api();
    api.get("brokers");
    let began = Instant::now();
    for _ in 0..7 {
        assert_eq!(broker.api_as("admin", "guess").call("GET", "brokers", "").status, 401);
    }
    // 100, 200, 400 and 800 ms before the fourth to the seventh.
    assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..20 {
        api.get("brokers");
    }
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    // Guesses side by side stand in line, and those at its end are sent away.
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let guess = || broker.api_as("admin", "guess").call("GET", "brokers", "").status;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(guess)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.contains(&429), "{statuses:?}");
    let (_, log) = broker.stop();
    assert!(log.contains("login to the management API failed app_id=\"admin\" address=127.0.0.1"));
    assert!(!log.contains("guess"), "{log}");
}

#[test]
fn a_viewer_looks_and_changes_nothing() {
    let broker = Broker::start();
    let api = broker.api();
    api.post("apps", &json!({"app_id": "eye", "name": "Eye", "secret": "see", "role": "viewer"}));
    let viewer = broker.api_as("eye", "see");
    viewer.get("brokers");
    viewer.get("apps/admin");
    for (method, path) in [("POST", "apps"), ("PUT", "apps/admin"), ("DELETE", "apps/admin")] {
        let failure = viewer.call(method, path, "{}").failure();
        assert_eq!(failure, (403, 102, "application eye may only read".into()), "{method}");
    }
    assert_eq!(api.data("apps").as_array().unwrap().len(), 2);
}
