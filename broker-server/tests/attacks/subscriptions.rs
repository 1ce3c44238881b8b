//! Floods and churn of subscriptions: cases 12 and 19.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::broker::{MB, Target, start};
use crate::client::{unique_id, unique_topic, v5};
use crate::wire::{self, Packet, Prop, V5, publish};

/// 200,000 filters asked for, 1,000 granted; bound 32 MB.
#[test]
fn b12_subscriptions_are_bounded_for_each_client() {
    let mut process = start("[mqtt]\nmax_subscriptions = 1000\n", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    for client in 0..2 {
        let mut attacker = v5().open();
        let mut n_granted = 0;
        for packet in 0..100 {
            let filters: Vec<String> =
                (0..1000).map(|n| format!("{client}/{packet}/+/{n}/#")).collect();
            let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
            let codes = attacker.subscribe_many(&filters, &[]);
            n_granted += codes.iter().filter(|code| **code == 0).count();
            assert!(codes.iter().all(|code| matches!(code, 0 | 0x97)));
        }
        assert_eq!(n_granted, 1000);
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 32 * MB);
    process.assert_serves();
}

/// 8,192 filters match each message, 30 more have 20,000 levels; bound 192 MB.
#[test]
fn b12_deep_and_overlapping_filters_are_merged_in_time() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let mut attacker = v5().open();
    for n in 0..30 {
        attacker.subscribe(&format!("{n}/{}#", "+/".repeat(20_000)), 0);
    }
    // Every way to write a/a/…/a with wildcards, each with a Subscription Identifier.
    let filters: Vec<String> = (0..1 << 13)
        .map(|bits: u32| {
            let level = |n: u32| if bits >> n & 1 == 0 { "a" } else { "+" };
            (0..13).map(level).collect::<Vec<_>>().join("/")
        })
        .collect();
    for (n, part) in filters.chunks(512).enumerate() {
        let part: Vec<_> = part.iter().map(|filter| (filter.as_str(), 0)).collect();
        attacker.subscribe_many(&part, &[Prop::SubscriptionIdentifier(n as u32 + 1)]);
    }
    let topic = ["a"; 13].join("/");
    let mut publisher = v5().open();
    for _ in 0..10 {
        publisher.publish(publish(&topic, 1, "x"));
        assert_eq!(attacker.take().props.subscription_ids().len(), 1 << 13);
        // Voids what was matched before.
        attacker.subscribe("+/void", 0);
    }
    attacker.expect_nothing();
    attacker.disconnect();
    bystanders.assert_fine();
    process.assert_grown_less(before, 192 * MB);
    process.assert_serves();
}

