//! What the tables of tests share.

use crate::limits::Limits;
use crate::sql::ast::Statement;
use crate::sql::{SqlError, parse};

pub(super) fn read(sql: &str) -> Result<Statement, SqlError> {
    parse(sql, &Limits::default())
}

/// The statement as it is printed, which shows how it was read.
#[track_caller]
pub(super) fn printed(sql: &str) -> String {
    let statement = read(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let printed = statement.to_string();
    assert_eq!(read(&printed).as_ref(), Ok(&statement), "{sql} is printed as {printed}");
    printed
}

/// The fields of `SELECT {fields} FROM a`, printed.
#[track_caller]
pub(super) fn field(fields: &str) -> String {
    let printed = printed(&format!("SELECT {fields} FROM a"));
    let inner = printed.strip_prefix("SELECT ").and_then(|text| text.strip_suffix(" FROM \"a\""));
    inner.unwrap_or_else(|| panic!("{printed}")).to_owned()
}

/// What is wrong with `sql`.
#[track_caller]
pub(super) fn refused(sql: &str) -> String {
    match read(sql) {
        Ok(statement) => panic!("{sql} is read as {statement}"),
        Err(error) => error.to_string(),
    }
}
