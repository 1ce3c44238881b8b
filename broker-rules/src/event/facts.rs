//! From what the broker has at hand to the values of columns.

use std::net::SocketAddr;
use std::sync::Arc;

use broker_codec::{Properties, Property, QoS, ReasonCode};
use broker_core::{ClientInfo, Cookies, Message};
use bytes::Bytes;

use crate::value::{Map, Value};

pub(super) fn text(text: &str) -> Value {
    Value::Str(Bytes::copy_from_slice(text.as_bytes()))
}

pub(super) fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Undefined, self::text)
}

/// A text of the program itself, which is not copied.
pub(super) const fn word(text: &'static str) -> Value {
    Value::Str(Bytes::from_static(text.as_bytes()))
}

pub(super) fn number(number: impl TryInto<i64>) -> Value {
    Value::Int(number.try_into().unwrap_or(i64::MAX))
}

pub(super) const fn qos(qos: QoS) -> Value {
    Value::Int(qos as i64)
}

/// A map of entries in the order of their keys, without those that are undefined.
pub(super) fn map<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    let mut map = Vec::with_capacity(N);
    for (key, value) in entries {
        if !matches!(value, Value::Undefined) {
            map.push((super::columns::inner_key(key), value));
        }
    }
    Value::Map(Arc::new(Map::from_sorted(map)))
}

pub(super) fn flags(dup: bool, retain: bool) -> Value {
    map([("dup", Value::Bool(dup)), ("retain", Value::Bool(retain))])
}

/// `headers` of a message: who published it, by what.
pub(super) fn headers(message: &Message) -> Value {
    let client = message.publisher.client();
    map([
        ("peerhost", client.map_or(Value::Undefined, |client| peer_host(client))),
        ("proto_ver", client.map_or(Value::Undefined, |client| number(client.version as u8))),
        ("protocol", client.map_or(Value::Undefined, |_| word("mqtt"))),
        ("username", optional(message.publisher.username())),
    ])
}

/// Address and port of an end of a connection.
pub(super) fn address(address: Option<SocketAddr>) -> Value {
    optional(address.map(|address| address.to_string()).as_deref())
}

pub(super) fn peer_name(client: &ClientInfo) -> Value {
    address(client.peer)
}

pub(super) fn peer_host(client: &ClientInfo) -> Value {
    optional(client.peer.map(|peer| peer.ip().to_string()).as_deref())
}

/// 32 hexadecimal digits: when the message was taken, in microseconds, the node, and a number of its own.
pub(super) fn id(message: &Message, node_hash: u32) -> Value {
    let taken_us = message.published_at_ms.saturating_mul(1000);
    let number = message.number.get();
    let whole = u128::from(taken_us) << 64 | u128::from(node_hash) << 32 | u128::from(number);
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(whole.to_be_bytes()) {
        let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    Value::Str(Bytes::copy_from_slice(&digits))
}

/// Why a client was not let in, as the original says it.
pub(super) fn auth_result(reason_code: ReasonCode) -> Value {
    match reason_code {
        ReasonCode::BadUserNameOrPassword => word("bad_username_or_password"),
        other => Value::Str(other.name().to_lowercase().replace([' ', '-'], "_").into()),
    }
}

/// What a client's certificate says.
pub(super) fn certificate(client: &ClientInfo, name: &str) -> Value {
    let Some(certificate) = &client.certificate else { return Value::Undefined };
    optional(match name {
        "cn" => certificate.common_name.as_deref(),
        _ => certificate.subject.as_deref(),
    })
}

/// Cookies as a map. Of one that comes twice the first counts: it has the longer path (RFC 6265, 5.4).
pub(super) fn cookies(cookies: Option<&Cookies>) -> Value {
    let Some(cookies) = cookies else { return Value::Undefined };
    let mut map = Map::default();
    for (name, value) in cookies.iter() {
        if map.get(name).is_none() {
            map.insert(name.into(), text(value));
        }
    }
    Value::Map(Arc::new(map))
}

/// Properties under the names of the specification. Authentication Data is nobody's business.
pub(super) fn properties(properties: Properties<'_>, more: Option<(&str, u64)>) -> Value {
    let mut map = Map::default();
    let mut user = Map::default();
    let mut pairs = Vec::new();
    for property in properties.iter() {
        let (name, value) = match property {
            Property::UserProperty(key, value) => {
                user.insert(key.into(), text(value));
                pairs.push(self::map([("key", text(key)), ("value", text(value))]));
                continue;
            }
            Property::AuthenticationData(_) => continue,
            Property::PayloadFormatIndicator(value) => ("Payload-Format-Indicator", number(value)),
            Property::MessageExpiryInterval(value) => ("Message-Expiry-Interval", number(value)),
            Property::ContentType(value) => ("Content-Type", text(value)),
            Property::ResponseTopic(value) => ("Response-Topic", text(value)),
            Property::CorrelationData(value) => {
                ("Correlation-Data", Value::Str(Bytes::copy_from_slice(value)))
            }
            Property::SubscriptionIdentifier(value) => ("Subscription-Identifier", number(value)),
            Property::SessionExpiryInterval(value) => ("Session-Expiry-Interval", number(value)),
            Property::AssignedClientIdentifier(value) => {
                ("Assigned-Client-Identifier", text(value))
            }
            Property::ServerKeepAlive(value) => ("Server-Keep-Alive", number(value)),
            Property::AuthenticationMethod(value) => ("Authentication-Method", text(value)),
            Property::RequestProblemInformation(value) => {
                ("Request-Problem-Information", number(value))
            }
            Property::WillDelayInterval(value) => ("Will-Delay-Interval", number(value)),
            Property::RequestResponseInformation(value) => {
                ("Request-Response-Information", number(value))
            }
            Property::ResponseInformation(value) => ("Response-Information", text(value)),
            Property::ServerReference(value) => ("Server-Reference", text(value)),
            Property::ReasonString(value) => ("Reason-String", text(value)),
            Property::ReceiveMaximum(value) => ("Receive-Maximum", number(value)),
            Property::TopicAliasMaximum(value) => ("Topic-Alias-Maximum", number(value)),
            Property::TopicAlias(value) => ("Topic-Alias", number(value)),
            Property::MaximumQoS(value) => ("Maximum-QoS", number(value)),
            Property::RetainAvailable(value) => ("Retain-Available", number(value)),
            Property::MaximumPacketSize(value) => ("Maximum-Packet-Size", number(value)),
            Property::WildcardSubscriptionAvailable(value) => {
                ("Wildcard-Subscription-Available", number(value))
            }
            Property::SubscriptionIdentifierAvailable(value) => {
                ("Subscription-Identifier-Available", number(value))
            }
            Property::SharedSubscriptionAvailable(value) => {
                ("Shared-Subscription-Available", number(value))
            }
        };
        map.insert(name.into(), value);
    }
    if !pairs.is_empty() {
        map.insert("User-Property".into(), Value::Map(Arc::new(user)));
        map.insert("User-Property-Pairs".into(), Value::Array(Arc::new(pairs)));
    }
    if let Some((name, value)) = more {
        map.insert(name.into(), number(value));
    }
    Value::Map(Arc::new(map))
}
