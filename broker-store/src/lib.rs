//! The embedded store: an append-only log of records with group commit, and snapshots of the state they lead to.
//!
//! docs/durability.md describes the files and what survives; `broker_core::record` the records.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alarm;
pub mod backup;
mod commit;
pub mod control;
pub mod files;
mod folder;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
mod keeper;
mod lock;
pub mod log;
mod manifest;
mod options;
mod pace;
mod read;
pub mod recover;
pub mod repair;
mod scan;
mod segments;
mod shared;
#[doc(hidden)]
pub mod sim;
mod snapshot;
pub mod stats;
mod store;
mod tail;
#[cfg(test)]
mod test_folder;
mod wakers;

pub use broker_core::record;
pub use folder::{Folder, FolderError, Identity};
pub use keeper::KeeperStats;
pub use lock::{FolderLock, LockError};
pub use manifest::{Entry, Manifest};
pub use options::StoreOptions;
pub use pace::CommitPolicy;
pub use segments::{RetireError, SegmentInfo};
pub use snapshot::{Snapshot, SnapshotFault};
#[doc(hidden)]
pub use store::ByHand;
pub use store::{Bodies, EmbeddedStore, Failure, Found, Opened, Replay, StoreStats};
