//! The columns of one event, made when a statement asks for them.

use std::cell::OnceCell;
use std::sync::Arc;

use broker_codec::SubscriptionOptions;
use broker_core::observer::{Claim, Event};
use broker_core::{ClientInfo, Message};

use super::facts::{self, map, number, optional, properties, text, word};
use super::{Dialect, Hook, columns};
use crate::limits::Limits;
use crate::row::Row;
use crate::value::{Map, Value, json};

/// What rules of one message or event share.
#[derive(Default)]
pub struct PayloadCache(OnceCell<Option<Value>>);

impl PayloadCache {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }
}

/// What a rule looks at.
#[derive(Clone, Copy)]
pub enum Occasion<'a> {
    /// A message that is being published.
    Published(&'a Arc<Message>),
    /// Something else.
    Event(&'a Event<'a>),
}

/// The row that one rule has of it.
pub struct EventRow<'a> {
    /// What has happened.
    pub occasion: Occasion<'a>,
    /// How the rule names it.
    pub dialect: Dialect,
    /// Identifier of the rule.
    pub rule: &'a str,
    /// Name of the node.
    pub node: &'a str,
    /// A number made of that name.
    pub node_hash: u32,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// How much the payload may be.
    pub limits: &'a Limits,
    /// The payload, once it is decoded.
    pub payload: &'a PayloadCache,
}

/// Whom the columns of a client are about.
enum Who<'a> {
    Client(&'a ClientInfo),
    Claim(&'a Claim<'a>),
    /// It is not connected, or not to this process.
    Name(&'a str),
}

impl<'a> Occasion<'a> {
    /// Its hook.
    #[must_use]
    pub const fn hook(&self) -> Hook {
        match self {
            Self::Published(_) => Hook::MessagePublish,
            Self::Event(event) => Hook::of(event).expect("rules are told of events with a hook"),
        }
    }

    /// The message, if it is about one.
    #[must_use]
    pub const fn message(&self) -> Option<&'a Arc<Message>> {
        match self {
            Self::Published(message) => Some(message),
            Self::Event(
                Event::Delivered { message, .. }
                | Event::Acked { message, .. }
                | Event::Dropped { message, .. },
            ) => Some(message),
            Self::Event(_) => None,
        }
    }

    fn who(&self) -> Who<'a> {
        let published = |message: &'a Arc<Message>| match message.publisher.client() {
            Some(client) => Who::Client(client),
            None => Who::Name(message.publisher.client_id().as_str()),
        };
        match self {
            Self::Published(message) => published(message),
            Self::Event(Event::Dropped { message, .. }) => published(message),
            Self::Event(Event::Refused { client, .. }) => Who::Claim(client),
            Self::Event(
                Event::Connected { client, .. }
                | Event::Disconnected { client, .. }
                | Event::SessionCreated { client }
                | Event::SessionTerminated { client, .. }
                | Event::Subscribing { client, .. }
                | Event::Unsubscribing { client, .. }
                | Event::Subscribed { client, .. }
                | Event::Unsubscribed { client, .. }
                | Event::Delivered { client, .. }
                | Event::Acked { client, .. },
            ) => Who::Client(client),
        }
    }
}

impl Row for EventRow<'_> {
    fn column(&self, name: &str) -> Value {
        let value = match name {
            "event" => word(self.occasion.hook().spelled(self.dialect)),
            "node" => text(self.node),
            "metadata" => map([("rule_id", text(self.rule))]),
            "timestamp" => number(self.timestamp_ms()),
            "client_id" | "clientid" | "username" | "peername" | "peerhost" | "zone"
            | "auth_result" | "mountpoint" | "ws_cookie" | "cn" | "dn" | "connected_at"
            | "clean_start" | "is_bridge" | "keepalive" | "proto_ver" | "proto_name"
            | "sockname" => self.client_column(name),
            _ => {
                let of_message =
                    self.occasion.message().map(|message| self.message_column(message, name));
                match (of_message, self.occasion) {
                    (None | Some(Value::Undefined), Occasion::Event(event)) => {
                        event_column(event, name, self)
                    }
                    (value, _) => value.unwrap_or_default(),
                }
            }
        };
        if matches!(value, Value::Undefined) && self.says_null(name) { Value::Null } else { value }
    }

    fn decoded_payload(&self) -> Option<&Value> {
        let message = self.occasion.message()?;
        self.payload.0.get_or_init(|| json::decode(&message.payload, self.limits)).as_ref()
    }

    fn all(&self) -> Map {
        let (hook, dialect) = (self.occasion.hook(), self.dialect);
        let names = columns::names(hook, dialect);
        let mut all = Vec::with_capacity(names.len());
        for (name, key) in names.iter().zip(columns::keys(hook, dialect)) {
            match self.column(name) {
                Value::Undefined => {}
                value => all.push((Arc::clone(key), value)),
            }
        }
        Map::from_sorted(all)
    }
}

