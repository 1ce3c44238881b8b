//! A way in for the fuzz targets: segments and snapshots of any bytes, with checksums that fit if that is asked for.
//!
//! Hidden from the documentation and no part of the interface.

use std::path::Path;
use std::sync::Arc;

use broker_core::store::Lsn;

use crate::folder::{Folder, Identity};
use crate::frame::{Flags, HEADER_BYTES, Header, Salt, frame_bytes};
use crate::log::LogOptions;
use crate::recover::{Recovery, ReplayFrom, StoppedLog};
use crate::sim::SimFiles;
use crate::snapshot::Snapshot;

const SEGMENT_BYTES: u64 = 4096;
const STORE_ID: [u8; 16] = [7; 16];

/// What is the matter with checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// They are as they come.
    AsGiven,
    /// They are made to fit, so that what lies behind them is reached.
    MadeToFit,
}

/// Reads a log of a few segments of 4096 bytes, from the beginning; none if the version is a newer one.
///
/// # Panics
/// Never, or there is a fault to be found.
pub fn read_log(
    bytes: &[u8],
    checksums: Checksums,
    mut payload: impl FnMut(Lsn, &[u8]),
) -> Option<Recovery> {
    let files = SimFiles::new(1);
    for (number, segment) in (1..=MAX_SEGMENTS).zip(bytes.chunks(SEGMENT_BYTES as usize)) {
        let mut segment = segment.to_vec();
        if checksums == Checksums::MadeToFit {
            make_frames_fit(&mut segment, number);
            // A file of ours has its whole length.
            segment.resize(SEGMENT_BYTES as usize, 0);
        }
        files.set_contents(&Path::new("/data/log").join(format!("{number:020}.seg")), segment);
    }
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::new("/data", STORE_ID) };
    let log = StoppedLog::open(Arc::new(files), options).expect("the options are valid");
    let replayed = log.replay(ReplayFrom::default(), |base, bytes| {
        payload(base, bytes);
        Ok::<(), std::convert::Infallible>(())
    });
    replayed.ok()
}

const MAX_SEGMENTS: u64 = 4;

/// Wherever something says that it is a frame, it becomes one.
fn make_frames_fit(segment: &mut [u8], number: u64) {
    let salt = Salt::new(&STORE_ID, number);
    let mut at = 0;
    while let Some(header) = segment.get(at..at + HEADER_BYTES) {
        if !header.starts_with(b"mqLg") {
            at += crate::frame::ALIGN;
            continue;
        }
        let lsn = number * SEGMENT_BYTES + at as u64;
        // Two bytes each for the length and for how far back the durable position lies.
        let back = u64::from(header[24]) | u64::from(header[25]) << 8;
        let mut payload_bytes = usize::from(header[8]) | usize::from(header[9] & 15) << 8;
        payload_bytes = payload_bytes.min(segment.len() - at - HEADER_BYTES);
        let payload = &segment[at + HEADER_BYTES..at + HEADER_BYTES + payload_bytes];
        let header = Header {
            flags: Flags::from_bits(header[5]),
            payload_bytes: payload_bytes as u32,
            payload_checksum: crc32fast::hash(payload),
            lsn,
            durable: lsn.saturating_sub(back * crate::frame::ALIGN as u64),
        };
        segment[at..at + HEADER_BYTES].copy_from_slice(&header.encode(salt));
        at += frame_bytes(payload_bytes) as usize;
    }
}

/// Reads a snapshot; how many blocks it has, if it is one.
///
/// # Panics
/// Never, or there is a fault to be found.
pub fn read_snapshot(
    bytes: &[u8],
    checksums: Checksums,
    mut block: impl FnMut(&[u8]),
) -> Option<u64> {
    let files = SimFiles::new(1);
    let made = || Ok(Identity { store_id: STORE_ID, segment_bytes: SEGMENT_BYTES, created_ms: 1 });
    let folder = Folder::open_or_create(Arc::new(files.clone()), Path::new("/data"), made);
    let folder = folder.expect("files in memory do not fail");
    let mut bytes = bytes.to_vec();
    let from = match checksums {
        Checksums::AsGiven => 0,
        Checksums::MadeToFit => crate::snapshot::make_fit(&folder, &mut bytes),
    };
    let path = folder.snap_dir().join(format!("{from:020}.snap"));
    files.set_contents(&path, bytes);
    let snapshot = Snapshot::open(&folder, &path).ok()?;
    let visited = snapshot.visit(&folder, &mut |bytes| {
        block(bytes);
        Ok(())
    });
    visited.expect("it was whole a moment ago");
    Some(snapshot.blocks)
}
