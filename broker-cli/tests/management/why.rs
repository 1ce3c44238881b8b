//! `why` of the real broker: what it says of messages between real clients.

use crate::broker::{Broker, Subscriber, eventually};

#[test]
fn the_verdict_comes_first_and_then_the_way() {
    let broker = Broker::start();
    let _dash = Subscriber::start(&broker, "-i dash -q 1 -t site/+/temp");
    let _pub = Subscriber::start(&broker, "-i meter -t none");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 2).then_some(()));
    let ask = "why --from meter --to dash --topic";
    let said = broker.cli(&format!("{ask} site/1/temp"));
    let mut lines = said.lines();
    let first =
        "would_deliver: nothing keeps a message of \"meter\" on \"site/1/temp\" from \"dash\"";
    assert_eq!((lines.next(), lines.next()), (Some(first), Some("")), "{said}");
    let cells = |line: &str| -> Vec<String> {
        line.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(lines.next().map(cells), Some(vec!["CHECK".to_owned(), "RESULT".to_owned()]));
    assert_eq!(lines.next().map(cells), Some(vec!["publisher".to_owned(), "pass".to_owned()]));
    assert!(
        said.contains("\nsubscription   pass    matched by \"site/+/temp\"; QoS 0\n"),
        "{said}"
    );
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("messages for 'dash' so far: "), "{said}");
    assert!(last.contains("delivered 0"), "{said}");

    let no = broker.cli(&format!("{ask} site/1/humidity"));
    let first =
        "no_subscription: none of the 1 subscriptions of \"dash\" matches \"site/1/humidity\"";
    assert_eq!(no.lines().next(), Some(first));
    assert_eq!(broker.json(&format!("{ask} $SYS/x"))["verdict"], "topic_refused");
    broker.fails(&format!("{ask} site/#"), 1, "topic: must be a Topic Name");
    let ctl = broker.cli(&format!("{ask} site/1/temp --qos 1 --format emqx"));
    assert!(ctl.contains("subscription: pass: matched by \"site/+/temp\"; QoS 1"), "{ctl}");
}

#[test]
fn what_waits_and_what_was_lost_is_told() {
    let broker = Broker::start_with("[mqtt]\nmax_mqueue_len = 1\n");
    broker.mqtt("sub -i away -c -q 1 -t t -E");
    let ask = "why --from pub --topic t --to away --qos 1";
    let verdict = || broker.json(ask)["verdict"].as_str().unwrap().to_owned();
    assert_eq!(verdict(), "queued");
    broker.mqtt("pub -i pub -q 1 -t t -m one");
    broker.mqtt("pub -i pub -q 1 -t t -m two");
    let full = broker.json(ask);
    assert_eq!(full["verdict"], "queue_full", "{full}");
    assert_eq!((&full["counts"]["queue_full"], &full["counts"]["queued"]), (&1.into(), &1.into()));
    // The newest waits for it.
    assert_eq!(broker.mqtt("sub -i away -c -q 1 -t t -C 1"), "two\n");
    eventually(|| (verdict() == "queued").then_some(()));
    let none = broker.json("why --from pub --topic t --to nobody");
    assert_eq!(none["verdict"], "no_session");
}

#[test]
fn a_trace_tells_that_it_was_delivered() {
    let broker = Broker::start();
    let mut dash = Subscriber::start(&broker, "-i dash -t t");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 1).then_some(()));
    broker.cli("trace start client dash");
    broker.mqtt("pub -i pub -t t -m one");
    assert_eq!(dash.line(), "one");
    let why = broker.json("why --from pub --topic t --to dash");
    assert_eq!(why["verdict"], "delivered", "{why}");
}
