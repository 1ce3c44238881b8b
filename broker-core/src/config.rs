//! Limits and switches of the broker; every queue and loop is bounded here.
//!
//! The values are checked already: whoever builds them (a configuration file, an embedder) refuses what
//! makes no sense before the broker sees it. Names are those of EMQ X 3.1 where it has the setting.

mod zone_rights;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use broker_codec::QoS;

pub use self::zone_rights::ZoneRights;
use crate::client::Peer;
use crate::store::Level;

/// Settings of the whole broker.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `node.name`: names this broker in `$SYS/brokers/<node>/…`.
    pub node_name: String,
    /// Zones by name; listeners choose one. `external` and `internal` are the original's.
    pub zones: BTreeMap<String, Arc<ZoneConfig>>,
    /// `broker.sys_interval` in milliseconds: period of `$SYS` messages; 0 turns them off.
    pub sys_interval_ms: u64,
    /// `broker.shared_subscription_strategy`.
    pub shared_strategy: SharedStrategy,
    /// `broker.shared_dispatch_ack_enabled`: an unacknowledged message of a member whose connection ends
    /// goes to another member.
    pub shared_dispatch_ack: bool,
    /// Retained messages.
    pub retained: RetainedConfig,
    /// Delayed messages (`$delayed/<seconds>/<topic>`).
    pub delayed: DelayedConfig,
    /// `broker.max_sessions`: sessions held at most, connected or not.
    pub max_sessions: usize,
    /// `node.memory_limit` in bytes: what sessions, connections, queues and retained messages may take together; 0
    /// for no limit. It stands fast from the start.
    pub memory_limit_bytes: usize,
    /// `module.presence`: publishes `$SYS/brokers/<node>/clients/<client id>/connected` and `…/disconnected`.
    pub presence: Option<QoS>,
    /// `module.subscription.*`: subscriptions made for every client that connects.
    pub auto_subscriptions: Vec<AutoSubscription>,
    /// `module.rewrite.rule.*`, in order; the first filter that matches is tried.
    pub rewrite_rules: Vec<RewriteRule>,
    /// `module.topic_metrics.topic.*`: topic names counted one by one.
    pub topic_metrics: Vec<String>,
    /// `module.slow_subs.*`.
    pub slow_subscribers: SlowSubscribersConfig,
    /// What survives the process; of no meaning without a store.
    pub durability: DurabilityConfig,
    /// `alarm.*`.
    pub alarms: AlarmsConfig,
    /// `limits.user.*`: of all clients with one User Name together; who has none is not counted.
    pub user_limits: GroupLimits,
    /// `limits.user.max_sessions`: of one User Name, connected or not; 0 for no limit.
    pub user_max_sessions: u32,
    /// `limits.ip.*`: of all clients of one address together, of IPv6 one /64.
    pub address_limits: GroupLimits,
}

/// So much of something in so much time, all of it at once or bit by bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Messages or bytes; above 0.
    pub amount: u64,
    /// Time in nanoseconds in which they come back; above 0.
    pub interval_ns: u64,
}

impl Rate {
    /// So much in so many milliseconds.
    #[must_use]
    pub const fn in_ms(amount: u64, interval_ms: u64) -> Self {
        Self { amount, interval_ns: interval_ms.saturating_mul(1_000_000) }
    }
}

/// What the connections of a group may do together: those of a zone, a listener, a user, an address. None of it is
/// set by default, and what is not set costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupLimits {
    /// `max_connections` at a time; 0 for no limit. Further ones are refused.
    pub max_connections: u32,
    /// `max_conn_rate` per second; 0 for no limit. Further ones are refused.
    pub max_conn_rate: u32,
    /// `messages_in`: PUBLISH packets that are read.
    pub messages_in: Option<Rate>,
    /// `bytes_in`: bytes of MQTT that are read.
    pub bytes_in: Option<Rate>,
    /// `messages_out`: PUBLISH packets that are sent.
    pub messages_out: Option<Rate>,
    /// `bytes_out`: their bytes.
    pub bytes_out: Option<Rate>,
    /// `retained_in`: PUBLISH packets among those that are read whose message is to be retained.
    pub retained_in: Option<Rate>,
    /// `max_subscriptions_total`: subscriptions of those that are connected; 0 for no limit. Further ones are refused.
    pub max_subscriptions_total: u32,
    /// `max_mqueue_bytes_total`: bytes in memory of the queues of those that are connected; 0 for no limit. What comes beyond
    /// makes room in its own queue, or stays with the store alone.
    pub max_mqueue_bytes_total: u64,
}

