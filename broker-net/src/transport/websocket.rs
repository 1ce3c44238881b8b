//! WebSocket frames as a server reads and writes them (RFC 6455, 5).
//!
//! No socket: bytes in, MQTT bytes out, in the same buffer. MQTT packets need not be aligned with
//! frames [MQTT-6.0.0-2], so the decoder hands on payload as it comes and keeps none of it.

mod upgrade;

#[cfg(test)]
pub(crate) use upgrade::tests as upgrade_tests;

pub(crate) use upgrade::Origin;
pub use upgrade::{Progress, Request, Response, Upgrade};

/// Reads the frames of one client.
#[derive(Debug)]
pub struct Decoder {
    header: [u8; HEADER_BYTES_MAX],
    n_header: u8,
    /// The next byte of the payload meets this byte of the mask.
    mask_at: u8,
    opcode: u8,
    /// Between a data frame without FIN and the frame that ends the message.
    in_message: bool,
    closed: bool,
    in_payload: bool,
    mask: [u8; 4],
    remaining: u64,
    frame_bytes_max: u64,
    /// Payload of a control frame that is not complete; 125 bytes at most.
    control: Vec<u8>,
}

/// What one buffer of frames held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The first `n` bytes of the buffer are now MQTT.
    pub n: usize,
    /// Payload of the last Ping: one Pong for the most recent is enough (RFC 6455, 5.5.3).
    pub ping: Option<Vec<u8>>,
    /// The client's Close and its code; nothing after it counts.
    pub close: Option<CloseCode>,
}

/// Status codes of a Close frame (RFC 6455, 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The connection has served its purpose.
    pub const NORMAL: Self = Self(1000);
    /// A frame that RFC 6455 forbids.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A text frame: MQTT is binary [MQTT-6.0.0-1].
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Stands for a Close frame without a code; never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// A reason that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// More than `max_frame_size`.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
}

impl Decoder {
    /// `frame_bytes_max` of 0: only the MQTT packet is bounded, by whoever decodes it.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            header: [0; HEADER_BYTES_MAX],
            n_header: 0,
            mask_at: 0,
            opcode: 0,
            in_message: false,
            closed: false,
            in_payload: false,
            mask: [0; 4],
            remaining: 0,
            frame_bytes_max: if frame_bytes_max == 0 { u64::MAX } else { frame_bytes_max as u64 },
            control: Vec::new(),
        }
    }

    /// Turns the frames in `buf` into the MQTT bytes they carry, moved to its front.
    ///
    /// The error is the code to close with; the client broke the protocol.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, CloseCode> {
        let mut decoded = Decoded::default();
        let mut at = 0;
        while !self.closed {
            if !self.in_payload {
                at += self.take_header(&buf[at..])?;
                if !self.in_payload {
                    break;
                }
            }
            let n = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buf.len() - at);
            self.unmask(&mut buf[at..at + n]);
            if self.opcode >= OPCODE_CLOSE {
                self.control.extend_from_slice(&buf[at..at + n]);
            } else {
                buf.copy_within(at..at + n, decoded.n);
                decoded.n += n;
            }
            at += n;
            self.remaining -= n as u64;
            if self.remaining > 0 {
                break;
            }
            self.in_payload = false;
            self.end_frame(&mut decoded)?;
        }
        Ok(decoded)
    }

    /// Takes bytes of a frame's header and returns how many; sets `in_payload` when it is complete.
    fn take_header(&mut self, input: &[u8]) -> Result<usize, CloseCode> {
        let mut n_taken = 0;
        loop {
            let n = usize::from(self.n_header);
            if n >= 2 && n == self.header_len()? {
                self.start_payload()?;
                return Ok(n_taken);
            }
            let Some(&byte) = input.get(n_taken) else { return Ok(n_taken) };
            self.header[n] = byte;
            self.n_header += 1;
            n_taken += 1;
        }
    }

    /// Length of the header by its first two bytes, which are judged here: a client that breaks the
    /// protocol is told before it has sent the rest.
    fn header_len(&self) -> Result<usize, CloseCode> {
        let [first, second, ..] = self.header;
        let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let (masked, len) = (second & 0x80 != 0, second & 0x7f);
        if reserved != 0 || !masked {
            return Err(CloseCode::PROTOCOL_ERROR);
        }
        match opcode {
            OPCODE_CONTINUATION if self.in_message => {}
            OPCODE_BINARY if !self.in_message => {}
            // MQTT travels in binary frames only [MQTT-6.0.0-1].
            OPCODE_TEXT if !self.in_message => return Err(CloseCode::UNSUPPORTED_DATA),
            OPCODE_CLOSE | OPCODE_PING | OPCODE_PONG if fin && len <= 125 => {}
            _ => return Err(CloseCode::PROTOCOL_ERROR),
        }
        Ok(match len {
            126 => 8,
            127 => 14,
            _ => 6,
        })
    }

    fn start_payload(&mut self) -> Result<(), CloseCode> {
        let [first, second, b2, b3, b4, b5, b6, b7, b8, b9, ..] = self.header;
        let (len, len_min) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([b2, b3])), 126),
            127 => (u64::from_be_bytes([b2, b3, b4, b5, b6, b7, b8, b9]), 65_536),
            len => (u64::from(len), 0),
        };
        // The shortest form is required and the top bit must be 0 (RFC 6455, 5.2).
        if len < len_min || len > i64::MAX as u64 {
            return Err(CloseCode::PROTOCOL_ERROR);
        }
        if len > self.frame_bytes_max {
            return Err(CloseCode::MESSAGE_TOO_BIG);
        }
        let n = usize::from(self.n_header);
        self.mask.copy_from_slice(&self.header[n - 4..n]);
        self.mask_at = 0;
        self.n_header = 0;
        self.remaining = len;
        self.in_payload = true;
        self.opcode = first & 0x0f;
        if self.opcode < OPCODE_CLOSE {
            self.in_message = first & 0x80 == 0;
        }
        Ok(())
    }

    fn end_frame(&mut self, decoded: &mut Decoded) -> Result<(), CloseCode> {
        match self.opcode {
            OPCODE_PING => decoded.ping = Some(std::mem::take(&mut self.control)),
            OPCODE_PONG => self.control.clear(),
            OPCODE_CLOSE => {
                decoded.close = Some(close_code(&self.control)?);
                self.control = Vec::new();
                self.closed = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// XORs with the mask, eight bytes at a time.
    fn unmask(&mut self, payload: &mut [u8]) {
        let mut mask = self.mask;
        mask.rotate_left(usize::from(self.mask_at));
        let [a, b, c, d] = mask;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = payload.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, mask) in tail.iter_mut().zip(wide.to_ne_bytes()) {
            *byte ^= mask;
        }
        self.mask_at = ((usize::from(self.mask_at) + payload.len()) & 3) as u8;
    }
}

/// The code of a Close frame, checked as RFC 6455, 5.5.1 and 7.4 ask.
fn close_code(payload: &[u8]) -> Result<CloseCode, CloseCode> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(CloseCode::NO_STATUS)
        } else {
            Err(CloseCode::PROTOCOL_ERROR)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::PROTOCOL_ERROR);
    }
    str::from_utf8(reason).map_err(|_| CloseCode::INVALID_PAYLOAD)?;
    Ok(CloseCode(code))
}

