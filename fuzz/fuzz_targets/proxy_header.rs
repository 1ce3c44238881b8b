//! PROXY headers: no panic, and the same result at whatever byte the stream is cut.

#![no_main]

use broker_net::fuzzing::proxy_protocol::{HeaderParser, Progress};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, stream) = input;
    let cut = usize::from(cut).min(stream.len());
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
        Ok::<_, broker_net::fuzzing::proxy_protocol::MalformedHeader>(None)
    };
    assert_eq!(parse(&[&stream]), parse(&[&stream[..cut], &stream[cut..]]));
});
