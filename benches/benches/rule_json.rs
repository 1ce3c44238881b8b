//! What decoding a payload costs a rule, beside serde_json into a form that borrows.
//!
//! Run with `cargo bench -p broker-benches --bench rule_json`.

use std::fmt;
use std::hint::black_box;

use broker_rules::{Limits, Value};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("rule_json");
    let limits = Limits::default();
    for text in PAYLOADS {
        let payload = Bytes::from_static(text.as_bytes());
        // As a payload is: a part of something that is counted.
        let payload = Bytes::from([&payload[..], b" "].concat()).slice(..payload.len());
        let len = payload.len();
        group.bench_function(format!("{len} bytes, ours"), |b| {
            b.iter(|| Value::from_json(black_box(&payload), &limits));
        });
        group.bench_function(format!("{len} bytes, serde_json borrowed"), |b| {
            b.iter(|| serde_json::from_slice::<Borrowed<'_>>(black_box(&payload)).ok());
        });
    }
    group.finish();
}

/// What borrows from the text whatever it can, with objects in the order of the text. Its fields are what is measured,
/// and nobody reads them.
#[expect(dead_code, reason = "made, but not read")]
enum Borrowed<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    Array(Vec<Self>),
    Object(Vec<(&'a str, Self)>),
}

impl<'de> Deserialize<'de> for Borrowed<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Visit)
    }
}

struct Visit;

impl<'de> Visitor<'de> for Visit {
    type Value = Borrowed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Bool(is))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Int(int))
    }

    fn visit_u64<E>(self, int: u64) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Int(int.cast_signed()))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Float(float))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Borrowed<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Borrowed::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Borrowed<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Borrowed::Object(entries))
    }
}

const PAYLOADS: [&str; 2] = [
    r#"{"x":42,"temperature":21.5,"unit":"C"}"#,
    r#"{"device_id":"sensor-00017","timestamp":1700000000123,"temperature":21.53,"humidity":48.1,"status":"ok","battery":{"level":87,"charging":false},"tags":["roof","north"],"location":"building 7, floor 3, room 12"}"#,
];

criterion_group!(benches, decode);
criterion_main!(benches);
