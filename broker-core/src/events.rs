//! Events: the lifecycle of clients and sessions as messages on `$events/…`, and EMQ X's presence topics.
//!
//! While nobody subscribes to `$events/…` and nobody observes its kind, an event costs one load and one test.

use std::fmt::Write as _;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use broker_codec::{Properties, QoS};

use crate::channel::SessionEnd;
use crate::client::{ClientId, ClientInfo};
use crate::message::{Message, Publication, Publisher};
use crate::observer::{Event, EventKind, Reactions};
use crate::session::drops::DropReason;
use crate::session::queue::Delivery;
use crate::session::subscriptions::Subscription;
use crate::traces::TraceEventKind;
use crate::turn::{Out, Turn};

/// What has become of a message for a client.
///
/// It is noted under the lock of the client's session, where nothing can be published, and told afterwards.
pub(crate) struct Note {
    client: Arc<ClientInfo>,
    message: Arc<Message>,
    fate: Fate,
}

enum Fate {
    /// A PUBLISH was written.
    Delivered(DeliveredFlags),
    /// The client will not get it.
    Lost(DropReason),
}

/// The first byte of such a PUBLISH.
#[derive(Clone, Copy)]
pub(crate) struct DeliveredFlags {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl Out {
    /// Notes a PUBLISH written for a client, if its topic is counted or somebody listens to deliveries.
    pub(crate) fn note_delivered<'a>(
        &mut self,
        client: &Arc<ClientInfo>,
        flags: DeliveredFlags,
        (topic, payload_bytes): (&str, usize),
        message: impl FnOnce() -> &'a Arc<Message>,
    ) {
        if let Some(topics) = &mut self.topics {
            topics.count_out(topic, flags.qos, payload_bytes);
        }
        if self.tells_deliveries() && !is_own(topic) {
            let (client, message) = (Arc::clone(client), Arc::clone(message()));
            self.notes.push(Note { client, message, fate: Fate::Delivered(flags) });
        }
    }

    /// True if somebody looks at each delivery, or each message by itself.
    pub(crate) fn looks_at_each(&self) -> bool {
        self.topics.is_some() || self.tracer.is_on() || self.tells_deliveries()
    }

    /// True if somebody listens to deliveries.
    fn tells_deliveries(&self) -> bool {
        self.broker.router.counts().deliveries.load(Ordering::Relaxed) > 0
            || self.observed.contains(EventKind::Delivered)
    }

    /// Notes that a client will not get a message, if somebody observes that.
    pub(crate) fn note_lost<'a>(
        &mut self,
        client: &Arc<ClientInfo>,
        reason: DropReason,
        message: impl FnOnce() -> Option<&'a Arc<Message>>,
    ) {
        // A message of one's own is not missed by anybody.
        if !self.observed.contains(EventKind::Dropped) || reason == DropReason::NoLocal {
            return;
        }
        if let Some(message) = message().filter(|message| !message.topic.starts_with('$')) {
            let (client, message) = (Arc::clone(client), Arc::clone(message));
            self.notes.push(Note { client, message, fate: Fate::Lost(reason) });
        }
    }
}

/// The event of a delivery would be the next delivery to tell of.
fn is_own(topic: &str) -> bool {
    topic.starts_with("$events/") || topic.starts_with("$SYS/")
}

impl Turn {
    pub(crate) fn client_connected(
        &mut self,
        client: &Arc<ClientInfo>,
        properties: Properties<'_>,
        expiry_s: u32,
    ) {
        for interceptor in &self.extensions.interceptors {
            interceptor.connected(client);
        }
        log::debug!("client connected client_id={:?}", client.client_id);
        self.presence(client, "connected", None);
        self.observe(EventKind::Connected, || Event::Connected { client, properties, expiry_s });
        self.event("client_connected", |json| {
            json.client(client);
            json.text("proto_name", client.protocol_name());
            json.number("proto_ver", client.version as u64);
            json.number("keepalive", client.keep_alive_s.into());
            json.flag("clean_start", client.clean_start);
            json.number("connected_at", client.connected_at_ms);
        });
    }

