//! Alarms: of clients in trouble, as subscribers hear of them, and over a restart.

use broker_core::config::{BrokerConfig, ZoneConfig};
use broker_core::extension::Extensions;
use broker_core::{Alarm, Report, Severity};

use crate::rig::*;

fn rig_with(change: impl FnOnce(&mut BrokerConfig, &mut ZoneConfig)) -> Rig {
    Rig::build(
        |config, zone| {
            zone.max_mqueue_len = 2;
            change(config, zone);
        },
        Extensions::default(),
        None,
    )
}

impl Rig {
    /// A session without a connection, whose queue takes two messages.
    fn away(&mut self, id: &str) {
        let c = self.join(Hello::v5(id).lasting(1_000));
        self.subscribed(c, "t", Q1);
        self.lose(c);
    }

    fn publish_times(&mut self, c: C, n: u16) {
        (1..=n).for_each(|id| self.publish(c, "t", "x", Q1, id));
        self.run_timers();
    }

    fn up(&self) -> Vec<String> {
        self.broker.alarms().list().into_iter().map(|alarm| alarm.id).collect()
    }

    fn past(&self) -> Vec<String> {
        self.broker.alarms().history().into_iter().map(|past| past.alarm.id).collect()
    }

    fn alarm(&self, id: &str) -> Alarm {
        let alarms = self.broker.alarms().list();
        alarms.into_iter().find(|alarm| alarm.id == id).unwrap_or_else(|| panic!("no alarm {id}"))
    }
}

fn detail<'a>(alarm: &'a Alarm, name: &str) -> &'a str {
    let found = alarm.report.details.iter().find(|(it, _)| it == name);
    found.map(|(_, value)| &**value).unwrap_or_else(|| panic!("{name} in {alarm:?}"))
}

/// `module.slow_subs`: who is kept as slow is an alarm, until it was not slow for a minute.
#[test]
fn a_slow_subscriber_is_an_alarm_until_it_was_not_for_a_minute() {
    let mut rig = rig_with(|_, _| {});
    let p = rig.client("p");
    let s = rig.join(Hello::v5("s").lasting(1_000));
    rig.subscribed(s, "+", Q1);
    let mut id = 0;
    let mut late = |rig: &mut Rig, topic: &str, ms: u64| {
        id += 1;
        rig.publish(p, topic, "x", Q1, 1);
        rig.pass_ms(ms);
        rig.puback(s, id);
        rig.pass_ms(1_000);
    };
    late(&mut rig, "t", 499);
    assert!(rig.up().is_empty());
    late(&mut rig, "t", 700);
    late(&mut rig, "u", 600);
    assert_eq!(rig.up(), ["slow_subscriber/s"]);
    let alarm = rig.alarm("slow_subscriber/s");
    let details = ["client_id", "count", "latency_ms", "topic"].map(|name| detail(&alarm, name));
    assert_eq!(details, ["s", "2", "700", "t"]);
    rig.pass_s(58);
    assert_eq!(rig.up(), ["slow_subscriber/s"]);
    late(&mut rig, "u", 500);
    rig.pass_s(58);
    assert_eq!(detail(&rig.alarm("slow_subscriber/s"), "count"), "3");
    rig.pass_s(2);
    assert!(rig.up().is_empty());
    // It is still listed, and slow once more.
    late(&mut rig, "u", 500);
    assert_eq!(rig.up(), ["slow_subscriber/s"]);
    // Nothing is left of it when an operator starts anew, or the session is over.
    rig.broker.clear_slow_subscriptions();
    rig.pass_s(1);
    assert!(rig.up().is_empty());
    late(&mut rig, "u", 500);
    assert_eq!(rig.up(), ["slow_subscriber/s"]);
    rig.join(Hello::v5("s").clean());
    rig.pass_s(1);
    assert!(rig.up().is_empty());
    assert_eq!(rig.past(), ["slow_subscriber/s"; 3]);
}

