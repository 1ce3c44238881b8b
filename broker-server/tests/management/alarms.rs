//! `alarms`: raised by what really is the matter, told to subscribers, and remembered.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::broker::{Broker, Keys, NODE, eventually, wait_until};
use crate::client::{tcp_to, v5, v311};
use crate::http::{Api, keys};
use crate::mosquitto::Mosquitto;
use crate::wire::publish;

const ALARM: [&str; 7] = ["desc", "details", "id", "severity", "summary", "timestamp", "title"];

/// Every machine is so busy, and stays so.
const BUSY: Keys<'_> = &[
    ("os_mon.cpu_check_interval", "\"100ms\""),
    ("os_mon.cpu_high_watermark", "\"0%\""),
    ("os_mon.cpu_low_watermark", "\"0%\""),
];

fn present(api: &Api) -> Vec<Value> {
    without_slow_disks(&api.data(&format!("alarms/present/{NODE}")))
}

fn history(api: &Api) -> Vec<Value> {
    without_slow_disks(&api.data(&format!("alarms/history/{NODE}")))
}

/// The disk of a test may be slow, which is true and of no interest here.
fn without_slow_disks(alarms: &Value) -> Vec<Value> {
    let alarms = alarms.as_array().unwrap().iter();
    alarms.filter(|alarm| alarm["id"] != "store_slow").cloned().collect()
}

/// The alarm of this name, once it is up.
#[track_caller]
fn alarm(api: &Api, id: &str) -> Value {
    eventually(|| present(api).into_iter().find(|alarm| alarm["id"] == id))
}

/// Waits until it is over.
#[track_caller]
fn over(api: &Api, id: &str) -> Value {
    eventually(|| history(api).into_iter().find(|alarm| alarm["id"] == id))
}

fn clear(api: &Api, id: &str) {
    api.call("DELETE", &format!("alarms/present/{NODE}/{id}"), "").success();
}

fn number(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

#[test]
fn without_trouble_there_are_none() {
    let broker = Broker::start();
    let api = broker.api();
    for path in ["alarms/present", "alarms"] {
        assert_eq!(api.data(path), json!([{ "node": NODE, "alarms": [] }]));
    }
    for path in [format!("alarms/present/{NODE}"), format!("alarms/{NODE}")] {
        assert_eq!(api.data(&path), json!([]));
    }
    assert_eq!(api.data("alarms/history"), json!([{ "node": NODE, "alarms": [] }]));
    assert_eq!(api.data(&format!("alarms/history/{NODE}")), json!([]));
    let unknown = api.call("DELETE", &format!("alarms/present/{NODE}/none"), "");
    assert_eq!(unknown.json(), json!({ "code": 102, "message": "not_found" }));
    for path in ["alarms/present/x", "alarms/history/x"] {
        let answer = api.call("GET", path, "");
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json(), json!({ "code": 102, "message": "node x not found" }));
    }
}

#[test]
fn busy_processors_are_the_alarm_that_the_document_shows() {
    let broker = Broker::start_with(BUSY);
    let api = broker.api();
    let found = alarm(&api, "cpu_high_watermark");
    assert_eq!(keys(&found), ALARM);
    let busy = number(&found["desc"]);
    assert!((0.0..=100.0).contains(&busy) && found["desc"].as_str().unwrap().contains('.'));
    assert_eq!(
        (&found["severity"], &found["title"]),
        (&json!("warning"), &json!("high CPU usage"))
    );
    assert_eq!(found["timestamp"].as_str().unwrap().len(), "2019-07-10 16:54:35".len());
    assert_eq!(found["details"]["high_watermark"], "0%");
    let listed = api.data("alarms/present");
    assert_eq!((&listed[0]["node"], &listed[0]["alarms"][0]["id"]), (&json!(NODE), &found["id"]));

    clear(&api, "cpu_high_watermark");
    let past = over(&api, "cpu_high_watermark");
    assert_eq!(keys(&past), [&["clear_at"][..], &ALARM[..]].concat());
    assert!(past["clear_at"].as_str() >= past["timestamp"].as_str());
    // It is still the matter.
    alarm(&api, "cpu_high_watermark");
    api.call("DELETE", &format!("alarms/history/{NODE}"), "").success();
    assert_eq!(api.data("alarms/history"), json!([{ "node": NODE, "alarms": [] }]));
}

