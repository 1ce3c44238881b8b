//! Keys of `emqx_statsd`: `[statsd]`.

use super::super::field::Field;
use super::super::value::Kind;
use super::root::key;
use super::{Access, Key, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "statsd.push.gateway.server",
        Kind::Text("a URL that begins with http:// or https://"),
        field!(statsd.server),
        "The push gateway of Prometheus that emqx_statsd sends to; /metrics/job/... is put behind it.",
    ),
    key(
        "statsd.interval",
        Kind::Milliseconds(1_000, 86_400_000),
        field!(statsd.interval_ms),
        "Time between the end of one push and the next. A push takes no longer than that, nor than 10s.",
    ),
    key(
        "statsd.api.enabled",
        Kind::Flag,
        field!(statsd.is_shown),
        "Whether GET /api/v3/emqx_statsd answers with what is pushed, while the plugin is loaded.",
    ),
];
