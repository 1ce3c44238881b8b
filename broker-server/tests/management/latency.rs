//! How long deliveries take: the histograms of `GET /metrics`, and `slow_subscriptions`.

use serde_json::{Value, json};

use crate::broker::{Broker, NODE, eventually};
use crate::client::{elapse, v5, v311};
use crate::http::{Api, keys};
use crate::wire::publish;

const ROUTING: &str = "mqtt_publish_routing_seconds";
const ACKNOWLEDGEMENT: &str = "mqtt_delivery_acknowledgement_seconds";

/// Upper bounds and counts of a histogram as it stands in the text, then its sum and count.
fn histogram(api: &Api, name: &str) -> (Vec<(String, u64)>, f64, u64) {
    let text = api.curl(&[], "/metrics");
    assert!(text.contains(&format!("# TYPE {name} histogram\n")), "{text}");
    let value = |line: &str| line.rsplit(' ').next().expect("a value").to_owned();
    let line = |part: &str| {
        let start = format!("{name}_{part} ");
        value(text.lines().find(|line| line.starts_with(&start)).expect("it is told"))
    };
    let start = format!("{name}_bucket{{le=\"");
    let buckets = text.lines().filter_map(|line| {
        let (bound, _) = line.strip_prefix(&start)?.split_once('"')?;
        Some((bound.to_owned(), value(line).parse().expect("a whole number")))
    });
    let (sum, count) = (line("sum").parse().unwrap(), line("count").parse().unwrap());
    (buckets.collect(), sum, count)
}

#[test]
fn latencies_are_told_as_histograms() {
    let broker = Broker::start();
    let api = broker.api();
    for name in [ROUTING, ACKNOWLEDGEMENT] {
        let (buckets, sum, count) = histogram(&api, name);
        assert_eq!((buckets.len(), sum, count), (22, 0.0, 0), "{name}");
        assert_eq!((&*buckets[0].0, &*buckets[21].0), ("0.00001", "+Inf"));
    }
    let (mut publisher, mut subscriber) = (v5().open(), v311().open());
    subscriber.subscribe("t", 2);
    publisher.publish(publish("t", 0, b"not acknowledged"));
    publisher.publish(publish("t", 1, b"at once"));
    publisher.publish(publish("t", 2, b"late"));
    subscriber.take();
    subscriber.take();
    let late = subscriber.expect_publish();
    elapse(120);
    subscriber.acknowledge(&late);
    let (buckets, sum, _) = eventually(|| {
        let told = histogram(&api, ACKNOWLEDGEMENT);
        (told.2 == 2).then_some(told)
    });
    let up_to = |bound: &str| buckets.iter().find(|(b, _)| b == bound).expect("a bucket").1;
    assert!(up_to("0.1") <= 1, "one took longer: {buckets:?}");
    assert_eq!(up_to("+Inf"), 2);
    assert!(buckets.is_sorted_by_key(|(_, n)| *n), "they are cumulative: {buckets:?}");
    assert!((0.120..20.0).contains(&sum), "{sum}");
    let (buckets, sum, count) = histogram(&api, ROUTING);
    assert_eq!((count, buckets[21].1), (3, 3));
    // A pass that took no time would be one that nobody has measured.
    assert!(sum > 0.0 && sum < 20.0, "{sum}");
}

#[test]
fn who_acknowledges_late_is_listed() {
    let broker = Broker::start_with(&[("module.slow_subs.threshold", "\"50ms\"")]);
    let api = broker.api();
    assert_eq!(api.data("slow_subscriptions"), json!([{"node": NODE, "slow_subscriptions": []}]));
    let mut publisher = v5().open();
    let (mut slow, mut slower) = (v311().id("slow/1").open(), v5().id("slower").open());
    for (client, qos) in [(&mut slow, 1), (&mut slower, 2)] {
        client.subscribe("#", qos);
    }
    publisher.publish(publish("plant/1", 2, b"x"));
    let (first, second) = (slow.expect_publish(), slower.expect_publish());
    elapse(60);
    slow.acknowledge(&first);
    // It is known before the other may answer.
    let own = format!("nodes/{NODE}/slow_subscriptions");
    eventually(|| (api.rows(&own).len() == 1).then_some(()));
    elapse(30);
    slower.acknowledge(&second);
    let rows = eventually(|| Some(api.rows(&own)).filter(|rows| rows.len() == 2));
    assert_eq!(keys(&rows[0]), ["client_id", "count", "last_at", "latency_ms", "topic"]);
    let shown =
        |row: &Value| [row["client_id"].clone(), row["topic"].clone(), row["count"].clone()];
    assert_eq!(shown(&rows[0]), [json!("slower"), json!("plant/1"), json!(1)]);
    assert_eq!(shown(&rows[1]), [json!("slow/1"), json!("plant/1"), json!(1)]);
    assert!(rows[0]["latency_ms"].as_u64() >= Some(90), "{rows:?}");
    assert!(rows[1]["latency_ms"].as_u64() >= Some(60), "{rows:?}");
    assert_eq!(rows[0]["last_at"].as_str().map(str::len), Some(19));
    assert!(api.curl(&[], "/metrics").contains("\nmqtt_slow_subscriptions 2\n"));
    let listed = api.data("slow_subscriptions");
    assert_eq!(listed[0]["slow_subscriptions"], json!(rows));
    let alarms = || {
        let alarms = api.rows(&format!("alarms/present/{NODE}"));
        let ids = alarms.iter().map(|alarm| alarm["id"].as_str().expect("a text").to_owned());
        ids.filter(|id| id.starts_with("slow_subscriber")).collect::<Vec<_>>()
    };
    eventually(|| (alarms() == ["slow_subscriber/slow/1", "slow_subscriber/slower"]).then_some(()));

    assert_eq!(api.curl(&["-X", "DELETE"], "slow_subscriptions"), r#"{"code":0}"#);
    eventually(|| alarms().is_empty().then_some(()));
    assert_eq!(api.data(&own), json!([]));
    let other = api.call("GET", "nodes/x/slow_subscriptions", "");
    assert_eq!((other.status, &other.json()["message"]), (404, &json!("node x not found")));
}

#[test]
fn nobody_is_slow_while_that_is_off_and_from_when_it_is_on() {
    let off = [("module.slow_subs.enabled", "false"), ("module.slow_subs.threshold", "\"1ms\"")];
    let broker = Broker::start_with(&off);
    let api = broker.api();
    let mut client = v5().open();
    client.subscribe("t", 1);
    client.send_publish(&publish("t", 1, b"x").id(1));
    let mut publisher = v5().open();
    publisher.publish(publish("t", 1, b"y"));
    elapse(20);
    while histogram(&api, ACKNOWLEDGEMENT).2 < 2 {
        if let Some(crate::wire::Packet::Publish(message)) = client.recv_within(100) {
            client.acknowledge(&message);
        }
    }
    let own = format!("nodes/{NODE}/slow_subscriptions");
    assert_eq!(api.data(&own), json!([]));
    // And from when it is on.
    let on = json!({"key": "module.slow_subs.enabled", "value": "true"});
    api.put("configs/module", &on);
    client.subscribe("u", 1);
    publisher.publish(publish("u", 1, b"z"));
    let message = client.expect_publish();
    elapse(20);
    client.acknowledge(&message);
    let rows = eventually(|| Some(api.rows(&own)).filter(|rows| !rows.is_empty()));
    assert_eq!(rows[0]["topic"], "u");
}
