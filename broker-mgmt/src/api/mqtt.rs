//! `mqtt`: publishes, and subscribes and unsubscribes clients on their behalf.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use broker_core::extension::PublishDraft;
use broker_core::{ClientId, PublishError, QoS, ReasonCode, topic};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use self::topics::Topics;
use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, post};
use crate::text::UNDEFINED;

mod topics;

pub(crate) const ROUTES: &[Route] = &[
    post("mqtt_subscribe", "/mqtt/subscribe", "Subscribe a topic", subscribe)
        .takes::<Subscription>(),
    post("mqtt_publish", "/mqtt/publish", "Publish a MQTT message", publish).takes::<Publication>(),
    post("mqtt_unsubscribe", "/mqtt/unsubscribe", "Unsubscribe a topic", unsubscribe)
        .takes::<Unsubscription>(),
];

/// A message to be published.
#[derive(Deserialize, ToSchema)]
struct Publication {
    /// A Topic Name; it may hold commas.
    topic: Option<String>,
    /// Several, if there is no `topic`: a list, or a text with commas between them. All get the message or none.
    #[schema(value_type = Option<Vec<String>>)]
    topics: Option<Topics>,
    /// Empty by default.
    payload: Option<String>,
    encoding: Option<Encoding>,
    /// 0, 1 or 2; 0 by default.
    #[serde(default, deserialize_with = "level")]
    #[schema(value_type = Option<u8>, minimum = 0, maximum = 2)]
    qos: Option<QoS>,
    /// False by default. With an empty payload it clears what is retained.
    retain: Option<bool>,
    /// Who is shown as the publisher; need not be connected.
    client_id: Option<String>,
}

/// What `payload` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// The text itself, as UTF-8.
    #[default]
    Plain,
    /// Any bytes.
    Base64,
}

/// A client is to be subscribed.
#[derive(Deserialize, ToSchema)]
struct Subscription {
    /// Needs a session; need not be connected.
    client_id: Option<String>,
    /// A Topic Filter, `$share/<group>/…` and `$queue/…` too.
    topic: Option<String>,
    /// Several, if there is no `topic`: a list, or a text with commas between them. All are subscribed to or none.
    #[schema(value_type = Option<Vec<String>>)]
    topics: Option<Topics>,
    /// 0, 1 or 2; 0 by default.
    #[serde(default, deserialize_with = "level")]
    #[schema(value_type = Option<u8>, minimum = 0, maximum = 2)]
    qos: Option<QoS>,
}

/// A client is to be unsubscribed.
#[derive(Deserialize, ToSchema)]
struct Unsubscription {
    client_id: Option<String>,
    /// A Topic Filter, as the client has subscribed to it.
    topic: Option<String>,
}

fn publish(api: &Api, request: &Request) -> Answer {
    let Publication { topic, topics, payload, encoding, qos, retain, client_id } =
        request.body()?;
    let topics = topics::of(topic, topics, topic::validate_name)?;
    let payload = payload.unwrap_or_default();
    let payload = match encoding.unwrap_or_default() {
        Encoding::Plain => payload.into_bytes(),
        Encoding::Base64 => BASE64_STANDARD
            .decode(payload)
            .map_err(|error| ApiError::bad("payload", format_args!("is not base64: {error}")))?,
    };
    let draft = |topic| PublishDraft {
        topic: Cow::Owned(topic),
        payload: Cow::Borrowed(&payload),
        qos: qos.unwrap_or(QoS::AtMostOnce),
        retain: retain.unwrap_or(false),
    };
    let drafts: Vec<_> = topics.into_iter().map(draft).collect();
    let publisher = ClientId::from(client_id.as_deref().unwrap_or(UNDEFINED));
    api.order_saved(|turn| api.broker.publish(&publisher, &drafts, turn))?;
    Reply::ok()
}

fn subscribe(api: &Api, request: &Request) -> Answer {
    let Subscription { client_id, topic, topics, qos } = request.body()?;
    let filters = topics::distinct(topics::of(topic, topics, topic::validate_filter)?);
    let client_id = require_client(client_id)?;
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    let qos = qos.unwrap_or(QoS::AtMostOnce);
    api.order_saved(|turn| {
        api.broker.subscribe_client_to(&client_id, &filters, qos, turn).map_err(refused)
    })?;
    Reply::ok()
}

fn unsubscribe(api: &Api, request: &Request) -> Answer {
    let Unsubscription { client_id, topic } = request.body()?;
    let filters = topics::of(topic, None, topic::validate_filter)?;
    let client_id = require_client(client_id)?;
    api.order_saved(|turn| {
        filters.iter().try_for_each(|filter| {
            match api.broker.unsubscribe_client(&client_id, filter, turn) {
                Ok(()) | Err(ReasonCode::NoSubscriptionExisted) => Ok(()),
                Err(code) => Err(refused(code)),
            }
        })
    })?;
    Reply::ok()
}

fn require_client(client_id: Option<String>) -> Result<String, ApiError> {
    client_id.ok_or_else(|| ApiError::new(Code::Missing, "client_id: must be there"))
}

/// What a SUBACK or UNSUBACK would have said.
fn refused(code: ReasonCode) -> ApiError {
    match code {
        ReasonCode::PacketIdentifierNotFound => ApiError::new(Code::NoClient, "session_not_found"),
        ReasonCode::TopicFilterInvalid => topics::bad(),
        ReasonCode::QuotaExceeded => {
            ApiError::new(Code::Unknown, "the session takes no more subscriptions")
        }
        code => ApiError::new(Code::Unknown, format_args!("refused with reason code {code:?}")),
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Topic(_) => topics::bad(),
            PublishError::TooLarge(_) => Self::bad("payload", error),
            _ => Self::new(Code::Unknown, error),
        }
    }
}

fn level<'de, D: Deserializer<'de>>(from: D) -> Result<Option<QoS>, D::Error> {
    match serde_json::Value::deserialize(from)? {
        serde_json::Value::Null => Ok(None),
        value => match value.as_u64() {
            Some(0) => Ok(Some(QoS::AtMostOnce)),
            Some(1) => Ok(Some(QoS::AtLeastOnce)),
            Some(2) => Ok(Some(QoS::ExactlyOnce)),
            _ => Err(serde::de::Error::custom("must be 0, 1 or 2")),
        },
    }
}
