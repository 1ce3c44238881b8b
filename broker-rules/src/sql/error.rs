//! What is wrong with a statement, and where.

use std::fmt;

use thiserror::Error;

/// A place in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub at: usize,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of the byte `at` of `text`.
    #[must_use]
    pub fn of(text: &str, at: usize) -> Self {
        let before = &text[..text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            at,
            line: 1 + before.bytes().filter(|&byte| byte == b'\n').count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text is not a statement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SqlError {
    /// It breaks the grammar.
    #[error("{place}: {cause}")]
    Syntax {
        /// Where.
        place: Place,
        /// What was expected and found.
        cause: String,
    },
    /// It is beyond a limit.
    #[error("{key}: {cause}, at {place}")]
    Limit {
        /// The limit, as it is called in the configuration below `rules.`.
        key: &'static str,
        /// Where the limit was passed.
        place: Place,
        /// What there is too much of.
        cause: String,
    },
    /// It is longer than `max_sql_bytes`.
    #[error("max_sql_bytes: the statement has {bytes} bytes, {max} are allowed")]
    TooLong {
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        max: usize,
    },
}
