//! Rights beyond the packet that asks for them: Wills, `$delayed`, what was granted and is taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_codec::Property;
use broker_core::extension::{
    Action, Answer, AuthExchange, AuthMethod, AuthStep, Authorizer, Credentials, Verdict,
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