/// Appends the header of one unfragmented binary frame of `len` bytes.
pub fn encode_binary_header(len: usize, out: &mut Vec<u8>) {
    encode_header(OPCODE_BINARY, len, out);
}

/// Appends a Pong frame; `payload` is that of a Ping, so at most 125 bytes.
pub fn encode_pong(payload: &[u8], out: &mut Vec<u8>) {
    encode_header(OPCODE_PONG, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a Close frame.
pub fn encode_close(code: CloseCode, out: &mut Vec<u8>) {
    if code == CloseCode::NO_STATUS {
        return encode_header(OPCODE_CLOSE, 0, out);
    }
    encode_header(OPCODE_CLOSE, 2, out);
    out.extend_from_slice(&code.0.to_be_bytes());
}

fn encode_header(opcode: u8, len: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match len {
        0..=125 => out.push(len as u8),
        126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

const OPCODE_CONTINUATION: u8 = 0;
const OPCODE_TEXT: u8 = 1;
const OPCODE_BINARY: u8 = 2;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;

/// Two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame: first byte, payload, masked.
    pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_header(0, payload.len(), &mut out);
        out[0] = first;
        out[1] |= 0x80;
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    fn decode(stream: &[u8]) -> Result<(Vec<u8>, Decoded), CloseCode> {
        decode_in(&mut Decoder::new(1 << 20), [stream])
    }

    /// Decodes pieces and joins what they held, as one call would have returned it.
    fn decode_in<'a>(
        decoder: &mut Decoder,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, Decoded), CloseCode> {
        let (mut payload, mut all) = (Vec::new(), Decoded::default());
        for piece in pieces {
            let mut buf = piece.to_vec();
            let decoded = decoder.decode(&mut buf)?;
            payload.extend(&buf[..decoded.n]);
            all.n += decoded.n;
            all.ping = decoded.ping.or(all.ping);
            all.close = decoded.close.or(all.close);
            assert!(decoder.control.len() <= 125);
        }
        Ok((payload, all))
    }

    #[test]
    fn a_binary_frame_is_unmasked() {
        for len in [0, 1, 7, 8, 9, 125, 126, 65_535, 65_536, 100_001] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (found, decoded) = decode(&frame(0x82, &payload)).unwrap();
            assert_eq!(found, payload);
            assert_eq!(decoded, Decoded { n: len, ..Decoded::default() });
        }
    }

    // [MQTT-6.0.0-2]
    #[test]
    fn packets_may_span_frames_and_frames_hold_several() {
        let stream = [
            frame(0x02, b"one "),
            frame(0x89, b"are you there"),
            frame(0x00, b""),
            frame(0x8a, b"unasked"),
            frame(0x80, b"two "),
            frame(0x82, b"three"),
        ]
        .concat();
        let (payload, decoded) = decode(&stream).unwrap();
        assert_eq!(payload, b"one two three");
        assert_eq!(decoded.ping.as_deref(), Some(&b"are you there"[..]));
    }

    // [MQTT-6.0.0-1]
    #[test]
    fn text_is_refused() {
        assert_eq!(decode(&frame(0x81, b"x")), Err(CloseCode::UNSUPPORTED_DATA));
        assert_eq!(decode(&frame(0x01, b"x")), Err(CloseCode::UNSUPPORTED_DATA));
    }

    #[test]
    fn broken_frames_are_protocol_errors() {
        let unmasked: &[u8] = &[0x82, 0x01, b'x'];
        let not_minimal_16: &[u8] = &[0x82, 0xfe, 0, 125, 0, 0, 0, 0];
        let not_minimal_64: &[u8] = &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
        let top_bit: &[u8] = &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let long_ping: &[u8] = &[0x89, 0xfe, 0, 126];
        for stream in [
            unmasked.to_vec(),
            not_minimal_16.to_vec(),
            not_minimal_64.to_vec(),
            top_bit.to_vec(),
            long_ping.to_vec(),
            frame(0x09, b"fragmented ping"),
            frame(0x80, b"continuation of nothing"),
            frame(0x00, b"continuation of nothing"),
            [frame(0x02, b"a"), frame(0x82, b"not a continuation")].concat(),
            [frame(0x02, b"a"), frame(0x81, b"text inside")].concat(),
            frame(0xc2, b"reserved bit"),
            frame(0x92, b"reserved bit"),
            frame(0x83, b"reserved opcode"),
            frame(0x8b, b"reserved opcode"),
            frame(0x88, b"\x03"),
            frame(0x88, &1005u16.to_be_bytes()),
            frame(0x88, &999u16.to_be_bytes()),
        ] {
            assert_eq!(decode(&stream), Err(CloseCode::PROTOCOL_ERROR), "{stream:?}");
        }
        assert_eq!(decode(&frame(0x88, b"\x03\xe8\xff")), Err(CloseCode::INVALID_PAYLOAD));
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_by_its_header() {
        let mut decoder = Decoder::new(1000);
        let big = frame(0x82, &[0; 1001]);
        assert_eq!(decoder.decode(&mut big[..8].to_vec()), Err(CloseCode::MESSAGE_TOO_BIG));
        let mut decoder = Decoder::new(0);
        assert!(decoder.decode(&mut frame(0x82, &[0; 70_000])).is_ok());
    }

    #[test]
    fn nothing_counts_after_close() {
        let stream =
            [frame(0x82, b"data"), frame(0x88, b"\x03\xe9bye"), frame(0x81, b"text")].concat();
        let (payload, decoded) = decode(&stream).unwrap();
        assert_eq!(payload, b"data");
        assert_eq!(decoded.close, Some(CloseCode(1001)));
        assert_eq!(decode(&frame(0x88, b"")).unwrap().1.close, Some(CloseCode::NO_STATUS));
    }

    #[test]
    fn a_ping_flood_leaves_the_last_ping() {
        let mut stream = frame(0x89, &[7; 125]).repeat(1000);
        stream.extend(frame(0x89, b"last"));
        assert_eq!(decode(&stream).unwrap().1.ping.as_deref(), Some(&b"last"[..]));
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            4 => Just(0x82u8), 2 => Just(0x02), 2 => Just(0x00), 2 => Just(0x80),
            2 => Just(0x89), 1 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>(),
        ];
        (first, prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(first, payload)| frame(first, &payload))
    }

    proptest! {
        #[test]
        fn splitting_the_stream_changes_nothing(
            frames in prop::collection::vec(any_frame(), 0..8),
            splits in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = frames.concat();
            let mut cuts: Vec<_> = splits.iter().map(|at| at.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
            let split = decode_in(&mut Decoder::new(1 << 20), pieces);
            let bytes = decode_in(&mut Decoder::new(1 << 20), stream.chunks(1));
            let whole = decode(&stream);
            prop_assert_eq!(&split, &whole);
            prop_assert_eq!(&bytes, &whole);
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_grow(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            let mut decoder = Decoder::new(1 << 16);
            for mut piece in pieces {
                match decoder.decode(&mut piece) {
                    Ok(decoded) => prop_assert!(decoded.n <= piece.len()),
                    Err(_) => break,
                }
                prop_assert!(decoder.control.capacity() <= 256);
            }
        }
    }
}
