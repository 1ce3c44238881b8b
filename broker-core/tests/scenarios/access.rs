//! Who may come in and what they may do: extensions that answer at once, later, or with other words.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use broker_codec::{Auth, Packet, Properties, Property, Subscribe, SubscriptionRequest};
use broker_core::config::{Anonymous, Rate, ZoneConfig};
use broker_core::extension::{
    Action, Answer, AuthExchange, AuthMethod, AuthStep, Authentication, Authenticator, Authorizer,
    Credentials, Extensions, Interceptor, PublishDraft, SubscribeDraft, Verdict,
};
use broker_core::{
    ClientInfo, CloseCause, Metric, Peer, ProtocolVersion, ReasonCode, SubscriptionOptions,
};
use parking_lot::Mutex;

use crate::rig::*;

/// Answers when the gate is open.
fn later<T: Send + Clone + 'static>(gate: &Arc<AtomicBool>, answer: T) -> Answer<T> {
    let gate = Arc::clone(gate);
    Answer::Later(Box::pin(poll_fn(move |_| match gate.load(Ordering::Relaxed) {
        true => Poll::Ready(answer.clone()),
        false => Poll::Pending,
    })))
}

/// Knows `bob`, who proves himself with `secret`, and `root`, a superuser.
struct Passwords {
    gate: Option<Arc<AtomicBool>>,
    asked: AtomicUsize,
}

impl Authenticator for Passwords {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = match (credentials.username.as_deref(), credentials.password.as_deref()) {
            (Some("bob"), Some(b"secret")) => Authentication::Allow { superuser: false },
            (Some("root"), Some(b"secret")) => Authentication::Allow { superuser: true },
            (Some(_), _) => Authentication::Deny(ReasonCode::BadUserNameOrPassword),
            (None, _) => Authentication::Ignore,
        };
        match &self.gate {
            Some(gate) => later(gate, answer),
            None => Answer::Now(answer),
        }
    }
}

/// Topics under `open/` are open, those under `shut/` are not, of others it knows nothing.
pub struct Topics {
    gate: Option<Arc<AtomicBool>>,
    asked: Mutex<Vec<String>>,
    last_client: Mutex<Option<Arc<ClientInfo>>>,
}

impl Topics {
    /// What it was asked about, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    /// Whom it was asked about last.
    pub fn last_client(&self) -> Arc<ClientInfo> {
        self.last_client.lock().clone().expect("it was asked")
    }
}

impl Authorizer for Topics {
    fn authorize(&self, client: &Arc<ClientInfo>, _: Action, topic: &str) -> Answer<Verdict> {
        self.asked.lock().push(topic.to_owned());
        *self.last_client.lock() = Some(Arc::clone(client));
        let verdict = match topic.split('/').next() {
            Some("open") => Verdict::Allow,
            Some("shut") => Verdict::Deny,
            _ => Verdict::Ignore,
        };
        match &self.gate {
            Some(gate) if topic.ends_with("/later") => later(gate, verdict),
            _ => Answer::Now(verdict),
        }
    }
}

pub fn with_topics(gate: Option<Arc<AtomicBool>>) -> (Arc<Topics>, Extensions) {
    let topics = Arc::new(Topics { gate, asked: Mutex::default(), last_client: Mutex::default() });
    let extensions = Extensions {
        authorizers: vec![Arc::clone(&topics) as Arc<dyn Authorizer>],
        ..Extensions::default()
    };
    (topics, extensions)
}

fn authentication(gate: Option<Arc<AtomicBool>>) -> Extensions {
    let passwords = Passwords { gate, asked: AtomicUsize::new(0) };
    Extensions { authenticators: vec![Arc::new(passwords)], ..Extensions::default() }
}

fn login<'a>(
    id: &'a str,
    user: &'a str,
    password: &'a [u8],
    version: ProtocolVersion,
) -> Hello<'a> {
    Hello { password: Some(password), version, ..Hello::v5(id).user(user) }
}

