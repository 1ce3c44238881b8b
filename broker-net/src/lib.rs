//! The IO shell of the broker: listeners, TLS, WebSocket, PROXY protocol, one event loop per core.

#![forbid(unsafe_code)]

pub mod config;
#[allow(
    dead_code,
    unused_imports,
    reason = "the acceptor that drives it comes with the event loop"
)]
mod listener;
#[allow(dead_code, reason = "the event loop that drives it comes in a later change")]
mod transport;
