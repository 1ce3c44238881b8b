//! Rights that change: what was granted by the old ones is asked about again, and taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use broker_core::config::AutoSubscription;
use broker_core::extension::{Action, Answer, Authorizer, Extensions, Verdict};
use broker_core::observer::{Event, EventKind, EventKinds, EventObserver, EventWatch, Reactions};
use broker_core::{ClientInfo, CloseCause, Metric, ReasonCode};
use parking_lot::Mutex;

use crate::rig::*;

/// A source of rights that an operator changes: it denies what is on its list.
#[derive(Default)]
pub struct Board {
    denied: Mutex<Vec<(Action, String)>>,
    fails: AtomicBool,
    /// Answers come later, once it is open.
    gate: Option<Arc<AtomicBool>>,
    asked: AtomicUsize,
}

impl Authorizer for Board {
    fn authorize(&self, _: &Arc<ClientInfo>, action: Action, topic: &str) -> Answer<Verdict> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let is_denied =
            self.denied.lock().iter().any(|(what, filter)| *what == action && filter == topic);
        let verdict = match (self.fails.load(Ordering::Relaxed), is_denied) {
            (true, _) => Verdict::Failed,
            (false, true) => Verdict::Deny,
            (false, false) => Verdict::Allow,
        };
        let Some(gate) = self.gate.clone() else { return Answer::Now(verdict) };
        Answer::later(std::future::poll_fn(move |_| match gate.load(Ordering::Relaxed) {
            true => Poll::Ready(verdict),
            false => Poll::Pending,
        }))
    }

    fn asks_others(&self) -> bool {
        self.gate.is_some()
    }
}

impl Board {
    fn extensions(self: &Arc<Self>) -> Extensions {
        let authorizers = vec![Arc::clone(self) as Arc<dyn Authorizer>];
        Extensions { authorizers, ..Extensions::default() }
    }

    /// Denies something from now on; the broker is told.
    pub fn deny(&self, action: Action, topic: &str, rig: &mut Rig) {
        self.denied.lock().push((action, topic.to_owned()));
        rig.broker.forget_rights();
        rig.run_timers();
    }
}

pub fn board() -> (Arc<Board>, Rig) {
    let board = Arc::new(Board::default());
    let rig = Rig::with_extensions(board.extensions());
    (board, rig)
}

/// The same, with answers that must be waited for; they come at once as long as nobody closes the gate.
fn slow_board() -> (Arc<Board>, Arc<AtomicBool>, Rig) {
    let gate = Arc::new(AtomicBool::new(true));
    let board = Arc::new(Board { gate: Some(Arc::clone(&gate)), ..Board::default() });
    let rig = Rig::with_extensions(board.extensions());
    (board, gate, rig)
}

/// Attack case 23.
#[test]
fn a_subscription_ends_with_its_right() {
    let (board, _, slow) = slow_board();
    let (quick, rig) = self::board();
    for (board, mut rig) in [(quick, rig), (board, slow)] {
        let p = rig.client("p");
        let (s, other) = (rig.client("s"), rig.client("other"));
        rig.subscribed(s, "secret/#", Q1);
        rig.subscribed(s, "open", Q1);
        rig.subscribed(other, "open", Q1);
        board.deny(Action::Subscribe, "secret/#", &mut rig);
        rig.publish(p, "secret/a", "x", Q1, 1);
        rig.publish(p, "open", "x", Q1, 2);
        rig.check(p, &["PUBACK #1 0x10", "PUBACK #2 0x00"]);
        rig.check(s, &["PUBLISH q1 #1 open=x"]);
        rig.check(other, &["PUBLISH q1 #1 open=x"]);
        assert_eq!(rig.metric(Metric::SubscriptionsRevoked), 1);
        assert_eq!(rig.routes(), ["open"]);
        // It stays so if the right comes back, until the client asks.
        board.denied.lock().clear();
        rig.broker.forget_rights();
        rig.run_timers();
        rig.publish(p, "secret/a", "x", Q1, 3);
        rig.check(p, &["PUBACK #3 0x10"]);
        rig.subscribed(s, "secret/#", Q1);
    }
}