#[test]
fn memory_in_use_is_measured() {
    let broker = Broker::start_with(&[
        ("os_mon.mem_check_interval", "\"100ms\""),
        ("os_mon.sysmem_high_watermark", "\"1%\""),
        ("os_mon.procmem_high_watermark", "\"0%\""),
    ]);
    let api = broker.api();
    let machine = alarm(&api, "system_memory_high_watermark");
    let (used, total) =
        (number(&machine["details"]["used_bytes"]), number(&machine["details"]["total_bytes"]));
    let percent = number(&machine["desc"]);
    assert!((used * 100.0 / total - percent).abs() < 0.01, "{machine}");
    assert!((1.0..100.0).contains(&percent), "{machine}");
    let own = alarm(&api, "process_memory_high_watermark");
    assert_eq!(own["desc"], broker.pid().to_string());
    let resident = fs::read_to_string(format!("/proc/{}/statm", broker.pid())).unwrap();
    let pages: f64 = resident.split(' ').nth(1).unwrap().parse().unwrap();
    let told = number(&own["details"]["used_bytes"]);
    assert!(told > pages * 4096.0 / 2.0 && told < pages * 4096.0 * 2.0, "{own}");
}

#[test]
fn a_mark_that_is_set_counts_from_the_next_look_on() {
    let broker = Broker::start_with(&[
        ("os_mon.mem_check_interval", "\"100ms\""),
        ("os_mon.sysmem_high_watermark", "\"100%\""),
        ("os_mon.procmem_high_watermark", "\"100%\""),
    ]);
    let api = broker.api();
    let set = |value: &str| {
        api.put("configs/os_mon", &json!({"key": "os_mon.sysmem_high_watermark", "value": value}))
    };
    set("1%");
    alarm(&api, "system_memory_high_watermark");
    set("100%");
    over(&api, "system_memory_high_watermark");
    let low = json!({"key": "os_mon.cpu_low_watermark", "value": "81%"});
    let (status, code, message) = api.refused("PUT", "configs/os_mon", &low);
    assert_eq!((status, code), (200, 108));
    assert_eq!(message, "os_mon.cpu_low_watermark: above os_mon.cpu_high_watermark (80%)");
}

/// The limit is set from outside: at its start the broker takes all that it may.
#[test]
fn open_files_near_the_limit_are_an_alarm_until_they_are_not() {
    let broker = Broker::start_with(&[("os_mon.fd_check_interval", "\"100ms\"")]);
    let api = broker.api();
    // So many that there is room for those who ask.
    let clients: Vec<_> = (0..100).map(|_| v311().open()).collect();
    let open = fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().count();
    let limit = |soft: usize| {
        let (pid, limit) = (broker.pid().to_string(), format!("--nofile={soft}:"));
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(status.expect("prlimit is there").success());
    };
    limit(open + open / 10);
    let found = alarm(&api, "file_descriptors_high_watermark");
    assert_eq!(found["details"]["limit"], (open + open / 10).to_string());
    let told = number(&found["details"]["open"]);
    assert!((told - open as f64).abs() <= 4.0, "{found}, counted {open}");
    // One of ours: it says more than a value.
    let (desc, stamp) = (&found["desc"], &found["timestamp"]);
    assert_eq!(keys(desc), ["severity", "summary", "timestamp", "title"]);
    assert_eq!((&desc["summary"], &desc["timestamp"]), (&found["summary"], stamp));
    drop(clients);
    over(&api, "file_descriptors_high_watermark");
    assert!(present(&api).is_empty());
}

#[test]
fn connections_near_their_limit_are_too_many_processes() {
    let broker = Broker::start_with(&[
        ("vm_mon.check_interval", "\"100ms\""),
        ("listener.tcp.external.max_connections", "100"),
    ]);
    let api = broker.api();
    let clients: Vec<_> = (0..95).map(|_| v311().open()).collect();
    let found = alarm(&api, "too_many_processes");
    assert_eq!(found["desc"], found["details"]["used"]);
    let node = api.data(&format!("nodes/{NODE}"));
    let available = node["process_available"].as_f64().unwrap();
    assert!((number(&found["details"]["limit"]) - available).abs() <= 8.0, "{found} {node}");
    drop(clients);
    over(&api, "too_many_processes");
}

#[test]
fn a_disk_that_is_almost_full_is_named_as_in_the_original() {
    let broker = Broker::start_with(&[
        ("os_mon.disk_check_interval", "\"100ms\""),
        ("os_mon.disk_high_watermark", "\"0%\""),
    ]);
    let api = broker.api();
    let found = eventually(|| present(&api).pop());
    let mount = found["details"]["mount_point"].as_str().unwrap();
    assert_eq!(found["id"], format!("{{disk_almost_full,\"{mount}\"}}"));
    assert!(broker.folder().starts_with(mount), "{mount}");
    let df = Command::new("df").arg("--output=target").arg(broker.folder()).output().unwrap();
    assert_eq!(String::from_utf8(df.stdout).unwrap().lines().nth(1), Some(mount));
}

