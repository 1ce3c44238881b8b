//! Observers that make a request's body of what they see, and leave it with the sink.

use std::sync::Arc;

use broker_core::observer::{
    Event, EventKind, EventKinds, EventObserver, MessageObserver, Reactions,
};
use broker_core::{Broker, ClientInfo, Message, Observation, topic};
use broker_rules::action::ActionCounters;
use broker_rules::{Owner, RemoteSink, post_item};

use super::body::{Body, MessagePart, Opts, ipaddress, username};
use super::config::{HookEvent, WebHookConfig};

/// The rules in force.
pub(super) struct Hooks {
    config: WebHookConfig,
    sink: Arc<RemoteSink>,
    owner: Owner,
}

/// The rule `number` of `message.publish`: the router knows its filter.
struct OnPublish(Arc<Hooks>);

impl Hooks {
    pub(super) fn new(config: WebHookConfig, sink: Arc<RemoteSink>) -> Self {
        let owner = sink.add_owner(&Arc::<ActionCounters>::default());
        Self { config, sink, owner }
    }

    /// The kinds of events there are rules for.
    pub(super) fn kinds(&self) -> EventKinds {
        let wanted = self.config.rules.iter().filter(|(_, rules)| !rules.is_empty());
        let kinds = wanted.filter_map(|(event, _)| kind(*event));
        kinds.fold(EventKinds::NONE, EventKinds::with)
    }

    /// Leaves a body with the sink for each rule of the event that fits the topic. The body has at least `n_bytes`.
    fn tell<'a>(
        &self,
        event: HookEvent,
        about: Option<&str>,
        n_bytes: usize,
        reactions: &Reactions<'_>,
        body: impl FnOnce(&'a str) -> Body<'a>,
        action: &'a str,
    ) {
        // Where the router picks the messages, a rule without a topic is one for all it knows by that filter: another
        // rule may have let it see one that begins with `$`.
        let any = (event == HookEvent::MessagePublish).then_some(ANY);
        let rules = self.config.rules.get(&event).map(Vec::as_slice).unwrap_or_default();
        let fits = |filter: &Option<String>| match (filter.as_deref().or(any), about) {
            (Some(filter), Some(about)) => topic::matches(filter, about),
            _ => true,
        };
        let n_fitting = rules.iter().filter(|rule| fits(&rule.topic)).count();
        if n_fitting == 0 {
            return;
        }
        // Before it is copied: base64 and JSON make it no shorter.
        if !self.sink.has_room_for(n_bytes) {
            return;
        }
        let body = serde_json::to_vec(&body(action)).expect("names and numbers are JSON");
        let body = post_item(body);
        for _ in 0..n_fitting {
            // What the sink does not take it counts, and says so in the log.
            let _ = self.sink.push(self.owner, body.clone(), reactions.now().wall_ms);
        }
    }

    fn tell_of<'a>(
        &self,
        event: HookEvent,
        message: &Message,
        reactions: &Reactions<'_>,
        body: impl FnOnce(&'a str) -> Body<'a>,
        action: &'a str,
    ) {
        let about = Some(&*message.topic);
        self.tell(event, about, message.payload.len(), reactions, body, action);
    }

    fn subscription(
        &self,
        event: HookEvent,
        client: &ClientInfo,
        filter: &str,
        opts: Opts,
        reactions: &Reactions<'_>,
    ) {
        let (client_id, username) = (client.client_id.as_str(), username(client));
        let action = event.action();
        let body = |action| match event {
            HookEvent::SessionSubscribed => {
                Body::SessionSubscribed { action, client_id, topic: filter, opts }
            }
            HookEvent::SessionUnsubscribed => {
                Body::SessionUnsubscribed { action, client_id, topic: filter }
            }
            _ => Body::Subscribe { action, client_id, username, topic: filter, opts },
        };
        self.tell(event, Some(filter), 0, reactions, body, &action);
    }
}

