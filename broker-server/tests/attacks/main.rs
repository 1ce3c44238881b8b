//! Attacks on a running broker: the attacker gets its refusal, the bystanders' messages go on, and memory
//! stays within a stated bound.
//!
//! Each test has a broker process of its own, so that its memory can be measured; one runs at a time. The
//! names are those of the list of attack cases: `a..` before, `b..` after CONNECT, `c..` rights,
//! `d..` on the management API, `e..` faults of the system.

mod broker;
#[path = "../conformance/client.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod client;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "shared by suites, each of which uses a part of it")]
mod process;
#[path = "../conformance/wire.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod wire;

mod authorization;
mod before_connect;
mod connections;
mod management_plane;
mod memory;
mod messages;
mod overload;
mod rates;
mod retained;
mod sessions;
mod slow_readers;
mod subscriptions;
mod websocket;
