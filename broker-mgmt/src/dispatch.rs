//! From a raw path to a route: segments first, each decoded once, then matched.

use crate::error::{ApiError, Code};
use crate::route::{Method, Route};

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found {
    /// A route, and what stands in the places of its `:names`.
    Route(&'static Route, Vec<(&'static str, String)>),
    /// The path is known with these methods only.
    Methods(Vec<Method>),
    Nothing,
}

/// The segments of a raw path that are not empty, percent-decoded.
///
/// # Errors
/// A segment has an escape that is none, or is not UTF-8.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, ApiError> {
    path.split('/').filter(|segment| !segment.is_empty()).map(segment).collect()
}

fn segment(raw: &str) -> Result<String, ApiError> {
    decode(raw, Plus::IsPlus).map_err(|problem| {
        ApiError::request(Code::BadParameter, format_args!("path segment {raw}: {problem}"))
    })
}

/// What `+` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// Itself, as in a path.
    IsPlus,
    /// A blank, as in a query.
    IsBlank,
}

/// Takes the percent-encoding off, once.
pub(crate) fn decode(raw: &str, plus: Plus) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit(), digit());
                let (Some(high), Some(low)) = (high, low) else {
                    return Err("% is not followed by two hexadecimal digits");
                };
                (high * 16 + low) as u8
            }
            b'+' if plus == Plus::IsBlank => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8")
}

/// The route for a method and the segments of a path.
pub(crate) fn find(
    mut routes: impl Iterator<Item = &'static Route>,
    method: Option<Method>,
    segments: &[String],
) -> Found {
    let mut best: Option<(&'static Route, Vec<bool>)> = None;
    let mut methods = Vec::new();
    for route in routes.by_ref() {
        let Some(literals) = literals(route, segments) else { continue };
        methods.push(route.method);
        let is_better = best.as_ref().is_none_or(|(_, best)| literals > *best);
        if Some(route.method) == method && is_better {
            best = Some((route, literals));
        }
    }
    match best {
        Some((route, _)) => {
            let named = parts(route)
                .zip(segments)
                .filter_map(|(part, segment)| Some((part.strip_prefix(':')?, segment.clone())));
            Found::Route(route, named.collect())
        }
        None if methods.is_empty() => Found::Nothing,
        None => {
            methods.sort_by_key(|method| *method as u8);
            methods.dedup();
            Found::Methods(methods)
        }
    }
}

/// Which segments the route names itself, `None` if it does not match. The greater, the nearer: a name that is
/// written out goes before a place for any.
fn literals(route: &Route, segments: &[String]) -> Option<Vec<bool>> {
    let mut literals = Vec::with_capacity(segments.len());
    let mut rest = segments.iter();
    for part in parts(route) {
        let segment = rest.next()?;
        let is_literal = !part.starts_with(':');
        if is_literal && part != segment {
            return None;
        }
        literals.push(is_literal);
    }
    rest.next().is_none().then_some(literals)
}

fn parts(route: &Route) -> impl Iterator<Item = &'static str> {
    route.path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;
    use crate::route::{delete, get, put};

    static ROUTES: &[Route] = &[
        get("brokers", "/brokers/", "", |_, _| Reply::ok()),
        get("session", "/sessions/:clientid", "", |_, _| Reply::ok()),
        delete("clean", "/sessions/persistent/:clientid", "", |_, _| Reply::ok()),
        get("node", "nodes/:node/sessions/:clientid", "", |_, _| Reply::ok()),
        get("any", "/alarms/:node", "", |_, _| Reply::ok()),
        get("present", "/alarms/present", "", |_, _| Reply::ok()),
        put("alarm", "/alarms/:node", "", |_, _| Reply::ok()),
    ];

    /// `name a=b`, or the methods, or a problem.
    fn found(method: &str, path: &str) -> String {
        let segments = match segments(path) {
            Ok(segments) => segments,
            Err(error) => return error.to_string(),
        };
        match find(ROUTES.iter(), Method::from_word(method), &segments) {
            Found::Route(route, named) => {
                named.iter().fold(route.name.to_owned(), |text, (k, v)| format!("{text} {k}={v}"))
            }
            Found::Methods(methods) => format!("{methods:?}"),
            Found::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn slashes_too_many_or_too_few_do_not_matter() {
        for path in ["brokers", "/brokers", "/brokers/", "//brokers//"] {
            assert_eq!(found("GET", path), "brokers");
        }
        assert_eq!(found("GET", "nodes/n/sessions//c/"), "node node=n clientid=c");
        assert_eq!(found("GET", "/nodes/n/sessions"), "nothing");
        assert_eq!(found("GET", ""), "nothing");
    }

    #[test]
    fn a_segment_is_decoded_exactly_once() {
        assert_eq!(found("GET", "/sessions/a%2Fb%23%2B+%25"), "session clientid=a/b#++%");
        assert_eq!(found("GET", "/sessions/%252F"), "session clientid=%2F");
        assert_eq!(found("GET", "/sessions/%E6%B8%A9%e5%ba%a6"), "session clientid=温度");
        assert_eq!(found("GET", "/sessions/.."), "session clientid=..");
        assert_eq!(found("GET", "/sessions/%00'%22--"), "session clientid=\0'\"--");
        assert_eq!(
            found("GET", "/nodes/emqx%40127.0.0.1/sessions/x"),
            "node node=emqx@127.0.0.1 clientid=x"
        );
    }

    #[test]
    fn an_escape_that_is_none_is_refused_by_name() {
        let wrong = "% is not followed by two hexadecimal digits";
        for raw in ["%", "%2", "a%zz", "%+1", "%%20"] {
            assert_eq!(
                found("GET", &format!("/sessions/{raw}")),
                format!("path segment {raw}: {wrong}")
            );
        }
        assert_eq!(found("GET", "/sessions/%ff"), "path segment %ff: not UTF-8");
    }

    #[test]
    fn a_name_goes_before_a_place_for_any() {
        assert_eq!(found("GET", "/alarms/present"), "present");
        assert_eq!(found("GET", "/alarms/n"), "any node=n");
        assert_eq!(found("PUT", "/alarms/present"), "alarm node=present");
        assert_eq!(found("DELETE", "/sessions/persistent/c"), "clean clientid=c");
        assert_eq!(found("GET", "/sessions/persistent"), "session clientid=persistent");
    }

    #[test]
    fn a_known_path_tells_its_methods() {
        assert_eq!(found("DELETE", "/alarms/present"), "[Get, Put]");
        assert_eq!(found("HEAD", "/brokers"), "[Get]");
        assert_eq!(found("GET", "/sessions/persistent/c"), "[Delete]");
    }
}