#[test]
fn a_queue_that_drops_is_an_alarm_until_it_has_not_for_a_minute() {
    let mut rig = rig_with(|_, _| {});
    let watcher = rig.client("watcher");
    rig.subscribed(watcher, "$SYS/brokers/+/alarms/#", Q0);
    rig.away("s");
    let p = rig.client("p");
    rig.publish_times(p, 2);
    assert!(rig.up().is_empty(), "it is full, and nothing is lost");
    rig.publish_times(p, 3);
    assert_eq!(rig.up(), ["queue_overflow/s"]);
    let alarm = rig.alarm("queue_overflow/s");
    assert_eq!(alarm.report.severity, Severity::Warning);
    assert_eq!(alarm.since_ms, rig.now.wall_ms);
    assert_eq!((detail(&alarm, "client_id"), detail(&alarm, "dropped")), ("s", "3"));
    let [told] = &rig.out(watcher)[..] else { panic!("one message") };
    assert!(told.contains("$SYS/brokers/emqx@127.0.0.1/alarms/queue_overflow/s/alert"), "{told}");
    rig.pass_s(59);
    rig.publish_times(p, 1);
    rig.pass_s(1);
    assert_eq!(detail(&rig.alarm("queue_overflow/s"), "dropped"), "4");
    for _ in 0..59 {
        rig.pass_s(1);
        assert_eq!(rig.up(), ["queue_overflow/s"]);
    }
    rig.pass_s(2);
    assert!(rig.up().is_empty());
    assert_eq!(rig.past(), ["queue_overflow/s"]);
    let [told] = &rig.out(watcher)[..] else { panic!("one message") };
    assert!(told.contains("alarms/queue_overflow/s/clear"), "{told}");
    // It is not noticed once only.
    rig.publish_times(p, 1);
    rig.pass_s(1);
    assert_eq!(rig.up(), ["queue_overflow/s"]);
}

#[test]
fn it_ends_with_its_session() {
    let mut rig = rig_with(|_, _| {});
    rig.away("s");
    let p = rig.client("p");
    rig.publish_times(p, 3);
    let s = rig.hello(Hello::v5("s").clean());
    rig.out(s);
    rig.pass_s(1);
    assert!(rig.up().is_empty());
    assert_eq!(rig.broker.poll_timeout(), None, "nothing is looked after any more");
}

#[test]
fn one_that_was_cleared_by_hand_is_raised_by_the_next_message_that_is_dropped() {
    let mut rig = rig_with(|_, _| {});
    rig.away("s");
    let p = rig.client("p");
    rig.publish_times(p, 3);
    assert!(rig.broker.alarms().clear("queue_overflow/s", rig.now.wall_ms));
    rig.pass_s(5);
    assert!(rig.up().is_empty());
    rig.publish_times(p, 1);
    rig.pass_s(1);
    assert_eq!(rig.up(), ["queue_overflow/s"]);
}

#[test]
fn alarms_that_name_a_client_are_bounded_and_the_others_are_one() {
    let mut rig = rig_with(|config, _| config.alarms.client_alarms_max = 2);
    let names: Vec<_> = (0..30).map(|n| format!("s{n:02}")).collect();
    names.iter().for_each(|name| rig.away(name));
    let p = rig.client("p");
    rig.publish_times(p, 3);
    assert_eq!(rig.up(), ["queue_overflow", "queue_overflow/s00", "queue_overflow/s01"]);
    assert_eq!(detail(&rig.alarm("queue_overflow"), "clients"), "28");
    // One of them is over: another has a place.
    rig.hello(Hello::v5("s00").clean());
    rig.pass_s(1);
    assert_eq!(rig.up().len(), 3);
    assert!(!rig.up().contains(&"queue_overflow/s00".to_owned()));
    rig.pass_s(120);
    assert!(rig.up().is_empty());
    assert_eq!(rig.past().len(), 4);
}

#[test]
fn no_client_is_named_if_there_may_be_no_such_alarm() {
    let mut rig = rig_with(|config, _| config.alarms.client_alarms_max = 0);
    rig.away("s");
    let p = rig.client("p");
    rig.publish_times(p, 3);
    assert_eq!(rig.up(), ["queue_overflow"]);
}

#[test]
fn a_client_id_that_is_a_wildcard_stays_one_level_of_no_filter() {
    let mut rig = rig_with(|_, _| {});
    let watcher = rig.client("watcher");
    rig.subscribed(watcher, "$SYS/brokers/+/alarms/#", Q0);
    rig.away("a+b/#");
    let p = rig.client("p");
    rig.publish_times(p, 3);
    assert_eq!(rig.up(), ["queue_overflow/a+b/#"]);
    let [told] = &rig.out(watcher)[..] else { panic!("one message") };
    assert!(told.contains("alarms/queue_overflow/a%2Bb/%23/alert"), "{told}");
}

