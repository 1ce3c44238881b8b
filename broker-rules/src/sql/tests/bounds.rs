//! Statements at and beyond the limits.

use crate::limits::Limits;
use crate::sql::ast::Statement;
use crate::sql::tests::reading::{read, refused};
use crate::sql::{SqlError, parse};

/// Two pieces that wrap an expression once more.
const NESTING: [(&str, &str); 10] = [
    ("(", ")"),
    ("f(", ")"),
    ("[", "]"),
    ("NOT ", ""),
    ("- ", ""),
    ("+", ""),
    ("x[", "]"),
    ("1 IN (", ")"),
    ("CASE ", " WHEN 1 THEN 1 END"),
    ("CASE WHEN 1 THEN ", " END"),
];

fn nested(open: &str, close: &str, levels: usize) -> String {
    format!("SELECT {}a{} FROM t", open.repeat(levels), close.repeat(levels))
}

#[test]
fn nesting_ends_at_max_depth() {
    for (open, close) in NESTING {
        let statement = read(&nested(open, close, 128)).unwrap();
        assert_eq!(read(&statement.to_string()), Ok(statement), "{open}");
        for levels in [129, 2_500] {
            let error = refused(&nested(open, close, levels));
            let expected = "max_depth: more than 128 levels of nesting, at line 1, column ";
            assert!(error.starts_with(expected), "{open}: {error}");
        }
    }
}

#[test]
fn the_deepest_statement_needs_little_stack() {
    let level = ("1 OR 1 AND 1 = 1 + 1 * (", ")");
    let sql = nested(level.0, level.1, 128);
    let work = move || {
        let statement = read(&sql).unwrap();
        let _ = format!("{statement} {statement:?}");
        assert_eq!(statement.clone(), statement);
    };
    // Half of what a thread has by default, without optimisation.
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_flat_chain_is_not_nesting() {
    let limits = Limits { max_sql_bytes: 1 << 20, ..Limits::default() };
    let chains = [" AND ", " OR ", "+", "*", " DIV ", ".", " AND NOT ", "+-"]
        .map(|operator| (operator, "a"));
    for (operator, term) in chains {
        let sql = format!("SELECT * FROM t WHERE a{}", [operator, term].concat().repeat(50_000));
        let limits = limits.clone();
        let work = move || -> Statement {
            let statement = parse(&sql, &limits).unwrap();
            let limits = Limits { max_sql_bytes: 1 << 21, ..limits };
            assert_eq!(parse(&statement.to_string(), &limits).as_ref(), Ok(&statement));
            statement
        };
        std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
    }
}

#[test]
fn lists_end_at_max_fields() {
    let items = |count: usize| vec!["1"; count].join(",");
    let lists = [
        ("SELECT ", " FROM t", "fields"),
        ("SELECT a IN (", ") FROM t", "elements of IN"),
        ("SELECT [", "] FROM t", "elements of a list"),
        ("SELECT f(", ") FROM t", "arguments of a function"),
        ("FOREACH a DO ", " FROM t", "fields"),
    ];
    for (open, close, what) in lists {
        assert!(read(&[open, &items(1024), close].concat()).is_ok(), "{what}");
        let error = refused(&[open, &items(1025), close].concat());
        let expected = format!("max_fields: more than 1024 {what}, at line 1, column ");
        assert!(error.starts_with(&expected), "{error}");
    }
    let sources = |count: usize| format!("SELECT * FROM {}", vec!["t"; count].join(","));
    assert!(read(&sources(64)).is_ok());
    assert_eq!(refused(&sources(65)), "max_fields: more than 64 FROM items, at line 1, column 143");
}

#[test]
fn a_statement_ends_at_max_sql_bytes() {
    let sql = |bytes: usize| format!("SELECT a FROM t{}", " ".repeat(bytes - 15));
    assert!(read(&sql(65_536)).is_ok());
    assert_eq!(read(&sql(65_537)), Err(SqlError::TooLong { bytes: 65_537, max: 65_536 }));
    assert_eq!(
        refused(&sql(65_537)),
        "max_sql_bytes: the statement has 65537 bytes, 65536 are allowed"
    );
}
