//! Keys of `emqx_auth_http`: `[auth.http]`.

use super::super::field::Field;
use super::super::settings::Settings;
use super::super::value::{Kind, Value};
use super::root::key;
use super::{Access, Goes, Key, field};

pub(super) static KEYS: &[Key] = &[
    url(
        "auth.http.auth_req.url",
        field!(http_auth.auth.url),
        "Who is asked whether a client may connect. A query in it comes before the parameters.",
    ),
    method("auth.http.auth_req.method", field!(http_auth.auth.method)),
    params("auth.http.auth_req.params", field!(http_auth.auth.params)),
    url(
        "auth.http.super_req.url",
        field!(http_auth.superuser.url),
        "Who is asked whether a client that may connect is a superuser.",
    ),
    method("auth.http.super_req.method", field!(http_auth.superuser.method)),
    params("auth.http.super_req.params", field!(http_auth.superuser.params)),
    url(
        "auth.http.acl_req.url",
        field!(http_auth.acl.url),
        "Who is asked what a client may publish and subscribe to.",
    ),
    method("auth.http.acl_req.method", field!(http_auth.acl.method)),
    params("auth.http.acl_req.params", field!(http_auth.acl.params)),
    Key {
        name: "auth.http.headers",
        kind: Kind::Map("the value of the header"),
        unset: Some("none"),
        goes: Goes::Root(HEADERS),
        help: "Headers of each request of emqx_auth_http, by name.",
    },
    key(
        "auth.http.pool_size",
        Kind::Number(1, 256),
        field!(http_auth.pool_size),
        "Requests under way at once, of clients that connect and of rights each; as many connections are kept. 30 more for each wait, and what comes then is refused.",
    ),
    key(
        "auth.http.request.timeout",
        Kind::Duration(0, 60_000),
        field!(http_auth.timeout_ms),
        "How long an answer may take from when the connection stands; 0 is the default. What takes longer is refused.",
    ),
    key(
        "auth.http.request.connect_timeout",
        Kind::Duration(0, 60_000),
        field!(http_auth.connect_timeout_ms),
        "How long a connection may take; 0 is the default.",
    ),
    key(
        "auth.http.request.retry_times",
        Kind::Number(0, 10),
        field!(http_auth.retry_times),
        "How often a request is made again whose connection was refused or cut off.",
    ),
    key(
        "auth.http.request.retry_interval",
        Kind::Duration(0, 10_000),
        field!(http_auth.retry_interval_ms),
        "Time before the first of these.",
    ),
    key(
        "auth.http.request.retry_backoff",
        Kind::Decimal(1.0, 100.0),
        field!(http_auth.retry_backoff),
        "By how much it is longer each time.",
    ),
    file(
        "auth.http.ssl.cacertfile",
        field!(http_auth.cacertfile),
        "PEM file of the authorities that are trusted for https; those of the system without it.",
    ),
    file(
        "auth.http.ssl.certfile",
        field!(http_auth.certfile),
        "PEM file of the certificates that the broker shows.",
    ),
    file("auth.http.ssl.keyfile", field!(http_auth.keyfile), "PEM file of their key."),
];

const HEADERS: Access<Settings> = Access {
    read: |settings| Field::show(&settings.http_auth.headers),
    write: |settings, value| {
        let headers = if value == Value::Unset { Value::Map(Vec::new()) } else { value };
        settings.http_auth.headers = Field::parse(headers)?;
        Ok(())
    },
};

const fn url(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    let kind = Kind::Text("an http or https URL");
    Key { name, kind, unset: Some("none"), goes: Goes::Root(access), help }
}

const fn method(name: &'static str, access: Access<Settings>) -> Key {
    key(
        name,
        Kind::Word(&["get", "post"]),
        access,
        "Whether the parameters go as the query of the URL, or as a form.",
    )
}

const fn params(name: &'static str, access: Access<Settings>) -> Key {
    key(
        name,
        Kind::Text("<name>=<value>, separated by commas"),
        access,
        "Parameters of it; docs/plugins.md has the placeholders.",
    )
}

const fn file(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    Key { name, kind: Kind::Text("a path"), unset: Some("none"), goes: Goes::Root(access), help }
}
