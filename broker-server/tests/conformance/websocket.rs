//! MQTT over WebSocket (MQTT 5.0, 6), and WebSocket frames as attackers send them (attack case 7).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::broker::{Bystanders, broker, need};
use crate::client::{Client, PATIENCE, Transport, connect, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, PINGREQ, V5, V31, V311, publish};

tests![
    subprotocol_is_selected,
    every_version_connects,
    messages_cross_transports,
    packets_may_span_frames,
    frames_may_hold_many_packets,
    fragmented_messages_are_joined,
    text_frames_are_refused,
    pings_are_answered,
    close_is_answered,
    unmasked_frames_are_refused,
    reserved_bits_are_refused,
    reserved_opcodes_are_refused,
    continuation_without_start_is_refused,
    new_message_within_a_fragmented_one_is_refused,
    fragmented_control_frames_are_refused,
    large_control_frames_are_refused,
    huge_frame_length_does_not_reserve_memory,
    large_messages_pass,
    ping_flood_does_no_harm,
    huge_headers_are_refused,
    request_without_upgrade_is_refused,
    wrong_path_or_key_does_no_harm,
    lost_socket_publishes_the_will,
];

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;

/// The frames of one WebSocket; as a [`Transport`], each write is one binary message.
struct Socket {
    stream: TcpStream,
    raw: Vec<u8>,
}

impl Socket {
    fn address() -> &'static str {
        need(broker().websocket.is_some(), "a WebSocket listener");
        broker().websocket.as_deref().unwrap()
    }

    fn connect() -> Self {
        let (socket, head) = Self::handshake("mqtt");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        socket
    }

    /// The socket, and the head of the answer.
    fn handshake(subprotocols: &str) -> (Self, String) {
        let host = Self::address();
        let mut socket = Self { stream: TcpStream::connect(host).unwrap(), raw: Vec::new() };
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
        );
        socket.stream.set_nodelay(true).unwrap();
        socket.stream.write_all(request.as_bytes()).unwrap();
        let head = socket.read_head();
        (socket, head)
    }

    fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.raw.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.raw.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            match self.fill(PATIENCE) {
                Ok(0) | Err(_) => return String::from_utf8_lossy(&self.raw).into_owned(),
                Ok(_) => {}
            }
        }
    }

    fn fill(&mut self, timeout: Duration) -> std::io::Result<usize> {
        self.stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 16 * 1024];
        let n = self.stream.read(&mut chunk)?;
        self.raw.extend(&chunk[..n]);
        Ok(n)
    }

    /// A masked frame, as a client must send it.
    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut frame = head(first, 0x80, payload.len());
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        let _ = self.stream.write_all(&frame);
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next whole frame: its first byte and payload. `None` at the end of the stream.
    fn recv_frame(&mut self, timeout: Duration) -> std::io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some((first, range)) = parse(&self.raw) {
                let payload = self.raw[range.clone()].to_vec();
                self.raw.drain(..range.end);
                return Ok(Some((first, payload)));
            }
            match self.fill(timeout) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    /// The broker ends the connection; a DISCONNECT and a close frame may come before.
    #[track_caller]
    fn expect_closed(&mut self) {
        loop {
            match self.recv_frame(PATIENCE) {
                Ok(None) => return,
                Ok(Some((first, _))) if first & 0x0F == CLOSE => {
                    // Whoever gets a close frame answers it; then the broker closes.
                    self.send_frame(FIN | CLOSE, &[]);
                }
                Ok(Some((_, payload))) => {
                    assert_eq!(payload.first().map(|b| b >> 4), Some(14), "{payload:02x?}");
                }
                Err(e) => panic!("the broker keeps the connection open: {e}"),
            }
        }
    }
}

impl Transport for Socket {
    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.send_frame(FIN | BINARY, bytes);
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>, timeout: Duration) -> std::io::Result<usize> {
        match self.recv_frame(timeout)? {
            None => Ok(0),
            Some((first, _)) if first & 0x0F == CLOSE => Ok(0),
            Some((first, payload)) => {
                assert_eq!(first, FIN | BINARY, "MQTT travels in binary frames");
                into.extend(&payload);
                Ok(payload.len())
            }
        }
    }

    fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// First byte and length, with or without the mask bit.
fn head(first: u8, mask: u8, len: usize) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..126 => head.push(mask | len as u8),
        126..65_536 => {
            head.push(mask | 126);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(mask | 127);
            head.extend((len as u64).to_be_bytes());
        }
    }
    head
}

