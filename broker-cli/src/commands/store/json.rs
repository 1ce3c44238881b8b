//! Json: a record of the store as a JSON object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broker_codec::SubscriptionOptions;
use broker_store::inspect::{Place, kind_of};
use broker_store::record::{BodyAt, Record, Ref, WillRecord};
use serde_json::{Map, Value, json};

/// `{"record": "body", "at": 4128, …}`; `at` is missing in a snapshot. Other records name a body by its `at`.
pub(super) fn of(place: Place, record: &Record<'_>) -> Value {
    let mut object = Map::new();
    object.insert("record".to_owned(), kind_of(record).into());
    if let Place::Log { at, .. } = place {
        object.insert("at".to_owned(), at.into());
    }
    if let Value::Object(fields) = fields(place, record) {
        object.extend(fields);
    }
    Value::Object(object)
}

fn fields(place: Place, record: &Record<'_>) -> Value {
    let position = |body: &BodyAt| match (body, place) {
        (BodyAt::Log { at, .. }, _) => *at,
        (BodyAt::Here(offset), Place::Log { base, .. }) => base + u64::from(*offset),
        (BodyAt::Here(offset), Place::Snapshot) => u64::from(*offset),
    };
    match record {
        Record::Body(body) => {
            let mut object = json!({
                "topic": body.topic,
                "qos": body.qos as u8,
                "retain": body.retain,
                "publisher": body.publisher,
                "published_at_ms": body.published_at_ms,
                "expires_at_ms": time(body.expires_at_ms),
            });
            put_bytes(&mut object, "payload", body.payload);
            put_properties(&mut object, body.properties);
            object
        }
        Record::Refs { body, refs } => {
            let refs: Vec<_> = refs.iter().map(|it| reference(&it)).collect();
            json!({ "body": position(body), "refs": refs })
        }
        Record::Removed { session, step, why, refs } => {
            let refs: Vec<_> = refs.iter().collect();
            let why = format!("{why:?}").to_lowercase();
            json!({ "session": session, "step": step, "why": why, "messages": refs })
        }
        Record::SessionStart(start) => json!({
            "session": start.session,
            "step": start.step,
            "client_id": start.client_id,
            "username": start.username,
            "peer": start.peer,
            "version": start.version,
            "listener": start.listener,
            "zone": start.zone,
            "mountpoint": start.mountpoint,
            "keep_alive_s": start.keep_alive_s,
            "clean_start": start.clean_start,
            "is_superuser": start.is_superuser,
            "expiry_s": start.expiry_s,
            "created_at_ms": start.created_at_ms,
            "connected_at_ms": start.connected_at_ms,
            "will": start.will.as_ref().map(will),
        }),
        Record::Subscribed { session, step, filter, route, options, identifier } => {
            let mut object = json!({
                "session": session,
                "step": step,
                "filter": filter,
                "route": route,
                "identifier": Some(identifier).filter(|it| **it > 0),
            });
            if let (Value::Object(object), Value::Object(more)) =
                (&mut object, subscription_options(*options))
            {
                object.extend(more);
            }
            object
        }
        Record::Unsubscribed { session, step, filter } => {
            json!({ "session": session, "step": step, "filter": filter })
        }
        Record::Sent { session, step, of, packet_id } => {
            let packet_id = packet_id.get();
            json!({ "session": session, "step": step, "message": of, "packet_id": packet_id })
        }
        Record::Released { session, step, packet_id }
        | Record::Completed { session, step, packet_id }
        | Record::Received { session, step, packet_id }
        | Record::ReceivedDone { session, step, packet_id } => {
            json!({ "session": session, "step": step, "packet_id": packet_id.get() })
        }
        Record::Detached { session, step, at_ms, keeps_will, inflight } => {
            let pair = |(of, id): (u64, broker_codec::PacketId)| json!({ "message": of, "packet_id": id.get() });
            let inflight: Vec<_> = inflight.iter().map(pair).collect();
            json!({
                "session": session,
                "step": step,
                "at_ms": at_ms,
                "keeps_will": keeps_will,
                "inflight": inflight,
            })
        }
        Record::SessionEnd { session, step }
        | Record::WillDone { session, step }
        | Record::StepsUntil { session, step }
        | Record::KeptUntil { session, step } => json!({ "session": session, "step": step }),
        Record::Expiry { session, step, expiry_s } => {
            json!({ "session": session, "step": step, "expiry_s": expiry_s })
        }
        Record::Retained { step, body, expires_at_ms, topic } => json!({
            "step": step,
            "topic": topic,
            "body": position(body),
            "expires_at_ms": time(*expires_at_ms),
        }),
        Record::RetainedClear { step, topic } => json!({ "step": step, "topic": topic }),
        Record::Delayed { step, body, due_at_ms } => {
            json!({ "step": step, "body": position(body), "due_at_ms": due_at_ms })
        }
        Record::DelayedDone { step, of } => json!({ "step": step, "message": of }),
        Record::Setting { step, kind, key, value } => {
            let mut object = json!({ "step": step, "kind": kind, "key": key });
            if let Some(value) = value {
                put_bytes(&mut object, "value", value);
            }
            object
        }
        Record::Moved { from } => json!({ "from": from }),
        Record::Opened { at_ms } => json!({ "at_ms": at_ms }),
    }
}

