//! `emqx_statsd`: what that plugin pushes, for who would rather fetch it.

use super::Api;
use crate::prometheus::CONTENT_TYPE;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[get(
    "get_statsd",
    "/emqx_statsd",
    "What emqx_statsd pushes, while it is loaded and statsd.api.enabled is set",
    text,
)
.of_plugin("emqx_statsd")
.unlisted()
.sends("text/plain")];

fn text(api: &Api, _: &Request) -> Answer {
    Ok(match api.pushed_metrics.text() {
        Some(text) => Reply::text(CONTENT_TYPE, text),
        // As if it were not there.
        None => Reply { status: 404, ..Reply::text("text/plain", "Not found.") },
    })
}
