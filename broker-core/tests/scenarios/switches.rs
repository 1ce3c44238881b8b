//! What can be switched off and on while clients are connected: retained and delayed messages.

use broker_core::config::{BrokerConfig, DelayedConfig, RetainedConfig};

use crate::rig::*;

fn switch_retained(rig: &Rig, enabled: bool) {
    let config = RetainedConfig { enabled, ..BrokerConfig::default().retained };
    rig.broker.configure_retained(config);
}

fn switch_delayed(rig: &Rig, enabled: bool) {
    let config = DelayedConfig { enabled, ..BrokerConfig::default().delayed };
    rig.broker.configure_delayed(config);
}

/// The flag has no effect and nothing is replayed; what was kept is there when it is on again.
#[test]
fn without_the_retainer_nothing_is_kept_replaced_or_replayed() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    rig.retain(p, "a", "kept");
    rig.retain(p, "b", "kept");
    switch_retained(&rig, false);
    let s = rig.client("sub");
    rig.subscribe(s, "#", Q0);
    rig.check(s, &["SUBACK #77 00"]);
    rig.retain(p, "a", "passes");
    rig.retain(p, "b", "");
    rig.retain(p, "c", "passes");
    rig.check(s, &["PUBLISH q0 a=passes", "PUBLISH q0 b=", "PUBLISH q0 c=passes"]);
    switch_retained(&rig, true);
    rig.subscribe(s, "#", Q0);
    let replayed = rig.out(s);
    assert_eq!(replayed.len(), 3, "{replayed:?}");
    for line in ["PUBLISH retain q0 a=kept", "PUBLISH retain q0 b=kept"] {
        assert!(replayed.iter().any(|it| it == line), "{replayed:?}");
    }
}

/// A client that has yet to be given what was kept gets none of it any more.
#[test]
fn a_replay_under_way_ends_with_the_retainer() {
    let mut rig = Rig::with_zone(|zone| zone.max_inflight = 1);
    let p = rig.client("pub");
    for topic in ["t/1", "t/2", "t/3"] {
        let mut kept = message(topic, "x", Q1, 1);
        kept.retain = true;
        rig.send(p, &broker_codec::Packet::Publish(kept));
    }
    let s = rig.client("sub");
    rig.subscribe(s, "t/+", Q1);
    rig.check(s, &["SUBACK #77 01", "PUBLISH retain q1 #1 t/1=x"]);
    switch_retained(&rig, false);
    rig.puback(s, 1);
    rig.check(s, &[]);
    switch_retained(&rig, true);
    rig.publish(p, "t/1", "goes on", Q1, 2);
    rig.check(s, &["PUBLISH q1 #2 t/1=goes on"]);
}

/// New limits count from the next message on.
#[test]
fn limits_of_retained_messages_change_while_it_runs() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    rig.retain(p, "a", "x");
    let config = RetainedConfig { max_messages: 1, ..BrokerConfig::default().retained };
    rig.broker.configure_retained(config);
    rig.retain(p, "b", "x");
    rig.retain(p, "a", "y");
    let s = rig.client("sub");
    rig.subscribe(s, "#", Q0);
    rig.check(s, &["SUBACK #77 00", "PUBLISH retain q0 a=y"]);
}

/// `$delayed/…` is a topic like any other; what waited waits on, and is late then.
#[test]
fn without_delayed_publish_nothing_is_put_off_and_what_waits_waits() {
    let mut rig = Rig::new();
    let (p, s) = (rig.client("pub"), rig.client("sub"));
    rig.subscribed(s, "#", Q0);
    rig.subscribed(s, "$delayed/#", Q0);
    rig.publish(p, "$delayed/5/a", "put off", Q0, 0);
    switch_delayed(&rig, false);
    rig.publish(p, "$delayed/5/a", "at once", Q0, 0);
    rig.check(s, &["PUBLISH q0 $delayed/5/a=at once"]);
    rig.pass_s(10);
    rig.check(s, &[]);
    switch_delayed(&rig, true);
    rig.pass_s(1);
    rig.check(s, &["PUBLISH q0 a=put off"]);
}
