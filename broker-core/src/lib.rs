//! The MQTT broker as a library: no socket, no HTTP, no runtime, no clock.
//!
//! A [`Broker`] holds sessions, subscriptions and retained messages. Programs publish and subscribe in it
//! directly; a shell (such as `broker-net`) gives each Network Connection a [`Channel`], feeds it packets
//! and time, and writes what comes out through a [`Sink`].
//!
//! ```
//! use broker_core::{Broker, Now, QoS};
//!
//! let broker = Broker::builder().build()?;
//! // Time is an argument: `Now::new` takes the readings of two clocks, a test makes them up.
//! let now = Now { mono_ms: 0, us: 0, wall_ms: 1_700_000_000_000 };
//! let inbox = broker.subscribe_local("sensors/+/temperature", 100, now)?;
//! let mut client = broker.local_client("thermometer");
//! client.publish("sensors/7/temperature", "21.5", QoS::AtMostOnce, now)?;
//! let message = inbox.receiver().try_recv()?;
//! assert_eq!(&message.payload[..], b"21.5");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What happens by time alone (delayed messages, the end of sessions, `$SYS` topics) is done in
//! [`Broker::handle_timeout`], due when [`Broker::poll_timeout`] says; `broker-net` calls it by itself.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod access;
mod ahead;
mod alarms;
#[doc(hidden)]
pub mod bench;
mod broker;
mod channel;
mod client;
mod clock;
pub mod config;
mod control;
mod delayed;
mod directory;
mod ends;
mod events;
pub mod extension;
mod follow_ups;
mod gauge;
mod gone;
mod latency;
mod limits;
mod local;
mod memory;
mod message;
mod metrics;
mod modules;
pub mod observer;
mod outbox;
pub mod record;
mod recorder;
pub mod restore;
mod retained;
mod router;
mod routing;
mod run;
mod session;
mod sessions;
mod settings;
mod slow_subscribers;
mod snapshot;
mod stats;
pub mod store;
mod sys_topics;
mod traces;
mod traffic;
mod turn;
mod will;

pub use access::banned::{Ban, Who};
pub use access::network::{Network, NetworkError};
pub use alarms::{
    Alarm, Alarms, Judgement, LISTENER_FAILED, PastAlarm, Report, Severity, Watermark,
};
pub use broker::{Broker, BrokerBuilder, BuildError};
pub use broker_codec::{ProtocolVersion, QoS, ReasonCode, SubscriptionOptions, topic};
pub use channel::{Answered, Channel, Close, CloseCause, Flow};
pub use client::{Certificate, ClientId, ClientInfo, Cookies, Peer, Transport};
pub use clock::Now;
pub use control::pages::{PAGE_ROWS_MAX, Page, PageRequest};
pub use control::publishing::PublishError;
pub use control::views::{ConnectedClient, RouteView, SessionView, SubscriptionView};
pub use control::why::{CheckResult, Why, WhyCheck, WhyQuestion, WhyVerdict};
pub use control::{ListenerError, ListenerInfo, Listeners, NewListener, RemoveSessionError};
pub use follow_ups::FollowUpError;
pub use latency::{Distribution, Latency};
pub use limits::{Bucket, ListenerLimits, per_second, subscriber_line};
pub use local::{Attachment, LocalClient, LocalSubscription, Observation};
pub use message::{Message, MessageNumber, Publisher, Relay};
pub use metrics::{Metric, Metrics, Snapshot};
pub use modules::topic_metrics::{AddTopicError, TOPIC_METRICS_MAX, TopicCounts};
pub use outbox::Sink;
pub use session::drops::DropReason;
pub use session::subscriptions::Subscription;
pub use session::view::{ConnectionView, SessionCounts};
pub use settings::Saved;
pub use slow_subscribers::SlowSubscription;
pub use traces::{
    StartTraceError, Trace, TraceEvent, TraceEventKind, TraceLevel, TraceOptions, TracePage,
    TraceSubject, Traces,
};
pub use traffic::Tally;
pub use turn::Turn;
