//! Random mutations of good input, for `FUZZ_SECS` seconds per parser (1 by default).
//!
//! The poor man's version of the targets in `fuzz/`, for machines without a nightly compiler. A
//! failure prints the seed of the run and the input.

#[path = "../../fuzz/smoke.rs"]
mod smoke;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker_net::fuzzing::proxy_protocol::{HeaderParser, MalformedHeader, Progress};
use broker_net::fuzzing::websocket::{CloseCode, Decoder};

/// xorshift64*: enough to mutate with, and no dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }
}

fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..=random.below(4) {
        input.extend(&seeds[random.below(seeds.len())]);
    }
    for _ in 0..random.below(6) {
        let at = random.below(input.len());
        match random.below(5) {
            0 => input[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            1 => input[at..].iter_mut().take(1).for_each(|byte| *byte = random.next() as u8),
            2 => input.truncate(at),
            3 => input.insert(at, random.next() as u8),
            _ => drop(input.drain(at..input.len().min(at + random.below(8)))),
        }
    }
    input
}

/// Runs `check(input, cut)` until time is up.
fn fuzz(seeds: &[Vec<u8>], check: impl Fn(&[u8], usize)) {
    let seconds = std::env::var("FUZZ_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let mut random = Random(seed | 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        for _ in 0..100 {
            let input = mutate(seeds, &mut random);
            let cut = random.below(input.len() + 1);
            let outcome = catch_unwind(AssertUnwindSafe(|| check(&input, cut)));
            assert!(outcome.is_ok(), "seed {seed}, cut {cut}, input {input:?}");
        }
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[test]
fn websocket_frames() {
    let seeds = [
        frame(0x82, b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"),
        frame(0x82, &[7; 300]),
        frame(0x02, b"first"),
        frame(0x00, b"middle"),
        frame(0x80, b"last"),
        frame(0x89, b"ping"),
        frame(0x8a, b""),
        frame(0x88, b"\x03\xe8bye"),
    ];
    let decode = |pieces: &[&[u8]]| {
        let mut decoder = Decoder::new(1 << 16);
        let (mut payload, mut close) = (Vec::new(), None);
        for piece in pieces {
            let mut buf = piece.to_vec();
            let decoded = decoder.decode(&mut buf)?;
            payload.extend_from_slice(&buf[..decoded.n]);
            close = decoded.close.or(close);
        }
        Ok::<_, CloseCode>((payload, close))
    };
    fuzz(&seeds, |input, cut| {
        assert_eq!(decode(&[input]), decode(&[&input[..cut], &input[cut..]]));
    });
}

#[test]
fn proxy_headers() {
    let v2 = |rest: &[u8]| [b"\r\n\r\n\0\r\nQUIT\n", rest].concat();
    let seeds = [
        b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(b"\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x09\xdc\x04\x01\xbb"),
        v2(&[&b"\x21\x21\0\x28"[..], &[9; 40]].concat()),
        v2(b"\x20\0\0\0"),
    ];
    let parse = |pieces: &[&[u8]]| {
        let mut parser = HeaderParser::default();
        let mut before = 0;
        for piece in pieces {
            match parser.receive(piece)? {
                Progress::Incomplete => before += piece.len(),
                Progress::Done { consumed, source } => {
                    return Ok(Some((before + consumed, source)));
                }
            }
        }
        Ok::<_, MalformedHeader>(None)
    };
    fuzz(&seeds, |input, cut| {
        assert_eq!(parse(&[input]), parse(&[&input[..cut], &input[cut..]]));
    });
}

#[test]
fn revocation_lists_and_answers() {
    // Lengths of the long form, the tags of the two, and what PEM begins with.
    let language = smoke::Language {
        bytes: &[
            0, 0x80, 0x81, 0x82, 0x84, 0xff, 0x1f, 0x02, 0x03, 0x04, 0x06, 0x0a, 0x30, 0xa0, 0xa1,
        ],
        words: &[b"-----BEGIN X509 CRL-----\n", b"-----END X509 CRL-----\n", b"20270115060000Z"],
    };
    smoke::fuzz("revocation", &language, broker_net::fuzzing::revocation);
}
