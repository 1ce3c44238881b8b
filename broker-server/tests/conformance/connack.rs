//! CONNACK (MQTT 5.0, 3.2).

use crate::broker::announced;
use crate::client::{connect, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, Packet, Prop, V5, V31, V311, publish};

tests![
    connect_is_acknowledged_with_success,
    connack_comes_first_and_once,
    reserved_flags_are_zero,
    session_present_follows_the_session,
    session_present_is_zero_in_a_refusal,
    response_information_only_on_request,
    announced_limits_make_sense,
    everything_optional_is_supported,
    refusal_stays_within_maximum_packet_size,
];

/// [MQTT-3.1.4-5], [MQTT311-3.1.4-4]
fn connect_is_acknowledged_with_success() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        assert!(!client.session_present);
        client.ping();
    }
}

/// [MQTT-3.2.0-1], [MQTT-3.2.0-2], [MQTT311-3.2.0-1]
fn connack_comes_first_and_once() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v5().id(&id).expiry(60).open();
    client.subscribe(&topic, 1);
    client.disconnect();
    v5().open().publish(publish(&topic, 1, "waiting"));

    let mut client = v5().id(&id).resume().expiry(60).begin();
    client.send(&wire::PINGREQ);
    assert!(matches!(client.recv(), Packet::ConnAck { session_present: true, code: 0, .. }));
    let mut after = [client.recv(), client.recv()];
    after.sort_by_key(|p| matches!(p, Packet::PingResp));
    assert!(matches!(after[0], Packet::Publish(_)), "{after:?}");
    assert_eq!(after[1], Packet::PingResp);
    let Packet::Publish(queued) = &after[0] else { unreachable!() };
    client.acknowledge(queued);
    client.expect_nothing();
}

/// The reader of the suite refuses other bits and codes in every CONNACK [MQTT-3.2.2-1], [MQTT-3.2.2-8].
fn reserved_flags_are_zero() {
    let id = unique_id();
    v5().id(&id).expiry(60).open().disconnect();
    assert!(v5().id(&id).resume().open().session_present);
}

/// [MQTT-3.2.2-2], [MQTT-3.2.2-3], [MQTT311-3.2.2-1], [MQTT311-3.2.2-2], [MQTT311-3.2.2-3]
fn session_present_follows_the_session() {
    for version in [V311, V5] {
        let id = unique_id();
        let fresh = connect(version).id(&id).resume().expiry(60).open();
        assert!(!fresh.session_present);
        fresh.disconnect();
        let resumed = connect(version).id(&id).resume().expiry(60).open();
        assert!(resumed.session_present);
        resumed.disconnect();
        assert!(!connect(version).id(&id).clean().open().session_present);
    }
}

/// [MQTT-3.2.2-6], [MQTT311-3.2.2-4]
fn session_present_is_zero_in_a_refusal() {
    let id = unique_id();
    v5().id(&id).expiry(60).open().disconnect();
    let mut client =
        v5().id(&id).resume().prop(Prop::AuthenticationMethod("no such method".into())).begin();
    if let Some(packet) = client.recv_within(5000) {
        let Packet::ConnAck { session_present, code, .. } = packet else { panic!("{packet:?}") };
        assert!(!session_present && code >= 0x80, "{code:#04x}");
        client.expect_closed();
    }
}

/// [MQTT-3.1.2-28]
fn response_information_only_on_request() {
    for connect in [v5(), v5().prop(Prop::RequestResponseInformation(0))] {
        let client = connect.open();
        let given = client.props.0.iter().any(|p| matches!(p, Prop::ResponseInformation(_)));
        assert!(!given, "{:?}", client.props);
    }
    v5().prop(Prop::RequestResponseInformation(1)).open().ping();
}

/// MQTT 5.0, 3.2.2.3: Receive Maximum and Maximum Packet Size are not zero, Maximum QoS is 0 or 1.
fn announced_limits_make_sense() {
    let announced = announced();
    assert_ne!(announced.receive_maximum, 0);
    assert_ne!(announced.maximum_packet_size, Some(0));
    assert_eq!(announced.props.assigned_client_id(), None);
}

/// Full support needs no announcement; lack of it must be announced [MQTT-3.2.2-9], [MQTT-3.2.2-10].
fn everything_optional_is_supported() {
    let announced = announced();
    let mut client = v5().open();
    let topic = unique_topic();
    for qos in [0, 1, 2] {
        let codes = client.subscribe_many(&[(&topic, qos)], &[]);
        assert!(codes[0] <= qos, "granted {codes:?} for QoS {qos}");
    }
    if announced.maximum_qos == 2 {
        client.publish(publish(&topic, 2, "x"));
        assert_eq!(client.take().qos, 2);
    }
}

/// [MQTT-3.2.2-19], [MQTT-3.2.2-20]: the client of the suite refuses packets above its Maximum Packet Size.
fn refusal_stays_within_maximum_packet_size() {
    for max in [30, 60, 100] {
        let mut client = v5().prop(Prop::MaximumPacketSize(max)).open();
        client.ping();
    }
    let mut client = v5()
        .prop(Prop::MaximumPacketSize(20))
        .prop(Prop::AuthenticationMethod("no such method".into()))
        .begin();
    client.limit_packets(20);
    client.expect_refused(&[0x8C, 0x87]);
}
