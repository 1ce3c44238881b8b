//! Messages that are gathered into runs reach everyone, and are counted, as if each had gone by itself.

use broker_codec::{Packet, Property, Publish, Subscribe, SubscriptionRequest};
use broker_core::{Metric, SubscriptionOptions};

use crate::rig::*;

/// Whether runs are gathered: an operator who counts one topic has all messages looked at one by one.
fn world(gathers: bool) -> Rig {
    Rig::build(
        |config, zone| {
            zone.mqueue_store_qos0 = true;
            zone.max_outbox_bytes = 400;
            if !gathers {
                config.topic_metrics = vec!["another".into()];
            }
        },
        Default::default(),
        None,
    )
}

/// Receivers of `t` and `u`, one of each kind there is; the first of them publishes.
fn receivers(rig: &mut Rig) -> Vec<C> {
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
    let mut all = Vec::new();
    for id in ["p", "a", "b", "c"] {
        let c = rig.join(if id == "c" { Hello::v3(id) } else { Hello::v5(id) });
        let options = if id == "p" { no_local } else { SubscriptionOptions::default() };
        for filter in ["t", "+"] {
            rig.subscribe_with(c, filter, options, 0);
        }
        all.push(c);
    }
    let few = rig.join(Hello::v5("few").with(Property::MaximumPacketSize(40)));
    let aliases = rig.join(Hello::v5("aliases").with(Property::TopicAliasMaximum(3)));
    let (identified, old) = (rig.join(Hello::v5("identified")), rig.join(Hello::v3("old")));
    for c in [few, aliases, old] {
        rig.subscribe(c, "#", Q1);
    }
    rig.subscribe_with(identified, "t", SubscriptionOptions::default(), 7);
    let away = rig.join(Hello::v3("away").lasting(1_000));
    rig.subscribe(away, "t", Q1);
    rig.lose(away);
    let slow = rig.join(Hello::v5("slow"));
    rig.subscribe(slow, "#", Q0);
    rig.socket(slow).lock().capacity = 200;
    all.extend([few, aliases, identified, old, slow]);
    for c in &all {
        rig.out(*c);
    }
    all
}

/// The packets of one read of a client: mostly messages of QoS 0, and whatever may come between them.
fn read(rig: &mut Rig, publisher: C, random: &mut impl FnMut(usize) -> usize) {
    for n in 1..=1 + random(12) {
        let topic = if random(8) == 0 { "u" } else { "t" };
        let payload = "x".repeat(random(50)) + &n.to_string();
        let qos1 = publish(topic, &payload, Q1, n as u16);
        let options = SubscriptionOptions::default();
        let packet = match random(20) {
            0 => qos1,
            1 => Packet::PingReq,
            2 => {
                let filters = vec![SubscriptionRequest { filter: "t", options }];
                let properties = broker_codec::Properties::EMPTY;
                Packet::Subscribe(Subscribe { packet_id: packet_id(9), properties, filters })
            }
            3 => Packet::Publish(Publish { retain: true, ..message(topic, &payload, Q0, 0) }),
            _ => publish(topic, &payload, Q0, 0),
        };
        if random(20) == 0 {
            let all = properties(&[Property::ContentType("text")]);
            let with =
                Publish { properties: all.as_properties(), ..message(topic, &payload, Q0, 0) };
            rig.post(publisher, &Packet::Publish(with));
        }
        rig.post(publisher, &packet);
    }
}

/// Everything that can be seen of a world with such reads: what each receives, and every metric.
fn seen(gathers: bool, seed: u64) -> (Vec<Vec<String>>, Vec<(Metric, u64)>) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below
    };
    let mut rig = world(gathers);
    let all = receivers(&mut rig);
    let mut received = vec![Vec::new(); all.len()];
    for _ in 0..6 {
        read(&mut rig, all[random(2)], &mut random);
        rig.feed_all();
        for (lines, c) in received.iter_mut().zip(&all) {
            lines.extend(rig.out(*c));
            rig.writable(*c);
        }
    }
    for (lines, c) in received.iter_mut().zip(&all) {
        lines.extend(rig.out(*c));
    }
    rig.turn.finish();
    let value = |metric: &Metric| (*metric, rig.broker.metrics().value(*metric));
    let metrics = Metric::ALL.iter().map(value).collect();
    (received, metrics)
}

#[test]
fn nobody_sees_that_messages_were_gathered() {
    let reasons = [Metric::DroppedOutboxFull, Metric::DroppedTooLarge, Metric::DroppedNoLocal];
    let mut counts = [0; 3];
    for seed in 0..300 {
        let (received, metrics) = seen(true, seed);
        let (one_by_one, their_metrics) = seen(false, seed);
        assert_eq!(received, one_by_one, "seed {seed}");
        assert_eq!(metrics, their_metrics, "seed {seed}");
        for (count, reason) in counts.iter_mut().zip(reasons) {
            *count += metrics.iter().find(|(metric, _)| *metric == reason).map_or(0, |(_, n)| *n);
        }
    }
    assert!(counts.iter().all(|n| *n > 100), "each reason not to take a run occurs: {counts:?}");
}

/// Many small writes become few large ones: that is what runs are for.
#[test]
fn a_run_is_written_at_once_and_shared() {
    let mut rig = Rig::new();
    let p = rig.client("p");
    let receivers: Vec<_> = (0..4).map(|n| rig.client(&format!("c{n}"))).collect();
    for c in &receivers {
        rig.subscribed(*c, "t", Q0);
    }
    let sent = |rig: &Rig| rig.broker.session("c3").unwrap().connection.unwrap().sent;
    let before = sent(&rig);
    let payload = "x".repeat(100);
    for _ in 0..40 {
        rig.post(p, &publish("t", &payload, Q0, 0));
    }
    rig.feed_all();
    let after = sent(&rig);
    assert_eq!((after.messages - before.messages, after.calls - before.calls), (40, 1));
    for c in receivers {
        assert_eq!(rig.out(c).len(), 40);
    }
}
