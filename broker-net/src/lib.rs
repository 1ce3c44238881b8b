//! The IO shell of the broker: listeners, TLS, WebSocket, PROXY protocol, one event loop per core.
//!
//! ```no_run
//! use broker_core::Broker;
//! use broker_net::{Server, ServerOptions};
//!
//! let broker = Broker::builder().build()?;
//! let options = ServerOptions { listeners: Vec::new(), io_threads: 0, data_dir: "data".into() };
//! let server = Server::start(&broker, options)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod acceptor;
mod balance;
pub mod clock;
pub mod config;
mod connection;
mod io_loop;
mod listener;
mod requests;
mod server;
mod timers;
mod tls_setup;
mod transport;

pub use server::{ListenerView, Server, ServerOptions, StartError};

/// The parsers of outside bytes, for the fuzz targets only.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::transport::proxy_protocol;
    pub use crate::transport::websocket;
}
