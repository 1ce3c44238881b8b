//! The IO shell of the broker: listeners, TLS, WebSocket, PROXY protocol, one event loop per core.

#![forbid(unsafe_code)]

pub mod config;
