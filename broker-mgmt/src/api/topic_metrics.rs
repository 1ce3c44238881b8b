//! `topic-metrics`: what becomes of the messages of single topics. The original counts those of its configuration
//! and has no way to ask for them.

use std::collections::BTreeMap;

use broker_core::{AddTopicError, TopicCounts};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, post};
use crate::saving;

pub(crate) const ROUTES: &[Route] = &[
    get("list_topic_metrics", "/topic-metrics", "A list of the metrics of topics", list)
        .lists::<TopicMetrics>()
        .unlisted(),
    get("lookup_topic_metrics", "/topic-metrics/:topic", "Lookup the metrics of a topic", one)
        .answers::<TopicMetrics>()
        .unlisted(),
    post("register_topic_metrics", "/topic-metrics", "Count the messages of a topic", register)
        .takes::<NewTopic>()
        .unlisted(),
    delete(
        "unregister_topic_metrics",
        "/topic-metrics/:topic",
        "Count the messages of a topic no more",
        unregister,
    )
    .unlisted(),
];

/// The metrics of a topic.
#[derive(Serialize, ToSchema)]
struct TopicMetrics {
    topic: String,
    /// Since the topic was registered, or the broker started: `messages/in/count`, `messages/qos0/in/count`,
    /// `bytes/out` and so on.
    #[schema(value_type = BTreeMap<String, u64>)]
    metrics: BTreeMap<&'static str, u64>,
}

/// A topic that is to be counted.
#[derive(Deserialize, ToSchema)]
struct NewTopic {
    /// A Topic Name.
    topic: String,
}

fn list(api: &Api, _: &Request) -> Answer {
    let rows = api.broker.topic_metrics();
    Reply::data(rows.iter().map(|(topic, counts)| row(topic, counts)).collect::<Vec<_>>())
}

fn one(api: &Api, request: &Request) -> Answer {
    let topic = request.segment("topic");
    let counts = api.broker.topic_metrics_of(topic).ok_or_else(not_found)?;
    Reply::data(row(topic, &counts))
}

fn register(api: &Api, request: &Request) -> Answer {
    let NewTopic { topic } = request.body()?;
    let saved = api.broker.add_topic_metrics(&topic)?;
    saving::wait(&api.broker, saved)?;
    Reply::ok()
}

fn unregister(api: &Api, request: &Request) -> Answer {
    let saved = api.broker.remove_topic_metrics(request.segment("topic")).ok_or_else(not_found)?;
    saving::wait(&api.broker, saved)?;
    Reply::ok()
}

fn not_found() -> ApiError {
    ApiError::new(Code::Unknown, "not_found")
}

impl From<AddTopicError> for ApiError {
    fn from(error: AddTopicError) -> Self {
        match error {
            AddTopicError::Malformed(problem) => Self::bad("topic", problem),
            AddTopicError::AlreadyExists | AddTopicError::TooMany => {
                Self::new(Code::Unknown, error)
            }
        }
    }
}

fn row(topic: &str, counts: &TopicCounts) -> TopicMetrics {
    let [qos0_in, qos1_in, qos2_in] = counts.qos_in;
    let [qos0_out, qos1_out, qos2_out] = counts.qos_out;
    let metrics = BTreeMap::from([
        ("messages/in/count", counts.messages_in()),
        ("messages/out/count", counts.messages_out()),
        ("messages/dropped/count", counts.dropped),
        ("messages/qos0/in/count", qos0_in),
        ("messages/qos1/in/count", qos1_in),
        ("messages/qos2/in/count", qos2_in),
        ("messages/qos0/out/count", qos0_out),
        ("messages/qos1/out/count", qos1_out),
        ("messages/qos2/out/count", qos2_out),
        ("bytes/in", counts.bytes_in),
        ("bytes/out", counts.bytes_out),
    ]);
    TopicMetrics { topic: topic.to_owned(), metrics }
}
