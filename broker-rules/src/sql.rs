//! SQL: the text of a statement as a tree, and a tree as text.
//!
//! Nothing is looked up here: whether a function exists and what a column holds is found out later.

pub mod ast;
mod error;
mod lexer;
mod parser;
mod print;
#[cfg(test)]
mod tests;

pub use error::{Place, SqlError};

use crate::limits::Limits;

/// Reads one statement.
///
/// # Errors
/// It is not one, or is beyond `max_sql_bytes`, `max_depth` or `max_fields` of `limits`.
pub fn parse(text: &str, limits: &Limits) -> Result<ast::Statement, SqlError> {
    if text.len() > limits.max_sql_bytes {
        return Err(SqlError::TooLong { bytes: text.len(), max: limits.max_sql_bytes });
    }
    parser::parse(text, limits)
}
