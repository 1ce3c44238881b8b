//! Listeners are stopped, started and added while the server runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use broker_core::Broker;
use broker_net::config::ListenerConfig;
use broker_net::{Server, ServerOptions};

/// CONNECT of MQTT 3.1.1 with an assigned identifier.
const CONNECT: [u8; 14] = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0];

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&CONNECT)?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    assert_eq!(connack, [0x20, 2, 0, 0]);
    Ok(stream)
}

#[test]
fn the_control_plane_stops_and_starts_a_listener() {
    let broker = Broker::builder().build().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let options = ServerOptions {
        listeners: vec![ListenerConfig::tcp("a", any)],
        ..ServerOptions::default()
    };
    let server = Server::start(&broker, options).unwrap();
    let port = broker.listeners().expect("the server has made them known");
    let address: SocketAddr = port.list()[0].address.parse().unwrap();
    let mut before = connect(address).unwrap();

    port.stop("mqtt:tcp:a").unwrap();
    assert!(!port.list()[0].is_running);
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
    assert_eq!(port.stop("mqtt:tcp:a").unwrap_err(), "listener mqtt:tcp:a: does not run");
    // A client that is connected is served on.
    before.write_all(&[0xC0, 0]).unwrap();
    let mut pong = [0; 2];
    before.read_exact(&mut pong).unwrap();
    assert_eq!(pong, [0xD0, 0]);

    port.start("mqtt:tcp:a").unwrap();
    connect(port.list()[0].address.parse().unwrap()).unwrap();
    assert_eq!(port.start("mqtt:tcp:a").unwrap_err(), "listener mqtt:tcp:a: runs already");
    assert_eq!(port.start("mqtt:tcp:z").unwrap_err(), "listener mqtt:tcp:z: does not exist");

    server.listener_set().add(ListenerConfig::tcp("b", any)).unwrap();
    let added = port.list().into_iter().find(|l| &*l.name == "mqtt:tcp:b").unwrap();
    connect(added.address.parse().unwrap()).unwrap();
    let taken = ListenerConfig::tcp("c", added.address.parse().unwrap());
    let error = server.listener_set().add(taken).unwrap_err().to_string();
    assert!(error.starts_with(&format!("listener.tcp.c.bind = {}: ", added.address)), "{error}");
    drop(before);
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}
