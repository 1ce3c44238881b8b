//! The topics of a request: `topic`, or `topics` as a list or with commas.

use std::collections::HashSet;
use std::fmt;

use broker_core::topic::TopicError;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{ApiError, Code};

/// A list of texts, or a text with commas between them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topics(Vec<String>);

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ListOrText)
    }
}

struct ListOrText;

impl<'de> Visitor<'de> for ListOrText {
    type Value = Topics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts, or a text with commas between them")
    }

    fn visit_str<E>(self, text: &str) -> Result<Topics, E> {
        Ok(Topics(text.split(',').map(str::to_owned).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Topics, A::Error> {
        let mut topics = Vec::new();
        while let Some(topic) = list.next_element()? {
            topics.push(topic);
        }
        Ok(Topics(topics))
    }
}

/// The topics that were sent: at least one, and each is one.
pub(super) fn of(
    topic: Option<String>,
    topics: Option<Topics>,
    check: fn(&str) -> Result<(), TopicError>,
) -> Result<Vec<String>, ApiError> {
    let all = match (topic, topics) {
        // As in the original, it goes before the others.
        (Some(topic), _) => vec![topic],
        (None, topics) => topics.map_or_else(Vec::new, |Topics(topics)| topics),
    };
    if all.is_empty() || all.iter().any(|topic| check(topic).is_err()) {
        return Err(bad());
    }
    Ok(all)
}

/// Each of them once, the first time it comes.
pub(super) fn distinct(mut topics: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    topics
}

/// As the original says it.
pub(super) fn bad() -> ApiError {
    ApiError::new(Code::BadTopic, "bad_topic")
}

#[cfg(test)]
mod tests {
    use broker_core::topic::validate_name;
    use serde_json::{Value, json};

    use super::*;

    fn check(topic: Option<&str>, topics: Value, expected: Result<&[&str], &str>) {
        let topics = match serde_json::from_value(topics) {
            Ok(topics) => topics,
            Err(error) => return assert_eq!(Err(&*error.to_string()), expected),
        };
        let all = of(topic.map(str::to_owned), topics, validate_name);
        let all = all.map_err(|error| error.to_string());
        let all = all.as_ref().map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(all.as_deref().map_err(|error| error.as_str()), expected);
    }

    #[test]
    fn topics_are_a_list_or_a_text_with_commas() {
        check(Some("a,b"), Value::Null, Ok(&["a,b"]));
        check(Some("a"), json!("b,c"), Ok(&["a"]));
        check(None, json!("a,b/c"), Ok(&["a", "b/c"]));
        check(None, json!(["a,b", "c"]), Ok(&["a,b", "c"]));
        for topics in [json!(null), json!(""), json!("a,"), json!([]), json!(["a", "b/#"])] {
            check(None, topics, Err("bad_topic"));
        }
        check(Some(""), json!("a"), Err("bad_topic"));
        let expected = "a list of texts, or a text with commas between them";
        check(None, json!(1), Err(&format!("invalid type: integer `1`, expected {expected}")));
        check(None, json!(["a", 1]), Err("invalid type: integer `1`, expected a string"));
    }

    #[test]
    fn a_topic_twice_is_one() {
        let topics = ["b", "a", "b"].map(str::to_owned).to_vec();
        assert_eq!(distinct(topics), ["b", "a"]);
    }
}
