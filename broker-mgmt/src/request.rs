//! A request as handlers see it: its path, query and body, with errors that name what is wrong.

use serde::de::DeserializeOwned;

use crate::api::Api;
use crate::auth::Principal;
use crate::dispatch::{Plus, decode};
use crate::error::{ApiError, Code};
use crate::page::Page;

/// A request whose route is known and whose sender may make it.
#[derive(Debug)]
pub(crate) struct Request {
    /// What stands in the places of the route's `:names`.
    pub(crate) segments: Vec<(&'static str, String)>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Who asks.
    pub(crate) principal: Principal,
    /// Name of the listener.
    pub(crate) came_by: String,
}

impl Request {
    /// What stands in the place of `:name`; empty if the route has no such place.
    pub(crate) fn segment(&self, name: &str) -> &str {
        let found = self.segments.iter().find(|(its_name, _)| *its_name == name);
        found.map_or("", |(_, value)| value)
    }

    /// The first value of a parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(its_name, _)| its_name == name).map(|(_, value)| value.as_str())
    }

    /// `_page` and `_limit`; more rows than `management.max_row_limit` there are not.
    ///
    /// # Errors
    /// One of them is no whole number from 1.
    pub(crate) fn page(&self, api: &Api) -> Result<Page, ApiError> {
        let limit = self.count("_limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Page {
            number: self.count("_page")?.unwrap_or(1),
            limit: limit.unwrap_or(usize::MAX).min(api.max_row_limit),
        })
    }

    fn count(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.query(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(ApiError::request(
                Code::BadParameter,
                format_args!("{name}: must be a whole number from 1"),
            )),
        }
    }

    /// Refuses a `:node` that is not this one.
    ///
    /// # Errors
    /// It is another; none but this node answers.
    pub(crate) fn own_node(&self, api: &Api) -> Result<(), ApiError> {
        let node = self.segment("node");
        if node == api.node.name() {
            return Ok(());
        }
        let message = format!("node {node} not found");
        Err(ApiError::new(Code::Unknown, message).with_status(404))
    }

    /// The body, a JSON object.
    ///
    /// # Errors
    /// It is no JSON, no object, or a field is missing or wrong.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let not_json =
            |error| ApiError::request(Code::NotJson, format_args!("the body is not JSON: {error}"));
        let value: serde_json::Value = serde_json::from_slice(&self.body).map_err(not_json)?;
        if !value.is_object() {
            let message = "the body must be a JSON object";
            return Err(ApiError::request(Code::BadParameter, message));
        }
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let problem = error.into_inner().to_string();
            match problem.strip_prefix("missing field `") {
                // The path is that of the object that lacks it.
                Some(field) => {
                    let field = field.trim_end_matches('`');
                    let parent = if path == "." { String::new() } else { format!("{path}.") };
                    ApiError::new(Code::Missing, format_args!("{parent}{field}: must be there"))
                }
                None => ApiError::bad(&path, problem),
            }
        })
    }

    /// The body, or the default if it is empty.
    ///
    /// # Errors
    /// As [`body`](Self::body).
    pub(crate) fn body_if_any<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        if self.body.iter().all(u8::is_ascii_whitespace) { Ok(T::default()) } else { self.body() }
    }
}

/// The pairs of a query, decoded.
///
/// # Errors
/// A name or value has an escape that is none, or is not UTF-8.
pub(crate) fn parse_query(raw: &str) -> Result<Vec<(String, String)>, ApiError> {
    let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name, Plus::IsBlank)?, decode(value, Plus::IsBlank)?))
    });
    pairs.collect::<Result<_, &str>>().map_err(|problem| {
        ApiError::request(Code::BadParameter, format_args!("query {raw}: {problem}"))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::applications::Role;

    #[derive(Debug, Deserialize, PartialEq, Default)]
    struct Body {
        topic: String,
        #[serde(default)]
        qos: u8,
        #[serde(default)]
        actions: Vec<Action>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Action {
        name: String,
    }

    fn request(body: &str) -> Request {
        let principal = Principal { app_id: "admin".into(), role: Role::Admin };
        let (segments, query) = (Vec::new(), Vec::new());
        Request { segments, query, body: body.into(), principal, came_by: String::new() }
    }

    fn check(body: &str, expected: &str) {
        let error = request(body).body::<Body>().unwrap_err();
        let reply = error.into_reply();
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(format!("{} {text}", reply.status), expected, "{body}");
    }

    #[test]
    fn errors_of_a_body_name_the_field() {
        check(
            "",
            r#"400 {"code":109,"message":"the body is not JSON: EOF while parsing a value at line 1 column 0"}"#,
        );
        check(
            r#"{"topic":"#,
            r#"400 {"code":109,"message":"the body is not JSON: EOF while parsing a value at line 1 column 9"}"#,
        );
        check("[]", r#"400 {"code":108,"message":"the body must be a JSON object"}"#);
        check("1", r#"400 {"code":108,"message":"the body must be a JSON object"}"#);
        check("{}", r#"200 {"code":107,"message":"topic: must be there"}"#);
        check(
            r#"{"topic":1}"#,
            r#"200 {"code":108,"message":"topic: invalid type: integer `1`, expected a string"}"#,
        );
        check(
            r#"{"topic":"a","qos":256}"#,
            r#"200 {"code":108,"message":"qos: invalid value: integer `256`, expected u8"}"#,
        );
        check(
            r#"{"topic":"a","actions":[{"name":"x"},{}]}"#,
            r#"200 {"code":107,"message":"actions[1].name: must be there"}"#,
        );
        check(
            r#"{"topic":"a","actions":[{"name":7}]}"#,
            r#"200 {"code":108,"message":"actions[0].name: invalid type: integer `7`, expected a string"}"#,
        );
    }

    #[test]
    fn a_body_may_be_left_out_where_it_may() {
        assert_eq!(request(" \n").body_if_any(), Ok(Body::default()));
        assert!(request("{").body_if_any::<Body>().is_err());
    }

    #[test]
    fn a_body_of_many_brackets_is_refused() {
        let deep = "[".repeat(100_000);
        assert!(request(&deep).body::<Body>().unwrap_err().to_string().contains("recursion limit"));
    }

    #[test]
    fn a_query_is_decoded() {
        let pairs = parse_query("a=1&b=%2B+x&&c&d=e=f").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "+ x"), ("c", ""), ("d", "e=f")]);
        assert_eq!(
            parse_query("a=%").unwrap_err().to_string(),
            "query a=%: % is not followed by two hexadecimal digits"
        );
    }
}
