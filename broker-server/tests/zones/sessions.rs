//! Keys of how long connections and sessions last.

use crate::Case;
use crate::case;
use crate::client::{elapse, raw, unique_id, v5, v311};
use crate::wire::{Prop, V311};

pub(crate) const CASES: &[Case] = &[
    case("idle_timeout", "\"200ms\"", idle_timeout),
    case("keepalive_backoff", "10", keepalive_backoff),
    case("server_keepalive", "7", server_keepalive),
    case("session_expiry_interval", "\"1s\"", session_expiry_interval),
    case("max_session_expiry_interval", "\"7s\"", max_session_expiry_interval),
];

fn idle_timeout() {
    raw(V311).expect_closed();
}

/// A Keep Alive of 1 s would end after 1.5 s.
fn keepalive_backoff() {
    let mut client = v311().keep_alive(1).open();
    assert_eq!(client.recv_within(3_000), None);
    client.ping();
}

fn server_keepalive() {
    assert!(v5().open().props.0.contains(&Prop::ServerKeepAlive(7)));
}

fn session_expiry_interval() {
    let id = unique_id();
    v311().id(&id).resume().open().disconnect();
    elapse(2_000);
    assert!(!v311().id(&id).resume().open().session_present);
}

fn max_session_expiry_interval() {
    assert_eq!(v5().expiry(1_000).open().props.session_expiry(), Some(7));
}
