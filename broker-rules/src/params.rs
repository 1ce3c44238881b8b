//! Parameters of actions and of the configuration of resources: what there may be, and whether it is.

use serde_json::{Map as Object, Value as Json, json};

/// One parameter.
#[derive(Debug, Clone)]
pub struct ParamSpec {
    /// Its name.
    pub name: &'static str,
    /// What it must be.
    pub kind: ParamKind,
    /// It must be there.
    pub required: bool,
    /// What stands for it if it is not.
    pub default: Option<Json>,
    /// A few words for a form.
    pub title: &'static str,
    /// What it is good for.
    pub description: &'static str,
}

/// What a parameter must be.
#[derive(Debug, Clone, Copy)]
pub enum ParamKind {
    /// A string.
    String,
    /// A string that begins with `http://` or `https://` and has a host.
    Url,
    /// A string that is a Topic Name.
    Topic,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A number.
    Number,
    /// One of these integers.
    Integer(&'static [i64]),
    /// A number from the first to the last of two.
    Range(f64, f64),
    /// A boolean.
    Boolean,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl ParamSpec {
    /// A parameter that may be left out.
    #[must_use]
    pub const fn optional(
        name: &'static str,
        kind: ParamKind,
        title: &'static str,
        description: &'static str,
    ) -> Self {
        Self { name, kind, required: false, default: None, title, description }
    }

    /// A parameter that must be there.
    #[must_use]
    pub const fn required(
        name: &'static str,
        kind: ParamKind,
        title: &'static str,
        description: &'static str,
    ) -> Self {
        Self { name, kind, required: true, default: None, title, description }
    }

    /// The same with what stands for it if it is not there.
    #[must_use]
    pub fn or(mut self, default: impl Into<Json>) -> Self {
        self.default = Some(default.into());
        self
    }

    /// The specification as the API shows it.
    #[must_use]
    pub fn describe(&self) -> Json {
        let mut shown = json!({
            "type": self.kind.type_name(),
            "required": self.required,
            "title": self.title,
            "description": self.description,
        });
        let (key, value) = match self.kind {
            ParamKind::Url => ("format", json!("url")),
            ParamKind::Topic => ("format", json!("topic")),
            ParamKind::OneOf(words) => ("enum", json!(words)),
            ParamKind::Integer(numbers) => ("enum", json!(numbers)),
            ParamKind::Range(first, last) => ("range", json!([first, last])),
            ParamKind::Object => ("schema", json!({})),
            ParamKind::Array => ("items", json!({})),
            ParamKind::String | ParamKind::Number | ParamKind::Boolean => {
                ("type", json!(self.kind.type_name()))
            }
        };
        shown[key] = value;
        if let Some(default) = &self.default {
            shown["default"] = default.clone();
        }
        shown
    }

    fn check(&self, value: &Json) -> Result<(), ParamError> {
        let fault = match (self.kind, value) {
            (ParamKind::String, Json::String(_))
            | (ParamKind::Number, Json::Number(_))
            | (ParamKind::Boolean, Json::Bool(_))
            | (ParamKind::Array, Json::Array(_))
            | (ParamKind::Object, Json::Object(_)) => return Ok(()),
            (ParamKind::Url, Json::String(url)) if is_url(url) => return Ok(()),
            (ParamKind::Url, Json::String(_)) => {
                "http:// or https:// and a host are expected".to_owned()
            }
            (ParamKind::Topic, Json::String(topic)) => {
                match broker_codec::topic::validate_name(topic) {
                    Ok(()) => return Ok(()),
                    Err(error) => error.to_string(),
                }
            }
            (ParamKind::OneOf(words), Json::String(word)) if words.contains(&word.as_str()) => {
                return Ok(());
            }
            (ParamKind::OneOf(words), Json::String(_)) => {
                format!("one of {} is expected", words.join(", "))
            }
            (ParamKind::Integer(numbers), Json::Number(number))
                if number.as_i64().is_some_and(|number| numbers.contains(&number)) =>
            {
                return Ok(());
            }
            (ParamKind::Integer(numbers), Json::Number(_)) => {
                let numbers: Vec<_> = numbers.iter().map(i64::to_string).collect();
                format!("one of {} is expected", numbers.join(", "))
            }
            (ParamKind::Range(first, last), Json::Number(number))
                if number.as_f64().is_some_and(|number| (first..=last).contains(&number)) =>
            {
                return Ok(());
            }
            (ParamKind::Range(first, last), Json::Number(_)) => {
                format!("a number from {first} to {last} is expected")
            }
            _ => format!("{} is expected", self.kind.noun()),
        };
        Err(ParamError::Invalid { name: self.name, expected: self.kind.type_name(), fault })
    }
}

impl ParamKind {
    const fn type_name(self) -> &'static str {
        match self {
            Self::String | Self::Url | Self::Topic | Self::OneOf(_) => "string",
            Self::Number | Self::Integer(_) | Self::Range(..) => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::String | Self::Url | Self::Topic | Self::OneOf(_) => "a string",
            Self::Number | Self::Integer(_) | Self::Range(..) => "a number",
            Self::Boolean => "a boolean",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Why parameters are refused; the heads are the original's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// One is missing.
    #[error("{{required_field_missing,{0}}}")]
    Missing(&'static str),
    /// One is not what it must be.
    #[error("{{invalid_data_type,{{{expected},{name}}}}}: {fault}")]
    Invalid {
        /// Which.
        name: &'static str,
        /// Its type.
        expected: &'static str,
        /// What is wrong with it.
        fault: String,
    },
}

/// Specifications by name, as the API shows them.
#[must_use]
pub fn describe(specs: &[ParamSpec]) -> Json {
    specs
        .iter()
        .map(|spec| (spec.name.to_owned(), spec.describe()))
        .collect::<Object<_, _>>()
        .into()
}

/// Checks parameters. Those that no specification names are not looked at, as in the original.
///
/// # Errors
/// One is missing, or is not what it must be.
pub fn check(specs: &[ParamSpec], params: &Object<String, Json>) -> Result<(), ParamError> {
    for spec in specs {
        match params.get(spec.name) {
            Some(value) => spec.check(value)?,
            None if spec.required => return Err(ParamError::Missing(spec.name)),
            None => {}
        }
    }
    Ok(())
}

/// The text of a parameter, or what stands for it; empty without either.
#[must_use]
pub fn text<'a>(specs: &'a [ParamSpec], params: &'a Object<String, Json>, name: &str) -> &'a str {
    value(specs, params, name).and_then(Json::as_str).unwrap_or_default()
}

/// A parameter, or what stands for it.
#[must_use]
pub fn value<'a>(
    specs: &'a [ParamSpec],
    params: &'a Object<String, Json>,
    name: &str,
) -> Option<&'a Json> {
    let default = || specs.iter().find(|spec| spec.name == name)?.default.as_ref();
    params.get(name).or_else(default)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !host.starts_with(':') && !text.contains(char::is_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: ParamKind, value: Json) -> String {
        let specs = [ParamSpec::required("p", kind, "", "")];
        let params = Object::from_iter([("p".to_owned(), value)]);
        check(&specs, &params).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_parameter_is_what_its_kind_says() {
        let number = json!(7);
        for (kind, good, bad) in [
            (ParamKind::String, json!(""), &number),
            (ParamKind::Url, json!("https://h:1/p?q"), &json!("ftp://h")),
            (ParamKind::Url, json!("http://h"), &json!("http://:80/")),
            (ParamKind::Topic, json!("a/b.c-d"), &json!("a/#")),
            (ParamKind::OneOf(&["on", "off"]), json!("on"), &json!("ON")),
            (ParamKind::Number, json!(1.5), &json!("1")),
            (ParamKind::Integer(&[-1, 0]), json!(-1), &number),
            (ParamKind::Range(0.0, 5.0), json!(5), &number),
            (ParamKind::Boolean, json!(true), &number),
            (ParamKind::Array, json!([]), &json!({})),
            (ParamKind::Object, json!({}), &json!([])),
        ] {
            assert_eq!(refusal(kind, good), "", "{kind:?}");
            let head = format!("{{invalid_data_type,{{{},p}}}}: ", kind.type_name());
            let said = refusal(kind, bad.clone());
            assert!(said.starts_with(&head) && said.len() > head.len(), "{said}");
        }
    }

    #[test]
    fn what_is_missing_is_named_or_has_a_default() {
        let specs = [
            ParamSpec::required("target_topic", ParamKind::Topic, "", ""),
            ParamSpec::optional("n", ParamKind::Number, "", "").or(3),
        ];
        let mut params = Object::new();
        let missing = check(&specs, &params).unwrap_err().to_string();
        assert_eq!(missing, "{required_field_missing,target_topic}");
        params.insert("target_topic".to_owned(), json!("t"));
        assert_eq!(check(&specs, &params), Ok(()));
        assert_eq!(value(&specs, &params, "n"), Some(&json!(3)));
        assert_eq!(text(&specs, &params, "target_topic"), "t");
    }

    /// The document's example.
    #[test]
    fn a_specification_is_shown_as_in_the_document() {
        let spec = ParamSpec::optional("template", ParamKind::Object, "Payload Template", "d");
        let shown = json!({
            "template": {
                "description": "d", "required": false, "schema": {}, "title": "Payload Template", "type": "object",
            }
        });
        assert_eq!(describe(&[spec]), shown);
    }
}
