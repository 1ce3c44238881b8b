//! Delayed messages across a crash.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::client::{elapse, v5};
use crate::wire::{Packet, publish};

#[test]
fn a_delayed_message_comes_once_and_at_its_time() {
    let mut broker = Broker::new(&[]);
    let mut subscriber = v5().id("late").expiry(100).open();
    subscriber.subscribe("later", 1);
    let began = Instant::now();
    v5().open().publish(publish("$delayed/3/later", 1, "now"));
    broker.crash();
    let mut subscriber = v5().id("late").resume().expiry(100).open();
    let Some(Packet::Publish(message)) = subscriber.recv_within(5_000) else {
        panic!("it did not come within 5 s");
    };
    let took = began.elapsed();
    assert_eq!((message.topic.as_str(), message.text().as_str()), ("later", "now"));
    // Times are kept in milliseconds, and timers may be a little late.
    assert!(took > Duration::from_millis(2_900) && took < Duration::from_secs(5), "{took:?}");
    subscriber.acknowledge(&message);
    broker.settle();
    broker.crash();
    let mut subscriber = v5().id("late").resume().expiry(100).open();
    assert!(subscriber.session_present);
    elapse(300);
    subscriber.expect_nothing();
}

#[test]
fn what_was_due_while_the_broker_was_down_comes_after_its_start() {
    let mut broker = Broker::new(&[]);
    let mut subscriber = v5().id("late").expiry(100).open();
    subscriber.subscribe("later/#", 2);
    let mut publisher = v5().open();
    publisher.publish(publish("$delayed/1/later/a", 2, "a"));
    publisher.publish(publish("$delayed/200/later/b", 1, "b"));
    broker.kill();
    elapse(1_200);
    broker.restart();
    let mut subscriber = v5().id("late").resume().expiry(100).open();
    assert_eq!(subscriber.take().text(), "a");
    subscriber.expect_nothing();
}