#[test]
fn a_password_decides_and_anonymous_is_a_setting() {
    for (anonymous, allow) in [(Anonymous::All, true), (Anonymous::Nobody, false)] {
        let change = |_: &mut _, zone: &mut ZoneConfig| zone.allow_anonymous = anonymous;
        let mut rig = Rig::build(change, authentication(None), None);
        rig.join(login("c", "bob", b"secret", V5));
        let c = rig.hello(login("c2", "bob", b"wrong", V5));
        rig.check(c, &["CONNACK present=0 0x86"]);
        assert!(rig.broker.session("c2").is_none());
        let c = rig.hello(login("c2", "bob", b"wrong", V3));
        rig.check(c, &["CONNACK present=0 0x86"]);
        let c = rig.hello(Hello::v5("c3"));
        rig.check(c, &[if allow { "CONNACK present=0 0x00" } else { "CONNACK present=0 0x87" }]);
    }
}

/// Without a source that decides, and without a word in the configuration, a network is not let in.
#[test]
fn clients_of_this_machine_alone_need_no_user() {
    for (address, code) in [
        ("127.0.0.1:50000", "0x00"),
        ("127.8.9.10:50000", "0x00"),
        ("[::1]:50000", "0x00"),
        ("[::ffff:127.0.0.1]:50000", "0x00"),
        ("192.0.2.1:50000", "0x87"),
        ("172.17.0.1:50000", "0x87"),
        ("[2001:db8::1]:50000", "0x87"),
        ("[::ffff:10.0.0.1]:50000", "0x87"),
        ("[::]:50000", "0x87"),
    ] {
        let local = |zone: &mut ZoneConfig| {
            zone.allow_anonymous = ZoneConfig::default().allow_anonymous;
        };
        let mut rig = Rig::with_zone(local);
        rig.address = address.parse().unwrap();
        let c = rig.hello(Hello::v5("c"));
        rig.check(c, &[&format!("CONNACK present=0 {code}")]);
        // A name that nobody checks is no better than none.
        let c = rig.hello(Hello::v5("d").user("bob"));
        rig.check(c, &[&format!("CONNACK present=0 {code}")]);
    }
}

/// The address is that of a proxy, or of a browser that shows a page from elsewhere; and a certificate is as good as
/// being here.
#[test]
fn not_only_the_address_says_who_is_of_this_machine() {
    let check = |anonymous, address: &str, change: fn(&mut Peer), code| {
        let mut rig = Rig::with_zone(|zone| zone.allow_anonymous = anonymous);
        rig.address = address.parse().unwrap();
        let c = rig.open(V5);
        rig.set_peer(c, change);
        rig.say_hello(c, &Hello::v5("c"));
        rig.check(c, &[&format!("CONNACK present=0 {code}")]);
    };
    let (here, there) = ("127.0.0.1:50000", "192.0.2.1:50000");
    let is_elsewhere: fn(&mut Peer) = |peer| peer.is_elsewhere = true;
    let is_at_a_path: fn(&mut Peer) = |peer| (peer.addr, peer.is_elsewhere) = (None, true);
    let has_name: fn(&mut Peer) = |peer| peer.certificate_username = Some("bob".into());
    check(Anonymous::Local, here, |_| {}, "0x00");
    check(Anonymous::Local, here, is_elsewhere, "0x87");
    check(Anonymous::Local, here, is_at_a_path, "0x87");
    check(Anonymous::All, here, is_elsewhere, "0x00");
    check(Anonymous::Local, there, |_| {}, "0x87");
    check(Anonymous::Local, there, has_name, "0x00");
    check(Anonymous::Nobody, there, has_name, "0x87");
}

/// Answers what it is told, and counts how often.
struct Says(Authentication, AtomicUsize);

impl Authenticator for Says {
    fn authenticate(&self, _: &Arc<Credentials>) -> Answer<Authentication> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Answer::Now(self.0.clone())
    }
}

fn says(answers: &[Authentication]) -> (Vec<Arc<Says>>, Extensions) {
    let sources: Vec<_> =
        answers.iter().map(|answer| Arc::new(Says(answer.clone(), AtomicUsize::new(0)))).collect();
    let authenticators = sources.iter().map(|it| Arc::clone(it) as Arc<dyn Authenticator>);
    let extensions = Extensions { authenticators: authenticators.collect(), ..Default::default() };
    (sources, extensions)
}

