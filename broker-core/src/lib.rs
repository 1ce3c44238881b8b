//! The MQTT broker as a library: no socket, no HTTP, no runtime, no clock.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod config;
