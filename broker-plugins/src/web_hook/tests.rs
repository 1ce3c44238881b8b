//! What the configuration may be, and what bodies look like that no client can bring about in a test of the program.

use std::sync::Arc;

use broker_core::{ClientId, Message, MessageNumber, Publisher, QoS};
use bytes::Bytes;

use super::body::{Body, MessagePart};
use super::config::{HookEvent, HookRule, PayloadEncoding, WebHookConfig};

fn message(payload: &'static [u8]) -> Arc<Message> {
    Arc::new(Message {
        topic: "t".into(),
        payload: Bytes::from_static(payload),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Default::default(),
        expires_at_ms: None,
        published_at_ms: 1_700_000_000_999,
        publisher: Publisher::Former(ClientId::from("gone")),
        stored: Default::default(),
        number: MessageNumber::default(),
    })
}

fn body(payload: &'static [u8], encoding: PayloadEncoding) -> String {
    let message = message(payload);
    let message = MessagePart::new(&message, QoS::AtMostOnce, false, encoding);
    serde_json::to_string(&Body::Publish { action: "message_publish", message }).unwrap()
}

/// The fields stand in the original's order; who has gone since is known by his client id only.
#[test]
fn a_body_is_that_of_the_original() {
    assert_eq!(
        body(b"\"1\"\n", PayloadEncoding::Text),
        r#"{"action":"message_publish","from_client_id":"gone","from_username":"undefined","topic":"t","qos":0,"retain":false,"payload":"\"1\"\n","ts":1700000000}"#
    );
}

#[test]
fn a_payload_that_is_no_text_says_how_it_is_written() {
    let text = body(b"\xff\x00", PayloadEncoding::Text);
    assert!(text.contains(r#""payload":"/wA=","payload_encoding":"base64","ts""#), "{text}");
    let all = body(b"plain", PayloadEncoding::Base62);
    assert!(all.contains(r#""payload":"cGxhaWO","ts""#), "{all}");
    let all = body(b"plain", PayloadEncoding::Base64);
    assert!(all.contains(r#""payload":"cGxhaW4=","ts""#), "{all}");
}

fn check(event: HookEvent, action: &str, topic: Option<&str>) -> Result<(), String> {
    let rule = HookRule { action: action.to_owned(), topic: topic.map(str::to_owned) };
    WebHookConfig { rules: [(event, vec![rule])].into(), ..WebHookConfig::default() }.check()
}

#[test]
fn a_wrong_rule_is_named() {
    use HookEvent::{ClientConnected, MessagePublish};
    assert_eq!(WebHookConfig::default().check(), Ok(()));
    assert_eq!(check(MessagePublish, "on_message_publish", Some("a/+")), Ok(()));
    assert_eq!(
        check(MessagePublish, "on_client_connected", None).unwrap_err(),
        "web.hook.rule.message.publish: action must be \"on_message_publish\", not \"on_client_connected\""
    );
    assert_eq!(
        check(ClientConnected, "on_client_connected", Some("a")).unwrap_err(),
        "web.hook.rule.client.connected: topic: this event has none"
    );
    let error = check(MessagePublish, "on_message_publish", Some("a/#/b")).unwrap_err();
    assert!(error.starts_with("web.hook.rule.message.publish: topic \"a/#/b\": "), "{error}");
}

/// A URL may have a secret in it.
#[test]
fn the_url_is_in_no_debug() {
    let url = Some("http://h/?token=abc".to_owned());
    let config = WebHookConfig { url, ..WebHookConfig::default() };
    assert!(!format!("{config:?}").contains("abc"));
}
