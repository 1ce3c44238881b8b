//! Rig: a log on files in memory, started and started again.

#![allow(dead_code, reason = "each test file uses its part")]

use std::convert::Infallible;
use std::sync::Arc;

use broker_core::store::Lsn;
use broker_store::log::{Log, LogOptions, Threads};
use broker_store::recover::{Recovery, ReplayFrom, StartError, StoppedLog};
use broker_store::sim::{Random, SimFiles};

pub(crate) const SEGMENT_BYTES: u64 = 4096;

pub(crate) struct Rig {
    pub(crate) files: SimFiles,
    pub(crate) options: LogOptions,
}

/// What a start has found.
pub(crate) struct Found {
    pub(crate) recovery: Recovery,
    /// Numbers of the payloads, each of which was whole.
    pub(crate) numbers: Vec<u64>,
    pub(crate) bases: Vec<Lsn>,
}

impl Rig {
    pub(crate) fn new(files: SimFiles) -> Self {
        let mut options = LogOptions::new("data", [3; 16]);
        options.segment_bytes = SEGMENT_BYTES;
        options.spare_segments = 3;
        Self { files, options }
    }

    /// The same store on other files.
    pub(crate) fn on(&self, files: SimFiles) -> Self {
        Self { files, options: self.options.clone() }
    }

    pub(crate) fn stopped(&self) -> StoppedLog {
        StoppedLog::open(Arc::new(self.files.clone()), self.options.clone()).unwrap()
    }

    pub(crate) fn replay(&self, from: ReplayFrom) -> Found {
        let mut numbers = Vec::new();
        let mut bases = Vec::new();
        let recovery = self
            .stopped()
            .replay(from, |base, bytes| {
                let number = number_of(bytes);
                assert!(
                    bytes == payload(number, bytes.len()),
                    "payload {number} is not what was sent"
                );
                numbers.push(number);
                bases.push(base);
                Ok::<(), Infallible>(())
            })
            .unwrap_or_else(|error| panic!("{error} {from:?} {:?}", self.files));
        Found { recovery, numbers, bases }
    }

    pub(crate) fn start(&self, from: Lsn) -> (Log, Found) {
        self.start_with(from, Threads::None)
    }

    pub(crate) fn start_with(&self, from: Lsn, threads: Threads) -> (Log, Found) {
        let found = self.replay(ReplayFrom { from, ..ReplayFrom::default() });
        let log = self.stopped().start(&found.recovery, threads).unwrap();
        (log, found)
    }

    pub(crate) fn try_start(&self, from: Lsn) -> Result<(Log, Found), StartError> {
        let found = self.replay(ReplayFrom { from, ..ReplayFrom::default() });
        self.stopped().start(&found.recovery, Threads::None).map(|log| (log, found))
    }
}

/// A payload that nobody mistakes for another: its number, then bytes that follow from it.
pub(crate) fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(number ^ (len as u64) << 32);
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len.max(8));
    bytes
}

pub(crate) fn number_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

/// Seed of this run: `SIM_SEED`, or always the same.
pub(crate) fn seed() -> u64 {
    std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}
