//! Observers: who looks on is no receiver, and what it publishes comes after what it saw.

use std::cell::Cell;
use std::sync::Arc;

use broker_codec::{PropertiesBuf, Property};
use broker_core::config::{Anonymous, BrokerConfig, ZoneConfig};
use broker_core::extension::Extensions;
use broker_core::observer::{
    Event, EventKind, EventKinds, EventObserver, EventWatch, MessageObserver, Reactions,
};
use broker_core::{FollowUpError, Message, Metric, Publisher, ReasonCode};
use parking_lot::Mutex;

use crate::rig::{Hello, Q0, Q1, Q2, Rig};

/// What was seen, in the order it was.
type Seen = Arc<Mutex<Vec<String>>>;

/// Writes down what it sees, and publishes a copy if it has been told where to.
struct Eye {
    name: Arc<str>,
    seen: Seen,
    copy_to: Option<&'static str>,
    copies: usize,
}

impl Eye {
    fn new(name: &str, seen: &Seen) -> Self {
        Self { name: name.into(), seen: Arc::clone(seen), copy_to: None, copies: 1 }
    }

    fn arc(self) -> Arc<dyn MessageObserver> {
        Arc::new(self)
    }
}

fn copy(message: &Message, topic: &str, by: &Arc<str>, now_ms: u64) -> Message {
    Message {
        topic: topic.into(),
        payload: message.payload.clone(),
        qos: message.qos,
        retain: false,
        properties: PropertiesBuf::new(),
        expires_at_ms: None,
        published_at_ms: now_ms,
        publisher: message.publisher.relayed_by(by),
        stored: Default::default(),
        number: Default::default(),
    }
}

impl MessageObserver for Eye {
    fn observe(&self, message: &Arc<Message>, reactions: &mut Reactions<'_>) {
        let n = reactions.notes::<Cell<usize>>();
        n.set(n.get() + 1);
        let line = format!("{} {} {}", self.name, message.topic, n.get());
        self.seen.lock().push(line);
        let Some(topic) = self.copy_to else { return };
        if message.publisher.trail().any(|name| *name == self.name) {
            return;
        }
        for _ in 0..self.copies {
            let copy = copy(message, topic, &self.name, reactions.now().wall_ms);
            if let Err(error) = reactions.publish(copy) {
                self.seen.lock().push(format!("{} {error}", self.name));
                return;
            }
        }
    }
}

fn taken(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut *seen.lock())
}

#[test]
fn who_looks_on_is_no_receiver() {
    let mut rig = Rig::new();
    let seen = Seen::default();
    let _eye = rig.broker.observe("t/#", 1, Eye::new("eye", &seen).arc()).unwrap();
    let p = rig.client("p");
    let dropped = rig.metric(Metric::MessagesDropped);
    rig.publish(p, "t/1", "x", Q1, 1);
    rig.publish(p, "t/1", "x", Q2, 2);
    rig.publish(p, "u", "x", Q0, 0);
    rig.check(p, &["PUBACK #1 0x10", "PUBREC #2 0x10"]);
    assert_eq!(rig.metric(Metric::MessagesDropped) - dropped, 3);
    assert_eq!(taken(&seen), ["eye t/1 1", "eye t/1 1"]);
    assert!(rig.routes().is_empty(), "no route is listed for it");
}

/// A filter more, or a later one in the same place, makes nobody see a message twice.
#[test]
fn observers_see_a_message_once_in_the_order_of_their_places() {
    let mut rig = Rig::new();
    let seen = Seen::default();
    let look = |rig: &Rig, filter: &str, place, name: &str| {
        rig.broker.observe(filter, place, Eye::new(name, &seen).arc()).unwrap()
    };
    let _third = look(&rig, "#", 3, "third");
    let _first = (look(&rig, "t/+", 1, "first"), look(&rig, "t/1", 1, "first"));
    let old = look(&rig, "t/1", 2, "old");
    let new = look(&rig, "+/1", 2, "new");
    let p = rig.client("p");
    rig.publish(p, "t/1", "x", Q0, 0);
    assert_eq!(taken(&seen), ["first t/1 1", "new t/1 2", "third t/1 3"]);
    drop(new);
    rig.publish(p, "t/1", "x", Q0, 0);
    assert_eq!(taken(&seen), ["first t/1 1", "old t/1 2", "third t/1 3"]);
    drop(old);
    rig.publish(p, "t/2", "x", Q0, 0);
    assert_eq!(taken(&seen), ["first t/2 1", "third t/2 2"]);
    assert!(rig.broker.observe("a/#/b", 1, Eye::new("x", &seen).arc()).is_err());
}

