//! Listeners are stopped, started and added while the server runs.

mod pki;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use broker_core::config::{BrokerConfig, ZoneConfig};
use broker_core::{Broker, ListenerError, Listeners, NewListener};
use broker_net::config::{ListenerConfig, TlsConfig};
use broker_net::{ListenerSet, Server, ServerOptions};

use self::pki::Pki;

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

/// The same of MQTT 5.0; returns when it is connected.
fn connect_v5(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 0]).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);
    stream.read_exact(&mut vec![0; head[1].into()]).unwrap();
    stream
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
    let mut before = connect_v5(address);
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    while port.list()[0].connections < 2 {
        std::thread::yield_now();
    }

    port.stop("mqtt:tcp:a").unwrap();
    assert!(!port.list()[0].is_running);
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
    assert_eq!(port.stop("mqtt:tcp:a"), Err(ListenerError::Stopped));
    // Its clients are told and closed, those that have not said CONNECT are closed.
    assert_eq!(port.list()[0].connections, 0);
    let mut told = Vec::new();
    before.read_to_end(&mut told).unwrap();
    assert_eq!(told, [0xE0, 1, 0x98]);
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(port.list()[0].shutdown_counts, [("kicked".to_owned(), 2)]);

    port.start("mqtt:tcp:a").unwrap();
    connect(port.list()[0].address.parse().unwrap()).unwrap();
    assert_eq!(port.start("mqtt:tcp:a"), Err(ListenerError::Running));
    for order in [Listeners::start, Listeners::stop, Listeners::restart] {
        assert_eq!(order(&*port, "mqtt:tcp:z"), Err(ListenerError::Unknown));
    }

    server.listener_set().add(ListenerConfig::tcp("b", any)).unwrap();
    let added = port.list().into_iter().find(|l| &*l.name == "mqtt:tcp:b").unwrap();
    connect(added.address.parse().unwrap()).unwrap();
    let taken = ListenerConfig::tcp("c", added.address.parse().unwrap());
    let error = server.listener_set().add(taken).unwrap_err().to_string();
    assert!(error.starts_with(&format!("listener.tcp.c.bind = {}: ", added.address)), "{error}");
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}

#[test]
fn a_restart_closes_connections_and_keeps_the_address() {
    let broker = Broker::builder().build().unwrap();
    // A port that was free a moment ago, so that the listener has one to come back to.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listeners = vec![ListenerConfig::tcp("a", free)];
    let server =
        Server::start(&broker, ServerOptions { listeners, ..ServerOptions::default() }).unwrap();
    let mut clients: Vec<_> = (0..600).map(|_| connect(free).unwrap()).collect();
    let port = broker.listeners().unwrap();
    port.restart("mqtt:tcp:a").unwrap();
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "closed");
    }
    connect(free).unwrap();
    let listed = &port.list()[0];
    assert_eq!((&*listed.listen_on, listed.is_running), (&*free.to_string(), true));
    // A stopped one is started by it.
    port.stop("mqtt:tcp:a").unwrap();
    port.restart("mqtt:tcp:a").unwrap();
    connect(free).unwrap();
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}

#[test]
fn the_control_plane_adds_a_listener_like_another() {
    let mut config = BrokerConfig::default();
    let no_packets = ZoneConfig { max_packet_size: 4, ..ZoneConfig::default() };
    config.zones.insert("narrow".into(), no_packets.into());
    let broker = Broker::builder().config(config).build().unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let like = ListenerConfig { max_connections: 77, ..ListenerConfig::tcp("a", any) };
    let options = ServerOptions { listeners: vec![like], ..ServerOptions::default() };
    let server = Server::start(&broker, options).unwrap();
    let port = broker.listeners().unwrap();
    let wanted = |name: &str, listen_on: &str| NewListener {
        like: "mqtt:tcp:a".into(),
        name: name.into(),
        listen_on: listen_on.into(),
        zone: None,
    };
    let address = |name: &str| {
        let listed = port.list().into_iter().find(|it| &*it.name == name).unwrap();
        assert_eq!(listed.max_connections, 77, "{name} is like the other");
        listed.address.parse::<SocketAddr>().unwrap()
    };

    port.add(&wanted("b", "127.0.0.1:0")).unwrap();
    connect(address("mqtt:tcp:b")).unwrap();
    port.add(&NewListener { zone: Some("narrow".into()), ..wanted("c", "127.0.0.1:0") }).unwrap();
    assert!(connect(address("mqtt:tcp:c")).is_err(), "its zone takes no such packet");
    // It is one like any other from then on.
    port.stop("mqtt:tcp:b").unwrap();
    assert!(TcpStream::connect(address("mqtt:tcp:b")).is_err());

    let failed = |listener: NewListener| match port.add(&listener).unwrap_err() {
        ListenerError::Failed(why) => why,
        error => panic!("{error:?}"),
    };
    assert_eq!(failed(wanted("b", "127.0.0.1:0")), "mqtt:tcp:b is there, and stopped");
    assert_eq!(port.add(&wanted("c", "127.0.0.1:0")), Err(ListenerError::Running));
    let unlike = NewListener { like: "mqtt:tcp:z".into(), ..wanted("d", "127.0.0.1:0") };
    assert_eq!(port.add(&unlike), Err(ListenerError::Unknown));
    for text in ["", "nowhere", "127.0.0.1", "/run/x.sock", "70000"] {
        assert_eq!(failed(wanted("d", text)), format!("{text:?} is no address of this kind"));
    }
    for name in ["", "a:b", "a/b", "a b"] {
        assert_eq!(failed(wanted(name, "127.0.0.1:0")), format!("{name:?} is no name"));
    }
    let taken = address("mqtt:tcp:a").to_string();
    assert!(failed(wanted("d", &taken)).starts_with(&format!("listener.tcp.d.bind = {taken}: ")));
    let unzoned = NewListener { zone: Some("none".into()), ..wanted("d", "127.0.0.1:0") };
    assert!(failed(unzoned).contains("there is no such zone"));
    assert_eq!(port.list().len(), 3, "nothing is left of what failed");
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}

/// A list that comes slowly, from a file system far away for instance, holds up nobody who only looks.
#[test]
fn listeners_are_looked_at_while_files_are_read_again() {
    let pki = Pki::new("listeners");
    let slow = pki.path("slow.crl");
    fs::write(&slow, pki.list()).unwrap();
    let tls = TlsConfig { crlfile: vec![slow.clone()], ..pki.server() };
    let listener = pki::listener(tls);
    let broker = Broker::builder().build().unwrap();
    let options = ServerOptions { listeners: vec![listener], ..ServerOptions::default() };
    let server = Server::start(&broker, options).unwrap();
    let set = server.listener_set();
    let ways: [fn(&ListenerSet); 2] =
        [|set| drop(set.refresh()), |set| drop(set.reload_certificates())];
    for read_again in ways {
        fs::remove_file(&slow).unwrap();
        assert!(Command::new("mkfifo").arg(&slow).status().unwrap().success());
        std::thread::scope(|scope| {
            scope.spawn(|| read_again(set));
            // Opens once the other end is open.
            let mut list = File::options().write(true).open(&slow).unwrap();
            let (tell, told) = crossbeam_channel::bounded(1);
            scope.spawn(move || tell.send((set.views().len(), set.revocation_states().len())));
            let seen = told.recv_timeout(Duration::from_secs(10));
            // Before anything fails: the reader waits for it.
            list.write_all(&pki.list()).unwrap();
            drop(list);
            assert_eq!(seen, Ok((1, 1)));
        });
    }
    assert_eq!(server.shut_down(Duration::from_secs(5)), 0);
}