/// Clients that subscribe, unsubscribe and take each other over while messages flood in; bound 96 MB.
#[test]
fn b12_churn_and_take_over_under_a_flood_of_messages() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = process.spawn(move || {
        let mut publisher = v5().open();
        let mut n_unacknowledged = 0;
        for n in 0_u32.. {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let qos = n % 2;
            publisher.send_publish(&publish(&format!("churn/{}", n % 10), qos as u8, "x").id(1));
            n_unacknowledged += qos;
            if n % 100 == 0 {
                // A PINGRESP would not do: acknowledgements that wait for the store come after it, and more of
                // them than Receive Maximum must not be owed.
                (0..std::mem::take(&mut n_unacknowledged)).for_each(|_| {
                    publisher.expect_puback(1);
                });
            }
        }
    });
    let id = unique_id();
    let churners: Vec<_> = (0..3)
        .map(|n| {
            let id = id.clone();
            process.spawn(move || {
                for round in 0..150 {
                    let resumed = v5().id(&id).expiry(60);
                    let resumed = if round % 3 == n { resumed } else { resumed.resume() };
                    let mut client = resumed.begin();
                    let mut bytes = Vec::new();
                    for packet_id in 1..=10 {
                        let filters = [("churn/#", 1), ("churn/+", 0), ("$share/g/churn/#", 2)];
                        bytes.extend(wire::subscribe(V5, packet_id, &filters, &[]));
                        bytes.extend(wire::unsubscribe(
                            V5,
                            packet_id + 10,
                            &["churn/#", "churn/+"],
                        ));
                    }
                    client.try_send(&bytes);
                    // Another may have taken it over before that.
                    while let Some(packet) = client.recv_within(200) {
                        if matches!(
                            packet,
                            Packet::Disconnect { .. } | Packet::UnsubAck { id: 20, .. }
                        ) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for churner in churners {
        churner.join().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    bystanders.assert_fine();
    process.assert_grown_less(before, 96 * MB);
    process.assert_serves();
}

/// 20,000 groups come and go again; bound 64 MB, and half of it is free afterwards.
#[test]
fn b19_groups_of_shared_subscriptions_leave_nothing_behind() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let before = process.peak_bytes();
    for round in 0..3 {
        let mut client = v5().open();
        for part in 0..20 {
            let filters: Vec<String> =
                (0..1000).map(|n| format!("$share/g{round}-{part}-{n}/groups")).collect();
            let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
            assert!(client.subscribe_many(&filters, &[]).iter().all(|code| *code == 0));
        }
        client.disconnect();
    }
    bystanders.assert_fine();
    process.assert_grown_less(before, 64 * MB);
    let mut publisher = v5().open();
    assert_eq!(publisher.publish(publish("groups", 1, "x")), 0x10, "nobody is left");
    process.assert_serves();
}

#[test]
fn b19_a_member_that_leaves_during_delivery_loses_nothing() {
    let mut process = start("[broker]\nshared_dispatch_ack_enabled = true\n", "");
    let bystanders = process.bystanders();
    let topic = unique_topic();
    let filter = format!("$share/g/{topic}");
    let mut faithful = v5().open();
    faithful.subscribe(&filter, 1);
    let mut publisher = v5().open();
    let mut texts = Vec::new();
    for round in 0..20 {
        // It takes messages and acknowledges none.
        let mut leaver = v5().open();
        leaver.subscribe(&filter, 1);
        for n in 0..20 {
            publisher.publish(publish(&topic, 1, format!("{round}/{n}")));
        }
        if round % 2 == 0 {
            leaver.lose()
        } else {
            leaver.disconnect()
        }
        for _ in 0..20 {
            texts.push(faithful.take().text());
        }
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 400, "each message came to the member that stayed");
    bystanders.assert_fine();
    process.assert_serves();
}

/// SUBACK promises: what is published after it comes, whichever thread it is read by.
#[test]
fn f43_a_suback_means_that_every_thread_routes() {
    let mut process = Target::with_node_keys("io_threads = 4\n", "", "");
    let bystanders = process.bystanders();
    let mut publishers: Vec<_> = (0..8).map(|_| v5().open()).collect();
    let mut subscriber = v5().open();
    for n in 0..100 {
        let topic = unique_topic();
        let filter = match n % 4 {
            0 => topic.clone(),
            1 => format!("{topic}/#"),
            2 => topic.replacen("conformance", "+", 1),
            _ => format!("$share/g/{topic}"),
        };
        // Their caches know that nobody wants it.
        for publisher in &mut publishers {
            assert_eq!(publisher.publish(publish(&topic, 1, "early")), 0x10);
        }
        subscriber.subscribe(&filter, 1);
        for publisher in &mut publishers {
            assert_eq!(publisher.publish(publish(&topic, 1, "x")), 0, "{filter}");
            assert_eq!(subscriber.take().text(), "x");
        }
        assert_eq!(subscriber.unsubscribe(&[&filter]), [0]);
        for publisher in &mut publishers {
            assert_eq!(publisher.publish(publish(&topic, 1, "late")), 0x10, "{filter}");
        }
    }
    subscriber.expect_nothing();
    bystanders.assert_fine();
    process.assert_serves();
}
