//! Topic Names, Topic Filters and ShareNames: validation and matching, none of which allocates.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Why a string is no Topic Name, Topic Filter or ShareName.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct TopicError {
    /// Offset of the first byte that is wrong.
    pub at: usize,
    /// What is wrong there.
    pub kind: TopicErrorKind,
}

/// The rule that a [`TopicError`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicErrorKind {
    /// At least one character is needed [MQTT-4.7.3-1].
    #[error("empty topic")]
    Empty,
    /// More than 65,535 bytes [MQTT-4.7.3-3].
    #[error("topic too long")]
    TooLong,
    /// U+0000 [MQTT-4.7.3-2].
    #[error("null character")]
    Null,
    /// A wildcard in a Topic Name [MQTT-4.7.0-1].
    #[error("wildcard in a topic name")]
    WildcardInName,
    /// '#' is not alone in the last level [MQTT-4.7.1-1].
    #[error("'#' is not alone in the last level")]
    MultiLevelWildcard,
    /// '+' is not alone in its level [MQTT-4.7.1-2].
    #[error("'+' is not alone in its level")]
    SingleLevelWildcard,
    /// The ShareName is empty [MQTT-4.8.2-1].
    #[error("empty share name")]
    EmptyShareName,
    /// The ShareName has '/', '+' or '#' [MQTT-4.8.2-2].
    #[error("reserved character in a share name")]
    ShareName,
    /// The ShareName is not followed by '/' and a Topic Filter [MQTT-4.8.2-2].
    #[error("share name without topic filter")]
    ShareWithoutFilter,
}

/// Checks a Topic Name: not empty, at most 65,535 bytes, no wildcard, no U+0000.
pub fn validate_name(name: &str) -> Result<(), TopicError> {
    check_size(name, 0)?;
    let kind_of = |byte| match byte {
        0 => Some(TopicErrorKind::Null),
        b'+' | b'#' => Some(TopicErrorKind::WildcardInName),
        _ => None,
    };
    match name.bytes().enumerate().find_map(|(at, byte)| Some((at, kind_of(byte)?))) {
        None => Ok(()),
        Some((at, kind)) => Err(TopicError { at, kind }),
    }
}

/// Checks a Topic Filter, with the `$share/<ShareName>/` or `$queue/` prefix of a Shared Subscription.
pub fn validate_filter(filter: &str) -> Result<(), TopicError> {
    check_size(filter, 0)?;
    let offset = if let Some(shared) = filter.strip_prefix(SHARE_PREFIX) {
        let Some(len) = shared.find('/') else {
            let at = shared.find(['+', '#']).map_or(filter.len(), |at| SHARE_PREFIX.len() + at);
            return Err(TopicError { at, kind: TopicErrorKind::ShareWithoutFilter });
        };
        validate_share_name(&shared[..len])
            .map_err(|error| TopicError { at: error.at + SHARE_PREFIX.len(), ..error })?;
        SHARE_PREFIX.len() + len + 1
    } else if filter.starts_with(QUEUE_PREFIX) {
        QUEUE_PREFIX.len()
    } else {
        0
    };
    check_size(&filter[offset..], offset)?;
    check_levels(&filter[offset..], offset)
}

/// Checks a ShareName: not empty, none of '/', '+', '#', U+0000.
pub fn validate_share_name(name: &str) -> Result<(), TopicError> {
    if name.is_empty() {
        return Err(TopicError { at: 0, kind: TopicErrorKind::EmptyShareName });
    }
    check_size(name, 0)?;
    match name.find(['/', '+', '#', '\0']) {
        None => Ok(()),
        Some(at) if name.as_bytes()[at] == 0 => Err(TopicError { at, kind: TopicErrorKind::Null }),
        Some(at) => Err(TopicError { at, kind: TopicErrorKind::ShareName }),
    }
}

fn check_size(text: &str, offset: usize) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError { at: offset, kind: TopicErrorKind::Empty }),
        1..=TOPIC_BYTES_MAX => Ok(()),
        _ => Err(TopicError { at: offset + TOPIC_BYTES_MAX, kind: TopicErrorKind::TooLong }),
    }
}

fn check_levels(filter: &str, offset: usize) -> Result<(), TopicError> {
    let bytes = filter.as_bytes();
    let is_edge = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_none_or(|&b| b == b'/');
    for (at, &byte) in bytes.iter().enumerate() {
        let is_alone = || is_edge(at.checked_sub(1)) && is_edge(Some(at + 1));
        let kind = match byte {
            0 => TopicErrorKind::Null,
            b'#' if !is_alone() || at + 1 != bytes.len() => TopicErrorKind::MultiLevelWildcard,
            b'+' if !is_alone() => TopicErrorKind::SingleLevelWildcard,
            _ => continue,
        };
        return Err(TopicError { at: offset + at, kind });
    }
    Ok(())
}

/// Number of levels, which is one more than there are slashes.
#[must_use]
pub fn levels(topic: &str) -> usize {
    1 + topic.bytes().filter(|&byte| byte == b'/').count()
}

