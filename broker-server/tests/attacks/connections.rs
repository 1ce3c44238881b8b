//! Connections that stay half open, and too many of them: cases 8, 9 and 37.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::broker::{
    DEADLINE, MB, broker, end_of, eventually, is_silence, socket, start, start_with_files,
};
use crate::client::{Client, PATIENCE, raw, v5, v311};
use crate::wire::{Packet, V5};

/// Sends a byte whenever the peer has been silent for a while; how long until it closed.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            return began.elapsed();
        }
        match stream.read(&mut [0; 64]) {
            Err(error) if is_silence(&error) => {}
            Ok(0) | Err(_) => return began.elapsed(),
            Ok(_) => {}
        }
        assert!(began.elapsed() < DEADLINE, "it is let drip for ever");
    }
    panic!("all {} bytes were let drip in", bytes.len());
}

#[test]
fn a08_a_connect_sent_byte_by_byte_is_cut_at_its_deadline() {
    let mut process = start("[mqtt]\nidle_timeout = \"500ms\"\n", "");
    let bystanders = process.bystanders();
    let connect = v5().id(&"x".repeat(10_000)).encode();
    std::thread::scope(|scope| {
        for _ in 0..50 {
            let (mut stream, connect) = (socket(), &connect);
            scope.spawn(move || {
                let took = drip(&mut stream, connect);
                assert!(took >= Duration::from_millis(400), "cut too early, after {took:?}");
            });
        }
    });
    // Silence is no better.
    end_of(&mut socket(), PATIENCE).expect("the broker closes");
    bystanders.assert_fine();
    process.assert_serves();
}

#[test]
fn a08_a_tls_handshake_that_is_not_finished_is_cut() {
    let ssl = "[listener.ssl.external]\nbind = \"127.0.0.1:0\"\nhandshake_timeout = \"500ms\"\n";
    let mut process = start(ssl, "");
    let bystanders = process.bystanders();
    let address = process.address("mqtt:ssl:external").to_owned();
    let connect = || TcpStream::connect(&address).unwrap();
    // Nothing, the beginning of a ClientHello of 16 KB, and one that comes byte by byte.
    let mut silent: Vec<_> = (0..50).map(|_| connect()).collect();
    let hello = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC, 3, 3][..], &[7; 16_000]].concat();
    for stream in &mut silent[..25] {
        stream.write_all(&hello[..1000]).unwrap();
    }
    drip(&mut connect(), &hello);
    for stream in &mut silent {
        end_of(stream, PATIENCE).expect("the broker closes");
    }
    // No TLS at all.
    let mut plain = connect();
    plain.write_all(&v5().encode()).unwrap();
    end_of(&mut plain, PATIENCE).expect("the broker closes");
    bystanders.assert_fine();
    process.assert_serves();
}

#[test]
fn a08_half_open_connections_of_one_address_are_bounded() {
    let limits = "max_half_open_per_ip = 20\n";
    let mut process = start("[mqtt]\nidle_timeout = \"2s\"\n", limits);
    let bystanders = process.bystanders();
    let mut half_open: Vec<_> = (0..60).map(|_| socket()).collect();
    let at_once = Duration::from_millis(200);
    let n_refused = half_open.iter_mut().filter_map(|stream| end_of(stream, at_once)).count();
    assert!((40..60).contains(&n_refused), "{n_refused} of 60 were refused");
    for stream in &mut half_open {
        end_of(stream, PATIENCE).expect("the broker closes");
    }
    drop(half_open);
    bystanders.assert_fine();
    process.assert_serves();
}

/// 700 idle connections cost less than 8 KB each.
#[test]
fn a08_a_thousand_silent_clients_cost_little() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let before = process.resident_bytes();
    let held: Vec<Client> =
        (0..700).map(|n| v5().keep_alive(if n % 2 == 0 { 0 } else { 65_535 }).open()).collect();
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 700 * 8 * 1024, "{} bytes a connection", grown / 700);
    bystanders.assert_fine();
    process.assert_serves();
    drop(held);
}

