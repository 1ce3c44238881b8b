//! Keys of `[limits]`: what the connections of one user, and of one address, may do together.

use super::super::field::Field;
use super::super::settings::Settings;
use super::super::value::Kind;
use super::root::{SIZE_MAX, key};
use super::{Access, Goes, Key, field};

/// The same keys for each kind of group, and some of its own.
macro_rules! keys {
    ($($group:literal, $limits:ident, $whose:literal, $note:literal, [$($own:expr),*];)+) => {
        &[$(
            key(
                concat!("limits.", $group, ".max_connections"),
                Kind::Number(0, u32::MAX as u64),
                field!(broker.$limits.max_connections),
                concat!(
                    "Connections of one ", $whose, " at a time; further ones are refused (0x97); 0 for no limit.", $note
                ),
            ),
            key(
                concat!("limits.", $group, ".max_conn_rate"),
                Kind::Number(0, u32::MAX as u64),
                field!(broker.$limits.max_conn_rate),
                concat!(
                    "CONNECT packets of one ", $whose, " per second; further ones are refused (0x9F); 0 for no limit."
                ),
            ),
            rate(
                concat!("limits.", $group, ".messages_in"),
                MESSAGE_RATE,
                field!(broker.$limits.messages_in),
                concat!(
                    "PUBLISH packets that the clients of one ", $whose, " may send together; more are read later."
                ),
            ),
            rate(
                concat!("limits.", $group, ".bytes_in"),
                BYTE_RATE,
                field!(broker.$limits.bytes_in),
                concat!("Bytes that the clients of one ", $whose, " may send together; more are read later."),
            ),
            rate(
                concat!("limits.", $group, ".messages_out"),
                MESSAGE_RATE,
                field!(broker.$limits.messages_out),
                concat!(
                    "PUBLISH packets that the clients of one ", $whose,
                    " are sent together; more wait in their queues."
                ),
            ),
            rate(
                concat!("limits.", $group, ".bytes_out"),
                BYTE_RATE,
                field!(broker.$limits.bytes_out),
                concat!(
                    "Bytes of PUBLISH packets that the clients of one ", $whose,
                    " are sent together; more wait in their queues."
                ),
            ),
            rate(
                concat!("limits.", $group, ".retained_in"),
                MESSAGE_RATE,
                field!(broker.$limits.retained_in),
                concat!(
                    "Messages to be retained that the clients of one ", $whose,
                    " may send together; more are read later."
                ),
            ),
            key(
                concat!("limits.", $group, ".max_subscriptions_total"),
                Kind::Number(0, u32::MAX as u64),
                field!(broker.$limits.max_subscriptions_total),
                concat!(
                    "Subscriptions of the connected clients of one ", $whose,
                    " together; further ones are refused (0x97); 0 for no limit."
                ),
            ),
            key(
                concat!("limits.", $group, ".max_mqueue_bytes_total"),
                Kind::Size(0, SIZE_MAX),
                field!(broker.$limits.max_mqueue_bytes_total),
                concat!(
                    "Bytes of memory in the queues of the connected clients of one ", $whose,
                    " together; for more the oldest messages of the same queue are dropped, or left to the store. 0 for no limit."
                ),
            ),
            $($own,)*
        )+]
    };
}

pub(super) static KEYS: &[Key] = keys![
    "user", user_limits, "user name", "", [key(
        "limits.user.max_sessions",
        Kind::Number(0, u32::MAX as u64),
        field!(broker.user_max_sessions),
        "Sessions of one user name, connected or not; who wants a further one is refused (0x97); 0 for no limit.",
    )];
    "ip", address_limits, "IP address", " An IPv6 address counts by its first 64 bits.", [];
];

const fn rate(name: &'static str, kind: Kind, access: Access<Settings>, help: &'static str) -> Key {
    Key { name, kind, unset: Some("none"), goes: Goes::Root(access), help }
}

pub(super) const MESSAGE_RATE: Kind = Kind::Text("a count and an interval, such as \"1000,1s\"");
pub(super) const BYTE_RATE: Kind = Kind::Text("a size and an interval, such as \"1MB,10s\"");