impl EventObserver for Hooks {
    fn observe(&self, event: &Event<'_>, reactions: &mut Reactions<'_>) {
        let encoding = self.config.encode_payload;
        match *event {
            Event::Connected { client, .. } => {
                let event = HookEvent::ClientConnected;
                let body = |action| Body::Connected {
                    action,
                    client_id: client.client_id.as_str(),
                    username: username(client),
                    keepalive: client.keep_alive_s,
                    ipaddress: ipaddress(client),
                    proto_ver: client.version as u8,
                    connected_at: client.connected_at_ms / 1000,
                    conn_ack: 0,
                };
                self.tell(event, None, 0, reactions, body, &event.action());
            }
            Event::Disconnected { client, reason, .. } => {
                let event = HookEvent::ClientDisconnected;
                let client_id = client.client_id.as_str();
                let username = username(client);
                let body = |action| Body::Disconnected { action, client_id, username, reason };
                self.tell(event, None, 0, reactions, body, &event.action());
            }
            Event::SessionCreated { client } => {
                let event = HookEvent::SessionCreated;
                let client_id = client.client_id.as_str();
                let username = username(client);
                let body = |action| Body::SessionCreated { action, client_id, username };
                self.tell(event, None, 0, reactions, body, &event.action());
            }
            Event::SessionTerminated { client, reason } => {
                let event = HookEvent::SessionTerminated;
                let client_id = client.client_id.as_str();
                let body = |action| Body::SessionTerminated { action, client_id, reason };
                self.tell(event, None, 0, reactions, body, &event.action());
            }
            Event::Subscribing { client, filters } => {
                for it in filters {
                    let opts = it.options.into();
                    let event = HookEvent::ClientSubscribe;
                    self.subscription(event, client, it.filter, opts, reactions);
                }
            }
            Event::Unsubscribing { client, filters } => {
                for filter in filters {
                    let event = HookEvent::ClientUnsubscribe;
                    self.subscription(event, client, filter, Opts::default(), reactions);
                }
            }
            Event::Subscribed { client, subscription, .. } => {
                let (event, opts) = (HookEvent::SessionSubscribed, subscription.options.into());
                self.subscription(event, client, subscription.topic_filter(), opts, reactions);
            }
            Event::Unsubscribed { client, subscription, .. } => {
                let (event, opts) = (HookEvent::SessionUnsubscribed, Opts::default());
                self.subscription(event, client, subscription.topic_filter(), opts, reactions);
            }
            Event::Delivered { client, message, qos, retain, .. } => {
                let event = HookEvent::MessageDeliver;
                let body = |action| Body::Deliver {
                    action,
                    client_id: client.client_id.as_str(),
                    username: username(client),
                    message: MessagePart::new(message, qos, retain, encoding),
                };
                self.tell_of(event, message, reactions, body, &event.action());
            }
            Event::Acked { client, message, qos, .. } => {
                let event = HookEvent::MessageAcked;
                let body = |action| Body::Acked {
                    action,
                    client_id: client.client_id.as_str(),
                    message: MessagePart::new(message, qos, message.retain, encoding),
                };
                self.tell_of(event, message, reactions, body, &event.action());
            }
            Event::Refused { .. } | Event::Dropped { .. } => {}
        }
    }
}

impl MessageObserver for OnPublish {
    fn observe(&self, message: &Arc<Message>, reactions: &mut Reactions<'_>) {
        let event = HookEvent::MessagePublish;
        let (qos, retain, encoding) = (message.qos, message.retain, self.0.config.encode_payload);
        let part = || MessagePart::new(message, qos, retain, encoding);
        let body = |action| Body::Publish { action, message: part() };
        self.0.tell_of(event, message, reactions, body, &event.action());
    }
}

/// Puts the rules of `message.publish` into the router, behind those of the rule engine.
pub(super) fn observe(hooks: &Arc<Hooks>, broker: &Arc<Broker>) -> Vec<Observation> {
    let rules = hooks.config.rules.get(&HookEvent::MessagePublish);
    let observer = Arc::new(OnPublish(Arc::clone(hooks)));
    let filters = rules.into_iter().flatten().map(|rule| rule.topic.as_deref().unwrap_or(ANY));
    let observations = filters.filter_map(|filter| {
        // One place: a message that several filters match is seen once, and `tell` counts the rules.
        broker.observe(filter, PLACE, Arc::clone(&observer) as _).ok()
    });
    observations.collect()
}

const fn kind(event: HookEvent) -> Option<EventKind> {
    Some(match event {
        HookEvent::ClientConnected => EventKind::Connected,
        HookEvent::ClientDisconnected => EventKind::Disconnected,
        HookEvent::ClientSubscribe => EventKind::Subscribing,
        HookEvent::ClientUnsubscribe => EventKind::Unsubscribing,
        HookEvent::SessionCreated => EventKind::SessionCreated,
        HookEvent::SessionTerminated => EventKind::SessionTerminated,
        HookEvent::SessionSubscribed => EventKind::Subscribed,
        HookEvent::SessionUnsubscribed => EventKind::Unsubscribed,
        HookEvent::MessageDeliver => EventKind::Delivered,
        HookEvent::MessageAcked => EventKind::Acked,
        // The router knows those that are observed.
        HookEvent::MessagePublish => return None,
    })
}

/// What a rule of `message.publish` without a topic is about.
const ANY: &str = "#";
/// Rules have numbers from 0 on.
const PLACE: u64 = u64::MAX;
