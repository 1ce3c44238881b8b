//! Rights beyond the packet that asks for them: Wills, `$delayed`, what was granted and is taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_codec::Property;
use broker_core::extension::{
    Action, Answer, AuthExchange, AuthMethod, AuthStep, Authentication, Authenticator, Authorizer,
    Credentials, Extensions, Verdict,
};
use broker_core::{ClientInfo, Metric};

use crate::access::{auth, toy, with_topics};
use crate::rig::*;

/// Allows and denies the same to all.
struct Everybody(Verdict);

impl Authorizer for Everybody {
    fn authorize(&self, _: &Arc<ClientInfo>, _: Action, _: &str) -> Answer<Verdict> {
        Answer::Now(self.0)
    }
}

fn deny_all() -> Arc<dyn Authorizer> {
    Arc::new(Everybody(Verdict::Deny))
}

/// A right that must be waited for holds the CONNECT back, and nobody is let in or told anything before.
#[test]
fn the_right_to_a_will_is_waited_for() {
    for version in [V3, V5] {
        let gate = Arc::new(AtomicBool::new(false));
        let (topics, extensions) = with_topics(Some(Arc::clone(&gate)));
        let mut rig = Rig::with_extensions(extensions);
        let watcher = rig.client("watcher");
        rig.subscribed(watcher, "#", Q0);
        let will = |id, topic| Hello { version, ..Hello::v5(id) }.will(topic, "gone");
        let good = rig.hello(will("good", "open/later"));
        let bad = rig.hello(will("bad", "shut/later"));
        rig.check(good, &[]);
        assert!(rig.broker.session("good").is_none());
        gate.store(true, Ordering::Relaxed);
        rig.settle();
        rig.check(good, &["CONNACK present=0 0x00"]);
        rig.check(bad, &["CONNACK present=0 0x87"]);
        let asked = topics.asked();
        assert_eq!(asked.iter().filter(|topic| *topic == "open/later").count(), 1, "{asked:?}");
        rig.lose(good);
        rig.check(watcher, &["PUBLISH q0 open/later=gone"]);
        assert_eq!(rig.metric(Metric::PacketsConnect), 3);
    }
}

/// The client that is asked about is the one that comes in, under the identifier it is assigned.
#[test]
fn an_assigned_identifier_stays_while_the_right_to_a_will_is_waited_for() {
    let gate = Arc::new(AtomicBool::new(false));
    let (topics, extensions) = with_topics(Some(Arc::clone(&gate)));
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.hello(Hello::v5("").will("open/later", "gone"));
    gate.store(true, Ordering::Relaxed);
    rig.settle();
    let connack = rig.out(c);
    let client = topics.last_client();
    assert!(connack[0].contains(client.client_id.as_str()), "{connack:?} {client:?}");
}

/// What a source has said is void once there are others: they are asked.
#[test]
fn an_answer_of_sources_that_are_gone_does_not_count() {
    let gate = Arc::new(AtomicBool::new(false));
    let (_, extensions) = with_topics(Some(Arc::clone(&gate)));
    let mut rig = Rig::with_extensions(extensions);
    let will = rig.hello(Hello::v5("will").will("open/later", "x"));
    let c = rig.client("c");
    rig.publish(c, "open/later", "x", Q1, 1);
    rig.subscribe(c, "open/#", Q1);
    rig.broker.change_extensions(|it| it.authorizers = vec![deny_all()]);
    gate.store(true, Ordering::Relaxed);
    rig.turn.begin(rig.now);
    rig.settle();
    rig.check(will, &["CONNACK present=0 0x87"]);
    rig.check(c, &["PUBACK #1 0x87", "SUBACK #77 87"]);
}

/// An exchange goes on where it was, whether CONNECT or AUTH was its last packet.
#[test]
fn enhanced_authentication_waits_for_the_right_to_a_will_too() {
    let method = || Property::AuthenticationMethod("TOY");
    for (topic, code) in [("open/later", "0x00"), ("shut/later", "0x87")] {
        let gate = Arc::new(AtomicBool::new(false));
        let (_, extensions) = with_topics(Some(Arc::clone(&gate)));
        let mut rig = toy();
        rig.broker.change_extensions(|it| {
            it.authorizers = extensions.authorizers;
            it.auth_methods.push(Arc::new(AtOnce));
        });
        let hello = Hello::v5("two").will(topic, "gone").with(method());
        let two = rig.hello(hello.with(Property::AuthenticationData(b"a")));
        rig.check(two, &["AUTH 0x18 method=TOY data=b?"]);
        auth(&mut rig, two, broker_core::ReasonCode::ContinueAuthentication, "TOY", b"b");
        let hello = Hello::v5("one").will(topic, "gone");
        let one = rig.hello(hello.with(Property::AuthenticationMethod("ONCE")));
        rig.check(two, &[]);
        rig.check(one, &[]);
        gate.store(true, Ordering::Relaxed);
        rig.settle();
        for c in [one, two] {
            let out = rig.out(c);
            assert!(out[0].starts_with(&format!("CONNACK present=0 {code}")), "{out:?}");
        }
    }
}