/// Sees events, and has no say in anything.
struct Nobody;

impl EventObserver for Nobody {
    fn observe(&self, _: &Event<'_>, _: &mut Reactions<'_>) {}
}

/// A source that comes is asked about what was granted without it.
#[test]
fn a_new_source_is_asked_about_what_is_there() {
    let mut rig = Rig::new();
    let (s, p) = (rig.client("s"), rig.client("p"));
    rig.subscribed(s, "$share/g/t", Q1);
    rig.subscribed(s, "u", Q1);
    let board = Arc::new(Board::default());
    board.denied.lock().push((Action::Subscribe, "t".to_owned()));
    let source = Arc::clone(&board) as Arc<dyn Authorizer>;
    rig.broker.change_extensions(|it| it.authorizers.push(source));
    rig.run_timers();
    rig.publish(p, "t", "x", Q0, 0);
    rig.publish(p, "u", "x", Q0, 0);
    rig.check(s, &["PUBLISH q0 u=x"]);
    // A change that is not one of rights asks nobody.
    let asked = board.asked.load(Ordering::Relaxed);
    let watch =
        EventWatch { kinds: EventKinds::NONE.with(EventKind::Acked), observer: Arc::new(Nobody) };
    rig.broker.change_extensions(|it| it.event_watches.push(watch));
    rig.run_timers();
    assert_eq!(board.asked.load(Ordering::Relaxed), asked);
}

/// `enable_acl = false`
#[test]
fn who_is_not_asked_about_keeps_all() {
    let (board, mut rig) = board();
    let zone =
        Arc::new(broker_core::config::ZoneConfig { enable_acl: false, ..(*rig.zone).clone() });
    let c = rig.open_in(V5, zone);
    rig.say_hello(c, &Hello::v5("c"));
    rig.out(c);
    rig.subscribed(c, "t", Q0);
    board.deny(Action::Subscribe, "t", &mut rig);
    rig.publish(c, "t", "x", Q0, 0);
    rig.check(c, &["PUBLISH q0 t=x"]);
}

/// Attack case 23: CVE-2021-34434, a durable client that is away.
#[test]
fn a_session_that_comes_back_gets_what_it_may_have() {
    let (slow, gate, slow_rig) = slow_board();
    let (quick, rig) = board();
    for (board, gate, mut rig) in [(quick, None, rig), (slow, Some(gate), slow_rig)] {
        let p = rig.client("p");
        let s = rig.join(Hello::v5("s").lasting(1000));
        rig.subscribed(s, "secret", Q1);
        rig.subscribed(s, "open", Q1);
        rig.lose(s);
        rig.publish(p, "secret", "x", Q1, 1);
        rig.publish(p, "open", "x", Q1, 2);
        board.deny(Action::Subscribe, "secret", &mut rig);
        rig.publish(p, "secret", "y", Q1, 3);
        if let Some(gate) = &gate {
            gate.store(false, Ordering::Relaxed);
        }
        let s = rig.hello(Hello::v5("s").lasting(1000));
        let mut out = rig.out(s);
        if let Some(gate) = &gate {
            // Until the answer is there nothing is sent but the CONNACK, and QoS 0 is as good as sent to nobody.
            assert_eq!(out, ["CONNACK present=1 0x00"]);
            let q = rig.client("q");
            gate.store(true, Ordering::Relaxed);
            rig.publish(q, "open", "z", Q0, 0);
            out.extend(rig.out(s));
        }
        assert_eq!(out[..2], ["CONNACK present=1 0x00", "PUBLISH q1 #1 open=x"], "{out:?}");
        assert_eq!(rig.metric(Metric::DroppedRevoked), 2);
        assert_eq!(rig.metric(Metric::SubscriptionsRevoked), 1);
        rig.publish(p, "secret", "z", Q1, 4);
        assert!(rig.out(p).contains(&"PUBACK #4 0x10".to_owned()));
    }
}

