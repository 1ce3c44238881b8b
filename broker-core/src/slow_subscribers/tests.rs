//! Who is slow, who makes room, who is forgotten.

use super::*;

const CONFIG: SlowSubscribersConfig = SlowSubscribersConfig {
    enabled: true,
    threshold_ms: 500,
    top_k: 3,
    expire_interval_ms: 10_000,
};

const START: Now = Now { mono_ms: 1_000, us: 0, wall_ms: 1_700_000_000_000 };

fn tell(slow: &SlowSubscribers, now: Now, notes: &[(&str, &str, u64)]) {
    let notes = notes.iter().map(|(client_id, topic, ms)| LateAck {
        session: 1,
        client_id: ClientId::from(*client_id),
        topic: Arc::from(*topic),
        latency_us: ms * 1000,
    });
    slow.tell(notes, now, |_, _| ());
}

#[track_caller]
fn check(slow: &SlowSubscribers, now: Now, expected: &[&str]) {
    let show = |it: SlowSubscription| {
        let at_ms = it.last_at_ms - START.wall_ms;
        format!("{} {} {}ms x{} +{at_ms}", it.client_id, it.topic, it.latency_us / 1000, it.count)
    };
    let list: Vec<_> = slow.list(now).into_iter().map(show).collect();
    assert_eq!(list, expected);
}

#[test]
fn the_threshold_is_slow_already() {
    let slow = SlowSubscribers::new(CONFIG);
    assert!(slow.is_slow(500_000) && !slow.is_slow(499_999));
}

#[test]
fn nothing_is_slow_while_it_is_off() {
    let off = SlowSubscribers::new(SlowSubscribersConfig { enabled: false, ..CONFIG });
    let none = SlowSubscribers::new(SlowSubscribersConfig { top_k: 0, ..CONFIG });
    assert!(!off.is_slow(u64::MAX - 1) && !none.is_slow(u64::MAX - 1));
}

#[test]
fn each_client_and_topic_stands_once_with_its_slowest() {
    let slow = SlowSubscribers::new(CONFIG);
    tell(&slow, START, &[("a", "t", 700), ("a", "u", 500), ("a", "t", 900)]);
    tell(&slow, START.plus_ms(20), &[("a", "t", 600), ("b", "t", 900)]);
    check(&slow, START.plus_ms(20), &["a t 900ms x3 +20", "b t 900ms x1 +20", "a u 500ms x1 +0"]);
    slow.clear();
    check(&slow, START, &[]);
}

#[test]
fn the_quickest_makes_room_for_a_slower_one_and_for_no_other() {
    let slow = SlowSubscribers::new(CONFIG);
    tell(&slow, START, &[("a", "t", 600), ("b", "t", 800), ("c", "t", 700)]);
    tell(&slow, START, &[("d", "t", 600), ("e", "t", 501)]);
    check(&slow, START, &["b t 800ms x1 +0", "c t 700ms x1 +0", "a t 600ms x1 +0"]);
    tell(&slow, START, &[("d", "t", 601)]);
    check(&slow, START, &["b t 800ms x1 +0", "c t 700ms x1 +0", "d t 601ms x1 +0"]);
}

#[test]
fn who_is_quick_again_is_forgotten() {
    let slow = SlowSubscribers::new(CONFIG);
    tell(&slow, START, &[("a", "t", 5_000), ("b", "t", 6_000)]);
    tell(&slow, START.plus_ms(5_000), &[("b", "t", 500), ("c", "t", 600)]);
    check(
        &slow,
        START.plus_ms(9_999),
        &["b t 6000ms x2 +5000", "a t 5000ms x1 +0", "c t 600ms x1 +5000"],
    );
    check(&slow, START.plus_ms(10_000), &["b t 6000ms x2 +5000", "c t 600ms x1 +5000"]);
    // It has its place no more, however slow it was.
    tell(&slow, START.plus_ms(10_000), &[("d", "t", 550)]);
    check(
        &slow,
        START.plus_ms(10_000),
        &["b t 6000ms x2 +5000", "c t 600ms x1 +5000", "d t 550ms x1 +10000"],
    );
    // And one that is slow once more begins anew.
    let later = START.plus_ms(30_000);
    tell(&slow, later, &[("b", "t", 510)]);
    check(&slow, later, &["b t 510ms x1 +30000"]);
}

#[test]
fn other_settings_count_at_once() {
    let slow = SlowSubscribers::new(CONFIG);
    tell(&slow, START, &[("a", "t", 600), ("b", "t", 800), ("c", "t", 700)]);
    slow.configure(&SlowSubscribersConfig { threshold_ms: 50, top_k: 2, ..CONFIG });
    assert!(slow.is_slow(50_000) && !slow.is_slow(49_999));
    check(&slow, START, &["b t 800ms x1 +0", "c t 700ms x1 +0"]);
    tell(&slow, START, &[("d", "t", 750)]);
    check(&slow, START, &["b t 800ms x1 +0", "d t 750ms x1 +0"]);
    slow.configure(&SlowSubscribersConfig { enabled: false, ..CONFIG });
    assert!(!slow.is_slow(u64::MAX - 1));
    // A pass that has noted something before it was switched off.
    tell(&slow, START, &[("e", "t", 900)]);
    check(&slow, START, &[]);
}
