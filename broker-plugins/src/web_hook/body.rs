//! Bodies of requests: the fields of the original, in its order.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use broker_core::{ClientInfo, Message, QoS, SubscriptionOptions};
use serde::Serialize;

use super::base62;
use super::config::PayloadEncoding;

/// One request's body.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Body<'a> {
    Connected {
        action: &'a str,
        client_id: &'a str,
        username: &'a str,
        keepalive: u16,
        ipaddress: String,
        proto_ver: u8,
        /// In seconds.
        connected_at: u64,
        conn_ack: u8,
    },
    Disconnected {
        action: &'a str,
        client_id: &'a str,
        username: &'a str,
        reason: &'a str,
    },
    SessionCreated {
        action: &'a str,
        client_id: &'a str,
        username: &'a str,
    },
    SessionTerminated {
        action: &'a str,
        client_id: &'a str,
        reason: &'a str,
    },
    Subscribe {
        action: &'a str,
        client_id: &'a str,
        username: &'a str,
        topic: &'a str,
        opts: Opts,
    },
    SessionSubscribed {
        action: &'a str,
        client_id: &'a str,
        topic: &'a str,
        opts: Opts,
    },
    SessionUnsubscribed {
        action: &'a str,
        client_id: &'a str,
        topic: &'a str,
    },
    Publish {
        action: &'a str,
        #[serde(flatten)]
        message: MessagePart<'a>,
    },
    Deliver {
        action: &'a str,
        client_id: &'a str,
        username: &'a str,
        #[serde(flatten)]
        message: MessagePart<'a>,
    },
    Acked {
        action: &'a str,
        client_id: &'a str,
        #[serde(flatten)]
        message: MessagePart<'a>,
    },
}

/// Subscription Options; of an UNSUBSCRIBE there are none.
#[derive(Serialize, Default)]
pub(super) struct Opts {
    #[serde(flatten)]
    of_subscribe: Option<OptsOfSubscribe>,
}

#[derive(Serialize)]
struct OptsOfSubscribe {
    qos: u8,
    rh: u8,
    rap: u8,
    nl: u8,
}

/// What all bodies about a message have.
#[derive(Serialize)]
pub(super) struct MessagePart<'a> {
    from_client_id: &'a str,
    from_username: &'a str,
    topic: &'a str,
    qos: u8,
    retain: bool,
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<&'static str>,
    /// In seconds.
    ts: u64,
}

impl From<SubscriptionOptions> for Opts {
    fn from(options: SubscriptionOptions) -> Self {
        Self {
            of_subscribe: Some(OptsOfSubscribe {
                qos: options.qos as u8,
                rh: options.retain_handling as u8,
                rap: options.retain_as_published.into(),
                nl: options.no_local.into(),
            }),
        }
    }
}

impl<'a> MessagePart<'a> {
    /// `qos` and `retain` are those that it goes or went out with.
    pub(super) fn new(
        message: &'a Arc<Message>,
        qos: QoS,
        retain: bool,
        encoding: PayloadEncoding,
    ) -> Self {
        let base64 = || BASE64_STANDARD.encode(&message.payload);
        let (payload, payload_encoding) = match (encoding, str::from_utf8(&message.payload)) {
            (PayloadEncoding::Text, Ok(text)) => (text.to_owned(), None),
            // The original's hook ends there.
            (PayloadEncoding::Text, Err(_)) => (base64(), Some("base64")),
            (PayloadEncoding::Base64, _) => (base64(), None),
            (PayloadEncoding::Base62, _) => (base62::encode(&message.payload), None),
        };
        Self {
            from_client_id: message.publisher.client_id().as_str(),
            from_username: message.publisher.username().unwrap_or(UNDEFINED),
            topic: &message.topic,
            qos: qos as u8,
            retain,
            payload,
            payload_encoding,
            ts: message.published_at_ms / 1000,
        }
    }
}

/// User name of a client, in the original's word if it has none.
pub(super) fn username(client: &ClientInfo) -> &str {
    client.username.as_deref().unwrap_or(UNDEFINED)
}

/// Its address.
pub(super) fn ipaddress(client: &ClientInfo) -> String {
    let address = client.peer.map(|peer| peer.ip().to_canonical().to_string());
    address.unwrap_or_else(|| UNDEFINED.to_owned())
}

const UNDEFINED: &str = "undefined";
