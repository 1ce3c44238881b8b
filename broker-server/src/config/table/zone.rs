//! Keys of `[mqtt]` and `[zone.<zone>]`.

use super::super::field::{Field, check_topic_name, refuse};
use super::super::settings::Zone;
use super::super::value::{Kind, Value};
use super::limits::{BYTE_RATE, MESSAGE_RATE};
use super::{Access, Goes, Key, checked, either, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "max_packet_size",
        Kind::Size(1, PACKET_MAX),
        field!(config.max_packet_size),
        "Size of a whole Control Packet that a client may send.",
    ),
    key(
        "max_clientid_len",
        Kind::Number(1, 65_535),
        field!(config.max_client_id_len),
        "Bytes of a Client Identifier.",
    ),
    key(
        "max_topic_levels",
        Kind::Number(0, 65_535),
        field!(config.max_topic_levels),
        "Levels of a Topic Name or Topic Filter; 0 for no limit.",
    ),
    key(
        "max_qos_allowed",
        Kind::Number(0, 2),
        field!(config.max_qos_allowed),
        "Highest QoS that clients may publish with and subscribe for.",
    ),
    key(
        "max_topic_alias",
        Kind::Number(0, 65_535),
        field!(config.max_topic_alias),
        "Topic aliases of a connection, in each direction; 0 turns them off.",
    ),
    key(
        "retain_available",
        Kind::Flag,
        field!(config.retain_available),
        "Whether messages may be retained.",
    ),
    key(
        "wildcard_subscription",
        Kind::Flag,
        field!(config.wildcard_subscription),
        "Whether Topic Filters may contain wildcards.",
    ),
    key(
        "shared_subscription",
        Kind::Flag,
        field!(config.shared_subscription),
        "Whether clients may use shared subscriptions.",
    ),
    key(
        "ignore_loop_deliver",
        Kind::Flag,
        field!(config.ignore_loop_deliver),
        "Whether a client older than MQTT 5.0 is spared its own messages; newer ones have No Local.",
    ),
    key(
        "strict_mode",
        Kind::Flag,
        field!(config.strict_mode),
        "Whether control characters and non-characters in strings are malformed too.",
    ),
    key(
        "idle_timeout",
        Kind::Duration(1, DAY_MS),
        field!(config.idle_timeout_ms),
        "Time from the accepted connection to a whole CONNECT.",
    ),
    Key {
        name: "allow_anonymous",
        kind: Kind::Flag,
        unset: Some("local"),
        goes: Goes::Zone { access: field!(config.allow_anonymous), in_mqtt: false },
        help: "Whether clients may connect when no source of authentication decides; local: those of this machine, by a loopback address or a Unix socket.",
    },
    fallback_key(
        "acl_nomatch",
        Kind::Word(&["allow", "deny"]),
        either!(config.acl_nomatch_allow, "allow" = true, "deny" = false),
        "What happens to a publish or subscribe that no ACL rule matches.",
    ),
    key(
        "enable_acl",
        Kind::Flag,
        field!(config.enable_acl),
        "Whether publish and subscribe are checked.",
    ),
    fallback_key(
        "acl_deny_action",
        Kind::Word(&["ignore", "disconnect"]),
        either!(config.acl_deny_disconnect, "ignore" = false, "disconnect" = true),
        "What happens to a client whose publish or subscribe was denied.",
    ),
    fallback_key(
        "enable_acl_cache",
        Kind::Flag,
        field!(config.enable_acl_cache),
        "Whether each connection remembers what it was told of its rights. What an ACL file or a plugin says anew counts at once.",
    ),
    fallback_key(
        "acl_cache_max_size",
        Kind::Number(1, 1_000),
        field!(config.acl_cache_max_size),
        "How many answers a connection remembers; the oldest goes first.",
    ),
    fallback_key(
        "acl_cache_ttl",
        Kind::Duration(1, DAY_MS),
        field!(config.acl_cache_ttl_ms),
        "How long an answer is remembered.",
    ),
    key(
        "enable_ban",
        Kind::Flag,
        field!(config.enable_ban),
        "Whether the list of banned clients is looked at.",
    ),
    optional_key(
        "server_keepalive",
        Kind::Number(0, 65_535),
        field!(config.server_keep_alive_s),
        "Keep Alive in seconds that MQTT 5.0 clients are told to use; 0 means they need not send anything.",
    ),
    key(
        "keepalive_backoff",
        Kind::Decimal(0.5, 10.0),
        field!(config.keep_alive_backoff),
        "A client is taken for gone after Keep Alive x this x 2.",
    ),
    key(
        "max_subscriptions",
        Kind::Number(0, U32_MAX),
        field!(config.max_subscriptions),
        "Subscriptions of one session; 0 for no limit.",
    ),
    key(
        "upgrade_qos",
        Kind::Flag,
        field!(config.upgrade_qos),
        "Whether a message is delivered with the subscription's QoS even if it came with a lower one.",
    ),
    key(
        "max_inflight",
        Kind::Number(0, 65_535),
        field!(config.max_inflight),
        "QoS 1 and 2 messages sent to a client and not yet acknowledged; 0 for no limit.",
    ),
    key(
        "retry_interval",
        Kind::Duration(0, DAY_MS),
        field!(config.retry_interval_ms),
        "When an unacknowledged message is sent again to a client older than MQTT 5.0; 0 for never.",
    ),
    key(
        "max_awaiting_rel",
        Kind::Number(0, 65_535),
        field!(config.max_awaiting_rel),
        "QoS 2 messages received from a client and not yet released; 0 for no limit.",
    ),
    key(
        "await_rel_timeout",
        Kind::Duration(0, DAY_MS),
        field!(config.await_rel_timeout_ms),
        "When a QoS 2 message that was not released is forgotten; 0 for never.",
    ),
    key(
        "session_expiry_interval",
        Kind::Seconds(0, U32_MAX),
        field!(config.session_expiry_interval_s),
        "How long the session of an MQTT 3.1 or 3.1.1 client without Clean Session outlives its connection.",
    ),
    key(
        "max_session_expiry_interval",
        Kind::Seconds(0, U32_MAX),
        field!(config.max_session_expiry_interval_s),
        "Longest Session Expiry Interval that an MQTT 5.0 client may ask for.",
    ),
    key(
        "max_mqueue_len",
        Kind::Number(0, U32_MAX),
        field!(config.max_mqueue_len),
        "Messages in a session's queue; the oldest is dropped for a new one. 0 for no limit.",
    ),
    key(
        "max_mqueue_bytes",
        Kind::Size(0, SIZE_MAX),
        field!(config.max_mqueue_bytes),
        "Bytes in a session's queue; the oldest messages are dropped for a new one. 0 for no limit.",
    ),
    optional_key(
        "mqueue_priorities",
        Kind::Text("topics with a priority from 1 to 255, such as \"a/b=10,c=8\""),
        field!(config.mqueue_priorities),
        "Topics whose messages leave the queue before others; the highest number goes first.",
    ),
    key(
        "mqueue_default_priority",
        Kind::Word(&["highest", "lowest"]),
        either!(config.mqueue_default_priority, "highest" = 255, "lowest" = 0),
        "Priority of the topics that mqueue_priorities does not name.",
    ),
    key(
        "mqueue_store_qos0",
        Kind::Flag,
        field!(config.mqueue_store_qos0),
        "Whether QoS 0 messages are queued too while the client is away.",
    ),
    key(
        "max_outbox_bytes",
        Kind::Size(1_024, SIZE_MAX),
        field!(config.max_outbox_bytes),
        "Bytes that may wait for a slow socket; above it QoS 0 is dropped, QoS 1 and 2 stay in the queue.",
    ),
    key(
        "enable_flapping_detect",
        Kind::Flag,
        field!(detect_flapping),
        "Whether clients that connect again and again are banned for a time.",
    ),
    key(
        "flapping_threshold",
        Kind::Text("a count and an interval, such as \"10,1m\""),
        field!(flapping_threshold),
        "How many connects in which time make a client a flapping one: of the same client id, user and address, that were let in.",
    ),
    key(
        "flapping_banned_expiry_interval",
        Kind::Duration(1, YEAR_MS),
        field!(flapping_banned_ms),
        "How long a flapping client is banned.",
    ),
    optional_key(
        "mountpoint",
        Kind::Text("a topic without wildcards, %c for the client id, %u for the user name"),
        checked!(check_topic_name, config.mountpoint),
        "Prefix of all topics of the clients. One whose name for %c or %u has `/`, `+` or `#`, or begins with `$`, is \
         refused: it would reach into the topics of others.",
    ),
    key(
        "use_username_as_clientid",
        Kind::Flag,
        field!(config.use_username_as_client_id),
        "Whether the user name takes the place of the client id.",
    ),
    optional_key(
        "response_information",
        Kind::Text("a topic without wildcards, %c for the client id, %u for the user name"),
        checked!(check_topic_name, config.response_information),
        "Answer to MQTT 5.0 clients that request response information.",
    ),
    optional_key(
        "publish_limit",
        MESSAGE_RATE,
        field!(config.publish_limit),
        "PUBLISH packets that each client may send; more are read later.",
    ),
    key(
        "rate_limit_action",
        Kind::Word(&["pace", "disconnect"]),
        RATE_LIMIT_ACTION,
        "What becomes of a client that sends more than a rate lets it: it is read from later, or cut off (0x96).",
    ),
    key(
        "max_connections",
        Kind::Number(0, U32_MAX),
        field!(config.limits.max_connections),
        "Connections of the zone at a time; further ones are refused (0x97); 0 for no limit.",
    ),
    key(
        "max_conn_rate",
        Kind::Number(0, U32_MAX),
        field!(config.limits.max_conn_rate),
        "Connections of the zone per second; further ones are refused (0x9F); 0 for no limit.",
    ),
    optional_key(
        "messages_in",
        MESSAGE_RATE,
        field!(config.limits.messages_in),
        "PUBLISH packets that the clients of the zone may send together; more are read later.",
    ),
    optional_key(
        "bytes_in",
        BYTE_RATE,
        field!(config.limits.bytes_in),
        "Bytes that the clients of the zone may send together; more are read later.",
    ),
    optional_key(
        "messages_out",
        MESSAGE_RATE,
        field!(config.limits.messages_out),
        "PUBLISH packets that the clients of the zone are sent together; more wait in their queues.",
    ),
    optional_key(
        "bytes_out",
        BYTE_RATE,
        field!(config.limits.bytes_out),
        "Bytes of PUBLISH packets that the clients of the zone are sent together; more wait in their queues.",
    ),
    optional_key(
        "retained_in",
        MESSAGE_RATE,
        field!(config.limits.retained_in),
        "Messages to be retained that the clients of the zone may send together; more are read later.",
    ),
    key(
        "max_subscriptions_total",
        Kind::Number(0, U32_MAX),
        field!(config.limits.max_subscriptions_total),
        "Subscriptions of the connected clients of the zone together; further ones are refused (0x97); 0 for no limit.",
    ),
    key(
        "max_mqueue_bytes_total",
        Kind::Size(0, SIZE_MAX),
        field!(config.limits.max_mqueue_bytes_total),
        "Bytes of memory in the queues of the connected clients of the zone together; for more the oldest messages of the same queue are dropped, or left to the store. 0 for no limit.",
    ),
];

