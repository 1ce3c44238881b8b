//! What decides whether and where the API starts.

use std::net::TcpListener;

use crate::broker::{Broker, Folder};

#[test]
fn a_port_that_is_taken_stops_the_start_before_mqtt_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bind = format!("\"{address}\"");
    let keys = [("management.listener.http.bind", bind.as_str())];
    let log = Broker::try_start(Folder::new(), &keys).err().expect("it must not start");
    let said = format!("management.listener.http.bind = {address}: Address already in use");
    assert!(log.contains(&said), "{log}");
    assert!(!log.contains("listening name="), "somebody may have been let in:\n{log}");
}

#[test]
fn the_secret_that_everybody_knows_stays_on_this_host() {
    let open = ("management.listener.http.bind", "\"0.0.0.0:0\"");
    let log = Broker::try_start(Folder::new(), &[open]).err().expect("it must not start");
    assert!(
        log.contains("application admin has the secret that everybody knows, \"public\""),
        "{log}"
    );
    assert!(log.contains("user admin has the password that everybody knows, \"public\""), "{log}");
    assert!(log.contains("-X PUT http://127.0.0.1:8080/api/v3/apps/admin"), "{log}");
    assert!(log.contains("-X PUT http://127.0.0.1:8080/api/v3/users/admin"), "{log}");
    let public = ("management.application.default_secret", "\"public\"");
    assert!(Broker::try_start(Folder::new(), &[open, public]).is_err());
    let secret = ("management.application.default_secret", "\"not so public\"");
    let log = Broker::try_start(Folder::new(), &[open, secret]).err().expect("it must not start");
    assert!(!log.contains("application admin") && log.contains("user admin has"), "{log}");
    let password = ("dashboard.default_user.password", "\"neither\"");
    let log = Broker::try_start(Folder::new(), &[open, password]).err().expect("it must not start");
    assert!(log.contains("application admin") && !log.contains("user admin has"), "{log}");

    // A new broker with a secret and a password of its own.
    let broker = Broker::start_with(&[open, secret, password]);
    let port = broker.address("http:management").rsplit_once(':').unwrap().1;
    let local = format!("127.0.0.1:{port}");
    crate::http::Api::new(&local, "admin", "not so public").get("brokers");
    drop(broker);

    // And the way that the refusal tells.
    let broker = Broker::start();
    broker.api().put("users/admin", &serde_json::json!({"password": "changed"}));
    broker.api().put("apps/admin", &serde_json::json!({"secret": "changed"}));
    let (folder, _) = broker.stop();
    drop(Broker::start_in(folder, &[open]));
}

#[test]
fn without_a_listener_there_is_no_api() {
    let broker = Broker::start_with(&[("management.listener.http.enabled", "false")]);
    let (_, log) = broker.stop();
    assert!(!log.contains("http:management"), "{log}");
}
