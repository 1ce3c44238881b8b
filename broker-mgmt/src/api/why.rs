//! `why`: what became of a message from one client to another, or would.

use std::collections::BTreeMap;

use broker_core::{QoS, WhyQuestion, topic};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] =
    &[get("why", "/why", "Say why a message did or did not arrive", why)
        .unlisted()
        .asks(&[
            ("from", "Client Identifier of the publisher"),
            ("topic", "Topic Name, as the publisher writes it"),
            ("to", "Client Identifier of the receiver"),
            ("qos", "QoS of the message, 0 if not said"),
            ("size", "Bytes of its payload; if not said, sizes are not compared"),
        ])
        .answers::<Explained>()];

/// What became of a message.
#[derive(Serialize, ToSchema)]
struct Explained {
    from: String,
    topic: String,
    to: String,
    /// `delivered`, `delivered_unacknowledged`, `queued`, `would_deliver`, `acl_denied`, `topic_refused`, `no_session`,
    /// `no_subscription`, `no_local`, `expired`, `queue_full`, `too_large`, `offline`, `outbox_full` or
    /// `shared_other_member`.
    verdict: &'static str,
    /// The same as a sentence.
    explanation: String,
    /// The places a message passes, in their order.
    checks: Vec<CheckRow>,
    /// Of the receiver's session: messages lost by reason, `delivered`, `unacknowledged`, `queued`.
    counts: BTreeMap<&'static str, u64>,
}

/// One place that a message passes.
#[derive(Serialize, ToSchema)]
struct CheckRow {
    check: &'static str,
    /// `pass`, `fail` or `unknown`.
    result: &'static str,
    detail: String,
}

fn why(api: &Api, request: &Request) -> Answer {
    let named = |name: &str| match request.query(name) {
        None | Some("") => Err(ApiError::new(Code::Missing, format_args!("{name}: must be there"))),
        Some(value) => Ok(value),
    };
    let (from, topic, to) = (named("from")?, named("topic")?, named("to")?);
    if topic::validate_name(topic).is_err() {
        return Err(ApiError::bad("topic", "must be a Topic Name"));
    }
    let qos = match request.query("qos") {
        None => QoS::AtMostOnce,
        Some(text) => text
            .parse()
            .ok()
            .and_then(QoS::from_bits)
            .ok_or_else(|| ApiError::bad("qos", "must be 0, 1 or 2"))?,
    };
    let size = match request.query("size").map(str::parse) {
        None => None,
        Some(Ok(bytes)) if bytes <= BYTES_MAX => Some(bytes),
        Some(_) => {
            let problem = format_args!("must be a number of bytes up to {BYTES_MAX}");
            return Err(ApiError::bad("size", problem));
        }
    };
    let why = api.broker.why(&WhyQuestion { from, topic, to, qos, size }, api.now());
    let check = |check: broker_core::WhyCheck| CheckRow {
        check: check.check,
        result: check.result.name(),
        detail: check.detail,
    };
    Reply::data(Explained {
        from: from.to_owned(),
        topic: topic.to_owned(),
        to: to.to_owned(),
        verdict: why.verdict.name(),
        explanation: why.explanation,
        checks: why.checks.into_iter().map(check).collect(),
        counts: why.counts.into_iter().collect(),
    })
}

/// The largest payload that any packet has room for.
const BYTES_MAX: usize = 268_435_455;