const fn key(name: &'static str, kind: Kind, access: Access<Zone>, help: &'static str) -> Key {
    Key { name, kind, unset: None, goes: Goes::Zone { access, in_mqtt: true }, help }
}

const fn optional_key(
    name: &'static str,
    kind: Kind,
    access: Access<Zone>,
    help: &'static str,
) -> Key {
    Key { name, kind, unset: Some("none"), goes: Goes::Zone { access, in_mqtt: true }, help }
}

/// A key that the original has at the top level, not in `[mqtt]`, for the zones that do not set it.
const fn fallback_key(
    name: &'static str,
    kind: Kind,
    access: Access<Zone>,
    help: &'static str,
) -> Key {
    Key { name, kind, unset: None, goes: Goes::Zone { access, in_mqtt: false }, help }
}

const RATE_LIMIT_ACTION: Access<Zone> = Access {
    read: |zone| {
        let cuts = zone.config.rate_limit_disconnect;
        Value::Text(if cuts { "disconnect" } else { "pace" }.into())
    },
    write: |zone, value| {
        zone.config.rate_limit_disconnect = value == Value::Text("disconnect".into());
        Ok(())
    },
};

/// Greatest Remaining Length and the fixed header before it: MQTT 5.0, 1.5.5.
const PACKET_MAX: u64 = 268_435_455 + 5;
const U32_MAX: u64 = u32::MAX as u64;
const SIZE_MAX: u64 = 1 << 50;
const DAY_MS: u64 = 86_400_000;
const YEAR_MS: u64 = 365 * DAY_MS;