#[test]
fn a08_connections_beyond_the_limit_are_refused_and_the_others_stay() {
    let mut process = start("", "max_connections = 50\n");
    let bystanders = process.bystanders();
    let mut held: Vec<Client> = (0..40).map(|_| v5().open()).collect();
    let mut crowd: Vec<_> = (0..100).map(|_| socket()).collect();
    let at_once = Duration::from_millis(100);
    let n_refused = crowd.iter_mut().filter_map(|stream| end_of(stream, at_once)).count();
    assert!(n_refused >= 90, "{n_refused} of 100 were refused");
    held.iter_mut().for_each(Client::ping);
    drop(crowd);
    bystanders.assert_fine();
    drop(held);
    eventually(|| {
        let mut stream = socket();
        stream.write_all(&v311().encode()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read(&mut [0; 4]).ok().filter(|n| *n == 4)
    });
    process.assert_serves();
}

#[test]
fn a09_proxy_headers_of_strangers_and_broken_ones_are_refused() {
    // The address in a header is not one of this machine.
    let proxies = "[zone.external]\nallow_anonymous = true\n[listener.tcp.trusting]\nbind = \"127.0.0.1:0\"\nproxy_protocol = true\n\
                   proxy_protocol_peers = [\"127.0.0.1\"]\nproxy_protocol_timeout = \"500ms\"\n\
                   [listener.tcp.distrusting]\nbind = \"127.0.0.1:0\"\nproxy_protocol = true\n\
                   proxy_protocol_peers = [\"10.0.0.1\"]\n";
    let mut process = start(proxies, "");
    let bystanders = process.bystanders();
    let [trusting, distrusting] = ["trusting", "distrusting"]
        .map(|name| process.address(&format!("mqtt:tcp:{name}")).to_owned());
    let good = b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 1883\r\n";
    let mut spoofed = TcpStream::connect(&distrusting).unwrap();
    let _ = spoofed.write_all(good);
    end_of(&mut spoofed, PATIENCE).expect("a stranger is refused");
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    for header in [
        b"PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n\n".to_vec(),
        [&b"PROXY "[..], &[b'x'; 500]].concat(),
        [&signature[..], &[0x31, 0x11, 0, 12], &[0; 12]].concat(),
        [&signature[..], &[0x21, 0x11, 0, 3], &[0; 3]].concat(),
        v5().encode(),
    ] {
        let mut stream = TcpStream::connect(&trusting).unwrap();
        let _ = stream.write_all(&header);
        end_of(&mut stream, PATIENCE).expect("a broken header is refused");
    }
    // Never finished: cut by proxy_protocol_timeout.
    drip(&mut TcpStream::connect(&trusting).unwrap(), &[&good[..20], &[b'1'; 60]].concat());
    let mut silent = TcpStream::connect(&trusting).unwrap();
    end_of(&mut silent, PATIENCE).expect("silence is cut");
    let mut client = crate::client::tcp_to(&trusting);
    client.write_all(good).unwrap();
    v5().open_over(Box::new(client)).ping();
    bystanders.assert_fine();
    process.assert_serves();
}

/// With 64 files and 200 who want to connect: CPU below a fifth of a core, an alarm, and recovery.
#[test]
fn e37_without_file_descriptors_the_acceptor_is_calm_and_recovers() {
    let mut process = start_with_files(64, "[broker]\nsys_interval = \"1s\"\n", "");
    let mut watcher = v5().open();
    watcher.subscribe("$SYS/brokers/+/alarms/#", 0);
    let bystanders = process.bystanders();
    let mut crowd: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        // With the backlog full, connecting may fail too.
        let address = broker().address.parse().unwrap();
        crowd.extend(TcpStream::connect_timeout(&address, Duration::from_millis(200)));
    }
    let Some(Packet::Publish(alert)) = watcher.recv_within(10_000) else {
        panic!("no alarm was raised");
    };
    assert!(alert.topic.ends_with("/alarms/too_many_open_files/alert"), "{}", alert.topic);
    bystanders.assert_fine();
    let (cpu, began) = (process.cpu(), Instant::now());
    assert_eq!(watcher.recv_within(1_500).map(|_| ()), None, "the alarm stays as it is");
    let used = (process.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(used < 0.2, "the broker uses {used:.2} of a core");
    watcher.ping();
    drop(crowd);
    eventually(|| {
        let mut client = raw(V5);
        client.try_send(&v5().encode());
        matches!(client.recv_within(1_000), Some(Packet::ConnAck { code: 0, .. })).then_some(())
    });
    let Some(Packet::Publish(cleared)) = watcher.recv_within(10_000) else {
        panic!("the alarm was not cleared");
    };
    assert!(cleared.topic.ends_with("/alarms/too_many_open_files/clear"), "{}", cleared.topic);
    process.assert_grown_less(0, 64 * MB);
    process.assert_serves();
}