/// Over a restart nobody knows what has changed, and what waits is on the disk alone.
#[test]
fn after_a_restart_too() {
    let mut rig = Rig::durable(|_, _| {});
    let p = rig.client("p");
    let s = rig.hello(Hello::v5("s").lasting(1000));
    rig.sync();
    rig.subscribe(s, "secret", Q1);
    rig.subscribe(s, "open", Q1);
    rig.sync();
    rig.lose(s);
    for n in 1..=3 {
        rig.publish(p, "secret", "x", Q1, 2 * n);
        rig.publish(p, "open", &n.to_string(), Q1, 2 * n + 1);
    }
    rig.sync();
    rig.crash();
    let board = Arc::new(Board::default());
    board.denied.lock().push((Action::Subscribe, "secret".to_owned()));
    let source = Arc::clone(&board) as Arc<dyn Authorizer>;
    rig.broker.change_extensions(|it| it.authorizers.push(source));
    let s = rig.hello(Hello::v5("s").lasting(1000));
    rig.sync();
    let out = rig.out(s);
    assert_eq!(
        out,
        [
            "CONNACK present=1 0x00",
            "PUBLISH q1 #1 open=1",
            "PUBLISH q1 #2 open=2",
            "PUBLISH q1 #3 open=3"
        ]
    );
    // That it has ended is kept.
    rig.crash();
    let s = rig.hello(Hello::v5("s").lasting(1000));
    rig.sync();
    assert_eq!(rig.out(s).len(), 4, "CONNACK, and again what was not acknowledged");
    assert_eq!(rig.routes(), ["open"]);
}

/// What another subscription has brought as well is still the client's.
#[test]
fn a_message_that_came_by_another_subscription_too_is_kept() {
    let (board, mut rig) = board();
    let p = rig.client("p");
    let s = rig.join(Hello::v5("s").lasting(1000));
    rig.subscribed(s, "#", Q1);
    rig.subscribed(s, "a/+", Q1);
    rig.lose(s);
    rig.publish(p, "a/b", "1", Q1, 1);
    rig.publish(p, "b", "2", Q1, 2);
    board.deny(Action::Subscribe, "#", &mut rig);
    let s = rig.hello(Hello::v5("s").lasting(1000));
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q1 #1 a/b=1"]);
}

/// A client that reads slowly, and has messages waiting behind its window.
#[test]
fn what_waits_for_a_connected_client_is_dropped() {
    let (board, mut rig) = board();
    let p = rig.client("p");
    let s = rig.join(Hello::v5("s").with(broker_codec::Property::ReceiveMaximum(1)));
    rig.subscribed(s, "t", Q1);
    for n in 1..=3 {
        rig.publish(p, "t", &n.to_string(), Q1, n);
    }
    rig.check(s, &["PUBLISH q1 #1 t=1"]);
    board.deny(Action::Subscribe, "t", &mut rig);
    rig.puback(s, 1);
    rig.check(s, &[]);
    assert_eq!(rig.metric(Metric::DroppedRevoked), 2);
}

