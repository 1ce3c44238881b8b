//! What must hold for any bytes on a disk; the fuzz targets and `broker-store/tests/fuzz_smoke.rs` share it.

#![allow(dead_code, reason = "each target uses one of the checks")]

use broker_core::record::{Record, Records};
use broker_core::restore::BodySource;
use broker_core::store::{BodyPlace, FetchError, Lsn, Pin};
use broker_core::{Broker, Now, PageRequest};
use broker_store::fuzzing::{Checksums, read_log, read_snapshot};

/// A byte that says whether checksums fit, then up to four segments of 4096 bytes.
pub(crate) fn store_frame(data: &[u8]) {
    let Some((checksums, bytes)) = mode(data) else { return };
    let (mut payloads, mut last) = (0, 0);
    let recovery = read_log(bytes, checksums, |base, payload| {
        assert!(base > last && payload.len() <= bytes.len());
        (payloads, last) = (payloads + 1, base);
    });
    let Some(recovery) = recovery else { return };
    assert_eq!(recovery.frames, payloads);
    assert!(recovery.end >= 4096);
}

/// A byte that says whether checksums fit, then a snapshot.
pub(crate) fn snapshot(data: &[u8]) {
    let Some((checksums, bytes)) = mode(data) else { return };
    let (mut blocks, mut len) = (0, 0);
    let said = read_snapshot(bytes, checksums, |block| {
        records(block);
        (blocks, len) = (blocks + 1, len + block.len());
    });
    if let Some(said) = said {
        assert!(said == blocks && len < bytes.len());
    }
}

/// A byte that says whether the rest are records, or the fields of a message body.
pub(crate) fn record(data: &[u8]) {
    let Some((checksums, bytes)) = mode(data) else { return };
    match checksums {
        Checksums::AsGiven => {
            records(bytes);
            restore(bytes);
        }
        Checksums::MadeToFit => {
            let mut record = vec![1];
            let mut len = bytes.len() + 4;
            while len >= 0x80 {
                record.push(len as u8 | 0x80);
                len >>= 7;
            }
            record.push(len as u8);
            record.extend_from_slice(bytes);
            record.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
            records(&record);
        }
    }
}

fn mode(data: &[u8]) -> Option<(Checksums, &[u8])> {
    let (mode, bytes) = data.split_first()?;
    Some((if mode & 1 == 0 { Checksums::AsGiven } else { Checksums::MadeToFit }, bytes))
}

/// What was read can be written and is read again as the same.
fn records(bytes: &[u8]) {
    for read in Records::new(bytes) {
        let Ok((at, len, record)) = read else { return };
        assert!(at as usize + len as usize <= bytes.len());
        let mut again = Vec::new();
        record.encode(&mut again);
        // Numbers that can be written in more than one way make the copy shorter, never longer.
        assert!(again.len() <= len as usize, "{record:?}");
        assert_eq!(Record::decode(&again), Ok((again.len(), Some(record))));
    }
}

/// A broker takes them as a snapshot and as the log behind it.
fn restore(bytes: &[u8]) {
    let Ok(broker) = Broker::builder().build() else { return };
    let mut restorer = broker.restorer();
    if restorer.block(bytes).is_ok() || restorer.frame(4096, bytes).is_ok() {
        let _ = restorer.frame(8192, bytes);
        restorer.finish(NOW, &mut NoBodies);
        // And lets them go: a group and the messages that it has dealt out hold each other until then.
        let mut turn = broker.turn();
        turn.begin(NOW);
        loop {
            let first = PageRequest { page: 1, limit: 1000, caller: 0 };
            let sessions = broker.sessions_page(&first, NOW).rows;
            for session in &sessions {
                broker.discard_session(session.client.client_id.as_str(), &mut turn);
            }
            if sessions.is_empty() {
                break;
            }
        }
        turn.finish();
    }
}

const NOW: Now = Now { mono_ms: 1000, us: 0, wall_ms: 1_700_000_000_000 };

struct NoBodies;

impl BodySource for NoBodies {
    fn pin(&mut self, at: Lsn) -> Option<Pin> {
        at.is_multiple_of(2).then(|| std::sync::Arc::new(()) as Pin)
    }

    fn read(&mut self, place: &BodyPlace) -> Result<bytes::Bytes, FetchError> {
        Err(FetchError { at: place.at, reason: "none is here".to_owned() })
    }
}