/// Where `allow_anonymous` says so, who brings neither name nor password is asked about nowhere.
#[test]
fn who_brings_nothing_is_asked_about_only_where_he_needs_it() {
    let [all, nobody] = [Anonymous::All, Anonymous::Nobody];
    for (anonymous, asked, code) in [(all, 0, "0x00"), (nobody, 1, "0x86")] {
        let (sources, extensions) =
            says(&[Authentication::Deny(ReasonCode::BadUserNameOrPassword)]);
        let mut rig = Rig::build(|_, zone| zone.allow_anonymous = anonymous, extensions, None);
        let c = rig.hello(Hello::v5("c"));
        rig.check(c, &[&format!("CONNACK present=0 {code}")]);
        assert_eq!(sources[0].1.load(Ordering::Relaxed), asked);
        let c = rig.hello(Hello::v5("c").user("bob"));
        rig.check(c, &["CONNACK present=0 0x86"]);
    }
}

/// What is missing for one source is a refusal only if no later one lets the client in.
#[test]
fn a_later_source_may_make_up_for_what_an_earlier_one_misses() {
    use Authentication::{Allow, Deny, Ignore, Missing};
    let missing = || Missing(ReasonCode::BadUserNameOrPassword);
    for (answers, code) in [
        (vec![missing(), Allow { superuser: false }], "0x00"),
        (vec![missing()], "0x86"),
        (vec![missing(), Ignore], "0x86"),
        (vec![missing(), Missing(ReasonCode::NotAuthorized)], "0x87"),
        (vec![missing(), Deny(ReasonCode::ServerUnavailable)], "0x88"),
        (vec![Ignore], "0x00"),
    ] {
        let (_, extensions) = says(&answers);
        let mut rig = Rig::with_extensions(extensions);
        let c = rig.hello(Hello::v5("c").user("bob"));
        rig.check(c, &[&format!("CONNACK present=0 {code}")]);
    }
}

/// Attack case 24: a name that no source knows is answered as a wrong password is. It is no refusal by itself.
#[test]
fn a_name_that_is_unknown_is_let_in_or_refused_like_a_wrong_password() {
    use Authentication::{Allow, Deny, Ignore, Unknown};
    let unknown = || Unknown(ReasonCode::BadUserNameOrPassword);
    for (answers, open, shut) in [
        (vec![unknown()], "0x00", "0x86"),
        (vec![unknown(), Ignore], "0x00", "0x86"),
        (vec![Ignore, unknown()], "0x00", "0x86"),
        (vec![unknown(), Allow { superuser: false }], "0x00", "0x00"),
        (vec![unknown(), Deny(ReasonCode::ServerUnavailable)], "0x88", "0x88"),
        (vec![Ignore], "0x00", "0x87"),
    ] {
        for (anonymous, code) in [(Anonymous::All, open), (Anonymous::Nobody, shut)] {
            let (_, extensions) = says(&answers);
            let mut rig = Rig::build(|_, zone| zone.allow_anonymous = anonymous, extensions, None);
            let c = rig.hello(Hello::v5("c").user("bob"));
            rig.check(c, &[&format!("CONNACK present=0 {code}")]);
        }
    }
}

/// The same over a source that takes its time.
#[test]
fn what_was_missing_is_remembered_while_another_source_thinks() {
    let gate = Arc::new(AtomicBool::new(true));
    let (_, mut extensions) = says(&[Authentication::Missing(ReasonCode::BadUserNameOrPassword)]);
    struct Unsure(Arc<AtomicBool>);
    impl Authenticator for Unsure {
        fn authenticate(&self, _: &Arc<Credentials>) -> Answer<Authentication> {
            later(&self.0, Authentication::Ignore)
        }
    }
    extensions.authenticators.push(Arc::new(Unsure(gate)));
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.hello(Hello::v5("c").user("bob"));
    rig.check(c, &["CONNACK present=0 0x86"]);
}

/// What a client sends behind its CONNECT waits with it.
#[test]
fn an_authenticator_may_answer_later() {
    let gate = Arc::new(AtomicBool::new(false));
    let mut rig = Rig::with_extensions(authentication(Some(Arc::clone(&gate))));
    let good = rig.hello(login("good", "bob", b"secret", V5));
    let bad = rig.hello(login("bad", "bob", b"wrong", V5));
    rig.send(good, &Packet::PingReq);
    assert!(!rig.wants_input(good));
    rig.check(good, &[]);
    // Nobody else waits: a client without a name is not asked about.
    gate.store(true, Ordering::Relaxed);
    rig.settle();
    rig.check(good, &["CONNACK present=0 0x00", "PINGRESP"]);
    rig.check(bad, &["CONNACK present=0 0x86"]);
    assert_eq!(rig.metric(Metric::PacketsConnect), 2);
}

