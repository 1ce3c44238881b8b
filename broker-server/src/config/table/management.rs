//! Keys of the management API: `[management]`.

use super::super::field::Field;
use super::super::value::Kind;
use super::root::{DAY_MS, key};
use super::{Access, Goes, Key, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "management.max_row_limit",
        Kind::Number(1, 100_000),
        field!(management.max_row_limit),
        "Rows of a page of the management API, by default and at most.",
    ),
    Key {
        name: "management.application.default_secret",
        kind: Kind::Text("a text of 1 to 1024 bytes"),
        unset: Some("none"),
        goes: Goes::Root(field!(management.default_secret)),
        help: "Secret of applications that are made without one, and of the application admin at the first start of all; without it admin has \"public\" and the others get one made up.",
    },
    key(
        "management.listener.http.bind",
        Kind::Address(ADDRESS),
        field!(management.http.bind),
        "Where the management API listens; elsewhere than on this host only when no application has the secret \"public\".",
    ),
    key(
        "management.listener.http.enabled",
        Kind::Flag,
        field!(management.http.enabled),
        "Whether the management API is served over HTTP.",
    ),
    key(
        "management.listener.http.acceptors",
        Kind::Number(1, 64),
        field!(management.http.acceptors),
        "Threads that serve its connections.",
    ),
    key(
        "management.listener.http.max_clients",
        Kind::Number(1, 1_000_000),
        field!(management.http.max_clients),
        "Its connections at a time; further ones wait to be accepted.",
    ),
    key(
        "management.listener.http.backlog",
        Kind::Number(1, 65_535),
        field!(management.http.backlog),
        "Its connections that the system holds until they are accepted.",
    ),
    key(
        "management.listener.http.send_timeout",
        Kind::Duration(1, DAY_MS),
        field!(management.http.send_timeout_ms),
        "How long an answer may stay unread before the connection is cut.",
    ),
    key(
        "management.listener.http.nodelay",
        Kind::Flag,
        field!(management.http.nodelay),
        "Whether small answers leave at once (TCP_NODELAY).",
    ),
];

const ADDRESS: &str = "an address such as \"127.0.0.1:8080\" or a port";