/// How many alarms there may be, and which trouble of a client is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmsConfig {
    /// `alarm.history_size`: alarms that are over and remembered.
    pub history_max: usize,
    /// `alarm.max_client_alarms`: alarms of one kind that name a client; what concerns further ones is a single
    /// alarm.
    pub client_alarms_max: usize,
    /// `alarm.congestion_after` in milliseconds: a socket that takes less than is to be sent for so long is an
    /// alarm.
    pub congestion_after_ms: u64,
    /// `alarm.client_clear_after` in milliseconds: a client's alarm is over when its cause has been for so long.
    pub client_clear_after_ms: u64,
}

impl Default for AlarmsConfig {
    fn default() -> Self {
        Self {
            history_max: 1_000,
            client_alarms_max: 100,
            congestion_after_ms: 10_000,
            client_clear_after_ms: 60_000,
        }
    }
}

/// Who is noted as a slow subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowSubscribersConfig {
    /// `module.slow_subs.enabled`.
    pub enabled: bool,
    /// `module.slow_subs.threshold` in milliseconds: a message that a connected client has waiting for so long,
    /// queued or unacknowledged, is slow.
    pub threshold_ms: u64,
    /// `module.slow_subs.top_k_num`: how many are kept, the slowest.
    pub top_k: usize,
    /// `module.slow_subs.expire_interval` in milliseconds: who was not slow for so long is forgotten.
    pub expire_interval_ms: u64,
}

impl Default for SlowSubscribersConfig {
    fn default() -> Self {
        Self { enabled: true, threshold_ms: 500, top_k: 10, expire_interval_ms: 300_000 }
    }
}

/// What acknowledgements wait for, and what is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityConfig {
    /// `durability.level`.
    pub level: Level,
    /// `durability.topics`: levels by Topic Filter; a message takes the strictest that matches it, or
    /// `level` if none does.
    pub topics: Vec<(String, Level)>,
    /// `durability.when_unavailable`: true refuses what cannot be recorded (0x97; an older client is not
    /// answered), false takes it and leaves it unacknowledged until the store is back.
    pub refuse_when_unavailable: bool,
    /// `wills.keep`.
    pub wills_keep: WillsKeep,
    /// `store.memory_bytes`: bytes of queued messages kept in memory beside the store; 0 for no limit.
    pub queue_memory_bytes: u64,
    /// `wills.after_crash`: true publishes the Wills of clients that were connected when the process died.
    pub publish_wills_after_crash: bool,
}

/// Whose Wills are recorded, so that a crash of the broker does not lose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WillsKeep {
    /// None.
    Nobody,
    /// Those of durable sessions.
    Durable,
    /// Those too that are to be retained: presence topics.
    #[default]
    Retained,
    /// All.
    All,
}

impl Default for DurabilityConfig {
    fn default() -> Self {
        Self {
            level: Level::Fsync,
            topics: Vec::new(),
            refuse_when_unavailable: true,
            wills_keep: WillsKeep::Retained,
            queue_memory_bytes: 0,
            publish_wills_after_crash: true,
        }
    }
}

