//! The commands of the management API against the real broker, with real MQTT clients connected.

#![forbid(unsafe_code)]

mod access;
mod broker;
mod clients;
mod control;
mod counts;
mod node;
mod observing;
mod recon;
mod rules;
mod traces;
mod why;
