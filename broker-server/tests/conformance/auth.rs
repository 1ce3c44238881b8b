//! AUTH and enhanced authentication (MQTT 5.0, 3.15, 4.12), with SCRAM-SHA-256 where the broker is ours.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use crate::broker::{ALICES_PASSWORD, Bystanders, is_ours, need};
use crate::client::{Client, connect, raw, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, Packet, Prop, Props, V5, V31, V311, publish};

tests![
    unknown_method_is_refused,
    nothing_is_processed_after_the_refusal,
    auth_without_method_is_a_protocol_error,
    auth_before_connect_is_refused,
    auth_before_5_0_is_refused,
    authentication_data_without_method_is_refused,
    no_method_is_announced_unasked,
    flags_are_checked,
    unknown_reason_code_is_refused,
    scram_lets_in_who_proves_to_know_the_password,
    scram_refuses_the_rest,
    unknown_users_are_challenged_alike,
    auth_keeps_to_the_maximum_packet_size,
    nothing_but_auth_may_come_within_the_exchange,
    a_connected_client_may_authenticate_again,
    a_failed_re_authentication_closes,
    re_authentication_names_the_same_method,
];

fn method(name: &str) -> Prop {
    Prop::AuthenticationMethod(name.into())
}

/// [MQTT-4.12.0-1], [MQTT-4.12.0-4]
fn unknown_method_is_refused() {
    for name in ["no such method", "", "\u{1F512}"] {
        let mut client = v5().prop(method(name)).begin();
        client.expect_refused(&[0x8C, 0x87]);
        let mut client =
            v5().prop(method(name)).prop(Prop::AuthenticationData(vec![1, 2, 3])).begin();
        client.expect_refused(&[0x8C, 0x87]);
    }
}

/// [MQTT-3.1.4-6]
fn nothing_is_processed_after_the_refusal() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    let mut bytes = v5().prop(method("no such method")).encode();
    bytes.extend(publish(&topic, 0, "never").encode(V5));
    let mut client = raw(V5);
    client.send(&bytes);
    client.expect_refused(&[0x8C, 0x87]);
    watcher.expect_nothing();
}

/// [MQTT-4.12.0-7] as seen by the Server.
fn auth_without_method_is_a_protocol_error() {
    for packet in [
        wire::auth(0x19, &[method("m")]),
        wire::auth(0x18, &[method("m"), Prop::AuthenticationData(vec![0])]),
        wire::auth(0x00, &[]),
        wire::frame(0xF0, b""),
    ] {
        let mut client = v5().open();
        client.send(&packet);
        client.expect_disconnect(&[0x82]);
    }
}

/// [MQTT-3.1.0-1]
fn auth_before_connect_is_refused() {
    let mut client = raw(V5);
    client.send(&wire::auth(0x18, &[method("m")]));
    client.expect_closed();
}

/// MQTT 3.1.1, table 2.1: packet type 15 is forbidden.
fn auth_before_5_0_is_refused() {
    for version in [V31, V311] {
        for packet in [wire::auth(0x18, &[method("m")]), wire::frame(0xF0, b"")] {
            let mut client = connect(version).open();
            client.send(&packet);
            client.expect_closed();
        }
    }
}

/// MQTT 5.0, 3.1.2.11.10: a Protocol Error.
fn authentication_data_without_method_is_refused() {
    let mut client = v5().prop(Prop::AuthenticationData(vec![1, 2, 3])).begin();
    client.expect_refused(&[0x81, 0x82]);
}

/// [MQTT-4.12.0-6]
fn no_method_is_announced_unasked() {
    let client = v5().open();
    let named = |p: &Prop| matches!(p, Prop::AuthenticationMethod(_) | Prop::AuthenticationData(_));
    assert!(!client.props.0.iter().any(named), "{:?}", client.props);
}