#[test]
fn what_an_observer_publishes_comes_after_what_it_saw() {
    let mut rig = Rig::new();
    let seen = Seen::default();
    let there = Eye { copy_to: Some("b"), ..Eye::new("there", &seen) };
    let back = Eye { copy_to: Some("a"), ..Eye::new("back", &seen) };
    let _there = rig.broker.observe("a", 1, there.arc()).unwrap();
    let _back = rig.broker.observe("b", 2, back.arc()).unwrap();
    let (p, s) = (rig.client("p"), rig.client("s"));
    rig.subscribed(s, "#", Q2);
    rig.publish(p, "a", "x", Q1, 1);
    rig.check(p, &["PUBACK #1 0x00"]);
    rig.check(s, &["PUBLISH q1 #1 a=x", "PUBLISH q1 #2 b=x", "PUBLISH q1 #3 a=x"]);
    assert_eq!(taken(&seen), ["there a 1", "back b 1", "there a 1"]);
    assert_eq!(rig.metric(Metric::MessagesReceived), 1, "no client has sent the others");
}

/// The publisher stays who it was, and No Local is about what it has sent itself.
#[test]
fn a_relayed_message_has_the_first_publisher_and_a_trail() {
    let mut rig = Rig::new();
    let seen = Seen::default();
    let eye = Eye { copy_to: Some("b"), ..Eye::new("eye", &seen) };
    let _eye = rig.broker.observe("a", 1, eye.arc()).unwrap();
    let local = rig.broker.subscribe_local("b", 10, rig.now).unwrap();
    let p = rig.join(Hello::v5("p").user("u"));
    let options = broker_core::SubscriptionOptions { no_local: true, ..Default::default() };
    rig.subscribe_with(p, "#", options, 0);
    rig.out(p);
    rig.publish(p, "a", "x", Q0, 0);
    rig.check(p, &["PUBLISH q0 b=x"]);
    let message = local.receiver().try_recv().unwrap();
    assert_eq!(message.publisher.client_id().as_str(), "p");
    assert_eq!(message.publisher.username(), Some("u"));
    let again = message.publisher.relayed_by(&"next".into());
    let trail: Vec<_> = again.trail().map(|name| &**name).collect();
    assert_eq!(trail, ["next", "eye"]);
    assert!(matches!(&again, Publisher::Relayed(relay) if relay.origin.trail().count() == 0));
    let number = message.number.get();
    assert_eq!((message.number.get(), Message::clone(&message).number.get()), (number, number));
    assert!(size_of::<Message>() <= 144, "{}", size_of::<Message>());
}

#[test]
fn one_message_causes_a_bounded_number_of_others() {
    let mut rig = Rig::new();
    let seen = Seen::default();
    let eye = Eye { copy_to: Some("b"), copies: 10_001, ..Eye::new("eye", &seen) };
    let _eye = rig.broker.observe("a", 1, eye.arc()).unwrap();
    let p = rig.client("p");
    let dropped = rig.metric(Metric::MessagesDropped);
    rig.publish(p, "a", "x", Q0, 0);
    let refused = format!("eye {}", FollowUpError::TooMany);
    assert_eq!(taken(&seen), ["eye a 1", &refused]);
    assert_eq!(rig.metric(Metric::MessagesDropped) - dropped, 10_001);
    // The next one may cause as many.
    rig.publish(p, "a", "x", Q0, 0);
    assert_eq!(rig.metric(Metric::MessagesDropped) - dropped, 20_002);
}

