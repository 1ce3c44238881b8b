//! Conditions: what is true, what is not, and what is neither.

use std::cmp::Ordering;

use broker_codec::topic;

use super::{Scope, charge_comparison, eval, is_in};
use crate::error::RowError;
use crate::plan::Node;
use crate::sql::ast::Comparison;
use crate::value::{Value, compare};

/// Whether a condition holds. What is absent or null does not; `clause` is whose condition it is.
///
/// # Errors
/// It is neither a boolean nor absent, or has no value.
pub(crate) fn holds(node: &Node, clause: &str, scope: &Scope<'_>) -> Result<bool, RowError> {
    let value = eval(node, scope);
    let value = value.map_err(|RowError(cause)| RowError(format!("{clause}: {cause}")))?;
    truth(&value).map_err(|kind| RowError(format!("{clause} is not a boolean, but {kind}")))
}

/// Whether an operand of an operator of conditions holds.
fn operand(node: &Node, operator: &str, scope: &Scope<'_>) -> Result<bool, RowError> {
    truth(&*eval(node, scope)?)
        .map_err(|kind| RowError(format!("an operand of {operator} is not a boolean, but {kind}")))
}

/// Whether a value counts as true, or what it is if it is no answer.
const fn truth(value: &Value) -> Result<bool, &'static str> {
    match value {
        Value::Bool(is) => Ok(*is),
        Value::Null | Value::Undefined => Ok(false),
        other => Err(other.kind()),
    }
}

/// The value of an operator whose values are booleans.
pub(super) fn is_true(node: &Node, scope: &Scope<'_>) -> Result<bool, RowError> {
    match node {
        Node::Or(terms) => any(terms, scope),
        Node::And(terms) => all(terms, scope),
        // What is no boolean has no opposite that is true.
        Node::Not(operand) => Ok(matches!(*eval(operand, scope)?, Value::Bool(false))),
        Node::Compare(comparison, operands) => {
            let (a, b) = (eval(&operands.0, scope)?, eval(&operands.1, scope)?);
            compares(*comparison, &a, &b, scope)
        }
        Node::In(contained) => Ok(is_in(contained, scope)? != contained.is_negated),
        other => holds(other, "it", scope),
    }
}

fn any(terms: &[Node], scope: &Scope<'_>) -> Result<bool, RowError> {
    for term in terms {
        if operand(term, "OR", scope)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn all(terms: &[Node], scope: &Scope<'_>) -> Result<bool, RowError> {
    for term in terms {
        if !operand(term, "AND", scope)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn compares(
    comparison: Comparison,
    a: &Value,
    b: &Value,
    scope: &Scope<'_>,
) -> Result<bool, RowError> {
    charge_comparison(a, b, scope.env)?;
    let ordered = |is: fn(Ordering) -> bool| Ok(compare::order(a, b)?.is_some_and(is));
    match comparison {
        Comparison::Equal => compare::eq(a, b),
        Comparison::NotEqual => Ok(!compare::eq(a, b)?),
        Comparison::Less => ordered(Ordering::is_lt),
        Comparison::LessOrEqual => ordered(Ordering::is_le),
        Comparison::Greater => ordered(Ordering::is_gt),
        Comparison::GreaterOrEqual => ordered(Ordering::is_ge),
        Comparison::Matches => matches_filter(a, b),
    }
}

fn matches_filter(name: &Value, filter: &Value) -> Result<bool, RowError> {
    let (Value::Str(name), Value::Str(filter)) = (name, filter) else {
        let (name, filter) = (name.kind(), filter.kind());
        return Err(RowError::new(format!("=~: expected two strings, found {name} and {filter}")));
    };
    let filter = std::str::from_utf8(filter).ok();
    let filter = filter.filter(|filter| topic::validate_filter(filter).is_ok());
    let Some(filter) = filter else {
        return Err(RowError::new("=~: expected a topic filter on the right"));
    };
    // What is not UTF-8 is no topic name.
    Ok(std::str::from_utf8(name).is_ok_and(|name| topic::matches(filter, name)))
}
