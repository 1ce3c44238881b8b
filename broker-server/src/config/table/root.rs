//! Keys of the broker as a whole: `[node]`, `[log]`, `[broker]`, `[retainer]`,
//! `[delayed]`, `[module]`, and `acl_file`, which is in no table.

use broker_core::TOPIC_METRICS_MAX;
use broker_core::config::AutoSubscription;

use super::super::field::{Field, Refusal, check_topic_filter, check_topic_name, refuse};
use super::super::settings::Settings;
use super::super::value::{Kind, Value};
use super::{Access, Goes, Key, checked, field};

pub(super) static KEYS: &[Key] = &[
    Key {
        name: "acl_file",
        kind: Kind::Text("the path of a file"),
        unset: Some("none"),
        goes: Goes::Root(field!(acl_file)),
        help: "Rules of who may publish and subscribe to what, as EMQ X's acl.conf has them, as TOML (.toml) or as Mosquitto has them (.acl); asked when no plugin has an answer. Read at the start, at SIGHUP and by the API.",
    },
    key(
        "compat.emqx31",
        Kind::Flag,
        field!(compat_emqx31),
        "Whether defaults that are stricter than EMQ X 3.1's are as there: allow_anonymous, which is true then.",
    ),
    key(
        "node.name",
        Kind::Text("a name and a host, such as \"emqx@127.0.0.1\""),
        checked!(check_node_name, node.name),
        "Names this broker in $SYS topics and in the API.",
    ),
    key(
        "node.data_dir",
        Kind::Text("the path of a folder"),
        field!(node.data_dir),
        "Folder of what the broker writes, the store above all; made if it is not there.",
    ),
    key(
        "node.shutdown_timeout",
        Kind::Duration(0, HOUR_MS),
        field!(node.shutdown_timeout_ms),
        "Time for a stop: what is ready is delivered until then.",
    ),
    key(
        "node.io_threads",
        Kind::Number(0, 1_024),
        field!(node.io_threads),
        "Threads that serve connections; 0 for one per core.",
    ),
    key(
        "node.memory_limit",
        Kind::Text(
            "a size such as \"512MB\", a part such as \"70%\" of the memory there is, or \"0\" for no limit",
        ),
        field!(node.memory_limit),
        "What sessions, connections, queues and retained messages may take together; docs/limits.md says what happens near it.",
    ),
    key(
        "log.to",
        Kind::Word(&["console", "off", "file", "both"]),
        field!(log.to),
        "Where log lines go; file and both mean console, whoever starts the broker keeps the files.",
    ),
    key(
        "log.level",
        Kind::Word(LEVELS),
        field!(log.level),
        "Least important lines that are logged.",
    ),
    key(
        "log.format",
        Kind::Word(&["text", "json"]),
        field!(log.format),
        "Form of the lines: for people, or one JSON object each.",
    ),
    key(
        "log.targets",
        Kind::Map("one of off, error, warn, info, debug, trace"),
        field!(log.targets),
        "Levels of parts of the broker, which go before log.level, such as broker_net = \"debug\".",
    ),
    key(
        "broker.sys_interval",
        Kind::Duration(0, DAY_MS),
        field!(broker.sys_interval_ms),
        "Period of the messages on $SYS topics; 0 turns them off.",
    ),
    key(
        "broker.shared_subscription_strategy",
        Kind::Word(&["random", "round_robin", "sticky", "hash", "hash_topic"]),
        field!(broker.shared_strategy),
        "Which member of a shared subscription gets a message; hash is by the publisher's client id.",
    ),
    key(
        "broker.shared_dispatch_ack_enabled",
        Kind::Flag,
        field!(broker.shared_dispatch_ack),
        "Whether a message that a member did not acknowledge before it went goes to another member. One of QoS 2 that was sent stays with its session [MQTT-4.8.2-4].",
    ),
    key(
        "broker.max_sessions",
        Kind::Number(1, 1_000_000_000),
        field!(broker.max_sessions),
        "Sessions, connected or not.",
    ),
    key(
        "retainer.max_retained_messages",
        Kind::Number(0, COUNT_MAX),
        field!(broker.retained.max_messages),
        "Retained messages; 0 for no limit. One beyond it is delivered, acknowledged and counted (retained/refused), and not retained.",
    ),
    key(
        "retainer.max_retained_bytes",
        Kind::Size(0, SIZE_MAX),
        field!(broker.retained.max_bytes),
        "Bytes of topics and payloads of retained messages; 0 for no limit. What is beyond it is treated likewise.",
    ),
    key(
        "retainer.max_payload_size",
        Kind::Size(0, SIZE_MAX),
        field!(broker.retained.max_payload_bytes),
        "Size of a retained message's payload; 0 for no limit. A larger one is treated likewise.",
    ),
    key(
        "retainer.expiry_interval",
        Kind::Seconds(0, u32::MAX as u64 - 1),
        field!(broker.retained.expiry_interval_s),
        "How long messages without an expiry of their own are retained; 0 for ever.",
    ),
    key(
        "delayed.enable",
        Kind::Flag,
        field!(broker.delayed.enabled),
        "Whether emqx_delayed_publish is among the plugins of plugins.loaded: a message to $delayed/<seconds>/<topic> is published later.",
    ),
    key(
        "delayed.max_delayed_messages",
        Kind::Number(0, COUNT_MAX),
        field!(broker.delayed.max_messages),
        "Delayed messages; 0 for no limit.",
    ),
    key(
        "delayed.max_delayed_bytes",
        Kind::Size(0, SIZE_MAX),
        field!(broker.delayed.max_bytes),
        "Bytes of topics and payloads of delayed messages; 0 for no limit.",
    ),
    key(
        "module.presence.enabled",
        Kind::Flag,
        field!(presence),
        "Whether $SYS/brokers/<node>/clients/<client id>/connected and .../disconnected are published.",
    ),
    key("module.presence.qos", Kind::Number(0, 2), field!(presence_qos), "QoS of these messages."),
    auto_key(
        "module.subscription.enabled",
        field!(auto_subscribe),
        "Whether the subscriptions of module.subscription.<n> are made; auto: if there are any.",
    ),
    Key {
        name: "topic",
        kind: Kind::Text("a topic filter, %c for the client id, %u for the user name"),
        unset: None,
        goes: Goes::Subscription(checked!(check_topic_filter, filter)),
        help: "Topic filter that every client is subscribed to when it connects.",
    },
    Key {
        name: "qos",
        kind: Kind::Number(0, 2),
        unset: None,
        goes: Goes::Subscription(SUBSCRIPTION_QOS),
        help: "Maximum QoS of that subscription.",
    },
    auto_key(
        "module.rewrite.enabled",
        field!(rewrite),
        "Whether the rules of module.rewrite.rule are applied; auto: if there are any.",
    ),
    key(
        "module.rewrite.rule",
        Kind::List(
            "\"<topic filter> <regular expression> <new topic>\" with $1 to $9 for the groups",
        ),
        field!(rewrite_rules),
        "How topics of clients are rewritten; of the filters that match, the first is tried.",
    ),
    auto_key(
        "module.topic_metrics.enabled",
        field!(count_topics),
        "Whether the topics of module.topic_metrics.topic are counted; auto: if there are any.",
    ),
    key(
        "module.topic_metrics.topic",
        Kind::List("a topic name"),
        TOPIC_METRICS,
        "Topics whose messages are counted one by one; the API adds others, 512 in all.",
    ),
    key(
        "module.slow_subs.enabled",
        Kind::Flag,
        field!(broker.slow_subscribers.enabled),
        "Whether it is noted which clients are slow to take messages of QoS 1 and 2.",
    ),
    key(
        "module.slow_subs.threshold",
        Kind::Duration(1, DAY_MS),
        field!(broker.slow_subscribers.threshold_ms),
        "A message that a connected client has so long in its queue and unacknowledged is slow.",
    ),
    key(
        "module.slow_subs.top_k_num",
        Kind::Number(1, 1_000),
        field!(broker.slow_subscribers.top_k),
        "How many clients and topics are kept, the slowest.",
    ),
    key(
        "module.slow_subs.expire_interval",
        Kind::Duration(1, 30 * DAY_MS),
        field!(broker.slow_subscribers.expire_interval_ms),
        "Who was not slow for so long is forgotten.",
    ),
];

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    access: Access<Settings>,
    help: &'static str,
) -> Key {
    Key { name, kind, unset: None, goes: Goes::Root(access), help }
}

