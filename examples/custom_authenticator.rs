//! Who may connect: one source that answers at once, one that has to ask somewhere else first.
//!
//! Run with `cargo run -p broker-examples --example custom_authenticator`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use broker_core::extension::{Answer, Authentication, Authenticator, Credentials, Extensions};
use broker_core::{Broker, ReasonCode};
use broker_net::config::ListenerConfig;
use broker_net::{Server, ServerOptions};
use rumqttc::{Client, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet};

/// Knows one user; others are left to the next source.
struct Operator;

impl Authenticator for Operator {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        Answer::Now(match (credentials.username.as_deref(), credentials.password.as_deref()) {
            (Some("operator"), Some(b"secret")) => Authentication::Allow { superuser: true },
            (Some("operator"), _) => Authentication::Deny(ReasonCode::BadUserNameOrPassword),
            _ => Authentication::Ignore,
        })
    }
}

/// Asks a directory, which takes its time: meanwhile only this client waits.
struct Directory;

impl Authenticator for Directory {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let credentials = Arc::clone(credentials);
        Answer::later(async move {
            // Here a program would ask its database; `broker-net` polls the future on a tokio runtime.
            tokio::time::sleep(Duration::from_millis(20)).await;
            match (credentials.username.as_deref(), credentials.password.as_deref()) {
                (Some(name), Some(password)) if password == name.as_bytes() => {
                    Authentication::Allow { superuser: false }
                }
                _ => Authentication::Deny(ReasonCode::BadUserNameOrPassword),
            }
        })
    }
}

fn main() -> anyhow::Result<()> {
    let extensions = Extensions {
        authenticators: vec![Arc::new(Operator), Arc::new(Directory)],
        ..Extensions::default()
    };
    let broker = Broker::builder().extensions(extensions).build()?;
    let listeners = vec![ListenerConfig::tcp("guarded", "127.0.0.1:0".parse()?)];
    let server = Server::start(&broker, ServerOptions { listeners, ..Default::default() })?;
    let address = server.listeners()[0].address.parse()?;

    use ConnectReturnCode::{BadUserNamePassword, Success};
    for (name, password, expected) in [
        ("operator", "secret", Success),
        ("operator", "guessed", BadUserNamePassword),
        ("alice", "alice", Success),
        ("alice", "guessed", BadUserNamePassword),
    ] {
        let code = connect(address, name, password)?;
        println!("{name} with password {password:?}: {code:?}");
        ensure!(code == expected, "expected {expected:?}");
    }
    server.shut_down(Duration::from_secs(5));
    Ok(())
}

/// Connects once. Returns what CONNACK says.
fn connect(address: SocketAddr, name: &str, password: &str) -> anyhow::Result<ConnectReturnCode> {
    let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
    options.set_credentials(name, password);
    let (client, mut connection) = Client::new(options, 10);
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                client.disconnect()?;
                return Ok(connack.code);
            }
            Err(ConnectionError::ConnectionRefused(code)) => return Ok(code),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("the connection ended without CONNACK")
}