/// True if '+' or '#' occurs.
#[must_use]
pub fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Whether a valid Topic Filter without share prefix matches a valid Topic Name (MQTT 5.0, 4.7).
///
/// A wildcard in the first level does not match a name that starts with '$' [MQTT-4.7.2-1].
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter_levels, mut name_levels) = (filter.split('/'), name.split('/'));
    loop {
        match (filter_levels.next(), name_levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Who shares a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Share<'a> {
    /// `$share/<ShareName>/…` (MQTT 5.0, 4.8.2).
    Group(&'a str),
    /// `$queue/…`: one group without a name, an extension.
    Queue,
}

/// Splits the Topic Filter of a Shared Subscription into its share and the filter behind it.
///
/// `None` if the filter is not shared, or has no valid ShareName or nothing behind it.
#[must_use]
pub fn parse_share(filter: &str) -> Option<(Share<'_>, &str)> {
    let (share, filter) = if let Some(filter) = filter.strip_prefix(QUEUE_PREFIX) {
        (Share::Queue, filter)
    } else {
        let (name, filter) = filter.strip_prefix(SHARE_PREFIX)?.split_once('/')?;
        validate_share_name(name).ok()?;
        (Share::Group(name), filter)
    };
    (!filter.is_empty()).then_some((share, filter))
}

/// True if the filter has a share prefix, valid or not.
pub(crate) fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE_PREFIX) || filter.starts_with(QUEUE_PREFIX)
}

/// Longest Topic Name or Topic Filter [MQTT-4.7.3-3].
pub const TOPIC_BYTES_MAX: usize = 65_535;

const SHARE_PREFIX: &str = "$share/";
const QUEUE_PREFIX: &str = "$queue/";

macro_rules! validated {
    ($(#[$doc:meta])* $name:ident, $validate:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = TopicError;

            fn try_from(text: &str) -> Result<Self, TopicError> {
                $validate(text)?;
                Ok(Self(Arc::from(text)))
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

validated!(
    /// A valid Topic Name; cloning shares the text.
    TopicName,
    validate_name
);
validated!(
    /// A valid Topic Filter, share prefix included; cloning shares the text.
    TopicFilter,
    validate_filter
);
validated!(
    /// A valid ShareName; cloning shares the text.
    ShareName,
    validate_share_name
);

#[cfg(test)]
mod tests {
    use super::TopicErrorKind as Kind;
    use super::*;

    fn check(result: Result<(), TopicError>, expected: Option<(usize, Kind)>) {
        assert_eq!(result.err(), expected.map(|(at, kind)| TopicError { at, kind }));
    }

    /// [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3]
    #[test]
    fn topic_name_has_no_wildcard() {
        for name in ["/", "a//b", " ", "$SYS/a", &"a".repeat(65_535)] {
            check(validate_name(name), None);
        }
        check(validate_name(""), Some((0, Kind::Empty)));
        check(validate_name("a\0"), Some((1, Kind::Null)));
        check(validate_name("a/+"), Some((2, Kind::WildcardInName)));
        check(validate_name("a#"), Some((1, Kind::WildcardInName)));
        check(validate_name(&"a".repeat(65_536)), Some((65_535, Kind::TooLong)));
    }

    /// [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    #[test]
    fn wildcards_are_alone_in_their_level() {
        for filter in ["#", "+", "+/+", "/+", "a/+/b/#", "/", "$share", "$queue"] {
            check(validate_filter(filter), None);
        }
        check(validate_filter(""), Some((0, Kind::Empty)));
        check(validate_filter("a#"), Some((1, Kind::MultiLevelWildcard)));
        check(validate_filter("a/#/b"), Some((2, Kind::MultiLevelWildcard)));
        check(validate_filter("#/"), Some((0, Kind::MultiLevelWildcard)));
        check(validate_filter("a/b+/c"), Some((3, Kind::SingleLevelWildcard)));
        check(validate_filter("++"), Some((0, Kind::SingleLevelWildcard)));
        check(validate_filter("a/\0"), Some((2, Kind::Null)));
    }

    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    #[test]
    fn share_name_is_followed_by_a_filter() {
        for filter in ["$share/g/a", "$share/g//", "$share/g/#", "$queue/a/+"] {
            check(validate_filter(filter), None);
        }
        check(validate_filter("$share//a"), Some((7, Kind::EmptyShareName)));
        check(validate_filter("$share/g+/a"), Some((8, Kind::ShareName)));
        check(validate_filter("$share/g"), Some((8, Kind::ShareWithoutFilter)));
        check(validate_filter("$share/g/"), Some((9, Kind::Empty)));
        check(validate_filter("$queue/"), Some((7, Kind::Empty)));
        check(validate_filter("$share/g/a#"), Some((10, Kind::MultiLevelWildcard)));
        assert_eq!(parse_share("$share/g/a/b"), Some((Share::Group("g"), "a/b")));
        assert_eq!(parse_share("$queue/a/b"), Some((Share::Queue, "a/b")));
        for filter in ["a/b", "$share", "$share/g", "$share/g/", "$share//a", "$queue/"] {
            assert_eq!(parse_share(filter), None);
        }
    }

    /// MQTT 5.0, 4.7.1, the examples of the specification
    #[test]
    fn filters_match_as_in_the_specification() {
        for (filter, name) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("a//b", "a//b"),
            ("$SYS/#", "$SYS/a"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        ] {
            assert!(matches(filter, name), "{filter} {name}");
        }
        for (filter, name) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("ACCOUNTS", "Accounts"),
            ("/A", "A"),
        ] {
            assert!(!matches(filter, name), "{filter} {name}");
        }
    }

    /// [MQTT-4.7.2-1]
    #[test]
    fn first_level_wildcard_does_not_match_dollar() {
        assert!(!matches("#", "$SYS/a"));
        assert!(!matches("+/monitor/Clients", "$SYS/monitor/Clients"));
        assert!(!matches("+", "$SYS"));
    }

    #[test]
    fn newtypes_take_valid_text_only() {
        assert_eq!(TopicName::try_from("a/b").unwrap().as_str(), "a/b");
        assert!(TopicName::try_from("a/+").is_err());
        assert!(TopicFilter::try_from("a/+").is_ok());
        assert!(ShareName::try_from("a/b").is_err());
        assert_eq!((levels("a"), levels("/a/"), has_wildcard("a/+")), (1, 3, true));
    }
}