/// [MQTT-3.15.1-1]
fn flags_are_checked() {
    for flags in [1, 2, 4, 8, 15] {
        let mut client = v5().open();
        let mut packet = wire::auth(0x19, &[method("m")]);
        packet[0] |= flags;
        client.send(&packet);
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// [MQTT-3.15.2-1] as seen by the Server.
fn unknown_reason_code_is_refused() {
    for code in [0x01, 0x17, 0x1A, 0x80, 0xFF] {
        let mut client = v5().open();
        client.send(&wire::auth(code, &[method("m")]));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

const SCRAM: &str = "SCRAM-SHA-256";
const GS2_HEADER: &str = "n,,";

/// The client's side of RFC 5802.
struct Scram {
    first_bare: String,
    password: String,
    /// `ServerSignature` to expect.
    server_final: String,
}

impl Scram {
    fn new(user: &str, password: &str) -> Self {
        let first_bare = format!("n={user},r={}", unique_id());
        Self { first_bare, password: password.into(), server_final: String::new() }
    }

    fn first(&self) -> Prop {
        Prop::AuthenticationData(format!("{GS2_HEADER}{}", self.first_bare).into())
    }

    /// The answer to the server's first message.
    fn last(&mut self, server_first: &str) -> Prop {
        let field =
            |name: &str| server_first.split(',').find_map(|f| f.strip_prefix(name)).unwrap();
        let salt = BASE64.decode(field("s=")).unwrap();
        let iterations: NonZeroU32 = field("i=").parse().unwrap();
        assert!(iterations.get() >= 4096, "RFC 7677, 4");
        assert!(field("r=").starts_with(self.first_bare.split("r=").last().unwrap()));
        let mut salted = [0; 32];
        let password = self.password.as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted);
        let mac = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        };
        let client_key = mac(&salted, "Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let without_proof = format!("c={},r={}", BASE64.encode(GS2_HEADER), field("r="));
        let message = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = mac(stored_key.as_ref(), &message);
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(a, b)| a ^ b).collect();
        let server_key = mac(&salted, "Server Key");
        let server_signature = mac(server_key.as_ref(), &message);
        self.server_final = format!("v={}", BASE64.encode(server_signature.as_ref()));
        Prop::AuthenticationData(format!("{without_proof},p={}", BASE64.encode(proof)).into())
    }
}

fn need_scram() {
    need(is_ours(), "a user of SCRAM-SHA-256 that the suite knows");
}

fn data(props: &Props) -> String {
    let data = props.find(|p| match p {
        Prop::AuthenticationData(data) => Some(data.clone()),
        _ => None,
    });
    String::from_utf8(data.unwrap_or_default()).unwrap()
}

/// AUTH with this Reason Code; its data. [MQTT-4.12.0-2], [MQTT-4.12.0-5]
#[track_caller]
fn expect_auth(client: &mut Client, want: u8) -> String {
    match client.recv() {
        Packet::Auth { code, props } => {
            assert_eq!(code, want, "Reason Code of AUTH");
            assert!(props.0.contains(&method(SCRAM)), "{props:?}");
            data(&props)
        }
        other => panic!("AUTH expected, got {other:?}"),
    }
}

/// CONNECT and the server's first message.
#[track_caller]
fn challenged(scram: &Scram) -> (Client, String) {
    let mut client = v5().prop(method(SCRAM)).prop(scram.first()).begin();
    let server_first = expect_auth(&mut client, 0x18);
    (client, server_first)
}

/// A client of alice, connected.
#[track_caller]
fn alice() -> Client {
    let mut scram = Scram::new("alice", ALICES_PASSWORD);
    let (mut client, server_first) = challenged(&scram);
    client.send(&wire::auth(0x18, &[method(SCRAM), scram.last(&server_first)]));
    client.expect_connack(0);
    assert!(client.props.0.contains(&method(SCRAM)), "{:?}", client.props);
    assert_eq!(data(&client.props), scram.server_final, "the server proves itself too");
    client
}

/// AUTH with 0x19 and the exchange that follows, up to the client's final message.
#[track_caller]
fn re_authenticate(client: &mut Client, scram: &mut Scram) {
    client.send(&wire::auth(0x19, &[method(SCRAM), scram.first()]));
    let server_first = expect_auth(client, 0x18);
    client.send(&wire::auth(0x18, &[method(SCRAM), scram.last(&server_first)]));
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-5], [MQTT-3.15.2-1]
fn scram_lets_in_who_proves_to_know_the_password() {
    need_scram();
    let mut client = alice();
    let topic = unique_topic();
    client.subscribe(&topic, 1);
    assert_eq!(client.publish(publish(&topic, 1, "hello")), 0);
    assert_eq!(client.take().text(), "hello");
}

/// [MQTT-4.12.0-4]
fn scram_refuses_the_rest() {
    need_scram();
    let mut bystanders = Bystanders::new();
    for (user, password) in
        [("alice", "wrong"), ("nobody", ALICES_PASSWORD), ("bob", ALICES_PASSWORD)]
    {
        let mut scram = Scram::new(user, password);
        let (mut client, server_first) = challenged(&scram);
        client.send(&wire::auth(0x18, &[method(SCRAM), scram.last(&server_first)]));
        client.expect_refused(&[0x86]);
    }
    // A proof of another exchange.
    let mut scram = Scram::new("alice", ALICES_PASSWORD);
    let (_first, server_first) = challenged(&scram);
    let replayed = scram.last(&server_first);
    let (mut client, _) = challenged(&scram);
    client.send(&wire::auth(0x18, &[method(SCRAM), replayed]));
    client.expect_refused(&[0x87]);
    for message in ["", "n", "p=tls-unique,,n=alice,r=x", "n,a=bob,n=alice,r=x", "\u{0}"] {
        let data = Prop::AuthenticationData(message.into());
        let mut client = v5().prop(method(SCRAM)).prop(data).begin();
        client.expect_refused(&[0x87]);
    }
    bystanders.exchange();
}

fn unknown_users_are_challenged_alike() {
    need_scram();
    let challenge = |user: &str| {
        let (_client, server_first) = challenged(&Scram::new(user, ""));
        server_first.split_once(",s=").unwrap().1.to_owned()
    };
    assert_eq!(challenge("nobody"), challenge("nobody"), "the same salt each time");
    assert_eq!(challenge("nobody").len(), challenge("alice").len());
    assert_ne!(challenge("nobody"), challenge("somebody"));
}

/// [MQTT-3.15.2-2], [MQTT-3.15.2-3]
fn auth_keeps_to_the_maximum_packet_size() {
    need_scram();
    let scram = Scram::new("alice", ALICES_PASSWORD);
    let connect = v5().prop(Prop::MaximumPacketSize(160)).prop(method(SCRAM)).prop(scram.first());
    let mut client = connect.begin();
    client.limit_packets(160);
    match client.recv() {
        Packet::Auth { props, .. } => {
            let spoken = |p: &Prop| matches!(p, Prop::ReasonString(_) | Prop::UserProperty(..));
            assert!(!props.0.iter().any(spoken), "{props:?}");
        }
        other => panic!("AUTH expected, got {other:?}"),
    }
}

/// [MQTT-3.1.2-30]
fn nothing_but_auth_may_come_within_the_exchange() {
    need_scram();
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 0);
    for packet in [
        publish(&topic, 0, "never").encode(V5),
        wire::PINGREQ.to_vec(),
        wire::subscribe(V5, 1, &[("#", 0)], &[]),
        v5().encode(),
        wire::auth(0x19, &[method(SCRAM)]),
        wire::auth(0x18, &[method("another")]),
        wire::auth(0x18, &[]),
    ] {
        let (mut client, _) = challenged(&Scram::new("alice", ALICES_PASSWORD));
        client.send(&packet);
        client.expect_closed();
    }
    watcher.expect_nothing();
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-5]
fn a_connected_client_may_authenticate_again() {
    need_scram();
    let mut client = alice();
    let topic = unique_topic();
    client.subscribe(&topic, 0);
    let mut scram = Scram::new("alice", ALICES_PASSWORD);
    client.send(&wire::auth(0x19, &[method(SCRAM), scram.first()]));
    let server_first = expect_auth(&mut client, 0x18);
    // MQTT 5.0, 4.12.1: other packets flow on meanwhile.
    client.publish(publish(&topic, 0, "meanwhile"));
    assert_eq!(client.take().text(), "meanwhile");
    client.send(&wire::auth(0x18, &[method(SCRAM), scram.last(&server_first)]));
    assert_eq!(expect_auth(&mut client, 0x00), scram.server_final);
    client.ping();
}

/// [MQTT-4.12.1-2]
fn a_failed_re_authentication_closes() {
    need_scram();
    for (user, password) in [("alice", "wrong"), ("nobody", "x"), ("bob", "builder")] {
        let mut client = alice();
        re_authenticate(&mut client, &mut Scram::new(user, password));
        client.expect_disconnect(&[0x87]);
    }
    let mut client = alice();
    client.send(&wire::auth(0x18, &[method(SCRAM)]));
    client.expect_disconnect(&[0x82]);
    let mut client = alice();
    client.send(&wire::auth(0x19, &[method(SCRAM), Prop::AuthenticationData(b"x".into())]));
    client.expect_disconnect(&[0x87]);
}

/// [MQTT-4.12.1-1] as seen by the Server.
fn re_authentication_names_the_same_method() {
    need_scram();
    let mut client = alice();
    client.send(&wire::auth(0x19, &[method("another")]));
    client.expect_disconnect(&[0x82]);
}