#[test]
fn what_no_client_could_publish_is_refused() {
    let change = |config: &mut BrokerConfig, zone: &mut ZoneConfig| {
        // The most generous zone counts.
        config.zones.clear();
        zone.max_packet_size = 1000;
        zone.max_topic_levels = 3;
    };
    let mut rig = Rig::build(change, Extensions::default(), None);
    for topic in ["", "a/+", "#", "$SYS/x", "$events/x", "a/b/c/d"] {
        let seen = Seen::default();
        let eye = Eye { copy_to: Some(topic), ..Eye::new("eye", &seen) };
        let _eye = rig.broker.observe("a", 1, eye.arc()).unwrap();
        let p = rig.client("p");
        rig.publish(p, "a", "x", Q0, 0);
        let refused = format!("eye {}", FollowUpError::Topic);
        assert_eq!(taken(&seen), ["eye a 1", &refused]);
    }
    let seen = Seen::default();
    let eye = Eye { copy_to: Some("a/long/topic"), ..Eye::new("eye", &seen) };
    let _eye = rig.broker.observe("a", 1, eye.arc()).unwrap();
    let p = rig.client("p");
    rig.publish(p, "a", &"x".repeat(985), Q0, 0);
    assert_eq!(taken(&seen), ["eye a 1", &format!("eye {}", FollowUpError::TooLarge(1000))]);
    // Another setting counts at once.
    let mut config = BrokerConfig::clone(&rig.broker.config());
    config.zones.insert("large".to_owned(), ZoneConfig::default().into());
    rig.broker.reconfigure(config).unwrap();
    rig.publish(p, "a", &"x".repeat(985), Q0, 0);
    assert_eq!(taken(&seen), ["eye a 1"]);
}

/// `$delayed/…` and retaining mean for an observer what they mean for a client.
#[test]
fn a_follow_up_may_be_delayed() {
    let mut rig = Rig::new();
    let seen = Seen::default();
    let eye = Eye { copy_to: Some("$delayed/5/b"), ..Eye::new("eye", &seen) };
    let _eye = rig.broker.observe("a", 1, eye.arc()).unwrap();
    let (p, s) = (rig.client("p"), rig.client("s"));
    rig.subscribed(s, "b", Q0);
    rig.publish(p, "a", "x", Q0, 0);
    rig.check(s, &[]);
    rig.pass_s(6);
    rig.check(s, &["PUBLISH q0 b=x"]);
}

/// Writes down every event it is shown; copies messages that were delivered or lost if told to.
struct Witness {
    seen: Seen,
    copies: bool,
}

impl EventObserver for Witness {
    fn observe(&self, event: &Event<'_>, reactions: &mut Reactions<'_>) {
        let line = match event {
            Event::Connected { client, expiry_s, properties } => {
                format!("connected {} {expiry_s} {}", client.client_id, !properties.is_empty())
            }
            Event::Refused { client, reason_code } => {
                format!("refused {} {:#04x}", client.client_id, *reason_code as u8)
            }
            Event::Disconnected { client, reason, properties } => {
                let said = properties.iter().count();
                format!("disconnected {} {reason} {said}", client.client_id)
            }
            Event::SessionCreated { client } => format!("created {}", client.client_id),
            Event::SessionTerminated { client, reason } => {
                format!("terminated {} {reason}", client.client_id)
            }
            Event::Subscribing { client, filters } => {
                let filters: Vec<_> = filters.iter().map(|f| f.filter).collect();
                format!("subscribing {} {filters:?}", client.client_id)
            }
            Event::Unsubscribing { client, filters } => {
                format!("unsubscribing {} {filters:?}", client.client_id)
            }
            Event::Subscribed { client, subscription, properties } => {
                let said = properties.iter().count();
                format!("subscribed {} {} {said}", client.client_id, subscription.filter)
            }
            Event::Unsubscribed { client, subscription, .. } => {
                format!("unsubscribed {} {}", client.client_id, subscription.filter)
            }
            Event::Delivered { client, message, qos, .. } => {
                format!("delivered {} {} q{}", client.client_id, message.topic, *qos as u8)
            }
            Event::Acked { client, message, qos, .. } => {
                format!("acked {} {} q{}", client.client_id, message.topic, *qos as u8)
            }
            Event::Dropped { client, message, reason } => {
                let client = client.map_or("nobody", |client| client.client_id.as_str());
                format!("dropped {client} {} {reason}", message.topic)
            }
        };
        self.seen.lock().push(line);
        if let Event::Delivered { message, .. } | Event::Dropped { message, .. } = event
            && self.copies
            && message.publisher.trail().count() == 0
        {
            let copy = copy(message, "copy", &"witness".into(), reactions.now().wall_ms);
            reactions.publish(copy).unwrap();
        }
    }
}