/// mosquitto_sub and what it prints.
struct Sub(Child, BufReader<std::process::ChildStdout>);

impl Sub {
    fn start(broker: &Broker, filter: &str) -> Self {
        let (host, port) = broker.address("mqtt:tcp:external").rsplit_once(':').unwrap();
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", host, "-p", port, "-v", "-t", filter]);
        let api = broker.api();
        let count = || api.data("stats")[0]["subscriptions/count"].as_u64().unwrap();
        let before = count();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        wait_until(|| count() > before);
        Self(child, lines)
    }

    /// The next message: topic and payload.
    fn message(&mut self) -> (String, String) {
        let mut line = String::new();
        assert!(self.1.read_line(&mut line).unwrap() > 0, "mosquitto_sub goes on");
        let (topic, payload) = line.trim_end_matches('\n').split_once(' ').expect("both");
        (topic.to_owned(), payload.to_owned())
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Without `broker.sys_interval`: an alarm does not wait for it.
#[test]
fn subscribers_are_told_of_alarms_as_they_come_and_go() {
    let more = [("broker.sys_interval", "\"0s\""), ("mqtt.max_mqueue_len", "1")];
    let broker = Broker::start_with(&[BUSY, &more].concat());
    let api = broker.api();
    let topic = format!("$SYS/brokers/{NODE}/alarms");
    let mut sub = Sub::start(&broker, &format!("{topic}/cpu_high_watermark/#"));
    let [cleared, raised] = ["clear", "alert"].map(|it| format!("{topic}/cpu_high_watermark/{it}"));
    alarm(&api, "cpu_high_watermark");
    clear(&api, "cpu_high_watermark");
    let mut told = sub.message();
    if told.0 == raised {
        // It was raised after the subscription.
        told = sub.message();
    }
    // So mosquitto_sub shows an empty payload.
    assert_eq!(told, (cleared, "(null)".to_owned()));
    // It is still the matter.
    let (said, payload) = sub.message();
    assert_eq!(said, raised);
    let told: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!((keys(&told), &told["id"]), (vec!["desc", "id"], &json!("cpu_high_watermark")));
    assert!((0.0..=100.0).contains(&number(&told["desc"])), "{payload}");

    // One that says more than a value.
    let mut sub = Sub::start(&broker, &format!("{topic}/queue_overflow/+/alert"));
    overflow(&broker, "away");
    let (said, payload) = sub.message();
    assert_eq!(said, format!("{topic}/queue_overflow/away/alert"));
    let told: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(keys(&told["desc"]), ["severity", "summary", "title", "ts"]);
    assert!(told["desc"]["ts"].as_u64().unwrap() > 1_700_000_000);
}

/// A session that is away and whose queue of one message has dropped one.
fn overflow(broker: &Broker, client_id: &str) {
    let mut client = v5().id(client_id).resume().expiry(1_000).open();
    client.subscribe("t", 1);
    drop(client);
    let api = broker.api();
    wait_until(|| api.data(&format!("connections/{client_id}")) == json!([]));
    (0..2).for_each(|_| Mosquitto::of(broker).publish("t", "x", &[]));
}

#[test]
fn a_queue_that_overflows_is_an_alarm_of_its_client() {
    let broker = Broker::start_with(&[
        ("mqtt.max_mqueue_len", "1"),
        ("alarm.client_clear_after", "\"1s\""),
        ("alarm.max_client_alarms", "2"),
    ]);
    let api = broker.api();
    overflow(&broker, "away");
    let found = alarm(&api, "queue_overflow/away");
    assert_eq!(found["details"]["client_id"], "away");
    assert_eq!(found["details"]["dropped"], "1");
    over(&api, "queue_overflow/away");
    // More clients than there may be alarms of them.
    ["one", "two", "three", "four"].iter().for_each(|id| {
        v5().id(id).resume().expiry(1_000).open().subscribe("u", 1);
    });
    wait_until(|| api.data("stats")[0]["connections/count"] == 0);
    let publisher = Mosquitto::of(&broker);
    let ids = eventually(|| {
        publisher.publish("u", "x", &[]);
        let up: Vec<_> = present(&api).iter().map(|alarm| alarm["id"].to_string()).collect();
        up.contains(&"\"queue_overflow\"".to_owned()).then_some(up)
    });
    assert_eq!(ids.len(), 3, "{ids:?}");
    let text = api.curl(&[], "/metrics");
    assert!(text.contains("mqtt_alarm{id=\"queue_overflow\"} 3\n"), "{text}");
    assert!(!text.contains("queue_overflow/"), "a client does not choose labels");
    wait_until(|| present(&api).is_empty());
}

#[test]
fn a_client_that_does_not_read_is_an_alarm_until_it_does() {
    let broker = Broker::start_with(&[
        ("alarm.congestion_after", "\"1s\""),
        ("alarm.client_clear_after", "\"1s\""),
        ("listener.tcp.external.send_timeout", "\"0s\""),
    ]);
    let api = broker.api();
    let mut slow = v5()
        .id("slow")
        .username("u")
        .open_over(Box::new(tcp_to(broker.address("mqtt:tcp:external"))));
    slow.subscribe("t", 0);
    let mut publisher = v5().open();
    // More than the buffers of both ends of the socket take.
    let load = vec![b'x'; 500_000];
    (0..40).for_each(|_| publisher.send_publish(&publish("t", 0, load.clone())));
    publisher.ping();
    let found = alarm(&api, "connection_congestion/slow");
    assert!(number(&found["details"]["pending_bytes"]) > 0.0, "{found}");
    assert_eq!(found["details"]["username"], "u");
    // It reads: whatever was not dropped by then.
    let reader = std::thread::spawn(move || while slow.recv_within(2_000).is_some() {});
    over(&api, "connection_congestion/slow");
    reader.join().unwrap();
}

#[test]
fn a_listener_that_cannot_be_opened_again_is_an_alarm_until_it_can() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let bind = format!("\"{address}\"");
    let broker = Broker::start_with(&[("listener.tcp.external.bind", &bind)]);
    let api = broker.api();
    let path = |order: &str| format!("nodes/{NODE}/listeners/mqtt:tcp:external/{order}");
    api.call("PUT", &path("stop"), "").success();
    let taken = TcpListener::bind(address).unwrap();
    let (status, code, message) = api.call("PUT", &path("start"), "").failure();
    assert_eq!((status, code), (200, 102), "{message}");
    let found = alarm(&api, "listener_failed/mqtt:tcp:external");
    assert_eq!((&found["severity"], &found["title"]), (&json!("error"), &json!("listener failed")));
    assert!(found["summary"].as_str().unwrap().contains(&message), "{found} {message}");
    // Stopping what is stopped changes nothing.
    api.call("PUT", &path("stop"), "").failure();
    assert_eq!(present(&api).len(), 1);
    drop(taken);
    api.call("PUT", &path("start"), "").success();
    over(&api, "listener_failed/mqtt:tcp:external");
    TcpStream::connect(address).unwrap();
}

#[test]
fn what_was_up_is_history_after_a_restart_and_a_crash() {
    let broker = Broker::start_with(BUSY);
    let api = broker.api();
    alarm(&api, "cpu_high_watermark");
    clear(&api, "cpu_high_watermark");
    let since = alarm(&api, "cpu_high_watermark")["timestamp"].clone();
    let (folder, _) = broker.stop();
    // It is no longer the matter.
    let broker = Broker::start_in(folder, &[]);
    let api = broker.api();
    assert!(present(&api).is_empty());
    let past = history(&api);
    assert_eq!(past.len(), 2);
    assert!(past.iter().all(|alarm| alarm["id"] == "cpu_high_watermark"), "{past:?}");
    assert_eq!(past[1]["timestamp"], since);
    assert!(past[0]["clear_at"].as_str() <= past[1]["clear_at"].as_str());
    let (folder, _) = broker.stop();

    let broker = Broker::start_in(folder, BUSY);
    let api = broker.api();
    assert_eq!(history(&api).len(), 2);
    alarm(&api, "cpu_high_watermark");
    let mut watcher = v5().open();
    watcher.subscribe(&format!("$SYS/brokers/{NODE}/alarms/cpu_high_watermark/clear"), 0);
    clear(&api, "cpu_high_watermark");
    watcher.take();
    // What is safe now, is so after all that was kept before.
    api.post("banned", &json!({ "who": "nobody", "as": "client_id" }));
    let broker = Broker::start_in(broker.kill(), &[]);
    let past = history(&broker.api());
    assert!(past.len() >= 3, "{past:?}");
    broker.api().call("DELETE", &format!("alarms/history/{NODE}"), "").success();
    // It was answered, so it is so.
    assert_eq!(history(&Broker::start_in(broker.kill(), &[]).api()), [] as [Value; 0]);
}
