//! The management API of the real program: what scripts for EMQ X 3.1 ask and get.

#![forbid(unsafe_code)]

mod apps;
mod auth;
mod basics;
mod bounds;
mod broker;
mod counts;
mod http;
mod https;
mod listeners;
mod log_level;
mod openapi;
mod start;
mod store;