/// Lets everybody in until a time.
struct Until(u64);

impl Authenticator for Until {
    fn authenticate(&self, _: &Arc<Credentials>) -> Answer<Authentication> {
        Answer::Now(Authentication::AllowUntil { superuser: false, until_ms: self.0 })
    }
}

/// The client is told why, its Will is published, and its session stays for the next connection.
#[test]
fn a_connection_ends_when_its_credentials_expire() {
    for version in [V3, V5] {
        let mut rig = Rig::new();
        let until_ms = rig.now.wall_ms + 5_000;
        rig.broker.change_extensions(|it| it.authenticators.push(Arc::new(Until(until_ms))));
        let watcher = rig.hello(Hello::v5("watcher"));
        rig.check(watcher, &["CONNACK present=0 0x00"]);
        rig.subscribed(watcher, "will", Q0);
        let hello = Hello { version, ..login("c", "bob", b"token", version) }.will("will", "gone");
        let c = rig.join(hello.lasting(100));
        rig.pass_ms(4_999);
        rig.send(c, &Packet::PingReq);
        rig.check(c, &["PINGRESP"]);
        assert_eq!(rig.cause(c), None);
        rig.pass_ms(1);
        assert_eq!(rig.cause(c), Some(CloseCause::CredentialsExpired));
        rig.check(c, if version == V5 { &["DISCONNECT 0xa0"] } else { &[] });
        assert_eq!(rig.out(watcher).len(), 1, "the Will");
        let c = rig.hello(login("c", "bob", b"token", version));
        rig.check(c, &["CONNACK present=0 0x87"]);
        assert!(rig.broker.session("c").is_some());
    }
}

/// The time for CONNECT runs while somebody else thinks.
#[test]
fn an_authenticator_that_never_answers_costs_its_connection_only() {
    let gate = Arc::new(AtomicBool::new(false));
    let mut rig = Rig::with_extensions(authentication(Some(gate)));
    let c = rig.hello(login("c", "bob", b"secret", V5));
    rig.pass_s(15);
    assert_eq!(rig.cause(c), Some(CloseCause::ConnectTimeout));
}

/// What is denied is acknowledged with an error in MQTT 5.0, and without effect before.
#[test]
fn denied_publishes_are_answered_as_each_version_can() {
    for version in [V3, V5] {
        let (_, extensions) = with_topics(None);
        let mut rig = Rig::with_extensions(extensions);
        let s = rig.client("sub");
        rig.subscribed(s, "open/#", Q2);
        let c = rig.join(Hello { version, ..Hello::v5("c") });
        rig.publish(c, "shut/x", "x", Q0, 0);
        rig.publish(c, "shut/x", "x", Q1, 1);
        rig.publish(c, "shut/x", "x", Q2, 2);
        let code = if version == V5 { "0x87" } else { "0x00" };
        rig.check(c, &[&format!("PUBACK #1 {code}"), &format!("PUBREC #2 {code}")]);
        // An older client goes on with PUBREL, which must be known.
        if version == V3 {
            rig.pubrel(c, 2);
            rig.check(c, &["PUBCOMP #2 0x00"]);
        }
        rig.subscribe(c, "shut/#", Q1);
        let code = if version == V5 { "87" } else { "80" };
        rig.check(c, &[&format!("SUBACK #77 {code}")]);
        rig.check(s, &[]);
        assert_eq!(rig.metric(Metric::PublishDenied), 3);
    }
}

/// `acl_deny_action = disconnect`
#[test]
fn a_denial_may_close_the_connection() {
    let (_, extensions) = with_topics(None);
    let mut rig = Rig::build(|_, zone| zone.acl_deny_disconnect = true, extensions, None);
    let c = rig.client("c");
    rig.publish(c, "shut/x", "x", Q0, 0);
    rig.check(c, &["DISCONNECT 0x87"]);
    let c = rig.client("c");
    rig.subscribe(c, "shut/x", Q0);
    rig.check(c, &["DISCONNECT 0x87"]);
}

