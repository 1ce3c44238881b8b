//! `routes`: the filters that somebody subscribed to.

use serde_json::json;

use crate::broker::{Broker, NODE, wait_until};
use crate::client::{v5, v311};

#[test]
fn a_route_is_there_as_long_as_somebody_has_subscribed() {
    let broker = Broker::start();
    let api = broker.api();
    let (mut one, mut two) = (v5().open(), v311().open());
    one.subscribe("a/b", 1);
    two.subscribe("a/b", 0);
    one.subscribe("$share/g/a/b", 0);
    one.subscribe("$queue/a/b", 0);
    two.subscribe("$share/g/a/b", 0);
    two.subscribe("a/#", 0);
    let route = |topic: &str| json!({"topic": topic, "node": NODE});
    // Once for all who subscribed by themselves, once for each group.
    let ab = json!([route("a/b"), route("a/b"), route("a/b")]);
    assert_eq!(api.data("routes/a%2Fb"), ab);
    assert_eq!(api.data("routes/a%2Fc"), json!([]), "what matches is not what equals");
    assert_eq!(api.data("routes/a%2F%23"), json!([route("a/#")]));
    let list = api.get("routes/");
    assert_eq!(list["meta"], json!({"page": 1, "limit": 10_000, "count": 4}));
    assert_eq!(list["data"].as_array().unwrap().len(), 4);
    assert_eq!(one.unsubscribe(&["$share/g/a/b"]), [0]);
    assert_eq!(api.rows("routes/a%2Fb").len(), 3, "another is in the group");
    one.disconnect();
    wait_until(|| api.rows("routes/a%2Fb").len() == 2);
    two.disconnect();
    wait_until(|| api.rows("routes").is_empty());
    assert_eq!(api.data("routes/a%2Fb"), json!([]));
}

#[test]
fn filters_of_any_characters_are_found() {
    let broker = Broker::start();
    let api = broker.api();
    let mut client = v5().open();
    for (filter, escaped) in [
        ("+", "+"),
        ("+", "%2B"),
        ("#", "%23"),
        ("a/+/#", "a%2F%2B%2f%23"),
        ("50%", "50%25"),
        ("%2F", "%252F"),
        ("with blank", "with%20blank"),
        ("温度/厨房", "%E6%B8%A9%E5%BA%A6%2F%E5%8E%A8%E6%88%BF"),
        ("..", "%2E%2e"),
        ("';--", "';--"),
    ] {
        client.subscribe(filter, 0);
        let expected = json!([{"topic": filter, "node": NODE}]);
        assert_eq!(api.data(&format!("routes/{escaped}")), expected, "{filter}");
        assert_eq!(api.data(&format!("routes/{escaped}/")), expected, "{filter}");
        assert_eq!(client.unsubscribe(&[filter]), [0]);
    }
}

#[test]
fn pages_of_routes_are_disjoint_and_complete() {
    let broker = Broker::start();
    let api = broker.api();
    let mut client = v5().open();
    let filters: Vec<_> = (0..25).map(|n| format!("t/{n:02}")).collect();
    filters.iter().for_each(|filter| client.subscribe(filter, 0));
    let mut seen = Vec::new();
    for page in 1..=4 {
        let answer = api.get(&format!("routes?_page={page}&_limit=10"));
        assert_eq!(answer["meta"], json!({"page": page, "limit": 10, "count": 25}));
        let rows = answer["data"].as_array().unwrap();
        assert_eq!(rows.len(), [10, 10, 5, 0][page - 1]);
        seen.extend(rows.iter().map(|row| row["topic"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, filters);
}
