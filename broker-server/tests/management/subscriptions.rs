//! `subscriptions`: who has subscribed to what.

use serde_json::json;

use crate::broker::{Broker, NODE, wait_until};
use crate::client::{v5, v311};

#[test]
fn a_subscription_shows_its_filter_and_what_was_granted() {
    let broker = Broker::start_with(&[("zone.external.max_qos_allowed", "1")]);
    let api = broker.api();
    let mut client = v311().id("温/1").resume().open();
    assert_eq!(client.subscribe_many(&[("b/#", 2), ("$share/g/a", 0)], &[]), [1, 0]);
    let row = |topic: &str, qos: u8| json!({"client_id": "温/1", "node": NODE, "qos": qos, "topic": topic});
    let rows = json!([row("a", 0), row("b/#", 1)]);
    let id = "%E6%B8%A9%2F1";
    for path in [format!("subscriptions/{id}"), format!("nodes/{NODE}/subscriptions/{id}/")] {
        assert_eq!(api.data(&path), rows, "{path}");
    }
    // They are there while the client is away.
    client.disconnect();
    for path in ["subscriptions/".to_owned(), format!("nodes/{NODE}/subscriptions")] {
        let list = api.get(&path);
        assert_eq!(list["data"], rows, "{path}");
        assert_eq!(list["meta"], json!({"page": 1, "limit": 10_000, "count": 2}));
    }
    api.post("mqtt/unsubscribe", &json!({"client_id": "温/1", "topic": "$share/g/a"}));
    assert_eq!(api.data("subscriptions"), json!([row("b/#", 1)]));
}

#[test]
fn of_an_unknown_client_there_is_nothing_and_other_nodes_are_refused() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.data("subscriptions/nobody"), json!([]));
    assert_eq!(api.data(&format!("nodes/{NODE}/subscriptions/nobody")), json!([]));
    let missing = (404, 102, "node other@host not found".to_owned());
    for path in ["nodes/other@host/subscriptions", "nodes/other@host/subscriptions/c"] {
        assert_eq!(api.call("GET", path, "").failure(), missing);
    }
}

#[test]
fn pages_hold_each_once_while_clients_come_and_go() {
    let broker = Broker::start();
    let api = broker.api();
    let mut stays: Vec<_> = (0..20).map(|n| v5().id(&format!("stays{n:02}")).open()).collect();
    let mut seen = Vec::new();
    let mut goes = Vec::new();
    for (n, client) in stays.iter_mut().enumerate() {
        let mut other = v5().id(&format!("goes{n}")).open();
        other.subscribe("x", 0);
        goes.push(other);
        client.subscribe_many(&[("a", 0), ("b", 1), ("c", 2)], &[]);
    }
    for page in 1.. {
        let answer = api.get(&format!("subscriptions?_page={page}&_limit=7"));
        let rows = answer["data"].as_array().unwrap().clone();
        if rows.is_empty() {
            break;
        }
        seen.extend(rows.iter().map(|row| format!("{} {}", row["client_id"], row["topic"])));
        if let Some(gone) = goes.pop() {
            gone.disconnect();
        }
        let mut new = v5().id(&format!("new{page}")).open();
        new.subscribe("y", 0);
    }
    seen.retain(|row| row.starts_with("\"stays"));
    let n_seen = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((n_seen, seen.len()), (60, 60));
    stays.into_iter().for_each(crate::client::Client::disconnect);
    goes.into_iter().for_each(crate::client::Client::disconnect);
    wait_until(|| api.get("subscriptions")["meta"]["count"] == 0);
}