/// Settings of one zone: the limits of the listeners that name it.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneConfig {
    /// Name of the zone.
    pub name: String,
    /// `max_packet_size`: bytes of a whole Control Packet a client may send.
    pub max_packet_size: u32,
    /// `max_clientid_len`: bytes of a Client Identifier.
    pub max_client_id_len: u16,
    /// `max_topic_levels` of Topic Names and Topic Filters; 0 for no limit.
    pub max_topic_levels: u16,
    /// `max_qos_allowed`.
    pub max_qos_allowed: QoS,
    /// `max_topic_alias`: Topic Alias Maximum in both directions; 0 turns aliases off.
    pub max_topic_alias: u16,
    /// `retain_available`.
    pub retain_available: bool,
    /// `wildcard_subscription`.
    pub wildcard_subscription: bool,
    /// `shared_subscription`.
    pub shared_subscription: bool,
    /// `ignore_loop_deliver`: a client older than MQTT 5.0 does not get its own messages.
    pub ignore_loop_deliver: bool,
    /// `strict_mode`: control characters and non-characters in strings are malformed too.
    pub strict_mode: bool,
    /// `idle_timeout` in milliseconds: from accept to a whole CONNECT.
    pub idle_timeout_ms: u64,
    /// `allow_anonymous`: who may connect when no authentication source decides.
    pub allow_anonymous: Anonymous,
    /// `acl_nomatch`: true allows what no rule matched.
    pub acl_nomatch_allow: bool,
    /// `enable_acl`.
    pub enable_acl: bool,
    /// Both as they are now, where they have changed while the broker runs.
    pub rights: ZoneRights,
    /// `acl_deny_action = disconnect`.
    pub acl_deny_disconnect: bool,
    /// `enable_acl_cache`: what was said of a right is remembered for the connection.
    pub enable_acl_cache: bool,
    /// `acl_cache_max_size`: how many answers of each connection; above 0.
    pub acl_cache_max_size: usize,
    /// `acl_cache_ttl` in milliseconds: for how long.
    pub acl_cache_ttl_ms: u64,
    /// `enable_ban`.
    pub enable_ban: bool,
    /// `server_keepalive` in seconds, imposed on MQTT 5.0 clients.
    pub server_keep_alive_s: Option<u16>,
    /// `keepalive_backoff`: a client is gone after Keep Alive x backoff x 2.
    pub keep_alive_backoff: f64,
    /// `max_subscriptions` of one session; 0 for no limit.
    pub max_subscriptions: u32,
    /// `upgrade_qos`: deliver with the subscription's QoS even if the message has a lower one.
    pub upgrade_qos: bool,
    /// `max_inflight`: QoS 1 and 2 messages sent and not yet acknowledged; 0 for no limit (65,535).
    pub max_inflight: u16,
    /// `retry_interval` in milliseconds: unacknowledged messages are sent again to clients older than
    /// MQTT 5.0 ([MQTT-4.4.0-1] forbids it there); 0 for never.
    pub retry_interval_ms: u64,
    /// `max_awaiting_rel`: QoS 2 messages received and not yet released; 0 for no limit (65,535).
    /// MQTT 5.0 clients are told it as Receive Maximum.
    pub max_awaiting_rel: u16,
    /// `await_rel_timeout` in milliseconds; 0 for never.
    pub await_rel_timeout_ms: u64,
    /// `session_expiry_interval` in seconds, for MQTT 3.1 and 3.1.1 sessions without Clean Session.
    pub session_expiry_interval_s: u32,
    /// `max_session_expiry_interval` in seconds: the longest an MQTT 5.0 client may ask for; it is told
    /// when it gets less.
    pub max_session_expiry_interval_s: u32,
    /// `max_mqueue_len`: messages in a session's queue; 0 for no limit. The oldest is dropped.
    pub max_mqueue_len: u32,
    /// `max_mqueue_bytes` in a session's queue; 0 for no limit. The oldest is dropped.
    pub max_mqueue_bytes: u64,
    /// `mqueue_priorities`: 1 to 255 by Topic Name; higher leaves the queue first.
    pub mqueue_priorities: BTreeMap<String, u8>,
    /// `mqueue_default_priority`: of the topics not listed; 0 (lowest) or 255 (highest).
    pub mqueue_default_priority: u8,
    /// `mqueue_store_qos0`: QoS 0 messages are queued too while the client is away.
    pub mqueue_store_qos0: bool,
    /// `max_outbox_bytes`: bytes that wait for a slow socket; above it QoS 0 messages are dropped and
    /// QoS 1 and 2 stay in the queue.
    pub max_outbox_bytes: usize,
    /// `enable_flapping_detect`, with its limits; `None` turns it off.
    pub flapping: Option<FlappingConfig>,
    /// `mountpoint`: prefix of all topics of the zone's clients; `%c` and `%u` stand for client id and
    /// user name.
    pub mountpoint: Option<String>,
    /// `use_username_as_clientid`.
    pub use_username_as_client_id: bool,
    /// `response_information`: answered to MQTT 5.0 clients that request it; `%c` and `%u` as above.
    pub response_information: Option<String>,
    /// `publish_limit`: PUBLISH packets that a client may send; more are paced.
    pub publish_limit: Option<Rate>,
    /// Of all clients of the zone together.
    pub limits: GroupLimits,
    /// `rate_limit_action = disconnect`: who sends more than a rate lets him is cut off (0x96) instead of paced.
    pub rate_limit_disconnect: bool,
}

/// Who of a shared subscription's group gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedStrategy {
    /// Any member, by chance.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// The same member as long as it is there.
    Sticky,
    /// By hash of the publisher's Client Identifier.
    Hash,
    /// By hash of the Topic Name.
    HashTopic,
}

/// Who may connect when no authentication source decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// Everybody, as in EMQ X 3.1.
    All,
    /// Whoever is on this machine: its address is a loopback one, or it came by a Unix socket. And who has shown a
    /// certificate that names its user.
    Local,
    /// Nobody.
    Nobody,
}

impl Anonymous {
    /// Whether `peer` is let in.
    #[must_use]
    pub fn admits(self, peer: &Peer) -> bool {
        match self {
            Self::All => true,
            Self::Local => {
                // An IPv4 address may come as an IPv6 one, on a listener for both.
                let is_loopback = |addr: SocketAddr| addr.ip().to_canonical().is_loopback();
                peer.certificate_username.is_some()
                    || (!peer.is_elsewhere && peer.addr.is_none_or(is_loopback))
            }
            Self::Nobody => false,
        }
    }
}

