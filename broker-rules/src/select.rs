//! What a statement is to the engine.

use crate::error::RowError;
use crate::row::Row;
use crate::value::Map;

/// A statement, compiled.
pub trait Select: Send + Sync {
    /// The items of FROM as they are written.
    fn sources(&self) -> &[String];

    /// The columns that it reads by name: none that it makes itself.
    fn columns(&self) -> &[String];

    /// What it makes of an event; `now_ns` is the time since the Unix epoch in nanoseconds.
    ///
    /// # Errors
    /// It does not apply.
    fn apply(&self, row: &dyn Row, now_ns: i64) -> Result<Selected, RowError>;
}

/// What a statement has selected.
#[derive(Debug, Clone, PartialEq)]
pub enum Selected {
    /// WHERE says no.
    Nothing,
    /// A row, of SELECT.
    Row(Map),
    /// A row for each element, of FOREACH. Perhaps there are none.
    Rows(Vec<Map>),
}

impl Selected {
    /// The rows; `None` if WHERE says no.
    #[must_use]
    pub fn rows(&self) -> Option<&[Map]> {
        match self {
            Self::Nothing => None,
            Self::Row(row) => Some(std::slice::from_ref(row)),
            Self::Rows(rows) => Some(rows),
        }
    }
}

/// Makes a [`Select`] of a text, or says where and what is wrong with it.
pub type Compile = dyn Fn(&str) -> Result<Box<dyn Select>, String> + Send + Sync;