impl EventRow<'_> {
    fn timestamp_ms(&self) -> u64 {
        match self.occasion.message() {
            Some(message) if self.dialect != Dialect::Topics => message.published_at_ms,
            _ => self.now_ms,
        }
    }

    /// 3.1 says so of what is not known of a message's client.
    fn says_null(&self, name: &str) -> bool {
        self.dialect == Dialect::For
            && self.occasion.hook().is_of_message()
            && matches!(name, "username" | "peername")
    }

    fn client_column(&self, name: &str) -> Value {
        // 3.1 has the publisher's address here, beside the receiver's name.
        if let (
            Occasion::Event(Event::Acked { message, .. }),
            "peername",
            Dialect::For | Dialect::Named,
        ) = (self.occasion, name, self.dialect)
        {
            return message
                .publisher
                .client()
                .map_or(Value::Undefined, |client| facts::peer_name(client));
        }
        match self.occasion.who() {
            Who::Client(client) => column_of_client(client, name),
            Who::Claim(claim) => self.column_of_claim(claim, name),
            Who::Name(id) if matches!(name, "client_id" | "clientid") => text(id),
            Who::Name(_) => Value::Undefined,
        }
    }

    fn column_of_claim(&self, claim: &Claim<'_>, name: &str) -> Value {
        match name {
            "client_id" | "clientid" => text(claim.client_id),
            "username" => optional(claim.username),
            "peername" => facts::address(claim.peer.addr),
            "peerhost" => optional(claim.peer.addr.map(|addr| addr.ip().to_string()).as_deref()),
            "sockname" => facts::address(claim.peer.local_addr),
            "zone" => text(&claim.peer.zone.name),
            "auth_result" => match self.occasion {
                Occasion::Event(Event::Refused { reason_code, .. }) => {
                    facts::auth_result(*reason_code)
                }
                _ => Value::Undefined,
            },
            "ws_cookie" => facts::cookies(claim.peer.ws_cookies.as_deref()),
            "cn" => {
                optional(claim.peer.certificate.as_ref().and_then(|c| c.common_name.as_deref()))
            }
            "dn" => optional(claim.peer.certificate.as_ref().and_then(|c| c.subject.as_deref())),
            "connected_at" => number(self.now_ms),
            "clean_start" => Value::Bool(claim.clean_start),
            "is_bridge" => Value::Bool(claim.is_bridge),
            "keepalive" => number(claim.keep_alive_s),
            "proto_ver" => number(claim.version as u8),
            _ => Value::Undefined,
        }
    }

    fn message_column(&self, message: &Message, name: &str) -> Value {
        let (dup, qos, retain) = match self.occasion {
            Occasion::Event(Event::Delivered { dup, qos, retain, .. }) => (*dup, *qos, *retain),
            Occasion::Event(Event::Acked { qos, .. }) => (false, *qos, message.retain),
            _ => (false, message.qos, message.retain),
        };
        match name {
            "topic" => text(&message.topic),
            "payload" => Value::Str(message.payload.clone()),
            "qos" => facts::qos(qos),
            "id" => facts::id(message, self.node_hash),
            "flags" => facts::flags(dup, retain),
            "retain" => Value::Int(retain.into()),
            "headers" => facts::headers(message),
            "pub_props" => {
                let taken_ms = message.published_at_ms;
                let expiry_s =
                    message.expires_at_ms.map(|at| at.saturating_sub(taken_ms).div_ceil(1000));
                let expiry = expiry_s.map(|s| ("Message-Expiry-Interval", s));
                properties(message.properties.as_properties(), expiry)
            }
            "publish_received_at" => number(message.published_at_ms),
            "from_clientid" => text(message.publisher.client_id().as_str()),
            "from_username" => optional(message.publisher.username()),
            _ => Value::Undefined,
        }
    }
}

