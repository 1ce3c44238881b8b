//! PROXY protocol, versions 1 and 2: the header in which a proxy names the client it speaks for.
//!
//! Specification: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Takes the header byte by byte or at once; memory is bounded by [`KEPT_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct HeaderParser {
    kept: Vec<u8>,
    /// Bytes of a version 2 header after those kept: extensions, which tell us nothing.
    n_to_skip: usize,
    source: Option<SocketAddr>,
}

/// How far a header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All bytes belong to the header and there is more of it.
    Incomplete,
    /// The header has ended.
    Done {
        /// So many of the bytes given belong to it.
        consumed: usize,
        /// The client's address; `None`: the connection is the proxy's own (a health check), or the address is of
        /// no Internet family.
        source: Option<SocketAddr>,
    },
}

/// The peer did not send a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed PROXY header")]
pub struct MalformedHeader;

impl HeaderParser {
    /// Takes the next bytes of the stream.
    pub fn receive(&mut self, input: &[u8]) -> Result<Progress, MalformedHeader> {
        let mut consumed = 0;
        while consumed < input.len() {
            if self.n_to_skip > 0 {
                let n = self.n_to_skip.min(input.len() - consumed);
                self.n_to_skip -= n;
                consumed += n;
            } else {
                self.kept.push(input[consumed]);
                consumed += 1;
                if !self.handle_byte()? {
                    continue;
                }
            }
            if self.n_to_skip == 0 {
                return Ok(Progress::Done { consumed, source: self.source });
            }
        }
        Ok(Progress::Incomplete)
    }

    /// Whether the part of the header that matters is complete.
    fn handle_byte(&mut self) -> Result<bool, MalformedHeader> {
        let kept = self.kept.as_slice();
        if is_prefix(kept, V2_SIGNATURE) {
            self.handle_v2()
        } else if is_prefix(kept, V1_SIGNATURE) {
            if kept.ends_with(b"\r\n") {
                self.source = parse_v1(&kept[..kept.len() - 2])?;
                return Ok(true);
            }
            if kept.len() >= V1_BYTES_MAX { Err(MalformedHeader) } else { Ok(false) }
        } else {
            Err(MalformedHeader)
        }
    }

    fn handle_v2(&mut self) -> Result<bool, MalformedHeader> {
        let Some((fixed, addresses)) = self.kept.split_at_checked(V2_FIXED_BYTES) else {
            return Ok(false);
        };
        let announced = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        let n_address = match (fixed[12], fixed[13]) {
            // LOCAL, and PROXY of an unspecified family: whatever follows is to be ignored.
            (0x20, _) | (0x21, 0x00) => 0,
            (0x21, 0x11) => 12,
            (0x21, 0x21) => 36,
            (0x21, 0x31) => 216,
            _ => return Err(MalformedHeader),
        };
        if announced < n_address {
            return Err(MalformedHeader);
        }
        if addresses.len() < n_address {
            return Ok(false);
        }
        self.source = match n_address {
            12 => Some(v2_source::<4>(addresses, 8)),
            36 => Some(v2_source::<16>(addresses, 32)),
            _ => None,
        };
        self.n_to_skip = announced - n_address;
        Ok(true)
    }
}

fn is_prefix(kept: &[u8], signature: &[u8]) -> bool {
    let n = kept.len().min(signature.len());
    kept[..n] == signature[..n]
}

