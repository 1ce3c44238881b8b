//! The embedded store: an append-only log of records with group commit, and snapshots of the state they lead to.
//!
//! docs/durability.md describes the files and what survives; `broker_core::record` the records.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alarm;
pub mod files;
mod folder;
mod frame;
mod keeper;
mod lock;
mod options;
#[doc(hidden)]
pub mod sim;
mod snapshot;
#[cfg(test)]
mod test_folder;

pub use folder::{Folder, FolderError, Identity};
pub use keeper::KeeperStats;
pub use lock::{FolderLock, LockError};
pub use options::StoreOptions;
pub use snapshot::{Snapshot, SnapshotFault};
