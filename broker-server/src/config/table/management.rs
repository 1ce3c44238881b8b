//! Keys of the management API: `[management]`.

use super::super::field::Field;
use super::super::settings::Settings;
use super::super::value::{Kind, Value};
use super::listener::{
    CRL_CHECK, CRL_CHECK_HELP, CRL_REFRESH, CRL_REFRESH_HELP, CRL_URL_HELP, CRLFILE, OCSP_CHECK,
    OCSP_CHECK_HELP, OCSP_REFRESH, OCSP_REFRESH_HELP, OCSP_RESPONDER, OCSP_RESPONDER_HELP,
    OCSP_STAPLING, OCSP_STAPLING_HELP, OCSP_TIMEOUT, OCSP_TIMEOUT_HELP, PATH, URL, parse_urls,
};
use super::root::{DAY_MS, key};
use super::{Access, Goes, Key, either, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "management.max_row_limit",
        Kind::Number(1, 100_000),
        field!(management.max_row_limit),
        "Rows of a page of the management API, by default and at most; above 10000 it counts as 10000.",
    ),
    Key {
        name: "management.application.default_secret",
        kind: Kind::Text("a text of 1 to 1024 bytes"),
        unset: Some("none"),
        goes: Goes::Root(field!(management.default_secret)),
        help: "Secret of applications that are made without one, and of the application admin at the first start of all; without it admin has \"public\" and the others get one made up.",
    },
];

/// Keys of a listener.
macro_rules! listener_keys {
    ($scheme:literal, $name:literal, $enabled:literal, $($listener:ident).+) => {
        &[
            key(
                concat!("management.listener.", $scheme, ".bind"),
                Kind::Address(ADDRESS),
                field!($($listener).+.bind),
                concat!(
                    "Where the management API listens for ",
                    $name,
                    "; elsewhere than on this host only when no application has the secret \"public\"."
                ),
            ),
            key(
                concat!("management.listener.", $scheme, ".enabled"),
                Kind::Flag,
                field!($($listener).+.enabled),
                $enabled,
            ),
            key(
                concat!("management.listener.", $scheme, ".acceptors"),
                Kind::Number(1, 64),
                field!($($listener).+.acceptors),
                "Threads that serve its connections.",
            ),
            key(
                concat!("management.listener.", $scheme, ".max_clients"),
                Kind::Number(1, 1_000_000),
                field!($($listener).+.max_clients),
                "Its connections at a time; further ones wait to be accepted.",
            ),
            key(
                concat!("management.listener.", $scheme, ".backlog"),
                Kind::Number(1, 65_535),
                field!($($listener).+.backlog),
                "Its connections that the system holds until they are accepted.",
            ),
            key(
                concat!("management.listener.", $scheme, ".send_timeout"),
                Kind::Duration(1, DAY_MS),
                field!($($listener).+.send_timeout_ms),
                "How long an answer may stay unread before the connection is cut.",
            ),
            key(
                concat!("management.listener.", $scheme, ".nodelay"),
                Kind::Flag,
                field!($($listener).+.nodelay),
                "Whether small answers leave at once (TCP_NODELAY).",
            ),
        ]
    };
}

pub(super) static HTTP_KEYS: &[Key] = listener_keys!(
    "http",
    "HTTP",
    "Whether the management API is served over HTTP.",
    management.http
);

pub(super) static HTTPS_KEYS: &[Key] = listener_keys!(
    "https",
    "HTTPS",
    "Whether the management API is served over HTTPS; once bind is given, it is unless this says no.",
    management.https.listener
);

pub(super) static TLS_KEYS: &[Key] = &[
    file_key(
        "management.listener.https.certfile",
        field!(management.https.tls.certfile),
        "The server's certificate and its chain, PEM; without it one is made in node.data_dir.",
    ),
    file_key(
        "management.listener.https.keyfile",
        field!(management.https.tls.keyfile),
        "The private key, PEM.",
    ),
    file_key(
        "management.listener.https.cacertfile",
        field!(management.https.tls.cacertfile),
        "Who may sign client certificates, PEM.",
    ),
    key(
        "management.listener.https.crlfile",
        Kind::List(PATH),
        field!(management.https.tls.crlfile),
        CRLFILE,
    ),
    key("management.listener.https.crl_url", Kind::List(URL), CRL_URL, CRL_URL_HELP),
    key(
        "management.listener.https.crl_refresh",
        CRL_REFRESH,
        field!(management.https.tls.crl_refresh_ms),
        CRL_REFRESH_HELP,
    ),
    key(
        "management.listener.https.crl_check",
        CRL_CHECK,
        field!(management.https.tls.crl_check),
        CRL_CHECK_HELP,
    ),
    key(
        "management.listener.https.ocsp_check",
        OCSP_CHECK,
        field!(management.https.tls.ocsp_check),
        OCSP_CHECK_HELP,
    ),
    Key {
        name: "management.listener.https.ocsp_responder",
        kind: OCSP_RESPONDER,
        unset: Some("none"),
        goes: Goes::Root(field!(management.https.tls.ocsp_responder)),
        help: OCSP_RESPONDER_HELP,
    },
    key(
        "management.listener.https.ocsp_refresh",
        OCSP_REFRESH,
        field!(management.https.tls.ocsp_refresh_ms),
        OCSP_REFRESH_HELP,
    ),
    key(
        "management.listener.https.ocsp_timeout",
        OCSP_TIMEOUT,
        field!(management.https.tls.ocsp_timeout_ms),
        OCSP_TIMEOUT_HELP,
    ),
    Key {
        name: "management.listener.https.ocsp_stapling",
        kind: OCSP_STAPLING,
        unset: Some("none"),
        goes: Goes::Root(field!(management.https.tls.ocsp_stapling)),
        help: OCSP_STAPLING_HELP,
    },
    key(
        "management.listener.https.verify",
        Kind::Word(&["verify_none", "verify_peer"]),
        either!(management.https.tls.verify_peer, "verify_peer" = true, "verify_none" = false),
        "Whether a client certificate is asked for and checked, besides the application's secret.",
    ),
    key(
        "management.listener.https.fail_if_no_peer_cert",
        Kind::Flag,
        field!(management.https.tls.fail_if_no_peer_cert),
        "Whether a client without a certificate is refused; with verify_peer.",
    ),
];

const fn file_key(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    Key { name, kind: Kind::Text(PATH), unset: Some("none"), goes: Goes::Root(access), help }
}

const CRL_URL: Access<Settings> = Access {
    read: |settings| settings.management.https.tls.crl_url.show(),
    write: |settings, value| {
        settings.management.https.tls.crl_url = parse_urls(value)?;
        Ok(())
    },
};

const ADDRESS: &str = "an address such as \"127.0.0.1:8080\" or a port";