/// `acl_nomatch`, superusers, `enable_acl`, Wills.
#[test]
fn rights_end_where_the_settings_say() {
    let (_, mut extensions) = with_topics(None);
    extensions.authenticators = authentication(None).authenticators;
    let mut rig = Rig::build(|_, zone| zone.acl_nomatch_allow = false, extensions, None);
    let c = rig.client("c");
    let root = rig.join(login("root", "root", b"secret", V5));
    for (c, codes) in [(c, ["0x10", "0x87", "0x87"]), (root, ["0x10", "0x10", "0x10"])] {
        for (topic, code) in ["open/x", "shut/x", "other"].iter().zip(codes) {
            rig.publish(c, topic, "x", Q1, 1);
            rig.check(c, &[&format!("PUBACK #1 {code}")]);
        }
    }
    let c = rig.hello(Hello::v5("w").will("shut/will", "x"));
    rig.check(c, &["CONNACK present=0 0x87"]);
    let (_, extensions) = with_topics(None);
    let mut rig = Rig::build(|_, zone| zone.enable_acl = false, extensions, None);
    let c = rig.join(Hello::v5("c").will("shut/will", "x"));
    rig.publish(c, "shut/x", "x", Q1, 1);
    rig.check(c, &["PUBACK #1 0x10"]);
    rig.subscribed(c, "shut/#", Q1);
}

/// One source may leave the decision to the next.
#[test]
fn the_first_source_that_knows_decides() {
    let (first, mut extensions) = with_topics(None);
    let (second, more) = with_topics(None);
    extensions.authorizers.extend(more.authorizers);
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.client("c");
    for topic in ["open/x", "other", "other"] {
        rig.publish(c, topic, "x", Q0, 0);
    }
    // The verdict is remembered for a while.
    assert_eq!(*first.asked.lock(), ["open/x", "other"]);
    assert_eq!(*second.asked.lock(), ["other"]);
    rig.pass_s(60);
    rig.publish(c, "other", "x", Q0, 0);
    assert_eq!(first.asked.lock().len(), 3);
}

#[test]
fn an_authorizer_may_answer_later_and_order_is_kept() {
    let gate = Arc::new(AtomicBool::new(false));
    let (_, extensions) = with_topics(Some(Arc::clone(&gate)));
    let mut rig = Rig::with_extensions(extensions);
    let s = rig.client("sub");
    rig.subscribed(s, "#", Q0);
    let c = rig.client("c");
    rig.publish(c, "open/x/later", "1", Q1, 1);
    rig.publish(c, "open/x", "2", Q1, 2);
    rig.publish(c, "shut/x/later", "3", Q1, 3);
    rig.check(c, &[]);
    rig.publish(s, "open/x", "others go on", Q0, 0);
    rig.check(s, &["PUBLISH q0 open/x=others go on"]);
    gate.store(true, Ordering::Relaxed);
    rig.settle();
    rig.check(c, &["PUBACK #1 0x00", "PUBACK #2 0x00", "PUBACK #3 0x87"]);
    rig.check(s, &["PUBLISH q0 open/x/later=1", "PUBLISH q0 open/x=2"]);
    assert_eq!(rig.metric(Metric::PacketsPublishReceived), 4);
}

fn subscribe_all(rig: &mut Rig, c: C, filters: &[&str]) {
    let options = SubscriptionOptions::default();
    let filters = filters.iter().map(|filter| SubscriptionRequest { filter, options }).collect();
    let properties = Properties::EMPTY;
    rig.send(c, &Packet::Subscribe(Subscribe { packet_id: packet_id(1), properties, filters }));
}

/// An answer counts for the filter it was asked for, and for no other of the packet.
#[test]
fn a_late_answer_is_for_its_own_filter() {
    let gate = Arc::new(AtomicBool::new(true));
    let (_, extensions) = with_topics(Some(gate));
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.client("c");
    subscribe_all(&mut rig, c, &["shut/a", "open/b/later", "open/c", "shut/d/later"]);
    rig.check(c, &["SUBACK #1 87 00 00 87"]);
}

/// More filters than the cache of verdicts holds, all of them answered later.
#[test]
fn a_packet_of_many_late_answers_ends() {
    let gate = Arc::new(AtomicBool::new(true));
    let (topics, extensions) = with_topics(Some(gate));
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.client("c");
    let filters: Vec<_> = (0..100).map(|n| format!("open/{n}/later")).collect();
    subscribe_all(&mut rig, c, &filters.iter().map(String::as_str).collect::<Vec<_>>());
    rig.check(c, &[&format!("SUBACK #1{}", " 00".repeat(100))]);
    assert_eq!(topics.asked.lock().len(), 100);
}

