//! ObjectTemplate: JSON whose strings `${name}` stand for values, with their types, as 3.1 has it for events.

use std::sync::Arc;

use serde_json::{Map as Object, Value as Json};

use crate::text;
use crate::value::{Map, Value};

/// An object to be filled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObjectTemplate(Vec<(Arc<str>, Node)>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Fixed(Value),
    Column(Box<str>),
    Array(Vec<Self>),
    Object(ObjectTemplate),
}

impl ObjectTemplate {
    /// Reads a template; every object is one.
    pub(crate) fn new(object: &Object<String, Json>) -> Self {
        Self(object.iter().map(|(key, value)| (key.as_str().into(), Node::new(value))).collect())
    }

    /// The object filled; what is missing becomes null.
    pub(crate) fn render(&self, output: &Map) -> Map {
        let mut map = Map::default();
        for (key, node) in &self.0 {
            map.insert(Arc::clone(key), node.render(output));
        }
        map
    }
}

impl Node {
    fn new(value: &Json) -> Self {
        match value {
            Json::String(text) if text.starts_with("${") => {
                let name = &text[2..];
                Self::Column(name.strip_suffix('}').unwrap_or(name).into())
            }
            Json::Array(list) => Self::Array(list.iter().map(Self::new).collect()),
            Json::Object(object) => Self::Object(ObjectTemplate::new(object)),
            fixed => Self::Fixed(text::from_json(fixed.clone())),
        }
    }

    fn render(&self, output: &Map) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Column(name) => output.get(name).cloned().unwrap_or(Value::Null),
            Self::Array(list) => {
                Value::Array(list.iter().map(|node| node.render(output)).collect::<Vec<_>>().into())
            }
            Self::Object(template) => Value::Map(template.render(output).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The original's rule: only a string that begins with `${` is filled, as a whole.
    #[test]
    fn names_stand_for_values_with_their_types() {
        let mut output = Map::default();
        output.insert("qos".into(), Value::Int(1));
        output.insert("ok".into(), Value::Bool(true));
        let template = json!({
            "q": "${qos}", "missing": "${none}", "text": "x ${qos}", "n": 5, "z": null,
            "deep": [{"ok": "${ok}"}, "${qos}", "plain"],
        });
        let rendered = ObjectTemplate::new(template.as_object().unwrap()).render(&output);
        let expected = json!({
            "q": 1, "missing": null, "text": "x ${qos}", "n": 5, "z": null,
            "deep": [{"ok": true}, 1, "plain"],
        });
        assert_eq!(text::map_to_json(&rendered), expected);
    }
}
