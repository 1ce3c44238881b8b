//! Keys of who may connect, and what clients may do.

use crate::Case;
use crate::case;
use crate::client::{elapse, unique_id, unique_topic, v5};
use crate::wire::{Packet, publish};

pub(crate) const CASES: &[Case] = &[
    case("allow_anonymous", "false", allow_anonymous),
    case("acl_nomatch", "\"deny\"", acl_nomatch),
    case("enable_acl", "false", enable_acl).given("acl_nomatch = \"deny\""),
    case("acl_deny_action", "\"disconnect\"", acl_deny_action).given("acl_nomatch = \"deny\""),
    case("use_username_as_clientid", "true", use_username_as_clientid),
    case("enable_flapping_detect", "true", flapping).given("flapping_threshold = \"2,1h\""),
    case("flapping_threshold", "\"2,1h\"", flapping).given("enable_flapping_detect = true"),
    case("flapping_banned_expiry_interval", "\"3s\"", banned_for_a_while)
        .given("enable_flapping_detect = true\nflapping_threshold = \"2,1h\""),
];

fn allow_anonymous() {
    v5().begin().expect_connack(0x87);
}

fn acl_nomatch() {
    let mut client = v5().open();
    assert_eq!(client.publish(publish(&unique_topic(), 1, "x")), 0x87);
    assert_eq!(client.subscribe_many(&[(&unique_topic(), 1)], &[]), [0x87]);
}

fn enable_acl() {
    assert!(v5().open().publish(publish(&unique_topic(), 1, "x")) < 0x80);
}

fn acl_deny_action() {
    let mut client = v5().open();
    client.send_publish(&publish(&unique_topic(), 1, "x").id(1));
    client.expect_disconnect(&[0x87]);
}

fn use_username_as_clientid() {
    let name = unique_id();
    let mut first = v5().username(&name).open();
    let _second = v5().username(&name).open();
    first.expect_disconnect(&[0x8E]);
}

/// The Reason Code that a client of this id is answered with.
fn answer(id: &str) -> u8 {
    match v5().id(id).begin().recv() {
        Packet::ConnAck { code, .. } => code,
        other => panic!("CONNACK expected, got {other:?}"),
    }
}

fn flapping() {
    let id = unique_id();
    assert_eq!([(); 3].map(|()| answer(&id)), [0, 0, 0x8A]);
}

fn banned_for_a_while() {
    let id = unique_id();
    assert_eq!([(); 3].map(|()| answer(&id)), [0, 0, 0x8A]);
    let is_back = || {
        elapse(500);
        answer(&id) == 0
    };
    assert!((0..20).any(|_| is_back()));
}