/// `acl_cache_max_size`, `acl_cache_ttl`, `enable_acl_cache`
#[test]
fn a_connection_remembers_as_much_as_its_zone_says() {
    let (topics, extensions) = with_topics(None);
    let limit = |_: &mut _, zone: &mut ZoneConfig| {
        (zone.acl_cache_max_size, zone.acl_cache_ttl_ms) = (2, 1_000);
    };
    let mut rig = Rig::build(limit, extensions, None);
    let c = rig.client("c");
    let publish = |rig: &mut Rig, names: &str| {
        topics.asked.lock().clear();
        names.chars().for_each(|name| rig.publish(c, &format!("open/{name}"), "x", Q0, 0));
        let asked = topics.asked();
        asked.iter().map(|topic| topic.trim_start_matches("open/")).collect::<String>()
    };
    assert_eq!(publish(&mut rig, "abab"), "ab");
    // The oldest goes.
    assert_eq!(publish(&mut rig, "cbcb"), "c");
    assert_eq!(publish(&mut rig, "aca"), "a");
    assert_eq!(publish(&mut rig, "b"), "b");
    rig.pass_ms(1_000);
    assert_eq!(publish(&mut rig, "bb"), "b");

    // What is compared with the topic before counts no longer, and for nothing else.
    assert_eq!(publish(&mut rig, "bbb"), "");
    rig.pass_ms(999);
    assert_eq!(publish(&mut rig, "b"), "");
    rig.subscribed(c, "open/b", Q0);
    assert_eq!(topics.asked(), ["open/b"], "the right to subscribe is another");
    rig.pass_ms(1);
    assert_eq!(publish(&mut rig, "bbb"), "b");
    rig.broker.forget_rights();
    rig.run_timers();
    assert_eq!(publish(&mut rig, "bbb"), "b");
    assert_eq!(publish(&mut rig, "cdcdb"), "cdb", "two are as many as there may be");

    let (topics, extensions) = with_topics(None);
    let mut rig = Rig::build(|_, zone| zone.enable_acl_cache = false, extensions, None);
    let c = rig.client("c");
    for _ in 0..3 {
        rig.publish(c, "open/a", "x", Q0, 0);
    }
    assert_eq!(topics.asked().len(), 3);
}

/// A change of the sources voids what the old ones said.
#[test]
fn verdicts_end_with_the_sources_that_gave_them() {
    let gate = Arc::new(AtomicBool::new(false));
    let (_, extensions) = with_topics(Some(Arc::clone(&gate)));
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.client("c");
    rig.publish(c, "open/x", "x", Q1, 1);
    rig.publish(c, "open/later", "x", Q1, 2);
    struct Nothing;
    impl Authorizer for Nothing {
        fn authorize(&self, _: &Arc<ClientInfo>, _: Action, _: &str) -> Answer<Verdict> {
            Answer::Now(Verdict::Deny)
        }
    }
    rig.broker.change_extensions(|e| e.authorizers = vec![Arc::new(Nothing)]);
    gate.store(true, Ordering::Relaxed);
    rig.turn.begin(rig.now);
    rig.settle();
    rig.out(c);
    rig.publish(c, "open/x", "x", Q1, 3);
    rig.check(c, &["PUBACK #3 0x87"]);
}

/// A source that fails denies, and is asked again: its answer is none to remember.
#[test]
fn a_failed_verdict_denies_and_is_not_remembered() {
    struct Fails(AtomicUsize);
    impl Authorizer for Fails {
        fn authorize(&self, _: &Arc<ClientInfo>, _: Action, topic: &str) -> Answer<Verdict> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let gate = Arc::new(AtomicBool::new(true));
            match topic {
                "later" => later(&gate, Verdict::Failed),
                _ => Answer::Now(Verdict::Failed),
            }
        }
    }
    let fails = Arc::new(Fails(AtomicUsize::new(0)));
    let authorizers = vec![Arc::clone(&fails) as Arc<dyn Authorizer>];
    let mut rig = Rig::with_extensions(Extensions { authorizers, ..Extensions::default() });
    let c = rig.client("c");
    for (n, topic) in ["x", "x", "later", "later"].into_iter().enumerate() {
        rig.publish(c, topic, "x", Q1, 1);
        rig.check(c, &["PUBACK #1 0x87"]);
        assert_eq!(fails.0.load(Ordering::Relaxed), n + 1);
    }
    let c = rig.hello(Hello::v5("w").will("x", "x"));
    rig.check(c, &["CONNACK present=0 0x87"]);
}