    pub(crate) fn client_disconnected(&mut self, client: &Arc<ClientInfo>, reason: &str) {
        for interceptor in &self.extensions.interceptors {
            interceptor.disconnected(client, reason);
        }
        log::debug!("client disconnected client_id={:?} reason={reason}", client.client_id);
        self.presence(client, "disconnected", Some(reason));
        if self.is_observed(EventKind::Disconnected) {
            let properties = mem::take(&mut self.observed_properties);
            let properties = properties.as_properties();
            self.show_event(&Event::Disconnected { client, reason, properties });
        }
        let now_ms = self.now.wall_ms;
        self.event("client_disconnected", |json| {
            json.client(client);
            json.text("reason", reason);
            json.number("disconnected_at", now_ms);
        });
    }

    pub(crate) fn session_created(&mut self, client: &Arc<ClientInfo>) {
        self.observe(EventKind::SessionCreated, || Event::SessionCreated { client });
    }

    pub(crate) fn session_terminated(&mut self, client: &Arc<ClientInfo>, end: SessionEnd) {
        let reason = end.name();
        self.observe(EventKind::SessionTerminated, || Event::SessionTerminated { client, reason });
    }

    pub(crate) fn session_subscribed(
        &mut self,
        client: &Arc<ClientInfo>,
        subscription: &Subscription,
    ) {
        self.trace_subscription(client, subscription, TraceEventKind::Subscribed);
        if self.is_observed(EventKind::Subscribed) {
            let said = mem::take(&mut self.observed_properties);
            let properties = said.as_properties();
            self.show_event(&Event::Subscribed { client, subscription, properties });
            self.observed_properties = said;
        }
        self.event("session_subscribed", |json| json.subscription(client, subscription));
    }

    pub(crate) fn session_unsubscribed(
        &mut self,
        client: &Arc<ClientInfo>,
        subscription: &Subscription,
    ) {
        self.trace_subscription(client, subscription, TraceEventKind::Unsubscribed);
        if self.is_observed(EventKind::Unsubscribed) {
            let said = mem::take(&mut self.observed_properties);
            let properties = said.as_properties();
            self.show_event(&Event::Unsubscribed { client, subscription, properties });
            self.observed_properties = said;
        }
        self.event("session_unsubscribed", |json| json.subscription(client, subscription));
    }

    /// The client has taken a delivery over. A message that only the store has says too little for an event.
    pub(crate) fn delivery_acked(
        &mut self,
        client: &Arc<ClientInfo>,
        delivery: &Delivery,
        properties: Properties<'_>,
    ) {
        let Some(message) = delivery.message.here() else { return };
        let qos = delivery.qos;
        self.message_acked(client, message);
        self.observe(EventKind::Acked, || Event::Acked { client, message, qos, properties });
    }

    /// True if somebody wants to know of acknowledgements.
    pub(crate) fn tells_acked(&self) -> bool {
        self.has_event_listeners() || self.is_observed(EventKind::Acked)
    }

    fn message_acked(&mut self, client: &Arc<ClientInfo>, message: &Arc<Message>) {
        self.event("message_acked", |json| {
            json.client(client);
            json.text("from_clientid", message.publisher.client_id().as_str());
            json.text("topic", &message.topic);
            json.number("qos", message.qos as u64);
            json.text("payload", &String::from_utf8_lossy(&message.payload));
            json.number("publish_received_at", message.published_at_ms);
        });
    }

    /// Tells of what was written for clients, and lost for them, since this was done last.
    #[inline]
    pub(crate) fn tell_notes(&mut self) {
        if !self.out.notes.is_empty() {
            self.tell_all_notes();
        }
    }

