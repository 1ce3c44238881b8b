//! The language as a table: statements, columns, and what is made of them. The files beside this one hold the cases,
//! written from the description of the language; `tests/clients/test_rule_cases.py` asks a running broker the same.
//!
//! A file has `columns`, which all its cases share, cases one by one (`[[case]]`: a statement and what comes of it) and
//! tables of short ones (`[[table]]`: expressions and their values, conditions, statements that are refused). Where the
//! original has a test or an example of the same, a comment names it, and where we decide otherwise it says so.

#![allow(unreachable_pub, reason = "a test crate exports nothing")]

mod table;
mod trial;

use std::collections::HashSet;
use std::fmt::Write as _;

use broker_rules::Limits;
use broker_rules::sql::ast::{Body, ExprKind, Field, Statement};
use broker_rules::sql::parse;
use table::{Case, Outcome};
use trial::Engines;

#[test]
fn every_case_is_as_it_should_be() {
    let mut engines = Engines::default();
    let (mut wrong, mut n_wrong) = (String::new(), 0);
    for case in table::cases() {
        let got = engines.outcome(&case, &case.sql);
        if got != case.expected {
            n_wrong += 1;
            let Case { name, sql, expected, .. } = &case;
            let _ =
                write!(wrong, "\n{name}\n    {sql}\n    expected {expected}\n    got      {got}\n");
        }
    }
    assert!(n_wrong == 0, "{n_wrong} cases:\n{wrong}");
}

#[test]
fn cases_are_many_and_no_two_the_same() {
    let cases = table::cases();
    assert!(cases.len() >= 300, "{}", cases.len());
    let (mut names, mut questions) = (HashSet::new(), HashSet::new());
    for Case { name, sql, hook, ctx, limits, .. } in &cases {
        assert!(names.insert(name), "two cases are called {name}");
        let question = format!("{sql} {hook:?} {ctx:?} {limits:?}");
        assert!(questions.insert(question), "{name} is asked in another case");
    }
}

#[test]
fn a_statement_that_is_printed_is_the_same() {
    let mut engines = Engines::default();
    for case in table::cases() {
        let Ok(tree) = parse(&case.sql, &case.limits) else { continue };
        let printed = tree.to_string();
        // It may be longer than it was.
        let limits = Limits { max_sql_bytes: usize::MAX, ..case.limits };
        let case = Case { limits, ..case };
        let name = &case.name;
        assert_eq!(parse(&printed, &case.limits).as_ref(), Ok(&tree), "{name}: {printed}");
        let places = matches!(case.expected, Outcome::Refused(_));
        if !places && !has_text_as_key(&case.sql, &tree) {
            assert_eq!(engines.outcome(&case, &printed), case.expected, "{name}: {printed}");
        }
    }
}

/// True if the key of a field is its source text, which may be another when it is printed.
fn has_text_as_key(sql: &str, tree: &Statement) -> bool {
    let fields: Vec<&Field> = match &tree.body {
        Body::Select(fields) => fields.iter().collect(),
        Body::Foreach { fields, each, .. } => fields.iter().chain(each.iter().flatten()).collect(),
    };
    fields.into_iter().any(|field| match field {
        Field::Value { expr, end, target: None } => {
            let has_key = matches!(
                expr.kind,
                ExprKind::Path(_) | ExprKind::RangeGet(..) | ExprKind::String(_)
            );
            !has_key && sql[expr.at.0..end.0] != expr.to_string()
        }
        _ => false,
    })
}
