//! What must hold for any text of a rule; the fuzz target and `broker-rules/tests/fuzz_smoke.rs` share it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_rules::sql::parse;
use broker_rules::{Limits, Map, Row, RowError, Value, compiler};
use bytes::Bytes;

/// A statement; U+0000, which none may have in it, and a payload may follow.
pub(crate) fn sql(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let payload = parts.next().map_or(Bytes::from_static(PAYLOAD), Bytes::copy_from_slice);
    let limits = small_limits();
    let start = Instant::now();
    let parsed = parse(text, &limits);
    if let Ok(tree) = &parsed {
        let printed = tree.to_string();
        // It may be longer than it was.
        let limits = Limits { max_sql_bytes: usize::MAX, ..small_limits() };
        assert_eq!(parse(&printed, &limits).as_ref(), Ok(tree), "{printed}");
    }
    let compile = compiler(Arc::new(limits.clone()), Box::new(|bytes| bytes.fill(7)));
    match compile(text) {
        Ok(select) => {
            assert!(parsed.is_ok() && !select.sources().is_empty());
            match select.apply(&Event::new(payload, &limits), 1_700_000_000_000_000_000) {
                Ok(selected) => {
                    let rows = selected.rows().unwrap_or_default();
                    let json = |row: &Map| Value::Map(row.clone().into()).to_json(OUTPUT_MAX);
                    let bytes: usize = rows.iter().map(|row| json(row).unwrap().len()).sum();
                    assert!(bytes <= OUTPUT_MAX, "{bytes} bytes");
                }
                Err(RowError(cause)) => assert!(!cause.is_empty() && cause.len() < 1000, "{cause}"),
            }
        }
        Err(cause) => assert!(!cause.is_empty() && cause.len() < 1000, "{cause}"),
    }
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

struct Event {
    columns: Map,
    decoded: Option<Value>,
}

impl Event {
    fn new(payload: Bytes, limits: &Limits) -> Self {
        let decoded = Value::from_json(&payload, limits);
        let columns = Value::from_json(&Bytes::from_static(COLUMNS), limits);
        let Some(Value::Map(columns)) = columns else { unreachable!("an object") };
        let mut columns = Map::clone(&columns);
        columns.insert("payload".into(), Value::Str(payload));
        Self { columns, decoded }
    }
}

impl Row for Event {
    fn column(&self, name: &str) -> Value {
        self.columns.get(name).cloned().unwrap_or_default()
    }

    fn decoded_payload(&self) -> Option<&Value> {
        self.decoded.as_ref()
    }

    fn all(&self) -> Map {
        self.columns.clone()
    }
}

fn small_limits() -> Limits {
    Limits {
        max_sql_bytes: 4096,
        max_depth: 32,
        max_fields: 64,
        json_max_depth: 16,
        json_max_bytes: 4096,
        json_max_event_bytes: 16 << 10,
        max_value_bytes: 4096,
        max_array_items: 256,
        max_output_bytes: OUTPUT_MAX,
        max_foreach_items: 64,
        max_steps: 20_000,
        max_regex_bytes: 256,
        max_compiled_regex_bytes: 64 << 10,
    }
}

const OUTPUT_MAX: usize = 16 << 10;
/// Far more than it takes, on a machine that is busy.
const TIME_MAX: Duration = Duration::from_secs(5);
const PAYLOAD: &[u8] = br#"{"x": 5, "y": -2.5, "s": "text", "list": [3, "a", null, {"k": [1, 2]}], "in": "{\"z\": 1}"}"#;
const COLUMNS: &[u8] = br#"{"topic": "t/a", "qos": 1, "clientid": "c1", "username": "u1", "peername": "127.0.0.1:5000",
    "flags": {"dup": false, "retain": true}, "a": 1, "b": 2.5, "s": "abc", "list": [1, 2, 3], "m": {"k": {"l": 1}},
    "yes": true, "nil": null}"#;