/// Lets everybody in with the CONNECT.
struct AtOnce;

impl AuthMethod for AtOnce {
    fn name(&self) -> &str {
        "ONCE"
    }
    fn begin(&self, _: &Credentials) -> Box<dyn AuthExchange> {
        Box::new(Self)
    }
}

impl AuthExchange for AtOnce {
    fn handle(&mut self, _: &[u8]) -> AuthStep {
        AuthStep::Success { data: Vec::new(), username: None, superuser: false }
    }
}

/// A delayed message needs the right to its real topic, waited for like that of any other.
#[test]
fn the_right_to_a_delayed_topic_is_waited_for() {
    let gate = Arc::new(AtomicBool::new(false));
    let (_, extensions) = with_topics(Some(Arc::clone(&gate)));
    let mut rig = Rig::with_extensions(extensions);
    let s = rig.client("sub");
    rig.subscribed(s, "#", Q0);
    let c = rig.client("c");
    for (id, topic) in ["open/later", "shut/later", "shut/x", "open/x"].iter().enumerate() {
        rig.publish(c, &format!("$delayed/5/{topic}"), "x", Q2, id as u16 + 1);
    }
    rig.check(c, &[]);
    gate.store(true, Ordering::Relaxed);
    rig.settle();
    rig.check(c, &["PUBREC #1 0x00", "PUBREC #2 0x87", "PUBREC #3 0x87", "PUBREC #4 0x00"]);
    rig.pass_s(5);
    rig.check(s, &["PUBLISH q0 open/later=x", "PUBLISH q0 open/x=x"]);
}

/// Attack case 26: a Client Identifier is no secret, and whoever knows one does not get what its user has.
#[test]
fn a_session_belongs_to_the_user_that_made_it() {
    let names = [Some("bob"), Some("eve"), Some(""), None];
    for (owner, other) in names.iter().flat_map(|a| names.iter().map(move |b| (*a, *b))) {
        for version in [V3, V5] {
            let mut rig = Rig::new();
            let hello = |username| Hello { version, username, ..Hello::v5("c") }.lasting(100);
            let c = rig.join(hello(owner));
            rig.subscribed(c, "t", Q1);
            let code = if owner == other { "0x00" } else { "0x85" };
            for is_connected in [true, false] {
                let thief = rig.hello(hello(other));
                let connack = rig.out(thief);
                assert!(connack[0].ends_with(code), "{owner:?} {other:?} {connack:?}");
                if owner != other {
                    let thief = rig.hello(hello(other).clean());
                    rig.check(thief, &["CONNACK present=0 0x85"]);
                    assert_eq!(rig.cause(c).is_none(), is_connected);
                }
                rig.lose(c);
            }
            let c = rig.hello(hello(owner));
            rig.check(c, &["CONNACK present=1 0x00"]);
            // When it is over, the identifier is anybody's.
            rig.lose(c);
            rig.pass_s(7_300);
            let c = rig.hello(hello(other));
            rig.check(c, &["CONNACK present=0 0x00"]);
        }
    }
}

/// Over a restart, too.
#[test]
fn the_user_of_a_session_is_kept() {
    let mut rig = Rig::durable(|_, _| {});
    for (id, name) in [("named", Some("bob")), ("nameless", None)] {
        rig.hello(Hello { username: name, ..Hello::v5(id) }.lasting(100));
    }
    rig.sync();
    rig.crash();
    for (id, name, other) in [("named", Some("bob"), None), ("nameless", None, Some("bob"))] {
        let thief = rig.hello(Hello { username: other, ..Hello::v5(id) }.lasting(100));
        rig.check(thief, &["CONNACK present=0 0x85"]);
        let c = rig.hello(Hello { username: name, ..Hello::v5(id) }.lasting(100));
        rig.sync();
        rig.check(c, &["CONNACK present=1 0x00"]);
    }
}

/// A source that says who the client is says whose session it has.
#[test]
fn a_proven_name_is_the_one_that_counts() {
    struct Names;
    impl Authenticator for Names {
        fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
            let name = credentials.username.as_deref().and_then(|it| it.split('/').next());
            let username = name.unwrap_or_default().into();
            Answer::Now(Authentication::AllowAs { username, superuser: false, until_ms: u64::MAX })
        }
    }
    let authenticators = vec![Arc::new(Names) as Arc<dyn Authenticator>];
    let mut rig = Rig::with_extensions(Extensions { authenticators, ..Extensions::default() });
    for (name, connack) in [
        ("bob/token-1", "CONNACK present=0 0x00"),
        ("bob/token-2", "CONNACK present=1 0x00"),
        ("eve/token-2", "CONNACK present=0 0x85"),
    ] {
        let c = rig.hello(Hello::v5("c").user(name).lasting(100));
        rig.check(c, &[connack]);
    }
    let session = rig.broker.session("c").expect("it is there");
    assert_eq!(session.client.username.as_deref(), Some("bob"));
}
