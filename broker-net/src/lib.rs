//! The IO shell of the broker: listeners, TLS, WebSocket, PROXY protocol, one event loop per core.

#![forbid(unsafe_code)]

pub mod config;
#[allow(
    dead_code,
    unused_imports,
    reason = "the acceptor that drives it comes with the event loop"
)]
mod listener;
#[allow(dead_code, reason = "the acceptor that drives it comes with the event loop")]
mod tls_setup;
#[allow(dead_code, unused_imports, reason = "the event loop that drives it comes later")]
mod transport;

/// The parsers of outside bytes, for the fuzz targets only.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::transport::proxy_protocol;
    pub use crate::transport::websocket;
}
