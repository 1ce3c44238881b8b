//! The management API of the real program: what scripts for EMQ X 3.1 ask and get.

#![forbid(unsafe_code)]

mod broker;
#[path = "../conformance/client.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod client;
mod http;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "shared by suites, each of which uses a part of it")]
mod process;
#[path = "../conformance/wire.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod wire;

mod accounts;
mod acl;
mod alarms;
mod apps;
mod auth;
mod banned;
mod basics;
mod bounds;
mod configs;
mod connections;
mod counts;
mod first_start;
mod grafana;
mod https;
mod latency;
mod listeners;
mod log_level;
mod mosquitto;
mod mqtt;
mod openapi;
mod plugins;
mod retained;
mod routes;
mod rule_limits;
mod rules;
mod sessions;
mod start;
mod store;
mod subscriptions;
mod topic_metrics;
mod traces;
mod users;
mod why;
