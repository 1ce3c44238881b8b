//! Frames of a WebSocket client: no panic, and the same result at whatever byte the stream is cut.

#![no_main]

use broker_net::fuzzing::websocket::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, stream) = input;
    let cut = usize::from(cut).min(stream.len());
    let decode = |pieces: &[&[u8]]| {
        let mut decoder = Decoder::new(1 << 16);
        let (mut payload, mut close) = (Vec::new(), None);
        for piece in pieces {
            let mut buf = piece.to_vec();
            let decoded = decoder.decode(&mut buf)?;
            payload.extend_from_slice(&buf[..decoded.n]);
            close = decoded.close.or(close);
        }
        Ok::<_, broker_net::fuzzing::websocket::CloseCode>((payload, close))
    };
    assert_eq!(decode(&[&stream]), decode(&[&stream[..cut], &stream[cut..]]));
});
