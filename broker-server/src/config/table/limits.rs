//! Keys of `[limits]`: what the connections of one user, and of one address, may do together.

use super::super::field::Field;
use super::super::settings::Settings;
use super::super::value::Kind;
use super::root::key;
use super::{Access, Goes, Key, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "limits.user.max_connections",
        Kind::Number(0, u32::MAX as u64),
        field!(broker.user_limits.max_connections),
        "Connections of one user name at a time; further ones are refused (0x97); 0 for no limit.",
    ),
    key(
        "limits.user.max_conn_rate",
        Kind::Number(0, u32::MAX as u64),
        field!(broker.user_limits.max_conn_rate),
        "CONNECT packets of one user name per second; further ones are refused (0x9F); 0 for no limit.",
    ),
    key(
        "limits.user.max_sessions",
        Kind::Number(0, u32::MAX as u64),
        field!(broker.user_max_sessions),
        "Sessions of one user name, connected or not; who wants a further one is refused (0x97); 0 for no limit.",
    ),
    rate(
        "limits.user.messages_in",
        MESSAGE_RATE,
        field!(broker.user_limits.messages_in),
        "PUBLISH packets that the clients of one user name may send together; more are read later.",
    ),
    rate(
        "limits.user.bytes_in",
        BYTE_RATE,
        field!(broker.user_limits.bytes_in),
        "Bytes that the clients of one user name may send together; more are read later.",
    ),
    rate(
        "limits.user.messages_out",
        MESSAGE_RATE,
        field!(broker.user_limits.messages_out),
        "PUBLISH packets that the clients of one user name are sent together; more wait in their queues.",
    ),
    rate(
        "limits.user.bytes_out",
        BYTE_RATE,
        field!(broker.user_limits.bytes_out),
        "Bytes of PUBLISH packets that the clients of one user name are sent together; more wait in their queues.",
    ),
    key(
        "limits.ip.max_connections",
        Kind::Number(0, u32::MAX as u64),
        field!(broker.address_limits.max_connections),
        "Connections of one IP address at a time; further ones are refused (0x97); 0 for no limit. An IPv6 address counts by its first 64 bits.",
    ),
    key(
        "limits.ip.max_conn_rate",
        Kind::Number(0, u32::MAX as u64),
        field!(broker.address_limits.max_conn_rate),
        "CONNECT packets of one IP address per second; further ones are refused (0x9F); 0 for no limit.",
    ),
    rate(
        "limits.ip.messages_in",
        MESSAGE_RATE,
        field!(broker.address_limits.messages_in),
        "PUBLISH packets that the clients of one IP address may send together; more are read later.",
    ),
    rate(
        "limits.ip.bytes_in",
        BYTE_RATE,
        field!(broker.address_limits.bytes_in),
        "Bytes that the clients of one IP address may send together; more are read later.",
    ),
    rate(
        "limits.ip.messages_out",
        MESSAGE_RATE,
        field!(broker.address_limits.messages_out),
        "PUBLISH packets that the clients of one IP address are sent together; more wait in their queues.",
    ),
    rate(
        "limits.ip.bytes_out",
        BYTE_RATE,
        field!(broker.address_limits.bytes_out),
        "Bytes of PUBLISH packets that the clients of one IP address are sent together; more wait in their queues.",
    ),
];

const fn rate(name: &'static str, kind: Kind, access: Access<Settings>, help: &'static str) -> Key {
    Key { name, kind, unset: Some("none"), goes: Goes::Root(access), help }
}

pub(super) const MESSAGE_RATE: Kind = Kind::Text("a count and an interval, such as \"1000,1s\"");
pub(super) const BYTE_RATE: Kind = Kind::Text("a size and an interval, such as \"1MB,10s\"");