/// What a member may not have any more goes to the others of its group.
#[test]
fn messages_of_a_group_go_to_those_who_may() {
    /// Denies one client everything from the moment it is told to.
    struct Not(&'static str, AtomicBool);
    impl Authorizer for Not {
        fn authorize(&self, client: &Arc<ClientInfo>, _: Action, _: &str) -> Answer<Verdict> {
            let is_denied = client.client_id.as_str() == self.0 && self.1.load(Ordering::Relaxed);
            Answer::Now(if is_denied { Verdict::Deny } else { Verdict::Allow })
        }
    }
    let not = Arc::new(Not("a", AtomicBool::new(false)));
    let authorizers = vec![Arc::clone(&not) as Arc<dyn Authorizer>];
    let mut rig = Rig::with_extensions(Extensions { authorizers, ..Extensions::default() });
    let p = rig.client("p");
    let a = rig.join(Hello::v5("a").with(broker_codec::Property::ReceiveMaximum(1)));
    rig.subscribed(a, "$share/g/t", Q1);
    for n in 1..=3 {
        rig.publish(p, "t", &n.to_string(), Q1, n);
    }
    rig.check(a, &["PUBLISH q1 #1 t=1"]);
    let b = rig.client("b");
    rig.subscribed(b, "$share/g/t", Q1);
    not.1.store(true, Ordering::Relaxed);
    rig.broker.forget_rights();
    rig.run_timers();
    rig.check(b, &["PUBLISH q1 #1 t=2", "PUBLISH q1 #2 t=3"]);
}

/// A message of QoS 2 is passed on when PUBLISH comes, by the rights of that moment: PUBREL passes nothing on.
#[test]
fn an_unfinished_qos2_publish_was_judged_when_it_came() {
    let (board, mut rig) = board();
    let (p, s) = (rig.client("p"), rig.client("s"));
    rig.subscribed(s, "#", Q0);
    rig.publish(p, "t", "x", Q2, 1);
    rig.check(p, &["PUBREC #1 0x00"]);
    rig.check(s, &["PUBLISH q0 t=x"]);
    board.deny(Action::Publish, "t", &mut rig);
    rig.publish(p, "t", "x", Q2, 1);
    rig.check(p, &["PUBREC #1 0x00"]);
    rig.pubrel(p, 1);
    rig.check(p, &["PUBCOMP #1 0x00"]);
    rig.check(s, &[]);
    rig.publish(p, "t", "x", Q2, 1);
    rig.check(p, &["PUBREC #1 0x87"]);
    rig.check(s, &[]);
}

/// The other side of it: what was begun with a client is completed [MQTT-3.10.4-3].
#[test]
fn a_delivery_that_was_begun_is_completed() {
    let (board, mut rig) = board();
    let (p, s) = (rig.client("p"), rig.client("s"));
    rig.subscribed(s, "t", Q2);
    rig.publish(p, "t", "x", Q2, 1);
    rig.check(s, &["PUBLISH q2 #1 t=x"]);
    board.deny(Action::Subscribe, "t", &mut rig);
    rig.pubrec(s, 1);
    rig.check(s, &["PUBREL #1 0x00"]);
    rig.pubcomp(s, 1);
    rig.check(s, &[]);
}

/// The right to a Will is that of the moment in which it is published.
#[test]
fn a_will_whose_right_is_gone_is_not_published() {
    let (board, mut rig) = board();
    let watcher = rig.client("watcher");
    rig.subscribed(watcher, "#", Q0);
    let connected = rig.join(Hello::v5("connected").will("a", "gone"));
    let away = rig.join(Hello::v5("away").lasting(100).will("a", "gone").will_delay(10));
    let allowed = rig.join(Hello::v5("allowed").lasting(100).will("b", "gone").will_delay(10));
    rig.lose(away);
    rig.lose(allowed);
    // Rights are others, and nothing has been asked about yet.
    board.denied.lock().push((Action::Publish, "a".to_owned()));
    rig.broker.forget_rights();
    rig.lose(connected);
    rig.pass_s(10);
    rig.check(watcher, &["PUBLISH q0 b=gone"]);
    assert_eq!(rig.metric(Metric::PublishDenied), 2);
}

/// Where the answer must be waited for it is asked for when rights change.
#[test]
fn the_right_to_a_will_is_asked_for_again_where_it_must_be_waited_for() {
    let (board, _, mut rig) = slow_board();
    let watcher = rig.client("watcher");
    rig.subscribed(watcher, "#", Q0);
    let denied = rig.join(Hello::v5("denied").will("a", "gone"));
    let allowed = rig.join(Hello::v5("allowed").will("b", "gone"));
    board.deny(Action::Publish, "a", &mut rig);
    rig.lose(denied);
    rig.lose(allowed);
    rig.check(watcher, &["PUBLISH q0 b=gone"]);
}

/// Attack case 23: CVE-2018-12546.
#[test]
fn a_retained_message_goes_no_further_than_the_right_of_its_publisher() {
    let (board, mut rig) = board();
    let p = rig.client("p");
    rig.retain(p, "a", "x");
    rig.retain(p, "b", "x");
    rig.pass_s(1);
    board.deny(Action::Publish, "a", &mut rig);
    let s = rig.client("s");
    rig.subscribe(s, "#", Q0);
    rig.check(s, &["SUBACK #77 00", "PUBLISH retain q0 b=x"]);
    // It is still there: given back, the right is all that was missing.
    board.denied.lock().clear();
    rig.pass_s(1);
    rig.broker.forget_rights();
    let s = rig.client("s2");
    rig.subscribe(s, "a", Q0);
    rig.check(s, &["SUBACK #77 00", "PUBLISH retain q0 a=x"]);
}

/// Retained messages that are on their way to a subscription end with it.
#[test]
fn a_replay_ends_with_the_right() {
    let (board, mut rig) = board();
    let p = rig.client("p");
    for n in 1..=100 {
        let topic = format!("t/{n}");
        let mut retained = message(&topic, "x", Q1, n);
        retained.retain = true;
        rig.send(p, &broker_codec::Packet::Publish(retained));
    }
    let s = rig.join(Hello::v5("s").with(broker_codec::Property::ReceiveMaximum(1)));
    let options = broker_core::SubscriptionOptions { qos: Q1, ..Default::default() };
    rig.subscribe_with(s, "t/#", options, 0);
    let out = rig.out(s);
    assert_eq!(out.len(), 2, "SUBACK, and what the window takes: {out:?}");
    board.deny(Action::Subscribe, "t/#", &mut rig);
    rig.run_timers();
    rig.puback(s, 1);
    rig.check(s, &[]);
}

/// A source that cannot tell takes nothing back from who is connected, and is asked again; who comes back meanwhile is
/// sent nothing.
#[test]
fn a_source_that_fails_is_asked_again() {
    let (board, mut rig) = board();
    let p = rig.client("p");
    let s = rig.client("s");
    rig.subscribed(s, "t", Q1);
    let away = rig.join(Hello::v5("away").lasting(1000));
    rig.subscribed(away, "t", Q1);
    rig.subscribed(away, "u", Q1);
    rig.lose(away);
    rig.publish(p, "t", "1", Q1, 1);
    rig.publish(p, "u", "1", Q1, 2);
    rig.check(s, &["PUBLISH q1 #1 t=1"]);
    board.fails.store(true, Ordering::Relaxed);
    board.deny(Action::Subscribe, "t", &mut rig);
    let away = rig.hello(Hello::v5("away").lasting(1000));
    rig.check(away, &["CONNACK present=1 0x00"]);
    assert_eq!(rig.routes(), ["t", "u"]);
    rig.pass_s(5);
    rig.check(away, &[]);
    board.fails.store(false, Ordering::Relaxed);
    rig.pass_s(5);
    rig.check(away, &["PUBLISH q1 #1 u=1"]);
    assert_eq!(rig.routes(), ["u"]);
    let asked = board.asked.load(Ordering::Relaxed);
    rig.pass_s(60);
    assert_eq!(board.asked.load(Ordering::Relaxed), asked, "all is known");
}

/// Channels that a pass of the sweep has woken are told by their source that it cannot tell, and then the sweep is over.
#[test]
fn a_source_that_fails_beside_the_sweep_is_asked_again() {
    let (board, _, mut rig) = slow_board();
    // As many as one pass wakes.
    for n in 0..100 {
        let c = rig.client(&format!("c{n}"));
        rig.subscribed(c, "t", Q0);
    }
    board.fails.store(true, Ordering::Relaxed);
    board.denied.lock().push((Action::Subscribe, "t".to_owned()));
    rig.broker.forget_rights();
    rig.keep_house_once();
    assert_eq!(rig.routes(), ["t"]);
    rig.pass_s(1);
    board.fails.store(false, Ordering::Relaxed);
    rig.pass_s(10);
    assert_eq!(rig.routes(), [""; 0]);
}

/// `acl_deny_action = disconnect`
#[test]
fn a_right_that_is_taken_back_may_close_the_connection() {
    for slow in [false, true] {
        let gate = slow.then(|| Arc::new(AtomicBool::new(true)));
        let board = Arc::new(Board { gate, ..Board::default() });
        let mut rig =
            Rig::build(|_, zone| zone.acl_deny_disconnect = true, board.extensions(), None);
        let (s, other) = (rig.client("s"), rig.client("other"));
        rig.subscribed(s, "t", Q0);
        rig.subscribed(other, "u", Q0);
        board.deny(Action::Subscribe, "t", &mut rig);
        rig.check(s, &["DISCONNECT 0x87"]);
        assert_eq!(rig.cause(s), Some(CloseCause::Violation(ReasonCode::NotAuthorized)));
        assert_eq!(rig.cause(other), None);
    }
}

/// What the operator's configuration subscribes a client to is not the client's wish.
#[test]
fn automatic_subscriptions_stay() {
    let board = Arc::new(Board::default());
    let auto = AutoSubscription { filter: "auto/%c".to_owned(), qos: Q0 };
    let mut rig =
        Rig::build(|config, _| config.auto_subscriptions = vec![auto], board.extensions(), None);
    let c = rig.client("c");
    board.deny(Action::Subscribe, "auto/c", &mut rig);
    assert_eq!(rig.routes(), ["auto/c"]);
    rig.publish(c, "auto/c", "x", Q0, 0);
    rig.check(c, &["PUBLISH q0 auto/c=x"]);
}

/// A pass of the sweep has a bound, whether it meets many sessions or one that is large.
#[test]
fn the_work_is_spread() {
    let (board, mut rig) = board();
    let large = rig.client("large");
    for n in 0..6_000 {
        rig.subscribe(large, &format!("large/{n}"), Q0);
    }
    rig.out(large);
    for n in 0..300 {
        let c = rig.client(&format!("c{n}"));
        for filter in 0..20 {
            rig.subscribe(c, &format!("{n}/{filter}"), Q0);
        }
    }
    board.denied.lock().extend([
        (Action::Subscribe, "large/5999".to_owned()),
        (Action::Subscribe, "299/19".to_owned()),
    ]);
    rig.broker.forget_rights();
    let mut passes = Vec::new();
    loop {
        rig.turn.begin(rig.now);
        if rig.broker.poll_timeout().is_none_or(|due_ms| due_ms > rig.now.mono_ms) {
            break;
        }
        let before = board.asked.load(Ordering::Relaxed);
        rig.broker.handle_timeout(&mut rig.turn);
        rig.turn.finish();
        passes.push(board.asked.load(Ordering::Relaxed) - before);
    }
    assert_eq!(passes.iter().sum::<usize>(), 12_000, "{passes:?}");
    assert!(passes.iter().all(|n| *n <= 5_064), "{passes:?}");
    assert_eq!(rig.metric(Metric::SubscriptionsRevoked), 2);
}

/// A channel that has to ask does so a page at a time.
#[test]
fn many_subscriptions_are_asked_about_one_after_the_other() {
    let (board, _, mut rig) = slow_board();
    let c = rig.client("c");
    for n in 0..200 {
        rig.subscribe(c, &format!("t/{n:03}"), Q0);
    }
    rig.out(c);
    board.denied.lock().push((Action::Subscribe, "t/199".to_owned()));
    board.deny(Action::Subscribe, "t/064", &mut rig);
    assert_eq!(rig.metric(Metric::SubscriptionsRevoked), 2);
    assert_eq!(rig.routes().len(), 198);
}

/// A thread that has yet to notice grants by the old rights: that is asked about, too.
#[test]
fn what_a_slow_thread_still_grants_is_found() {
    let mut rig = Rig::new();
    let mut beside = rig.beside();
    let c = beside.client("c");
    beside.turn.begin(beside.now);
    let board = Arc::new(Board::default());
    let source = Arc::clone(&board) as Arc<dyn Authorizer>;
    rig.broker.change_extensions(|it| it.authorizers.push(source));
    board.deny(Action::Subscribe, "t", &mut rig);
    // In the pass that has begun before.
    beside.post(c, &subscribe_packet("t"));
    beside.feed_only(c);
    beside.settle();
    assert_eq!(beside.out(c), ["SUBACK #1 00"]);
    beside.turn.begin(beside.now);
    rig.run_timers();
    assert!(rig.routes().is_empty());
}

fn subscribe_packet(filter: &str) -> broker_codec::Packet<'_> {
    let options = broker_core::SubscriptionOptions::default();
    broker_codec::Packet::Subscribe(broker_codec::Subscribe {
        packet_id: packet_id(1),
        properties: broker_codec::Properties::EMPTY,
        filters: vec![broker_codec::SubscriptionRequest { filter, options }],
    })
}