    fn tell_all_notes(&mut self) {
        let mut notes = mem::take(&mut self.out.notes);
        for Note { client, message, fate } in notes.drain(..) {
            let (client, message) = (&client, &message);
            match fate {
                Fate::Delivered(flags) => self.message_delivered(client, message, flags),
                Fate::Lost(reason) => {
                    let (client, reason) = (Some(client), reason.name());
                    let event = || Event::Dropped { client, message, reason };
                    self.observe(EventKind::Dropped, event);
                }
            }
        }
        // Its memory is kept; of events as messages nothing was noted.
        mem::swap(&mut self.out.notes, &mut notes);
        self.out.notes.append(&mut notes);
    }

    fn message_delivered(
        &mut self,
        client: &Arc<ClientInfo>,
        message: &Arc<Message>,
        flags: DeliveredFlags,
    ) {
        self.event("message_delivered", |json| {
            json.client(client);
            json.text("from_clientid", message.publisher.client_id().as_str());
            json.text_or_null("from_username", message.publisher.username());
            json.text("topic", &message.topic);
            json.number("qos", flags.qos as u64);
            json.text("payload", &String::from_utf8_lossy(&message.payload));
            json.flags(flags);
            json.number("publish_received_at", message.published_at_ms);
        });
        let DeliveredFlags { dup, qos, retain } = flags;
        let event = || Event::Delivered { client, message, dup, qos, retain };
        self.observe(EventKind::Delivered, event);
    }

    /// A message that nobody received.
    pub(crate) fn message_dropped(&mut self, publication: &Publication<'_>) {
        if publication.topic.starts_with('$') {
            return;
        }
        let reason = "no_subscribers";
        let event = || Event::Dropped { client: None, message: publication.shared(), reason };
        self.observe(EventKind::Dropped, event);
        self.event("message_dropped", |json| {
            json.text("clientid", publication.publisher.client_id().as_str());
            json.text("topic", publication.topic);
            json.number("qos", publication.qos as u64);
            json.text("payload", &String::from_utf8_lossy(publication.payload));
            json.text("reason", reason);
        });
    }

    /// Keeps the properties of the packet at work for the events that it causes. Whoever calls this lets go of them.
    pub(crate) fn note_properties(&mut self, kind: EventKind, properties: Properties<'_>) {
        if self.is_observed(kind) && !properties.is_empty() {
            self.observed_properties.push_all(properties);
        }
    }

    /// True if somebody observes events of that kind.
    #[inline]
    pub(crate) const fn is_observed(&self, kind: EventKind) -> bool {
        self.out.observed.contains(kind)
    }