/// A PUBLISH that waits for a verdict uses its allowance once.
#[test]
fn a_publish_that_waits_is_counted_once_against_its_limit() {
    let gate = Arc::new(AtomicBool::new(true));
    let (_, extensions) = with_topics(Some(gate));
    let limit = Some(Rate::in_ms(2, 1_000));
    let mut rig = Rig::build(|_, zone| zone.publish_limit = limit, extensions, None);
    let c = rig.client("c");
    for id in 1..=3 {
        rig.publish(c, &format!("open/{id}/later"), "x", Q1, id);
    }
    assert_eq!(rig.out(c).len(), 2);
}

/// Changes payload and topic of `change`, refuses `refuse`, and gives every subscription QoS 0.
#[derive(Default)]
struct Changer(Mutex<Vec<String>>);

impl Interceptor for Changer {
    fn publish(&self, _: &ClientInfo, draft: &mut PublishDraft<'_>) -> Result<(), ReasonCode> {
        match &*draft.topic {
            "change" => {
                draft.topic = Cow::Borrowed("changed");
                draft.payload = Cow::Borrowed(b"new");
                draft.qos = Q0;
                draft.retain = true;
            }
            "break" => draft.topic = Cow::Borrowed("#"),
            "refuse" => return Err(ReasonCode::QuotaExceeded),
            "odd" => return Err(ReasonCode::TopicFilterInvalid),
            _ => {}
        }
        Ok(())
    }

    fn subscribe(&self, _: &ClientInfo, draft: &mut SubscribeDraft<'_>) -> Result<(), ReasonCode> {
        draft.options.qos = Q0;
        match &*draft.filter {
            "refuse" => Err(ReasonCode::ImplementationSpecificError),
            "odd" => Err(ReasonCode::TopicNameInvalid),
            _ => Ok(()),
        }
    }

    fn connected(&self, client: &ClientInfo) {
        self.0.lock().push(format!("+{}", client.client_id));
    }

    fn disconnected(&self, client: &ClientInfo, reason: &str) {
        self.0.lock().push(format!("-{} {reason}", client.client_id));
    }
}

#[test]
fn interceptors_change_and_refuse() {
    let changer = Arc::new(Changer::default());
    let mut rig = Rig::with_extensions(Extensions {
        interceptors: vec![Arc::clone(&changer) as Arc<dyn Interceptor>],
        ..Extensions::default()
    });
    let s = rig.client("sub");
    rig.subscribe(s, "#", Q2);
    rig.subscribe(s, "refuse", Q2);
    rig.subscribe(s, "odd", Q2);
    // A code that SUBACK does not have is not sent in one.
    rig.check(s, &["SUBACK #77 00", "SUBACK #77 83", "SUBACK #77 83"]);
    let p = rig.client("pub");
    for (id, topic) in ["change", "break", "refuse", "odd"].iter().enumerate() {
        rig.publish(p, topic, "old", Q2, id as u16 + 1);
    }
    rig.check(p, &["PUBREC #1 0x00", "PUBREC #2 0x90", "PUBREC #3 0x97", "PUBREC #4 0x83"]);
    rig.check(s, &["PUBLISH q0 changed=new"]);
    rig.subscribe(s, "changed", Q2);
    rig.check(s, &["SUBACK #77 00", "PUBLISH retain q0 changed=new"]);
    rig.disconnect(p, ReasonCode::Success, &[]);
    rig.lose(s);
    assert_eq!(*changer.0.lock(), ["+sub", "+pub", "-pub normal", "-sub closed"]);
}

/// Asks for `a`, then `b`, and takes whoever knows both.
struct Toy;
struct ToyExchange(u8);

impl AuthMethod for Toy {
    fn name(&self) -> &str {
        "TOY"
    }
    fn begin(&self, _: &Credentials) -> Box<dyn AuthExchange> {
        Box::new(ToyExchange(b'a'))
    }
}

