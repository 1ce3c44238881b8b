//! Path: an address within the API, every part of it encoded once.

use std::fmt::{self, Write};

/// Path and query below `/api/v3/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    /// A fixed path such as `alarms/present`, which is not encoded.
    pub(crate) fn new(fixed: &str) -> Self {
        Self(fixed.to_owned())
    }

    /// Adds one segment, whatever is in it. It must not be empty, for the broker takes `a//b` for `a/b`.
    #[must_use]
    pub(crate) fn join(mut self, segment: &str) -> Self {
        debug_assert!(!segment.is_empty(), "below {}", self.0);
        self.0.push('/');
        // Proxies drop `.` and `..` on their way.
        let is_dots = segment.bytes().all(|byte| byte == b'.');
        encode(&mut self.0, segment, |byte| is_unreserved(byte) && !is_dots);
        self
    }

    /// Adds `name=value` to the query.
    #[must_use]
    pub(crate) fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        encode(&mut self.0, &value.to_string(), is_unreserved);
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 3986, 2.3, and what Erlang's names have in them.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@' | b':')
}

fn encode(to: &mut String, text: &str, is_plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if is_plain(byte) {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_values_are_encoded_and_the_rest_is_not() {
        for (segment, expected) in [
            ("emqx@127.0.0.1", "a/b/emqx@127.0.0.1"),
            ("t/+/#", "a/b/t%2F%2B%2F%23"),
            ("50% ä\u{1F600}", "a/b/50%25%20%C3%A4%F0%9F%98%80"),
            ("..", "a/b/%2E%2E"),
            ("a?b=c&d", "a/b/a%3Fb%3Dc%26d"),
        ] {
            assert_eq!(Path::new("a/b").join(segment).as_str(), expected);
        }
        let path = Path::new("a").join("b").query("_page", 1).query("as", "x&y=z +");
        assert_eq!(path.as_str(), "a/b?_page=1&as=x%26y%3Dz%20%2B");
    }
}