/// First byte and the place of the payload of a whole frame from the broker.
fn parse(raw: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (first, second) = (*raw.first()?, *raw.get(1)?);
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (len, at) = match second {
        126 => (u16::from_be_bytes(raw.get(2..4)?.try_into().unwrap()).into(), 4),
        127 => (u64::from_be_bytes(raw.get(2..10)?.try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    (raw.len() >= at + len).then_some((first, at..at + len))
}

fn open() -> Client {
    v5().open_over(Box::new(Socket::connect()))
}

/// A socket on which CONNECT was answered.
fn connected() -> Socket {
    let mut socket = Socket::connect();
    socket.send_frame(FIN | BINARY, &v5().encode());
    let (first, payload) = socket.recv_frame(PATIENCE).unwrap().expect("CONNACK");
    assert_eq!((first, payload[0]), (FIN | BINARY, 0x20));
    socket
}

/// [MQTT-6.0.0-3], [MQTT-6.0.0-4], [MQTT311-6.0.0-3], [MQTT311-6.0.0-4]
fn subprotocol_is_selected() {
    for offered in ["mqtt", "chat, mqtt", "mqtt, other"] {
        let (_socket, head) = Socket::handshake(offered);
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    }
}

/// [MQTT-4.2-1]
fn every_version_connects() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut client = connect(version).open_over(Box::new(Socket::connect()));
        client.subscribe(&topic, 2);
        for qos in 0..=2 {
            client.publish(publish(&topic, qos, "x"));
            assert_eq!(client.take().qos, qos);
        }
        client.disconnect();
    }
}

/// The same broker behind both.
fn messages_cross_transports() {
    let topic = unique_topic();
    let (mut ws, mut tcp) = (open(), v5().open());
    ws.subscribe(&topic, 1);
    tcp.subscribe(&topic, 1);
    for publisher in [&mut open(), &mut v5().open()] {
        publisher.publish(publish(&topic, 1, "x"));
        assert_eq!([ws.take().text(), tcp.take().text()], ["x", "x"]);
    }
}

/// [MQTT-6.0.0-2], [MQTT311-6.0.0-2]
fn packets_may_span_frames() {
    let mut socket = Socket::connect();
    for byte in v5().encode() {
        socket.send_frame(FIN | BINARY, &[byte]);
    }
    let (_, connack) = socket.recv_frame(PATIENCE).unwrap().unwrap();
    assert_eq!(connack[0], 0x20);
    socket.send_frame(FIN | BINARY, &PINGREQ[..1]);
    socket.send_frame(FIN | BINARY, &[]);
    socket.send_frame(FIN | BINARY, &PINGREQ[1..]);
    let (_, pingresp) = socket.recv_frame(PATIENCE).unwrap().unwrap();
    assert_eq!(pingresp, [0xD0, 0]);
}

/// [MQTT-6.0.0-2], [MQTT311-6.0.0-2]
fn frames_may_hold_many_packets() {
    let topic = unique_topic();
    let mut client = open();
    let mut bytes = wire::subscribe(V5, 1, &[(&topic, 1)], &[]);
    for id in 2..20 {
        bytes.extend(publish(&topic, 1, "x").id(id).encode(V5));
    }
    bytes.extend(PINGREQ);
    client.send(&bytes);
    client.expect_suback(1);
    for id in 2..20 {
        client.expect_puback(id);
    }
    for _ in 2..20 {
        client.take();
    }
}

/// RFC 6455, 5.4
fn fragmented_messages_are_joined() {
    let mut socket = connected();
    socket.send_frame(BINARY, &PINGREQ[..1]);
    socket.send_frame(FIN | PING, b"between");
    socket.send_frame(CONTINUATION, &[]);
    socket.send_frame(FIN | CONTINUATION, &PINGREQ[1..]);
    let mut got = [0, 0].map(|_| socket.recv_frame(PATIENCE).unwrap().unwrap());
    got.sort();
    assert_eq!(got, [(FIN | BINARY, vec![0xD0, 0]), (FIN | PONG, b"between".to_vec())]);
}

/// [MQTT-6.0.0-1], [MQTT311-6.0.0-1]
fn text_frames_are_refused() {
    let mut bystanders = Bystanders::new();
    let mut socket = connected();
    socket.send_frame(FIN | TEXT, &PINGREQ);
    socket.expect_closed();
    let mut socket = Socket::connect();
    socket.send_frame(FIN | TEXT, &v5().encode());
    socket.expect_closed();
    bystanders.exchange();
}

/// RFC 6455, 5.5.2
fn pings_are_answered() {
    for mut socket in [Socket::connect(), connected()] {
        for payload in [&b""[..], b"hello", &[0xFF; 125]] {
            socket.send_frame(FIN | PING, payload);
            let got = socket.recv_frame(PATIENCE).unwrap().unwrap();
            assert_eq!(got, (FIN | PONG, payload.to_vec()));
        }
    }
    let mut socket = connected();
    socket.send_frame(FIN | PONG, b"unasked");
    socket.send_frame(FIN | BINARY, &PINGREQ);
    assert_eq!(socket.recv_frame(PATIENCE).unwrap().unwrap().1, [0xD0, 0]);
}

/// RFC 6455, 5.5.1
fn close_is_answered() {
    let mut socket = connected();
    socket.send_frame(FIN | CLOSE, &[0x03, 0xE8]);
    let (first, payload) = socket.recv_frame(PATIENCE).unwrap().expect("a close frame");
    assert_eq!(first, FIN | CLOSE);
    assert!(payload.is_empty() || payload.starts_with(&[0x03, 0xE8]), "{payload:02x?}");
    assert!(matches!(socket.recv_frame(PATIENCE), Ok(None)));
}

/// Sends this on a connected socket and wants it closed.
#[track_caller]
fn refuse(send: impl FnOnce(&mut Socket)) {
    let mut bystanders = Bystanders::new();
    let mut socket = connected();
    send(&mut socket);
    socket.expect_closed();
    bystanders.exchange();
}

/// RFC 6455, 5.1
fn unmasked_frames_are_refused() {
    refuse(|socket| {
        let mut bytes = head(FIN | BINARY, 0, 2);
        bytes.extend(PINGREQ);
        socket.send_raw(&bytes);
    });
}

/// RFC 6455, 5.2
fn reserved_bits_are_refused() {
    for bit in [0x10, 0x20, 0x40] {
        refuse(|socket| socket.send_frame(FIN | BINARY | bit, &PINGREQ));
    }
}

/// RFC 6455, 5.2
fn reserved_opcodes_are_refused() {
    for opcode in [0x3, 0x7, 0xB, 0xF] {
        refuse(|socket| socket.send_frame(FIN | opcode, &PINGREQ));
    }
}

/// RFC 6455, 5.4
fn continuation_without_start_is_refused() {
    refuse(|socket| socket.send_frame(FIN | CONTINUATION, &PINGREQ));
}

/// RFC 6455, 5.4
fn new_message_within_a_fragmented_one_is_refused() {
    refuse(|socket| {
        socket.send_frame(BINARY, &PINGREQ[..1]);
        socket.send_frame(FIN | BINARY, &PINGREQ[1..]);
    });
}

/// RFC 6455, 5.5
fn fragmented_control_frames_are_refused() {
    refuse(|socket| socket.send_frame(PING, b"x"));
}

/// RFC 6455, 5.5: 125 bytes at most.
fn large_control_frames_are_refused() {
    refuse(|socket| socket.send_frame(FIN | PING, &[b'x'; 126]));
}

/// A frame of 2^62 bytes that brings ten.
fn huge_frame_length_does_not_reserve_memory() {
    let mut bystanders = Bystanders::new();
    let mut sockets: Vec<Socket> = (0..20).map(|_| connected()).collect();
    for socket in &mut sockets {
        let mut bytes = head(FIN | BINARY, 0x80, 1 << 62);
        bytes.extend([0; 14]);
        socket.send_raw(&bytes);
    }
    bystanders.exchange();
    let mut socket = connected();
    // The highest bit of the length must be zero.
    socket.send_raw(&head(FIN | BINARY, 0x80, usize::MAX));
    bystanders.exchange();
}

/// Frames of all three length encodings.
fn large_messages_pass() {
    let topic = unique_topic();
    let mut client = open();
    client.subscribe(&topic, 1);
    for len in [50, 125, 126, 1000, 65_535, 65_536, 300_000] {
        let payload: Vec<u8> = (0..len).map(|n| (n % 253) as u8).collect();
        client.publish(publish(&topic, 1, &payload));
        assert!(client.take().payload == payload, "{len} bytes differ");
    }
}

/// Attack case 7.
fn ping_flood_does_no_harm() {
    let mut bystanders = Bystanders::new();
    let mut socket = Socket::connect();
    socket.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    for _ in 0..2000 {
        socket.send_frame(FIN | PING, &[b'x'; 125]);
    }
    bystanders.exchange();
    drop(socket);
    bystanders.exchange();
}

/// Attack case 7.
fn huge_headers_are_refused() {
    let mut bystanders = Bystanders::new();
    let mut stream = TcpStream::connect(Socket::address()).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(b"GET /mqtt HTTP/1.1\r\n");
    for n in 0..20_000 {
        if stream.write_all(format!("X-Header-{n}: {}\r\n", "x".repeat(100)).as_bytes()).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 101"));
    bystanders.exchange();
}

/// RFC 6455, 4.2.1
fn request_without_upgrade_is_refused() {
    let mut bystanders = Bystanders::new();
    for request in [
        "GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /mqtt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "\r\n\r\n",
        "\x10\x0C\0\x04MQTT\x05\x02\0\0\0\0\0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(Socket::address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 64];
        let n = stream.read(&mut answer).unwrap_or(0);
        assert!(!answer[..n].starts_with(b"HTTP/1.1 101"), "{request:?}");
    }
    bystanders.exchange();
}

/// RFC 6455, 4.2.1: no key, wrong version.
fn wrong_path_or_key_does_no_harm() {
    let mut bystanders = Bystanders::new();
    let host = Socket::address();
    for headers in [
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 7\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n",
    ] {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 64];
        let n = stream.read(&mut answer).unwrap_or(0);
        assert!(!answer[..n].starts_with(b"HTTP/1.1 101"), "{headers:?}");
    }
    bystanders.exchange();
}

/// [MQTT-3.1.2-8]
fn lost_socket_publishes_the_will() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let will = crate::client::Will::new(&topic, "lost");
    let client = v5().will(will).open_over(Box::new(Socket::connect()));
    client.lose();
    assert_eq!(watcher.take().text(), "lost");
}
