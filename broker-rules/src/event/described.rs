//! Events as the API describes them to who writes a rule.

use serde_json::{Map as Object, Value as Json, json};

use super::{Dialect, Hook, columns};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDescription {
    /// Its name.
    pub event: &'static str,
    /// What it is called, in English and in Chinese.
    pub title: [&'static str; 2],
    /// When it happens, in both.
    pub description: [&'static str; 2],
    /// Samples by column.
    pub test_columns: Object<String, Json>,
    /// Names of all columns.
    pub columns: &'static [&'static str],
    /// A statement about it.
    pub sql_example: &'static str,
}

impl EventDescription {
    /// As the API shows it.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let both = |[en, zh]: [&str; 2]| json!({ "en": en, "zh": zh });
        json!({
            "event": self.event,
            "title": both(self.title),
            "description": both(self.description),
            "test_columns": self.test_columns,
            "columns": self.columns,
            "sql_example": self.sql_example,
        })
    }
}

/// All events, with the columns that a rule sees which names them in FROM.
#[must_use]
pub fn descriptions() -> Vec<EventDescription> {
    Hook::ALL.iter().map(|hook| describe(*hook)).collect()
}

fn describe(hook: Hook) -> EventDescription {
    let (title, description, sql_example) = words(hook);
    EventDescription {
        event: hook.name(),
        title,
        description,
        test_columns: samples(hook)
            .iter()
            .map(|(name, value)| ((*name).to_owned(), sample(value)))
            .collect(),
        columns: columns::names(hook, Dialect::Named),
        sql_example,
    }
}

type Words = ([&'static str; 2], [&'static str; 2], &'static str);

const fn words(hook: Hook) -> Words {
    match hook {
        Hook::MessagePublish => (
            ["message publish", "消息发布"],
            ["a message is published, before it is routed", "消息发布"],
            "SELECT payload.msg as msg FROM \"message.publish\" WHERE topic =~ 't/#' and payload.msg = 'hello'",
        ),
        Hook::MessageDelivered => (
            ["message deliver", "消息投递"],
            ["a message is written for a subscriber, once for each", "消息投递"],
            "SELECT * FROM \"message.deliver\" WHERE topic =~ 't/#'",
        ),
        Hook::MessageAcked => (
            ["message acked", "消息应答"],
            ["a subscriber has acknowledged a message of QoS 1 or 2", "消息应答"],
            "SELECT * FROM \"message.acked\" WHERE topic =~ 't/#'",
        ),
        Hook::MessageDropped => (
            ["message dropped", "消息丢弃"],
            ["a message has no subscriber, or one of them will not get it", "消息丢弃"],
            "SELECT * FROM \"message.dropped\" WHERE topic =~ 't/#'",
        ),
        Hook::ClientConnected => (
            ["client connected", "连接建立"],
            ["a client has connected", "连接建立"],
            "SELECT * FROM \"client.connected\"",
        ),
        Hook::ClientDisconnected => (
            ["client disconnected", "连接断开"],
            ["the connection of a client has ended", "连接断开"],
            "SELECT * FROM \"client.disconnected\"",
        ),
        Hook::ClientSubscribe => (
            ["client subscribe", "客户端订阅"],
            ["a client asks for subscriptions", "客户端订阅"],
            "SELECT * FROM \"client.subscribe\"",
        ),
        Hook::ClientUnsubscribe => (
            ["client unsubscribe", "客户端取消订阅"],
            ["a client asks for the end of subscriptions", "客户端取消订阅"],
            "SELECT * FROM \"client.unsubscribe\"",
        ),
        Hook::SessionSubscribed => (
            ["session subscribed", "会话订阅完成"],
            ["there is a subscription, told once for each filter", "会话订阅完成"],
            "SELECT * FROM \"session.subscribed\" WHERE topic =~ 't/#'",
        ),
        Hook::SessionUnsubscribed => (
            ["session unsubscribed", "会话取消订阅完成"],
            ["a subscription has ended, told once for each filter", "会话取消订阅完成"],
            "SELECT * FROM \"session.unsubscribed\" WHERE topic =~ 't/#'",
        ),
    }
}

const fn samples(hook: Hook) -> &'static [(&'static str, &'static str)] {
    const MESSAGE: &[(&str, &str)] = &[
        ("client_id", "\"c_emqx\""),
        ("username", "\"u_emqx\""),
        ("topic", "\"t/a\""),
        ("qos", "1"),
        ("payload", "\"{\\\"msg\\\": \\\"hello\\\"}\""),
    ];
    const DROPPED: &[(&str, &str)] = &[
        ("client_id", "\"c_emqx\""),
        ("username", "\"u_emqx\""),
        ("topic", "\"t/a\""),
        ("qos", "1"),
        ("payload", "\"{\\\"msg\\\": \\\"hello\\\"}\""),
        ("reason", "\"no_subscribers\""),
    ];
    const CONNECTED: &[(&str, &str)] = &[
        ("client_id", "\"c_emqx\""),
        ("username", "\"u_emqx\""),
        ("peername", "\"127.0.0.1:52918\""),
    ];
    const DISCONNECTED: &[(&str, &str)] =
        &[("client_id", "\"c_emqx\""), ("username", "\"u_emqx\""), ("reason_code", "\"normal\"")];
    const SUBSCRIPTION: &[(&str, &str)] = &[
        ("client_id", "\"c_emqx\""),
        ("username", "\"u_emqx\""),
        ("topic", "\"t/a\""),
        ("qos", "1"),
    ];
    match hook {
        Hook::MessagePublish | Hook::MessageDelivered | Hook::MessageAcked => MESSAGE,
        Hook::MessageDropped => DROPPED,
        Hook::ClientConnected => CONNECTED,
        Hook::ClientDisconnected => DISCONNECTED,
        Hook::ClientSubscribe
        | Hook::ClientUnsubscribe
        | Hook::SessionSubscribed
        | Hook::SessionUnsubscribed => SUBSCRIPTION,
    }
}

fn sample(json: &str) -> Json {
    serde_json::from_str(json).unwrap_or_default()
}
