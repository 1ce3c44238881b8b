//! The embedded store: an append-only log of records with group commit, and snapshots of the state they lead to.
//!
//! docs/durability.md describes the files and what survives; `broker_core::record` the records.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod commit;
pub mod files;
mod frame;
pub mod log;
mod pace;
mod read;
pub mod recover;
mod scan;
mod segments;
#[doc(hidden)]
pub mod sim;
pub mod stats;
mod tail;
mod wakers;

pub use pace::CommitPolicy;
pub use segments::{RetireError, SegmentInfo};
