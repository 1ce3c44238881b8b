//! The embedded store: an append-only log of records with group commit, and snapshots of the state they lead to.
//!
//! docs/durability.md describes the files and what survives; `broker_core::record` the records.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod files;
mod frame;
#[doc(hidden)]
pub mod sim;