fn column_of_client(client: &ClientInfo, name: &str) -> Value {
    match name {
        "client_id" | "clientid" => text(client.client_id.as_str()),
        "username" => optional(client.username.as_deref()),
        "peername" => facts::peer_name(client),
        "peerhost" => facts::peer_host(client),
        "sockname" => facts::address(client.local_addr),
        "zone" => text(&client.zone.name),
        // Who is here was let in.
        "auth_result" => word("success"),
        "mountpoint" => optional(Some(&*client.mountpoint).filter(|prefix| !prefix.is_empty())),
        "ws_cookie" => facts::cookies(client.ws_cookies.as_deref()),
        "cn" | "dn" => facts::certificate(client, name),
        "connected_at" => number(client.connected_at_ms),
        "clean_start" => Value::Bool(client.clean_start),
        "is_bridge" => Value::Bool(client.is_bridge),
        "keepalive" => number(client.keep_alive_s),
        "proto_ver" => number(client.version as u8),
        "proto_name" => word(client.protocol_name()),
        _ => Value::Undefined,
    }
}

fn event_column(event: &Event<'_>, name: &str, row: &EventRow<'_>) -> Value {
    match (event, name) {
        (Event::Connected { .. }, "connack") => Value::Int(0),
        (Event::Refused { reason_code, .. }, "connack") => number(*reason_code as u8),
        (Event::Connected { expiry_s, .. }, "expiry_interval") => number(*expiry_s),
        (Event::Connected { properties, .. }, "receive_maximum") => {
            number(properties.receive_maximum().unwrap_or(u16::MAX))
        }
        (Event::Connected { properties, .. }, "conn_props") => facts::properties(*properties, None),
        (Event::Disconnected { reason, .. }, "reason_code" | "reason")
        | (Event::Dropped { reason, .. }, "reason") => text(reason),
        (Event::Disconnected { .. }, "disconnected_at") => number(row.now_ms),
        (Event::Disconnected { properties, .. }, "disconn_props")
        | (Event::Subscribed { properties, .. }, "sub_props")
        | (Event::Unsubscribed { properties, .. }, "unsub_props") => {
            facts::properties(*properties, None)
        }
        (Event::Acked { properties, .. }, "puback_props") => facts::properties(*properties, None),
        (Event::Subscribing { filters, .. }, "topic_filters") => {
            let filters =
                filters.iter().map(|request| filter_column(request.filter, Some(request.options)));
            Value::Array(Arc::new(filters.collect()))
        }
        (Event::Subscribing { filters, .. }, "topic") => {
            optional(filters.first().map(|first| first.filter))
        }
        (Event::Subscribing { filters, .. }, "qos") => {
            filters.first().map_or(Value::Undefined, |first| facts::qos(first.options.qos))
        }
        (Event::Unsubscribing { filters, .. }, "topic_filters") => Value::Array(Arc::new(
            filters.iter().map(|filter| filter_column(filter, None)).collect(),
        )),
        (Event::Unsubscribing { filters, .. }, "topic") => optional(filters.first().copied()),
        (
            Event::Subscribed { subscription, .. } | Event::Unsubscribed { subscription, .. },
            "topic",
        ) => text(&subscription.filter),
        (
            Event::Subscribed { subscription, .. } | Event::Unsubscribed { subscription, .. },
            "qos",
        ) => facts::qos(subscription.options.qos),
        _ => Value::Undefined,
    }
}

/// An element of `topic_filters`.
fn filter_column(filter: &str, options: Option<SubscriptionOptions>) -> Value {
    let Some(options) = options else {
        return map([("sub_opts", map([])), ("topic", text(filter))]);
    };
    let flag = |is: bool| Value::Int(is.into());
    let sub_opts = map([
        ("nl", flag(options.no_local)),
        ("qos", facts::qos(options.qos)),
        ("rap", flag(options.retain_as_published)),
        ("rh", number(options.retain_handling as u8)),
    ]);
    map([("qos", facts::qos(options.qos)), ("sub_opts", sub_opts), ("topic", text(filter))])
}