/// The source address at the start of the block, its port at `port_at`.
fn v2_source<const N: usize>(addresses: &[u8], port_at: usize) -> SocketAddr
where
    IpAddr: From<[u8; N]>,
{
    let mut ip = [0; N];
    ip.copy_from_slice(&addresses[..N]);
    let port = u16::from_be_bytes([addresses[port_at], addresses[port_at + 1]]);
    SocketAddr::new(IpAddr::from(ip).to_canonical(), port)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.9 56324 443`, without the line's end.
fn parse_v1(line: &[u8]) -> Result<Option<SocketAddr>, MalformedHeader> {
    let line = str::from_utf8(line).map_err(|_| MalformedHeader)?;
    let mut words = line.split(' ').skip(1);
    match words.next() {
        Some("TCP4") => v1_source::<Ipv4Addr>(words).map(Some),
        Some("TCP6") => v1_source::<Ipv6Addr>(words).map(Some),
        Some("UNKNOWN") => Ok(None),
        _ => Err(MalformedHeader),
    }
}

fn v1_source<'a, A>(words: impl Iterator<Item = &'a str>) -> Result<SocketAddr, MalformedHeader>
where
    A: FromStr + Into<IpAddr>,
{
    let words: Vec<_> = words.take(5).collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err(MalformedHeader);
    };
    let ip: A = source.parse().map_err(|_| MalformedHeader)?;
    destination.parse::<A>().map_err(|_| MalformedHeader)?;
    v1_port(destination_port)?;
    Ok(SocketAddr::new(ip.into().to_canonical(), v1_port(source_port)?))
}

/// Digits only: `u16::from_str` would also take a plus sign.
fn v1_port(word: &str) -> Result<u16, MalformedHeader> {
    if !word.bytes().all(|byte| byte.is_ascii_digit()) || (word.len() > 1 && word.starts_with('0'))
    {
        return Err(MalformedHeader);
    }
    word.parse().map_err(|_| MalformedHeader)
}

/// What a parser ever holds: the fixed part and addresses of version 2.
pub const KEPT_BYTES_MAX: usize = V2_FIXED_BYTES + 216;

const V1_SIGNATURE: &[u8] = b"PROXY ";
/// The longest line the specification allows, its end included.
const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    }

    /// The result, at whatever byte the input is split.
    fn check(header: &[u8], expected: Result<Option<&str>, MalformedHeader>) {
        let expected = expected.map(|addr| addr.map(|addr| addr.parse().unwrap()));
        let mut stream = header.to_vec();
        stream.extend(b"\x10\x0c");
        for split in 0..=stream.len() {
            let mut parser = HeaderParser::default();
            let (head, tail) = stream.split_at(split);
            let result = match parser.receive(head) {
                Ok(Progress::Incomplete) => parser.receive(tail).map(|progress| (split, progress)),
                other => other.map(|progress| (0, progress)),
            };
            let found = result.map(|(before, progress)| match progress {
                Progress::Done { consumed, source } => {
                    assert_eq!(before + consumed, header.len(), "nothing of MQTT is taken");
                    source
                }
                Progress::Incomplete => panic!("incomplete: {header:?}"),
            });
            assert_eq!(found, expected, "split at {split}: {header:?}");
        }
    }

    #[test]
    fn version_1_names_the_source() {
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\r\n", Ok(Some("192.0.2.1:56324")));
        check(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Ok(Some("[2001:db8::1]:1")));
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(None));
    }

    #[test]
    fn malformed_version_1_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.9 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 56324 443 \r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.9 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 56324 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 01 443\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.9 1 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.9 1 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.9 1 443\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "proxy UNKNOWN\r\n",
            "GET / HTTP/1.1\r\n",
            "\x10\x0c\0\x04MQTT",
        ] {
            check(line.as_bytes(), Err(MalformedHeader));
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        check(endless.as_bytes(), Err(MalformedHeader));
    }

    #[test]
    fn version_2_names_the_source() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 9, 0xdc, 4, 1, 187];
        check(&v2(0x21, 0x11, &v4), Ok(Some("192.0.2.1:56324")));
        check(
            &v2(0x21, 0x11, &[v4.as_slice(), &[0x04, 0, 1, 0]].concat()),
            Ok(Some("192.0.2.1:56324")),
        );
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        v6[15] = 7;
        v6[33] = 9;
        check(&v2(0x21, 0x21, &v6), Ok(Some("[2001:db8::7]:9")));
        check(&v2(0x21, 0x31, &[b'/'; 216]), Ok(None));
        check(&v2(0x20, 0x00, &[]), Ok(None));
        check(&v2(0x20, 0x11, &v4), Ok(None));
        check(&v2(0x21, 0x00, &[1; 300]), Ok(None));
    }

    #[test]
    fn malformed_version_2_is_refused() {
        check(&v2(0x11, 0x11, &[0; 12]), Err(MalformedHeader));
        check(&v2(0x22, 0x11, &[0; 12]), Err(MalformedHeader));
        check(&v2(0x21, 0x12, &[0; 12]), Err(MalformedHeader));
        check(&v2(0x21, 0x11, &[0; 11]), Err(MalformedHeader));
        check(&v2(0x21, 0x21, &[0; 35]), Err(MalformedHeader));
        check(&v2(0x21, 0x31, &[0; 215]), Err(MalformedHeader));
        check(b"\r\n\r\n\0\r\nQUIP\n", Err(MalformedHeader));
    }

    #[test]
    fn extensions_are_skipped_without_being_kept() {
        let mut parser = HeaderParser::default();
        let header = v2(0x21, 0x11, &vec![1; 65_535]);
        let done = parser.receive(&header).unwrap();
        assert_eq!(
            done,
            Progress::Done { consumed: header.len(), source: Some("1.1.1.1:257".parse().unwrap()) }
        );
        assert!(parser.kept.len() <= KEPT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_neither_panic_nor_grow(
            start in prop_oneof![Just(&b""[..]), Just(V1_SIGNATURE), Just(V2_SIGNATURE)],
            bytes in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut parser = HeaderParser::default();
            for byte in start.iter().chain(&bytes) {
                match parser.receive(&[*byte]) {
                    Ok(Progress::Incomplete) => prop_assert!(parser.kept.len() <= KEPT_BYTES_MAX),
                    _ => break,
                }
            }
        }
    }
}