    /// Lets those see an event who observe its kind. What they make of it is published once whatever is at hand has
    /// been.
    #[inline]
    pub(crate) fn observe<'a>(&mut self, kind: EventKind, event: impl FnOnce() -> Event<'a>) {
        if self.is_observed(kind) {
            self.show_event(&event());
        }
    }

    #[cold]
    fn show_event(&mut self, event: &Event<'_>) {
        let Self { now, broker, follow_ups, extensions, .. } = self;
        let mut reactions = Reactions { now: *now, broker, follow_ups, notes: None };
        for watch in &extensions.event_watches {
            if watch.kinds.contains(event.kind()) {
                watch.observer.observe(event, &mut reactions);
            }
        }
    }

    /// True if anybody listens to events at all.
    pub(crate) fn has_event_listeners(&self) -> bool {
        self.broker.router.counts().events.load(Ordering::Relaxed) > 0
    }

    /// Publishes an event if so, and if anybody listens to this one.
    fn event(&mut self, name: &str, fill: impl FnOnce(&mut Json)) {
        if !self.has_event_listeners() {
            return;
        }
        let topic = format!("$events/{name}");
        if self.cache.look_up(&self.broker.router, &topic).is_empty() {
            return;
        }
        let mut json = Json::new();
        json.text("event", name);
        fill(&mut json);
        json.text("node", self.broker.sys.node());
        json.number("timestamp", self.now.wall_ms);
        let payload = json.finish();
        self.publish_own(&topic, payload.as_bytes(), QoS::AtMostOnce, Retain::No);
    }

    /// `module.presence`: `$SYS/brokers/<node>/clients/<client id>/connected`.
    fn presence(&mut self, client: &ClientInfo, what: &str, reason: Option<&str>) {
        let Some(qos) = self.broker.sys.presence() else { return };
        // A topic of a client's choosing must stay a topic: an id with a wildcard has no presence.
        let topic =
            format!("$SYS/brokers/{}/clients/{}/{what}", self.broker.sys.node(), client.client_id);
        if broker_codec::topic::validate_name(&topic).is_err()
            // Not by way of the cache: a topic for each client would fill it, and never be asked for again.
            || !self.broker.router.has_receivers(&topic)
        {
            return;
        }
        let mut json = Json::new();
        json.text("clientid", client.client_id.as_str());
        json.text_or_null("username", client.username.as_deref());
        match reason {
            None => {
                let address = client.peer.map(|peer| peer.ip().to_string());
                json.text_or_null("ipaddress", address.as_deref());
                json.flag("clean_start", client.clean_start);
                json.number("proto_ver", client.version as u64);
                json.text("proto_name", client.protocol_name());
                json.number("keepalive", client.keep_alive_s.into());
                json.number("connack", 0);
                json.number("ts", self.now.wall_ms / 1000);
            }
            Some(reason) => {
                json.text("reason", reason);
                json.number("ts", self.now.wall_ms / 1000);
            }
        }
        let payload = json.finish();
        self.publish_own(&topic, payload.as_bytes(), qos, Retain::No);
    }

    /// Publishes a message of the broker's own.
    pub(crate) fn publish_own(&mut self, topic: &str, payload: &[u8], qos: QoS, retain: Retain) {
        let publisher = Publisher::Broker(ClientId::from(self.broker.sys.node()));
        let retain = matches!(retain, Retain::Yes);
        let publication = Publication::new(topic, payload, qos, retain, &publisher, self.now);
        self.publish_alone(&publication);
    }
}

/// Whether a message of the broker's own is retained.
#[derive(Clone, Copy)]
pub(crate) enum Retain {
    Yes,
    No,
}

/// A JSON object under construction.
pub(crate) struct Json(String);

impl Json {
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.string(key);
        self.0.push(':');
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if c < ' ' => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.string(value);
    }

    fn text_or_null(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => {
                self.key(key);
                self.0.push_str("null");
            }
        }
    }

    /// An object within.
    pub(crate) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        self.key(key);
        let mut object = Self::new();
        fill(&mut object);
        self.0 += &object.finish();
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        let _ = write!(self.0, "{value}");
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        let _ = write!(self.0, "{value}");
    }

    /// As the original's column of that name.
    fn flags(&mut self, flags: DeliveredFlags) {
        self.key("flags");
        let _ = write!(self.0, "{{\"dup\":{},\"retain\":{}}}", flags.dup, flags.retain);
    }

    fn client(&mut self, client: &ClientInfo) {
        self.text("clientid", client.client_id.as_str());
        self.text_or_null("username", client.username.as_deref());
        self.text_or_null("peername", client.peer.map(|peer| peer.to_string()).as_deref());
    }

    fn subscription(&mut self, client: &ClientInfo, subscription: &Subscription) {
        self.client(client);
        self.text("topic", &subscription.filter);
        self.number("qos", subscription.options.qos as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_are_escaped() {
        let mut json = Json::new();
        json.text("a\"b", "\u{1}\n\\é");
        json.number("n", 1);
        json.object("o", |object| object.text("k", "v"));
        let expected = "{\"a\\\"b\":\"\\u0001\\n\\\\é\",\"n\":1,\"o\":{\"k\":\"v\"}}";
        assert_eq!(json.finish(), expected);
    }
}