/// A client that reads nothing from now on, and has something to read.
fn stalled(rig: &mut Rig) -> C {
    let c = rig.client("slow");
    rig.subscribed(c, "t", Q0);
    rig.out(c);
    rig.socket(c).lock().capacity = 10;
    let p = rig.client("p");
    (0..20).for_each(|_| rig.publish(p, "t", "a payload of some length", Q0, 1));
    rig.run_timers();
    c
}

#[test]
fn a_socket_that_takes_nothing_for_long_is_an_alarm() {
    let mut rig = rig_with(|_, _| {});
    let c = stalled(&mut rig);
    for _ in 0..9 {
        rig.pass_s(1);
        assert!(rig.up().is_empty());
    }
    rig.pass_s(1);
    assert_eq!(rig.up(), ["connection_congestion/slow"]);
    let alarm = rig.alarm("connection_congestion/slow");
    assert!(detail(&alarm, "pending_bytes").parse::<usize>().unwrap() > 100);
    // It reads all.
    rig.socket(c).lock().capacity = usize::MAX;
    rig.writable(c);
    for _ in 0..59 {
        rig.pass_s(1);
        assert_eq!(rig.up().len(), 1);
    }
    rig.pass_s(2);
    assert!(rig.up().is_empty());
    assert_eq!(rig.past(), ["connection_congestion/slow"]);
    // And the next time is noticed too.
    rig.socket(c).lock().capacity = 0;
    let p = rig.client("q");
    rig.publish(p, "t", "x", Q0, 1);
    (0..11).for_each(|_| rig.pass_s(1));
    assert_eq!(rig.up(), ["connection_congestion/slow"]);
}

#[test]
fn a_socket_that_takes_bytes_again_in_time_is_none() {
    let mut rig = rig_with(|_, _| {});
    let c = stalled(&mut rig);
    rig.pass_s(5);
    rig.socket(c).lock().capacity = usize::MAX;
    rig.writable(c);
    (0..100).for_each(|_| rig.pass_s(1));
    assert!(rig.up().is_empty() && rig.past().is_empty());
    assert_eq!(rig.broker.poll_timeout(), None, "nothing is looked after any more");
}

#[test]
fn a_congested_connection_that_ends_is_one_no_longer() {
    let mut rig = rig_with(|_, _| {});
    let c = stalled(&mut rig);
    (0..10).for_each(|_| rig.pass_s(1));
    assert_eq!(rig.up().len(), 1);
    rig.lose(c);
    rig.pass_s(1);
    assert!(rig.up().is_empty());
}

#[test]
fn history_and_what_was_up_survive_a_crash() {
    let mut rig = Rig::durable(|_, _| {});
    let report = Report::new(Severity::Error, "a title", "a summary").with_value("82.5");
    let up_ms = rig.now.wall_ms;
    rig.broker.alarms().raise("first", report.clone(), up_ms);
    rig.broker.alarms().raise("second", report.clone().with_detail("k", "v"), up_ms);
    rig.pass_ms(100);
    rig.broker.alarms().clear("first", rig.now.wall_ms);
    rig.pass_ms(100);
    rig.sync();
    rig.crash_keeping(rig.disk().frames(), 5_000);
    assert!(rig.up().is_empty());
    let history = rig.broker.alarms().history();
    assert_eq!(rig.past(), ["first", "second"]);
    assert_eq!(history[0].alarm.report, report);
    assert_eq!(history[0].cleared_ms, up_ms + 100);
    assert_eq!(history[1].alarm.report, report.with_detail("k", "v"));
    assert_eq!((history[1].alarm.since_ms, history[1].cleared_ms), (up_ms, rig.now.wall_ms));
    // It is still the matter.
    rig.broker.alarms().raise("second", "again", rig.now.wall_ms);
    rig.run_timers();
    rig.sync();
    rig.crash_keeping(rig.disk().frames(), 0);
    assert_eq!(rig.past(), ["first", "second", "second"]);
    rig.broker.alarms().forget_history();
    rig.run_timers();
    rig.sync();
    rig.crash_keeping(rig.disk().frames(), 0);
    assert!(rig.past().is_empty(), "what is forgotten stays so");
}

#[test]
fn the_history_is_bounded_over_restarts_too() {
    let mut rig = Rig::durable(|config, _| config.alarms.history_max = 2);
    for _ in 0..3 {
        rig.broker.alarms().raise("a", "x", rig.now.wall_ms);
        rig.run_timers();
        rig.sync();
        rig.crash_keeping(rig.disk().frames(), 1);
        rig.run_timers();
    }
    assert_eq!(rig.past().len(), 2);
    assert_eq!(rig.broker.settings_len("alarm"), 2);
}
