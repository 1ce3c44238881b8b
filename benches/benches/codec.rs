//! What one packet costs the codec: PUBLISH above all, then CONNECT and acknowledgements.
//!
//! Run with `cargo bench -p broker-benches --bench codec`.

use std::hint::black_box;

use broker_codec::{
    Ack, Connect, Decoder, Packet, PacketId, Properties, PropertiesBuf, Property, ProtocolVersion,
    Publish, PublishFrames, PublishHeader, QoS, ReasonCode, encode_publish,
};
use criterion::{Criterion, criterion_group, criterion_main};

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, version, packet) in &packets() {
        let mut bytes = Vec::new();
        packet.encode(*version, &mut bytes);
        let mut decoder = Decoder::for_client(*version, u32::MAX);
        if matches!(packet, Packet::Connect(_)) {
            decoder = Decoder::for_server(u32::MAX);
        }
        group.bench_function(*name, |b| {
            b.iter(|| black_box(decoder.decode(black_box(&bytes))).is_ok())
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let mut out = Vec::with_capacity(4096);
    for (name, version, packet) in &packets() {
        group.bench_function(*name, |b| {
            b.iter(|| {
                out.clear();
                black_box(packet).encode(*version, &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

/// One delivery of a fan-out: shared frame copied and patched, against written anew.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan_out");
    let header = PublishHeader { qos: QoS::AtLeastOnce, ..PublishHeader::default() };
    let version = ProtocolVersion::V5;
    let mut frames = PublishFrames::default();
    let mut out = Vec::with_capacity(4096);
    group.bench_function("copy and patch", |b| {
        b.iter(|| {
            out.clear();
            let (frame, at) = frames.get(version, black_box(&header), TOPIC, &PAYLOAD);
            out.extend_from_slice(frame);
            let at = at.unwrap_or_default();
            out[at..at + 2].copy_from_slice(&7_u16.to_be_bytes());
            out.len()
        });
    });
    group.bench_function("write anew", |b| {
        b.iter(|| {
            out.clear();
            encode_publish(&mut out, version, black_box(&header), TOPIC, PAYLOAD.len());
            out.extend_from_slice(&PAYLOAD);
            out.len()
        });
    });
    group.finish();
}

fn packets() -> Vec<(&'static str, ProtocolVersion, Packet<'static>)> {
    use ProtocolVersion::{V3_1_1, V5};
    let mut properties = PropertiesBuf::new();
    properties.push(Property::ContentType("application/json"));
    properties.push(Property::CorrelationData(&[1; 8]));
    properties.push(Property::UserProperty("region", "eu-north"));
    let properties = Properties::from_validated(properties.into_vec().leak());
    let ack = Ack {
        packet_id: PacketId::MIN,
        reason_code: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    let refused = Ack { reason_code: ReasonCode::NotAuthorized, ..ack.clone() };
    vec![
        ("publish v3.1.1 qos 0", V3_1_1, publish(QoS::AtMostOnce, Properties::EMPTY)),
        ("publish v3.1.1 qos 1", V3_1_1, publish(QoS::AtLeastOnce, Properties::EMPTY)),
        ("publish v5 qos 0", V5, publish(QoS::AtMostOnce, Properties::EMPTY)),
        ("publish v5 qos 1", V5, publish(QoS::AtLeastOnce, Properties::EMPTY)),
        ("publish v5 qos 1 with properties", V5, publish(QoS::AtLeastOnce, properties)),
        ("connect v3.1.1", V3_1_1, connect(V3_1_1)),
        ("connect v5", V5, connect(V5)),
        ("puback v3.1.1", V3_1_1, Packet::PubAck(ack.clone())),
        ("puback v5", V5, Packet::PubAck(ack)),
        ("puback v5 refused", V5, Packet::PubAck(refused)),
    ]
}

fn publish(qos: QoS, properties: Properties<'static>) -> Packet<'static> {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
        properties,
        payload: &PAYLOAD,
    })
}

fn connect(version: ProtocolVersion) -> Packet<'static> {
    Packet::Connect(Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive_s: 60,
        properties: Properties::EMPTY,
        client_id: "sensor-4711",
        will: None,
        username: Some("sensor"),
        password: Some(b"secret"),
    })
}

const TOPIC: &str = "plant/7/line/3/sensor/4711/temperature";
static PAYLOAD: [u8; 256] = [b'x'; 256];

criterion_group!(benches, decode, encode, fan_out);
criterion_main!(benches);
