//! Keys of `emqx_web_hook`: `[web.hook]`.

use broker_plugins::HookEvent;

use super::super::field::Field;
use super::super::settings::Settings;
use super::super::value::{Kind, Value};
use super::root::key;
use super::{Access, Goes, Key, field};

/// Access to the rules of one event.
macro_rules! rules {
    ($event:ident) => {
        Access {
            read: |settings| {
                let rules = settings.web_hook.rules.get(&HookEvent::$event);
                rules.map_or_else(|| Value::List(Vec::new()), Field::show)
            },
            write: |settings, value| {
                settings.web_hook.rules.insert(HookEvent::$event, Field::parse(value)?);
                Ok(())
            },
        }
    };
}

pub(super) static KEYS: &[Key] = &[
    Key {
        name: "web.hook.api.url",
        kind: Kind::Text("a URL that begins with http:// or https://"),
        unset: Some("none"),
        goes: Goes::Root(field!(web_hook.url)),
        help: "Where emqx_web_hook sends its requests; it cannot be loaded without.",
    },
    key(
        "web.hook.encode_payload",
        Kind::Word(&["undefined", "base64", "base62"]),
        field!(web_hook.encode_payload),
        "How payloads are put into JSON; undefined: as text, and as base64 with the field payload_encoding if they are none.",
    ),
    of("web.hook.rule.client.connected", rules!(ClientConnected)),
    of("web.hook.rule.client.disconnected", rules!(ClientDisconnected)),
    of("web.hook.rule.client.subscribe", rules!(ClientSubscribe)),
    of("web.hook.rule.client.unsubscribe", rules!(ClientUnsubscribe)),
    of("web.hook.rule.session.created", rules!(SessionCreated)),
    of("web.hook.rule.session.subscribed", rules!(SessionSubscribed)),
    of("web.hook.rule.session.unsubscribed", rules!(SessionUnsubscribed)),
    of("web.hook.rule.session.terminated", rules!(SessionTerminated)),
    of("web.hook.rule.message.publish", rules!(MessagePublish)),
    of("web.hook.rule.message.deliver", rules!(MessageDeliver)),
    of("web.hook.rule.message.acked", rules!(MessageAcked)),
];

const fn of(name: &'static str, access: Access<Settings>) -> Key {
    key(
        name,
        Kind::List("a rule such as {\"action\": \"on_message_publish\", \"topic\": \"a/#\"}"),
        access,
        "Rules of this event: a request for each that fits. An empty list turns the event off.",
    )
}
