//! Failure: why a store cannot be opened, started or closed, in one sentence each.

use std::io;
use std::path::PathBuf;

use broker_core::record::RecordError;

use crate::folder::{Folder, FolderError};
use crate::lock::LockError;
use crate::recover::{OpenError, StartError};
use crate::snapshot::SnapshotFault;

/// A store that does not work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody else has the folder, or it cannot be written to.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The folder is not what it should be.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot go on.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An operating system error.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it was.
        source: io::Error,
    },
    /// A part of the log is not there.
    #[error(
        "{path} is missing: the store cannot be put together without it{faults}. Restore a backup, or accept the \
         loss with broker-cli store repair",
        path = path.display()
    )]
    Missing {
        /// The segment.
        path: PathBuf,
        /// Its number.
        number: u64,
        /// Snapshots that would do without it, if they were whole.
        faults: String,
    },
    /// Something is lost, and the options say not to go on then.
    #[error("the store is damaged, and durability.on_damage is stop: {0}")]
    Damaged(String),
    /// Written by a later version of the broker.
    #[error("{path}: its log has format {format}: use the newer broker", path = path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Version of the format.
        format: u8,
    },
    /// A snapshot that could be read a moment ago.
    #[error(transparent)]
    Snapshot(#[from] SnapshotFault),
    /// What is kept is not understood.
    #[error("what is kept is not understood: {0}")]
    Record(#[from] RecordError),
    /// The call comes too early.
    #[error("the store has not been replayed")]
    NotReplayed,
    /// The call comes twice.
    #[error("the store has been replayed and started already")]
    AlreadyReplayed,
    /// The end of the log is not on the disk.
    #[error("not everything could be made safe: {0}")]
    NotSafe(String),
}

impl Failure {
    pub(crate) fn missing(folder: &Folder, number: u64, faults: &[SnapshotFault]) -> Self {
        let path = folder.log_dir().join(format!("{number:020}.seg"));
        let faults = faults.iter().map(|fault| format!("; {fault}")).collect();
        Self::Missing { path, number, faults }
    }
}
