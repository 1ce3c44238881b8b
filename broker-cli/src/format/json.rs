//! One message as one JSON object, with the keys of mosquitto_sub's `%j`.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use broker_codec::{PacketId, Properties, Publish};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::Timestamp;

#[derive(Serialize)]
struct Object<'a> {
    tst: String,
    topic: &'a str,
    qos: u8,
    retain: u8,
    payloadlen: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    mid: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Object5<'a>>,
    #[serde(flatten)]
    payload: Payload<'a>,
}

#[derive(Serialize)]
enum Payload<'a> {
    #[serde(rename = "payload")]
    Text(&'a str),
    #[serde(rename = "payload")]
    Json(&'a RawValue),
    #[serde(rename = "payload_base64")]
    Bytes(String),
}

/// Properties of MQTT 5.0.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Object5<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format_indicator: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expiry_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_alias: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscription_identifiers: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<Pair<'a>>,
}

/// An object with one key, since User Properties may repeat and their order counts.
struct Pair<'a>(&'a str, &'a str);

impl Serialize for Pair<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, self.1)?;
        map.end()
    }
}

/// `%j`: the payload as a string, or in base64 if it is no text.
pub(super) fn quoted(publish: &Publish<'_>, at: Timestamp) -> Vec<u8> {
    let payload = match std::str::from_utf8(publish.payload) {
        Ok(text) => Payload::Text(text),
        Err(_) => Payload::Bytes(BASE64.encode(publish.payload)),
    };
    to_vec(publish, at, payload)
}

/// `%J`: the payload as the JSON value that it is.
pub(super) fn embedded(publish: &Publish<'_>, at: Timestamp) -> Result<Vec<u8>> {
    let json = serde_json::from_slice(publish.payload);
    let json = json.with_context(|| format!("payload on topic '{}' is not JSON", publish.topic))?;
    Ok(to_vec(publish, at, Payload::Json(json)))
}

fn to_vec(publish: &Publish<'_>, at: Timestamp, payload: Payload<'_>) -> Vec<u8> {
    let object = Object {
        tst: at.iso_8601_micros(),
        topic: publish.topic,
        qos: publish.qos.bits(),
        retain: publish.retain.into(),
        payloadlen: publish.payload.len(),
        mid: publish.packet_id.map(PacketId::get),
        properties: (!publish.properties.is_empty()).then(|| properties(&publish.properties)),
        payload,
    };
    serde_json::to_vec(&object).expect("strings and numbers are JSON")
}

fn properties<'a>(properties: &Properties<'a>) -> Object5<'a> {
    Object5 {
        payload_format_indicator: properties.payload_format_indicator().map(u8::from),
        message_expiry_interval: properties.message_expiry_interval(),
        content_type: properties.content_type(),
        response_topic: properties.response_topic(),
        correlation_data: properties.correlation_data().map(String::from_utf8_lossy),
        topic_alias: properties.topic_alias(),
        subscription_identifiers: properties.subscription_identifiers().collect(),
        user_properties: properties
            .user_properties()
            .map(|(key, value)| Pair(key, value))
            .collect(),
    }
}
