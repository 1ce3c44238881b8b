//! Templates: texts with `${path}` in them, filled from what a rule has selected.

use std::borrow::Cow;
use std::sync::Arc;

use broker_codec::topic;
use bytes::Bytes;
use thiserror::Error;

use crate::http::percent_encode;
use crate::path;
use crate::text;
use crate::value::{Map, Value};

/// A text with places to be filled. `${…}` around anything but a path of letters, digits, `.` and `_` is text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// Keys from the output inwards.
    Path(Box<[Box<str>]>),
}

/// Why a template makes no topic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicTemplateError {
    /// Nothing was selected under that name.
    #[error("${{{0}}} is undefined")]
    Undefined(String),
    /// It is no Topic Name.
    #[error("no topic name: {0}")]
    Malformed(String),
    /// It belongs to the broker, or names no topic.
    #[error("nothing is published to {0}")]
    Reserved(&'static str),
}

impl Template {
    /// Reads a template; every text is one.
    #[must_use]
    pub fn new(source: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            text += before;
            let path = from[2..].split_once('}').filter(|(path, _)| is_path(path));
            if let Some((path, behind)) = path {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                parts.push(Part::Path(path.split('.').map(Into::into).collect()));
                rest = behind;
            } else {
                text += "${";
                rest = &from[2..];
            }
        }
        text += rest;
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Self(parts)
    }

    /// The text, if there is nothing to be filled in.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// True for an empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text filled; what is missing becomes `undefined`. One value and nothing else is not copied.
    #[must_use]
    pub fn render(&self, output: &Map) -> Bytes {
        if let [Part::Path(path)] = &*self.0 {
            return text::of(&look_up(output, path));
        }
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Path(path) => text::append(&look_up(output, path), &mut out),
            }
        }
        out.into()
    }

    /// The text filled, as part of a URL: what is filled in is percent-encoded, so that it stays one name.
    #[must_use]
    pub fn render_path(&self, output: &Map) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out += text,
                Part::Path(path) => {
                    let mut filled = Vec::new();
                    text::append(&look_up(output, path), &mut filled);
                    percent_encode(&mut out, &filled);
                }
            }
        }
        out
    }

    /// The text filled, as a topic to publish to.
    ///
    /// # Errors
    /// Something is missing, or what was filled in makes no topic, or one of the broker's own: a client that
    /// chooses what it says must not choose where the broker speaks.
    pub fn render_topic(&self, output: &Map) -> Result<Arc<str>, TopicTemplateError> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Path(path) => match &*look_up(output, path) {
                    Value::Undefined => return Err(TopicTemplateError::Undefined(path.join("."))),
                    value => text::append(value, &mut out),
                },
            }
        }
        let name = String::from_utf8(out)
            .map_err(|_| TopicTemplateError::Malformed("not UTF-8".to_owned()))?;
        check_topic(&name)?;
        Ok(name.into())
    }

    /// Finds out whether it can ever make a topic.
    ///
    /// # Errors
    /// What stands in it already makes none.
    pub fn check_topic(&self) -> Result<(), TopicTemplateError> {
        // Whatever is filled in, it is at best one character that is allowed everywhere.
        let filled = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Path(_) => "x",
        });
        check_topic(&filled.collect::<String>())
    }
}

/// What may be published to.
///
/// # Errors
/// It is no Topic Name, or belongs to the broker, or is meant for subscriptions.
pub fn check_topic(name: &str) -> Result<(), TopicTemplateError> {
    topic::validate_name(name).map_err(|error| TopicTemplateError::Malformed(error.to_string()))?;
    for reserved in ["$SYS/", "$events/", "$queue/", "$share/"] {
        if name.starts_with(reserved) {
            return Err(TopicTemplateError::Reserved(reserved));
        }
    }
    Ok(())
}

fn is_path(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

/// The value at a path; a string on the way is read as JSON.
fn look_up<'o>(output: &'o Map, path: &[Box<str>]) -> Cow<'o, Value> {
    match path.split_first().and_then(|(first, inner)| Some((output.get(first)?, inner))) {
        Some((value, inner)) => path::follow(value, inner.iter().map(|key| &**key), text::decode),
        None => Cow::Owned(Value::Undefined),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Map {
        let mut output = Map::default();
        let text = |text: &'static str| Value::Str(Bytes::from_static(text.as_bytes()));
        let mut inner = Map::default();
        inner.insert("y".into(), Value::Float(1.5));
        for (key, value) in [
            ("a", text("text")),
            ("n", Value::Int(-7)),
            ("f", Value::Float(2.0)),
            ("b", Value::Bool(true)),
            ("z", Value::Null),
            ("m", Value::Map(Arc::new(inner))),
            ("j", text("{\"k\":{\"l\":\"deep\"}}")),
            ("wild", text("a/#")),
            ("sys", text("$SYS")),
            ("raw", Value::Str(Bytes::from_static(b"\xff"))),
            ("empty", text("")),
        ] {
            output.insert(key.into(), value);
        }
        output
    }

    fn check(template: &str, expected: &str) {
        let rendered = Template::new(template).render(&output());
        assert_eq!(String::from_utf8_lossy(&rendered), expected, "{template}");
    }

    #[test]
    fn places_are_filled_with_what_was_selected() {
        check("", "");
        check("plain $ { } $$", "plain $ { } $$");
        check("<${a}>", "<text>");
        check("${a}${n} ${f} ${b} ${z}", "text-7 2.0 true null");
        check("${m} ${m.y}", "{\"y\":1.5} 1.5");
        check("${j.k.l}", "deep");
        check("${none} ${a.b} ${m.y.z}", "undefined undefined undefined");
        check("$${a}", "$text");
        check("${a b}${}${ä}${a", "${a b}${}${ä}${a");
        check("${${a}}", "${text}");
    }

    #[test]
    fn one_value_alone_is_not_copied() {
        let output = output();
        let Some(Value::Str(bytes)) = output.get("a") else { panic!() };
        assert_eq!(Template::new("${a}").render(&output).as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn what_is_filled_into_a_path_stays_one_name() {
        let path = |template: &str| Template::new(template).render_path(&output());
        assert_eq!(path("/d/${a}/v?n=${n}"), "/d/text/v?n=-7");
        assert_eq!(path("${wild}${raw}${m}"), "a%2F%23%FF%7B%22y%22%3A1.5%7D");
    }

    #[test]
    fn a_topic_cannot_be_bent_by_what_is_filled_in() {
        let topic = |template: &str| Template::new(template).render_topic(&output());
        assert_eq!(topic("t/${a}/${n}").as_deref(), Ok("t/text/-7"));
        assert_eq!(topic("t/${none}"), Err(TopicTemplateError::Undefined("none".to_owned())));
        assert_eq!(topic("${sys}/x"), Err(TopicTemplateError::Reserved("$SYS/")));
        for template in ["${wild}", "t/${wild}", "${empty}", "t/${raw}", "t/#"] {
            assert!(matches!(topic(template), Err(TopicTemplateError::Malformed(_))), "{template}");
        }
        for (template, is_good) in [
            ("a/${b}", true),
            ("${a}", true),
            ("a/+/${b}", false),
            ("$share/g/${b}", false),
            ("$queue/${b}", false),
            ("", false),
        ] {
            assert_eq!(Template::new(template).check_topic().is_ok(), is_good, "{template}");
        }
    }
}