fn witness(kinds: &[EventKind], copies: bool) -> (Extensions, Seen) {
    let seen = Seen::default();
    let kinds = kinds.iter().fold(EventKinds::NONE, |kinds, kind| kinds.with(*kind));
    let observer = Arc::new(Witness { seen: Arc::clone(&seen), copies });
    let event_watches = vec![EventWatch { kinds, observer }];
    (Extensions { event_watches, ..Extensions::default() }, seen)
}

const ALL: &[EventKind] = &[
    EventKind::Connected,
    EventKind::Refused,
    EventKind::Disconnected,
    EventKind::Subscribing,
    EventKind::Unsubscribing,
    EventKind::Subscribed,
    EventKind::Unsubscribed,
    EventKind::Delivered,
    EventKind::Acked,
    EventKind::Dropped,
];

/// In the words of EMQ X 3.1.
#[test]
fn a_session_is_made_once_and_ends_once_with_a_word_for_why() {
    use EventKind::{Connected, Disconnected, SessionCreated, SessionTerminated};
    let (extensions, seen) =
        witness(&[Connected, Disconnected, SessionCreated, SessionTerminated], false);
    let mut rig = Rig::with_extensions(extensions);
    // It ends with its connection.
    let c = rig.client("c");
    assert_eq!(taken(&seen), ["created c", "connected c 0 false"]);
    rig.disconnect(c, ReasonCode::Success, &[]);
    assert_eq!(taken(&seen), ["disconnected c normal 0", "terminated c normal"]);
    let c = rig.client("c");
    rig.lose(c);
    assert_eq!(taken(&seen)[2..], ["disconnected c closed 0", "terminated c closed"]);
    // It outlives its connection, is taken over, and ends in time.
    let d = rig.join(Hello::v5("d").lasting(60));
    rig.lose(d);
    let d = rig.hello(Hello::v5("d").lasting(60));
    rig.out(d);
    let again = rig.hello(Hello::v5("d").lasting(60));
    rig.out(again);
    rig.lose(again);
    let told = taken(&seen);
    assert_eq!(told.iter().filter(|line| *line == "created d").count(), 1, "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("terminated")), "{told:?}");
    rig.pass_s(61);
    assert_eq!(taken(&seen), ["terminated d expired"]);
    // Clean Start ends what there is, be it connected or not.
    let e = rig.join(Hello::v5("e").lasting(60));
    taken(&seen);
    rig.client("e");
    assert_eq!(
        taken(&seen),
        [
            "disconnected e discarded 0",
            "terminated e discarded",
            "created e",
            "connected e 0 false"
        ]
    );
    rig.out(e);
    // An operator's order.
    let mut turn = rig.broker.turn();
    assert!(rig.broker.discard_session("e", &mut turn));
    assert_eq!(taken(&seen), ["disconnected e discarded 0", "terminated e kicked"]);
}

#[test]
fn every_event_is_seen_where_it_happens() {
    let (extensions, seen) = witness(ALL, false);
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.join(Hello::v5("c").with(Property::SessionExpiryInterval(60)));
    assert_eq!(taken(&seen), ["connected c 60 true"]);
    rig.subscribed(c, "t/#", Q2);
    assert_eq!(taken(&seen), ["subscribing c [\"t/#\"]", "subscribed c t/# 0"]);
    let p = rig.client("p");
    taken(&seen);
    rig.publish(p, "t/1", "x", Q1, 1);
    rig.publish(p, "t/2", "x", Q2, 2);
    rig.puback(c, 1);
    rig.pubrec(c, 2);
    rig.pubrec(c, 2);
    rig.pubcomp(c, 2);
    assert_eq!(
        taken(&seen),
        ["delivered c t/1 q1", "delivered c t/2 q2", "acked c t/1 q1", "acked c t/2 q2"]
    );
    rig.publish(p, "nobody", "x", Q0, 0);
    assert_eq!(taken(&seen), ["dropped nobody nobody no_subscribers"]);
    rig.unsubscribe(c, "t/#");
    assert_eq!(taken(&seen), ["unsubscribing c [\"t/#\"]", "unsubscribed c t/#"]);
    rig.subscribe_with(c, "u", Default::default(), 7);
    assert_eq!(taken(&seen), ["subscribing c [\"u\"]", "subscribed c u 1"]);
    rig.disconnect(c, ReasonCode::Success, &[Property::UserProperty("k", "v")]);
    assert_eq!(taken(&seen), ["disconnected c normal 1"]);
}

#[test]
fn a_refused_client_is_an_event_too() {
    let (extensions, seen) = witness(ALL, false);
    let mut rig = Rig::build(|_, zone| zone.allow_anonymous = Anonymous::Nobody, extensions, None);
    let c = rig.hello(Hello::v5("c").user("u"));
    rig.check(c, &["CONNACK present=0 0x87"]);
    assert_eq!(taken(&seen), ["refused c 0x87"]);
}

/// Of what a receiver loses its own part is told, and that it wants none of its own messages is no loss.
#[test]
fn what_a_receiver_loses_is_an_event() {
    let (extensions, seen) = witness(&[EventKind::Dropped], false);
    let change = |_: &mut _, zone: &mut ZoneConfig| {
        zone.max_mqueue_len = 1;
        zone.mqueue_store_qos0 = false;
    };
    let mut rig = Rig::build(change, extensions, None);
    let c = rig.join(Hello::v5("c").lasting(60));
    rig.subscribed(c, "t", Q1);
    rig.lose(c);
    let p = rig.client("p");
    let options = broker_core::SubscriptionOptions { no_local: true, ..Default::default() };
    rig.subscribe_with(p, "t", options, 0);
    rig.publish(p, "t", "x", Q0, 0);
    rig.publish(p, "t", "x", Q1, 1);
    rig.publish(p, "t", "x", Q1, 2);
    assert_eq!(taken(&seen), ["dropped c t qos0_offline", "dropped c t queue_full"]);
}

#[test]
fn only_the_kinds_that_were_asked_for_are_seen() {
    let (extensions, seen) = witness(&[EventKind::Disconnected], false);
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.client("c");
    rig.subscribed(c, "t", Q1);
    rig.publish(c, "t", "x", Q1, 1);
    rig.puback(c, 1);
    rig.lose(c);
    assert_eq!(taken(&seen), ["disconnected c closed 0"]);
    rig.broker.change_extensions(|extensions| extensions.event_watches.clear());
    let c = rig.client("c");
    rig.lose(c);
    assert!(taken(&seen).is_empty());
}

#[test]
fn an_event_may_cause_messages() {
    let (extensions, seen) = witness(&[EventKind::Delivered, EventKind::Dropped], true);
    let mut rig = Rig::with_extensions(extensions);
    let (p, s) = (rig.client("p"), rig.client("s"));
    rig.subscribed(s, "copy", Q2);
    rig.publish(p, "lost", "x", Q2, 1);
    rig.check(p, &["PUBREC #1 0x10"]);
    rig.check(s, &["PUBLISH q2 #1 copy=x"]);
    assert_eq!(taken(&seen), ["dropped nobody lost no_subscribers", "delivered s copy q2"]);
}

/// What is acknowledged was made of: a crash behind the acknowledgement loses neither the message nor what an observer
/// has published because of it, and one ahead of it loses both.
#[test]
fn an_acknowledgement_waits_for_the_records_of_what_came_of_a_message() {
    let mut rig = Rig::durable(|_, _| {});
    let seen = Seen::default();
    let observe = |rig: &Rig| {
        let eye = Eye { copy_to: Some("copy"), ..Eye::new("eye", &seen) };
        rig.broker.observe("a", 1, eye.arc()).unwrap()
    };
    let _eye = observe(&rig);
    let s = rig.join(Hello::v5("s").lasting(100));
    rig.subscribe(s, "copy", Q2);
    rig.sync();
    rig.out(s);
    rig.lose(s);
    rig.sync();
    let p = rig.client("p");
    rig.publish(p, "a", "lost", Q2, 1);
    rig.check(p, &[]);
    rig.crash();
    let _eye = observe(&rig);
    let p = rig.client("p");
    rig.publish(p, "a", "kept", Q2, 1);
    rig.check(p, &[]);
    rig.sync();
    rig.check(p, &["PUBREC #1 0x10"]);
    rig.crash();
    let s = rig.join(Hello::v5("s").lasting(100));
    // Its identifier is to survive before the client sees it.
    rig.sync();
    rig.check(s, &["PUBLISH q2 #1 copy=kept"]);
}
