//! Rules, their counters and events as tables and lines.

use serde_json::{Value, json};

use crate::printer::{Column, left, right};
use crate::row::{Row, plain};

pub(super) const COLUMNS: &[Column] = &[
    left("RULE ID", |row| row.text("id")),
    left("ABOUT", about),
    left("ENABLED", |row| if row.flag("enabled") == Some(true) { "yes" } else { "no" }.to_owned()),
    right("MATCHED", |row| sum(&row.rows("metrics"), "matched")),
    right("FAILED", |row| sum(&row.rows("metrics"), "failed")),
    left("ACTIONS", |row| {
        row.rows("actions").iter().map(|action| action.text("name")).collect::<Vec<_>>().join(" ")
    }),
    left("DESCRIPTION", |row| row.text("description")),
];

const FIRST_KEYS: &[&str] =
    &["id", "name", "for", "rawsql", "enabled", "reason", "description", "on_action_failed"];

pub(super) const COUNTS: &[Column] = &[
    left("RULE ID", |row| row.text("id")),
    left("ACTION", |row| row.text("action")),
    left("NODE", |row| row.text("node")),
    right("MATCHED", |row| row.text("matched")),
    right("NO RESULT", |row| row.text("no_result")),
    right("SPEED", |row| row.text("speed")),
    right("SUCCESS", |row| row.text("success")),
    right("FAILED", |row| row.text("failed")),
    right("RETRIED", |row| row.text("retried")),
    right("DROPPED", |row| row.text("dropped")),
];

pub(super) const EVENTS: &[Column] = &[
    left("EVENT", |row| row.text("event")),
    left("HAPPENS WHEN", |row| english(row, "description")),
];

/// All of a rule but its counters, an action a line.
pub(super) fn pairs(row: &Row) -> Vec<(&str, String)> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for key in row.keys(FIRST_KEYS) {
        match key {
            "for" => pairs.push((key, about(row))),
            "actions" | "metrics" => {}
            _ => pairs.push((key, row.text(key))),
        }
    }
    let actions = row.rows("actions");
    pairs.extend(
        actions.iter().map(|it| ("action", format!("{} {}", it.text("name"), it.text("params")))),
    );
    pairs
}

/// The line of emqx_ctl.
pub(super) fn line(row: &Row) -> String {
    let actions: Vec<Value> = row.rows("actions").iter().map(asked_for).collect();
    format!(
        "rule(id='{}', name='{}', for='{}', rawsql='{}', actions={}, enabled='{}', description='{}')",
        row.raw("id"),
        row.raw("name"),
        about(row),
        row.raw("rawsql"),
        Value::from(actions),
        row.raw("enabled"),
        row.raw("description"),
    )
}

/// A row for the rule, and one for each of its actions, on each node.
pub(super) fn counts(rule: &Row) -> Vec<Row> {
    let id = rule.raw("id");
    let mut rows = Vec::new();
    for counts in rule.rows("metrics") {
        rows.push(counts.with("id", json!(id)));
    }
    for action in rule.rows("actions") {
        for counts in action.rows("metrics") {
            rows.push(counts.with("id", json!(id)).with("action", json!(action.raw("name"))));
        }
    }
    rows
}

/// One of those as a line.
pub(super) fn count_line(row: &Row) -> String {
    let keys = row.keys(&["id", "action", "node"]);
    let fields: Vec<String> = keys.map(|key| format!("{key}={}", row.raw(key))).collect();
    fields.join(", ")
}

/// All of an event.
pub(super) fn event(row: &Row) -> Vec<(&'static str, String)> {
    let columns = row.value("columns").and_then(Value::as_array);
    let columns: Vec<String> = columns.into_iter().flatten().map(plain).collect();
    vec![
        ("event", row.text("event")),
        ("happens when", english(row, "description")),
        ("columns", columns.join(" ")),
        ("samples", row.text("test_columns")),
        ("example", row.text("sql_example")),
    ]
}

/// What of an action was asked for: its name, its parameters, what stands in for it.
fn asked_for(action: &Row) -> Value {
    let mut asked = json!({});
    for key in ["fallbacks", "name", "params"] {
        if let Some(value) = action.value(key) {
            asked[key] = match key {
                "fallbacks" => action.rows(key).iter().map(asked_for).collect(),
                _ => value.clone(),
            };
        }
    }
    asked
}

/// The event, or the items of FROM.
fn about(row: &Row) -> String {
    match row.value("for") {
        Some(Value::Array(from)) => from.iter().map(plain).collect::<Vec<_>>().join(","),
        Some(value) => plain(value),
        None => String::new(),
    }
}

fn english(row: &Row, key: &str) -> String {
    row.value(key).and_then(|texts| texts.get("en")).map(plain).unwrap_or_default()
}

/// Of all nodes.
fn sum(rows: &[Row], key: &str) -> String {
    rows.iter().filter_map(|row| row.integer(key)).sum::<i64>().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Row {
        let action = json!({
            "id": "republish_0", "name": "republish", "params": {"target_topic": "x"},
            "metrics": [{"node": "a", "success": 3, "failed": 1, "retried": 0, "dropped": 0}],
            "fallbacks": [{"id": "inspect_0", "name": "inspect", "params": {}, "metrics": []}],
        });
        Row::of(&json!({
            "id": "r:1", "name": "r", "for": ["t/#", "u"], "rawsql": "SELECT * FROM \"t/#\", u",
            "actions": [action], "enabled": true, "description": "d",
            "metrics": [
                {"node": "a", "matched": 3, "failed": 1, "no_result": 2, "speed": 0.5},
                {"node": "b", "matched": 4, "failed": 0, "no_result": 0, "speed": 0},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn the_line_has_what_was_asked_for() {
        let expected = "rule(id='r:1', name='r', for='t/#,u', rawsql='SELECT * FROM \"t/#\", u', \
                        actions=[{\"fallbacks\":[{\"name\":\"inspect\",\"params\":{}}],\"name\":\"republish\",\
                        \"params\":{\"target_topic\":\"x\"}}], enabled='true', description='d')";
        assert_eq!(line(&rule()), expected);
    }

    #[test]
    fn counters_are_shown_by_node_and_action_and_summed_in_the_list() {
        let rows = counts(&rule());
        let lines: Vec<String> = rows.iter().map(count_line).collect();
        assert_eq!(
            lines,
            [
                "id=r:1, node=a, failed=1, matched=3, no_result=2, speed=0.5",
                "id=r:1, node=b, failed=0, matched=4, no_result=0, speed=0",
                "id=r:1, action=republish, node=a, dropped=0, failed=1, retried=0, success=3",
            ]
        );
        assert_eq!(sum(&rule().rows("metrics"), "matched"), "7");
    }
}
