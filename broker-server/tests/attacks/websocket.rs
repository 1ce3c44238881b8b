//! WebSocket as attackers speak it: case 7, and case 1 for packets within frames.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::broker::{MB, Target, end_of, start};
use crate::client::{PATIENCE, v5};
use crate::wire::PINGREQ;

const WS: &str = "[mqtt]\nidle_timeout = \"1s\"\n[listener.ws.external]\nbind = \"127.0.0.1:0\"\n\
                  max_frame_size = \"2MB\"\n";

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";

const FIN_BINARY: u8 = 0x82;

fn raw(process: &Target) -> TcpStream {
    crate::client::tcp_to(process.address("mqtt:ws:external"))
}

/// A socket after the upgrade.
fn upgraded(process: &Target) -> TcpStream {
    let mut stream = raw(process);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// A masked frame of fewer than 126 bytes, or with a length of its own.
fn frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match length {
        [] => frame.push(0x80 | u8::try_from(payload.len()).unwrap()),
        length => frame.extend(length),
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn a07_frames_against_the_protocol_close_before_and_after_connect() {
    let mut process = start(WS, "");
    let bystanders = process.bystanders();
    let connect = v5().id("w").encode();
    let hello = frame(FIN_BINARY, &[], &connect);
    let broken: &[Vec<u8>] = &[
        // Not masked; a reserved bit; reserved opcodes; text.
        vec![FIN_BINARY, 2, 0xC0, 0],
        frame(0xC2, &[], &PINGREQ),
        frame(0x83, &[], &PINGREQ),
        frame(0x8B, &[], &PINGREQ),
        frame(0x81, &[], b"text"),
        // A continuation of nothing; a new message within another; a control frame in fragments or too long.
        frame(0x80, &[], &PINGREQ),
        [frame(0x02, &[], &PINGREQ), frame(FIN_BINARY, &[], &PINGREQ)].concat(),
        frame(0x09, &[], b"ping"),
        frame(0x89, &[0xFE, 0, 126], &[0; 126]),
        // Lengths: longer than needed, and beyond what there can be.
        frame(FIN_BINARY, &[0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], b""),
        frame(FIN_BINARY, &[0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], b""),
    ];
    for bytes in broken {
        let mut stream = upgraded(&process);
        let _ = stream.write_all(bytes);
        end_of(&mut stream, PATIENCE)
            .unwrap_or_else(|| panic!("open before CONNECT after {bytes:02x?}"));
        let mut stream = upgraded(&process);
        let _ = stream.write_all(&[&hello[..], bytes].concat());
        end_of(&mut stream, PATIENCE)
            .unwrap_or_else(|| panic!("open after CONNECT and {bytes:02x?}"));
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// Request heads without end from 50 connections; bound 32 MB.
#[test]
fn a07_a_flood_of_headers_is_refused() {
    let mut process = start(WS, "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    for n in 0..50 {
        let mut stream = raw(&process);
        let _ = stream.write_all(b"GET /mqtt HTTP/1.1\r\n");
        let line = if n % 2 == 0 { "a: b\r\n".to_owned() } else { "x".repeat(8192) };
        for _ in 0..2000 {
            if stream.write_all(line.as_bytes()).is_err() {
                break;
            }
        }
        end_of(&mut stream, PATIENCE).expect("closed");
    }
    // One that stops in the middle is cut like every other that does not connect.
    let mut stream = raw(&process);
    stream.write_all(&REQUEST.as_bytes()[..60]).unwrap();
    end_of(&mut stream, PATIENCE).expect("closed");
    bystanders.assert_fine();
    process.assert_grown_less(before, 32 * MB);
    process.assert_serves();
}

/// 10 MB of Pings and of empty frames whose answers nobody reads; bound 32 MB.
#[test]
fn a07_floods_of_pings_and_empty_frames_do_no_harm() {
    let mut process = start(WS, "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    for flood in [frame(0x89, &[], &[b'p'; 125]), frame(0x02, &[], b""), frame(0x80, &[], b"")] {
        let mut stream = upgraded(&process);
        let mut bytes = frame(FIN_BINARY, &[], &v5().encode());
        bytes.extend(flood.iter().cycle().take(10 << 20));
        // The broker may stop reading, or close.
        let _ = stream.write_all(&bytes);
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 32 * MB);
    process.assert_serves();
}

#[test]
fn a01_a_packet_longer_than_its_websocket_frame_waits_and_is_cut() {
    let mut process = start(WS, "");
    let bystanders = process.bystanders();
    for _ in 0..50 {
        let mut stream = upgraded(&process);
        // CONNECT of 200 bytes announced, 5 there: read on, never beyond the frame.
        stream.write_all(&frame(FIN_BINARY, &[], &[0x10, 200, 1, 0, 4, b'M', b'Q'])).unwrap();
        let _ = stream.write_all(&frame(0x88, &[], b""));
        end_of(&mut stream, PATIENCE).expect("closed");
    }
    let mut stream = upgraded(&process);
    stream.write_all(&frame(FIN_BINARY, &[], &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F])).unwrap();
    end_of(&mut stream, PATIENCE).expect("closed");
    let mut stream = upgraded(&process);
    stream.write_all(&frame(FIN_BINARY, &[], &[0x10, 200, 1, 0])).unwrap();
    end_of(&mut stream, PATIENCE).expect("cut by idle_timeout");
    bystanders.assert_fine();
    process.assert_serves();
}