fn reference(it: &Ref<'_>) -> Value {
    json!({
        "session": it.session,
        "step": it.step,
        "qos": it.qos as u8,
        "retain": it.retain,
        "is_copy": it.is_copy,
        "identifiers": it.identifiers,
        "group": it.group.map(|(name, route)| json!({ "name": name, "route": route })),
    })
}

fn will(will: &WillRecord<'_>) -> Value {
    let mut object = json!({
        "topic": will.topic,
        "qos": will.qos as u8,
        "retain": will.retain,
        "message_expiry_s": will.message_expiry_s,
        "delay_s": will.delay_s,
    });
    put_bytes(&mut object, "payload", will.payload);
    put_properties(&mut object, will.properties);
    object
}

fn subscription_options(options: SubscriptionOptions) -> Value {
    json!({
        "qos": options.bits() & 3,
        "no_local": options.bits() & 4 > 0,
        "retain_as_published": options.bits() & 8 > 0,
        "retain_handling": options.bits() >> 4 & 3,
    })
}

fn time(ms: u64) -> Option<u64> {
    Some(ms).filter(|ms| *ms > 0)
}

/// Text as it is, anything else in base64 under another name.
fn put_bytes(object: &mut Value, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object[name] = text.into(),
        Err(_) => object[format!("{name}_base64")] = STANDARD.encode(bytes).into(),
    }
}

/// As MQTT 5.0 encodes them.
fn put_properties(object: &mut Value, properties: &[u8]) {
    if !properties.is_empty() {
        object["properties_base64"] = STANDARD.encode(properties).into();
    }
}

#[cfg(test)]
mod tests {
    use broker_codec::QoS;
    use broker_store::record::Body;

    use super::*;

    fn body(payload: &[u8]) -> Record<'_> {
        Record::Body(Body {
            qos: QoS::AtLeastOnce,
            retain: true,
            published_at_ms: 5,
            expires_at_ms: 0,
            publisher: "p",
            topic: "a/b",
            properties: &[],
            payload,
        })
    }

    #[test]
    fn a_payload_is_text_or_base64() {
        let place = Place::Log { at: 4160, base: 4128 };
        let text = of(place, &body(b"21.5"));
        assert_eq!((&text["record"], &text["at"]), (&json!("body"), &json!(4160)));
        assert_eq!(text["payload"], "21.5");
        assert_eq!(text["expires_at_ms"], Value::Null);
        let binary = of(place, &body(&[0xff, 0]));
        assert_eq!(binary["payload_base64"], "/wA=");
        assert_eq!(binary.get("payload"), None);
    }

    #[test]
    fn a_body_is_named_by_where_it_stands() {
        let delayed = Record::Delayed { step: 1, body: BodyAt::Here(32), due_at_ms: 9 };
        let place = Place::Log { at: 4200, base: 4128 };
        assert_eq!(of(place, &delayed)["body"], 4160);
        let delayed =
            Record::Delayed { step: 1, body: BodyAt::Log { at: 77, len: 5 }, due_at_ms: 9 };
        assert_eq!(
            of(Place::Snapshot, &delayed).to_string(),
            r#"{"body":77,"due_at_ms":9,"record":"delayed","step":1}"#
        );
    }
}
