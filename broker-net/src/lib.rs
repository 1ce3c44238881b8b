//! The IO shell of the broker: listeners, TLS, WebSocket, PROXY protocol, one event loop per core.
//!
//! ```no_run
//! use broker_core::Broker;
//! use broker_net::config::ListenerConfig;
//! use broker_net::{Server, ServerOptions};
//!
//! let broker = Broker::builder().build()?;
//! let listeners = vec![ListenerConfig::tcp("external", "0.0.0.0:1883".parse()?)];
//! let server = Server::start(&broker, ServerOptions { listeners, ..ServerOptions::default() })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod acceptor;
mod balance;
pub mod clock;
pub mod config;
mod connection;
mod der;
mod io_loop;
mod listener;
mod listener_set;
mod requests;
mod resting;
mod server;
mod timers;
mod tls_setup;
mod transport;

pub use listener_set::{ListenerSet, ListenerView};
pub use server::{BoundServer, Server, ServerOptions, StartError};
pub use tls_setup::{
    CRL_BYTES_MAX, Concluded, CrlError, Fetched, Inquiry, OCSP_BYTES_MAX, OcspError, OcspQuestion,
    PskLookup, ReloadableTls, RevocationState, StapleState, TlsSetupError,
};

/// The parsers of outside bytes, for the fuzz targets only.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::tls_setup::fuzzing::revocation;
    pub use crate::transport::proxy_protocol;
    pub use crate::transport::websocket;
}