const fn auto_key(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    Key { name, kind: Kind::Flag, unset: Some("auto"), goes: Goes::Root(access), help }
}

const SUBSCRIPTION_QOS: Access<AutoSubscription> = field!(qos);

const TOPIC_METRICS: Access<Settings> = Access {
    read: |settings| settings.topic_metrics.show(),
    write: |settings, value| {
        let topics: Vec<String> = Field::parse(value)?;
        if topics.len() > TOPIC_METRICS_MAX {
            return refuse(format!("are more than {TOPIC_METRICS_MAX} topics"));
        }
        let refusals: Vec<_> = topics
            .iter()
            .enumerate()
            .filter_map(|(i, topic)| {
                let detail = check_topic_name(topic).err()?;
                Some(Refusal { item: Some(i), detail })
            })
            .collect();
        if !refusals.is_empty() {
            return Err(refusals);
        }
        settings.topic_metrics = topics;
        Ok(())
    },
};

fn check_node_name(name: &str) -> Result<(), String> {
    let part = |part: &str| {
        let refused = |c: char| c.is_whitespace() || c.is_control() || "/+#@".contains(c);
        !part.is_empty() && !part.contains(refused)
    };
    match name.split_once('@') {
        Some((name, host)) if part(name) && part(host) => Ok(()),
        _ => Err("is no name@host".into()),
    }
}

/// Ours, then the original's other names.
const LEVELS: &[&str] = &[
    "off",
    "error",
    "warn",
    "info",
    "debug",
    "trace",
    "warning",
    "notice",
    "critical",
    "alert",
    "emergency",
];
pub(super) const HOUR_MS: u64 = 3_600_000;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;
const COUNT_MAX: u64 = 1_000_000_000_000;
pub(super) const SIZE_MAX: u64 = 1 << 50;
