//! docs/grafana-dashboard.json: it asks for nothing that `GET /metrics` does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::broker::{Broker, eventually};
use crate::client::v5;
use crate::wire::publish;

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grafana-dashboard.json");
    serde_json::from_str(&fs::read_to_string(path).expect("it is there")).expect("it is JSON")
}

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    metrics: BTreeSet<String>,
    /// Labels that it sums by.
    labels: BTreeSet<String>,
}

/// Names in a query of Prometheus: those with an underscore that nothing is called by.
fn asked(query: &str) -> Asked {
    let (mut asked, mut rest) = (Asked::default(), query);
    let mut labels_follow = false;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if first == '{' || first == '[' {
            let end = if first == '{' { '}' } else { ']' };
            rest = rest.split_once(end).expect("it ends").1;
        } else if is_name(first) {
            let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(len);
            let is_call = behind.trim_start().starts_with('(');
            if labels_follow {
                asked.labels.insert(name.to_owned());
            } else if name == "by" {
                labels_follow = true;
            } else if !is_call && name.contains('_') {
                asked.metrics.insert(name.to_owned());
            }
            rest = behind;
        } else {
            labels_follow &= first != ')';
            rest = &rest[first.len_utf8()..];
        }
    }
    asked
}

#[test]
fn names_of_a_query_are_found() {
    let query = r#"histogram_quantile(0.5, sum by (le, x) (rate(a_b_bucket{i=~"$i", j="k_l"}[5m]))) / count(c_d) or vector(0)"#;
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected = Asked { metrics: set(&["a_b_bucket", "c_d"]), labels: set(&["le", "x"]) };
    assert_eq!(asked(query), expected);
}

/// Names of samples and the labels they have.
fn told(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            // It may have no samples now.
            told.entry(family.split(' ').next().expect("a name").to_owned()).or_default();
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (sample, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels.split('=').next().filter(|label| !label.is_empty());
        told.entry(name.to_owned()).or_default().extend(labels.map(str::to_owned));
    }
    told
}

/// All queries: those of panels, and of the variables above them.
fn queries(dashboard: &Value) -> Vec<String> {
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{}", panel["title"]);
        queries.extend(targets.iter().map(|it| it["expr"].as_str().expect("a query").to_owned()));
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        queries.extend(variable["definition"].as_str().map(str::to_owned));
    }
    queries
}

#[test]
fn every_query_of_the_dashboard_has_an_answer() {
    let broker = Broker::start();
    let api = broker.api();
    // So that there is something of everything that is asked for.
    let mut client = v5().open();
    client.subscribe("t", 1);
    client.send_publish(&publish("t", 1, b"x").id(1));
    let told = eventually(|| {
        let told = told(&api.curl(&[], "/metrics"));
        told.contains_key("mqtt_publish_routing_seconds_bucket").then_some(told)
    });
    let dashboard = dashboard();
    let queries = queries(&dashboard);
    assert!(queries.len() > 30, "{queries:?}");
    for query in queries {
        let Asked { metrics, labels } = asked(&query);
        assert!(!metrics.is_empty(), "asks for nothing: {query}");
        for metric in metrics {
            let has = told.get(&metric).unwrap_or_else(|| panic!("no metric {metric}: {query}"));
            // A histogram is asked for by its parts.
            assert!(!told.contains_key(&format!("{metric}_bucket")), "{query}");
            let missing = labels.iter().find(|label| !has.contains(*label));
            assert_eq!(missing, None, "{metric} has no such label: {query}");
        }
    }
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for at in (place("y")..place("y") + place("h"))
            .flat_map(|y| (place("x")..place("x") + place("w")).map(move |x| (x, y)))
        {
            assert!(taken.insert(at), "{} lies on another", panel["title"]);
        }
        // Whoever imports it has a data source of another name.
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
        }
    }
}