/// Limits of the retained store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedConfig {
    /// Whether the plugin `emqx_retainer` is at work: without it nothing is retained and nothing of what is
    /// kept is delivered. What is kept stays for the day it is back.
    pub enabled: bool,
    /// `retainer.max_retained_messages`; 0 for no limit.
    pub max_messages: usize,
    /// `retainer.max_retained_bytes` of topics and payloads; 0 for no limit.
    pub max_bytes: usize,
    /// `retainer.max_payload_size`; 0 for no limit.
    pub max_payload_bytes: usize,
    /// `retainer.expiry_interval` in seconds, for messages without one of their own; 0 for never.
    pub expiry_interval_s: u32,
}

/// Limits of the delayed messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayedConfig {
    /// Whether the plugin `emqx_delayed_publish` is at work: without it a topic that begins with `$delayed/`
    /// is one like any other, and what waits already waits for the day it is back.
    pub enabled: bool,
    /// `delayed.max_delayed_messages`; 0 for no limit.
    pub max_messages: usize,
    /// `delayed.max_delayed_bytes`; 0 for no limit.
    pub max_bytes: usize,
}

/// `flapping_threshold` and `flapping_banned_expiry_interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlappingConfig {
    /// Connects within the window that make a client a flapping one.
    pub count: u32,
    /// The window in milliseconds.
    pub window_ms: u64,
    /// How long the client is banned then, in milliseconds.
    pub banned_ms: u64,
}

/// A subscription made for every client; `%c` and `%u` stand for client id and user name.
#[derive(Debug, Clone)]
pub struct AutoSubscription {
    /// Topic Filter.
    pub filter: String,
    /// Maximum QoS.
    pub qos: QoS,
}

/// One rule of the topic rewrite module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteRule {
    /// Topics and Topic Filters it applies to.
    pub filter: String,
    /// Regular expression over the topic, with the target's `$1` to `$9` as its groups.
    pub pattern: String,
    /// What the topic becomes.
    pub target: String,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        let external = ZoneConfig::default();
        let internal =
            ZoneConfig { name: "internal".into(), enable_acl: false, ..ZoneConfig::default() };
        Self {
            node_name: "emqx@127.0.0.1".into(),
            zones: [external, internal]
                .into_iter()
                .map(|zone| (zone.name.clone(), Arc::new(zone)))
                .collect(),
            sys_interval_ms: 60_000,
            shared_strategy: SharedStrategy::Random,
            shared_dispatch_ack: false,
            retained: RetainedConfig {
                enabled: true,
                max_messages: 1_000_000,
                max_bytes: 1 << 30,
                max_payload_bytes: 1 << 20,
                expiry_interval_s: 0,
            },
            delayed: DelayedConfig { enabled: true, max_messages: 1_000_000, max_bytes: 1 << 30 },
            max_sessions: 1_000_000,
            memory_limit_bytes: 0,
            presence: Some(QoS::AtLeastOnce),
            auto_subscriptions: Vec::new(),
            rewrite_rules: Vec::new(),
            topic_metrics: Vec::new(),
            slow_subscribers: SlowSubscribersConfig::default(),
            durability: DurabilityConfig::default(),
            alarms: AlarmsConfig::default(),
            user_limits: GroupLimits::default(),
            user_max_sessions: 0,
            address_limits: GroupLimits::default(),
        }
    }
}

impl Default for ZoneConfig {
    fn default() -> Self {
        Self {
            name: "external".into(),
            max_packet_size: 1 << 20,
            max_client_id_len: 65_535,
            max_topic_levels: 0,
            max_qos_allowed: QoS::ExactlyOnce,
            max_topic_alias: 0,
            retain_available: true,
            wildcard_subscription: true,
            shared_subscription: true,
            ignore_loop_deliver: false,
            strict_mode: false,
            idle_timeout_ms: 15_000,
            allow_anonymous: Anonymous::Local,
            acl_nomatch_allow: true,
            enable_acl: true,
            rights: ZoneRights::default(),
            acl_deny_disconnect: false,
            enable_acl_cache: true,
            acl_cache_max_size: 32,
            acl_cache_ttl_ms: 60_000,
            enable_ban: true,
            server_keep_alive_s: None,
            keep_alive_backoff: 0.75,
            max_subscriptions: 0,
            upgrade_qos: false,
            max_inflight: 32,
            retry_interval_ms: 20_000,
            max_awaiting_rel: 100,
            await_rel_timeout_ms: 300_000,
            session_expiry_interval_s: 7_200,
            max_session_expiry_interval_s: u32::MAX,
            max_mqueue_len: 1_000,
            max_mqueue_bytes: 16 << 20,
            mqueue_priorities: BTreeMap::new(),
            mqueue_default_priority: 255,
            mqueue_store_qos0: true,
            max_outbox_bytes: 4 << 20,
            flapping: None,
            mountpoint: None,
            use_username_as_client_id: false,
            response_information: None,
            publish_limit: None,
            limits: GroupLimits::default(),
            rate_limit_disconnect: false,
        }
    }
}
