//! WebSocket, client side: the handshake and the frames that carry MQTT (RFC 6455; MQTT 5.0, 6).

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

/// Turns MQTT bytes into masked binary frames and back; knows of no socket.
#[derive(Debug)]
pub(super) struct WebSocket {
    /// What the server has to answer in Sec-WebSocket-Accept; `None` once it did.
    awaited_accept: Option<String>,
    mask_state: u64,
    /// Bytes for the socket: the request, frames.
    pub(super) output: Vec<u8>,
    input: Vec<u8>,
    is_closed: bool,
}

impl WebSocket {
    /// A WebSocket whose opening request is already in `output`.
    pub(super) fn open(host: &str, port: u16, path: &str) -> Self {
        let key = BASE64.encode(random::<16>());
        // IPv6 addresses stand in brackets in Host.
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        Self {
            awaited_accept: Some(accept_of(&key)),
            mask_state: u64::from_ne_bytes(random()) | 1,
            output: request.into_bytes(),
            input: Vec::new(),
            is_closed: false,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.awaited_accept.is_none()
    }

    /// The server sent Close: there is nothing more to read.
    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Appends one binary frame with `payload` to the output.
    pub(super) fn put_frame(&mut self, payload: &[u8]) {
        self.put(OPCODE_BINARY, payload);
    }

    pub(super) fn put_close(&mut self) {
        // 1000: normal closure.
        self.put(OPCODE_CLOSE, &1000_u16.to_be_bytes());
    }

    /// Takes what the socket brought and appends the MQTT bytes in it to `mqtt`.
    pub(super) fn take_input(&mut self, bytes: &[u8], mqtt: &mut Vec<u8>) -> io::Result<()> {
        self.input.extend_from_slice(bytes);
        let mut at = 0;
        if self.awaited_accept.is_some() {
            match self.response_len()? {
                Some(len) => at = len,
                None => return Ok(()),
            }
            self.awaited_accept = None;
        }
        while let Some(frame) = Frame::parse(&self.input[at..])? {
            let payload = at + frame.payload_at..at + frame.len;
            at = payload.end;
            match frame.opcode {
                OPCODE_CONTINUATION | OPCODE_BINARY => {
                    mqtt.extend_from_slice(&self.input[payload]);
                }
                OPCODE_PING => {
                    let echo = self.input[payload].to_vec();
                    self.put(OPCODE_PONG, &echo);
                }
                OPCODE_PONG => {}
                OPCODE_CLOSE => self.is_closed = true,
                opcode => return Err(invalid(format!("WebSocket: unexpected opcode {opcode}"))),
            }
        }
        self.input.drain(..at);
        Ok(())
    }

    /// Bytes of the server's response once it is complete and right.
    fn response_len(&self) -> io::Result<Option<usize>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.input);
        let parsed = parsed.map_err(|error| invalid(format!("WebSocket handshake: {error}")))?;
        let httparse::Status::Complete(len) = parsed else { return Ok(None) };
        let code = response.code.unwrap_or(0);
        if code != 101 {
            let reason = response.reason.unwrap_or("");
            return Err(invalid(format!("WebSocket handshake: server answered {code} {reason}")));
        }
        let header = |name: &str| {
            let mut found = response.headers.iter().filter(|it| it.name.eq_ignore_ascii_case(name));
            found.next().map(|it| String::from_utf8_lossy(it.value).into_owned())
        };
        if header("Sec-WebSocket-Accept") != self.awaited_accept {
            return Err(invalid("WebSocket handshake: wrong Sec-WebSocket-Accept".to_owned()));
        }
        match header("Sec-WebSocket-Protocol") {
            Some(protocol) if protocol.eq_ignore_ascii_case("mqtt") => Ok(Some(len)),
            other => Err(invalid(format!(
                "WebSocket handshake: server chose subprotocol '{}' instead of 'mqtt'",
                other.unwrap_or_default()
            ))),
        }
    }

    fn put(&mut self, opcode: u8, payload: &[u8]) {
        let mask = self.next_mask();
        self.output.push(0x80 | opcode);
        match payload.len() {
            len @ 0..=125 => self.output.push(0x80 | len as u8),
            len @ 126..=0xFFFF => {
                self.output.push(0x80 | 126);
                self.output.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                self.output.push(0x80 | 127);
                self.output.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        self.output.extend_from_slice(&mask);
        let at = self.output.len();
        self.output.extend_from_slice(payload);
        for chunk in self.output[at..].chunks_mut(4) {
            chunk.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
        }
    }

    /// xorshift64: a mask protects proxies from scripts, and this client runs none.
    fn next_mask(&mut self) -> [u8; 4] {
        self.mask_state ^= self.mask_state << 13;
        self.mask_state ^= self.mask_state >> 7;
        self.mask_state ^= self.mask_state << 17;
        ((self.mask_state >> 32) as u32).to_ne_bytes()
    }
}

/// Where one frame of the server starts and ends.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    payload_at: usize,
    len: usize,
}