impl AuthExchange for ToyExchange {
    fn handle(&mut self, data: &[u8]) -> AuthStep {
        if data != [self.0] {
            return AuthStep::Deny(ReasonCode::BadUserNameOrPassword);
        }
        self.0 += 1;
        match data {
            b"a" => AuthStep::Continue(b"b?".to_vec()),
            _ => AuthStep::Success {
                data: b"ok".to_vec(),
                username: Some("toy".into()),
                superuser: false,
            },
        }
    }
}

pub fn toy() -> Rig {
    Rig::with_extensions(Extensions { auth_methods: vec![Arc::new(Toy)], ..Extensions::default() })
}

pub fn auth(rig: &mut Rig, c: C, reason_code: ReasonCode, method: &str, data: &[u8]) {
    let all =
        properties(&[Property::AuthenticationMethod(method), Property::AuthenticationData(data)]);
    rig.send(c, &Packet::Auth(Auth { reason_code, properties: all.as_properties() }));
}

pub fn toy_hello(data: &'static [u8]) -> Hello<'static> {
    Hello::v5("c")
        .with(Property::AuthenticationMethod("TOY"))
        .with(Property::AuthenticationData(data))
}

/// MQTT 5.0, 4.12
#[test]
fn enhanced_authentication_goes_step_by_step() {
    let mut rig = toy();
    let c = rig.hello(toy_hello(b"a"));
    rig.check(c, &["AUTH 0x18 method=TOY data=b?"]);
    assert!(rig.broker.session("c").is_none());
    auth(&mut rig, c, ReasonCode::ContinueAuthentication, "TOY", b"b");
    rig.check(c, &["CONNACK present=0 0x00 method=TOY data=ok"]);
    assert_eq!(rig.broker.session("c").unwrap().client.username.as_deref(), Some("toy"));
    rig.subscribed(c, "t", Q1);
    // [MQTT-4.12.1-1]: again, while everything else goes on.
    auth(&mut rig, c, ReasonCode::ReAuthenticate, "TOY", b"a");
    rig.publish(c, "t", "x", Q0, 0);
    auth(&mut rig, c, ReasonCode::ContinueAuthentication, "TOY", b"b");
    rig.check(
        c,
        &["AUTH 0x18 method=TOY data=b?", "PUBLISH q0 t=x", "AUTH 0x00 method=TOY data=ok"],
    );
}

/// [MQTT-4.12.0-1] [MQTT-4.12.0-4] [MQTT-4.12.0-5] [MQTT-4.12.1-2]
#[test]
fn failed_authentication_closes_the_connection() {
    let mut rig = toy();
    let c = rig.hello(toy_hello(b"wrong"));
    rig.check(c, &["CONNACK present=0 0x86"]);
    let c = rig.hello(toy_hello(b"a"));
    rig.out(c);
    auth(&mut rig, c, ReasonCode::ContinueAuthentication, "OTHER", b"b");
    assert_eq!(rig.cause(c), Some(CloseCause::Violation(ReasonCode::ProtocolError)));
    let c = rig.hello(toy_hello(b"a"));
    rig.out(c);
    rig.publish(c, "t", "before CONNACK", Q0, 0);
    assert!(rig.cause(c).is_some());
    let c = rig.hello(Hello::v5("c").with(Property::AuthenticationMethod("OTHER")));
    rig.check(c, &["CONNACK present=0 0x8c"]);
    // Who came in without a method may not use one.
    let c = rig.client("plain");
    auth(&mut rig, c, ReasonCode::ReAuthenticate, "TOY", b"a");
    rig.check(c, &["DISCONNECT 0x82"]);
    // Re-authentication that fails, with a code that only CONNACK has.
    let c = rig.hello(toy_hello(b"a"));
    auth(&mut rig, c, ReasonCode::ContinueAuthentication, "TOY", b"b");
    rig.out(c);
    auth(&mut rig, c, ReasonCode::ReAuthenticate, "TOY", b"wrong");
    rig.check(c, &["DISCONNECT 0x87"]);
}

/// Attack case 8: an exchange is no way to stay without an account.
#[test]
fn an_exchange_must_end_in_time() {
    let mut rig = toy();
    let c = rig.hello(toy_hello(b"a"));
    rig.pass_s(15);
    assert_eq!(rig.cause(c), Some(CloseCause::ConnectTimeout));
}