impl Frame {
    /// The frame at the start of `bytes`; `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err(invalid("WebSocket: frame with reserved bits or a mask".to_owned()));
        }
        let (payload_at, payload_len) = match second & 0x7F {
            126 => match rest.first_chunk() {
                Some(len) => (4, u64::from(u16::from_be_bytes(*len))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(len) => (10, u64::from_be_bytes(*len)),
                None => return Ok(None),
            },
            len => (2, u64::from(len)),
        };
        if payload_len > FRAME_BYTES_MAX {
            return Err(invalid(format!("WebSocket: frame of {payload_len} bytes")));
        }
        let len = payload_at + payload_len as usize;
        Ok((bytes.len() >= len).then_some(Self { opcode: first & 0x0F, payload_at, len }))
    }
}

fn accept_of(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

const OPCODE_CONTINUATION: u8 = 0;
const OPCODE_BINARY: u8 = 2;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;

/// Somewhat more than the largest MQTT packet.
const FRAME_BYTES_MAX: u64 = 1 << 29;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> WebSocket {
        let mut socket = WebSocket::open("h", 80, "/mqtt");
        socket.awaited_accept = None;
        socket.output.clear();
        socket
    }

    /// RFC 6455, 1.3, the example
    #[test]
    fn accept_is_the_hash_of_the_key() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn response_is_checked_and_what_follows_is_kept() {
        let mut socket = WebSocket::open("::1", 80, "/mqtt");
        let request = String::from_utf8(socket.output.clone()).unwrap();
        assert!(request.starts_with("GET /mqtt HTTP/1.1\r\nHost: [::1]:80\r\n"), "{request}");
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: mqtt\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            socket.awaited_accept.clone().unwrap()
        );
        let mut bytes = response.into_bytes();
        bytes.extend_from_slice(&[0x82, 2, 0xD0, 0]);
        let mut mqtt = Vec::new();
        for byte in bytes {
            socket.take_input(&[byte], &mut mqtt).unwrap();
        }
        assert!(socket.is_open());
        assert_eq!(mqtt, [0xD0, 0]);
    }

    #[test]
    fn refused_handshake_names_the_status() {
        let mut socket = WebSocket::open("h", 80, "/");
        let error = socket.take_input(b"HTTP/1.1 404 Not Found\r\n\r\n", &mut Vec::new());
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "WebSocket handshake: server answered 404 Not Found");
    }

    #[test]
    fn frames_are_masked() {
        let mut socket = opened();
        for len in [0, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|it| it as u8).collect();
            socket.output.clear();
            socket.put_frame(&payload);
            let at = socket.output.len() - len;
            let mask: [u8; 4] = socket.output[at - 4..at].try_into().unwrap();
            let unmasked: Vec<u8> =
                socket.output[at..].iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
            assert_eq!((socket.output[0], socket.output[1] & 0x80), (0x82, 0x80));
            assert_eq!(unmasked, payload);
        }
    }

    #[test]
    fn ping_is_answered_and_close_ends_the_input() {
        let mut socket = opened();
        let mut mqtt = Vec::new();
        socket
            .take_input(&[0x02, 1, b'a', 0x89, 1, b'p', 0x80, 1, b'b', 0x88, 0], &mut mqtt)
            .unwrap();
        assert_eq!(mqtt, b"ab");
        assert_eq!((socket.output[0], socket.output[1]), (0x8A, 0x81));
        assert!(socket.is_closed());
        assert!(socket.take_input(&[0x82, 0x81], &mut mqtt).is_err());
    }
}
