//! Evaluation of expressions over the columns of one event.

mod condition;

use std::borrow::Cow;

use crate::error::RowError;
use crate::functions::{Env, Function};
use crate::path;
use crate::plan::{Case, In, Name, Node};
use crate::row::Row;
use crate::sql::ast::{Operator, Range};
use crate::value::{Map, Value, arithmetic, compare};

pub(crate) use condition::holds;

/// A value, borrowed where it already is.
pub(crate) type Got<'s> = Result<Cow<'s, Value>, RowError>;

/// What an expression can read.
pub(crate) struct Scope<'a> {
    pub(crate) row: &'a dyn Row,
    pub(crate) env: &'a Env<'a>,
    /// What fields have made so far, as far as it is read later.
    pub(crate) made: Map,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(row: &'a dyn Row, env: &'a Env<'a>) -> Self {
        Self { row, env, made: Map::default() }
    }

    /// A column, or what a field has made under its name.
    pub(crate) fn named<'s>(&'s self, name: &Name) -> Cow<'s, Value> {
        match self.made(name) {
            Some(made) => Cow::Borrowed(made),
            None => Cow::Owned(self.row.column(&name.key)),
        }
    }

    /// What a field has made under a name.
    pub(crate) fn made(&self, name: &Name) -> Option<&Value> {
        if name.is_alias { self.made.get(&name.key) } else { None }
    }
}

/// The value of an expression.
///
/// # Errors
/// There is none: a wrong type, a division by zero, a bound that was reached.
// What nests is evaluated in a function of its own, which keeps the frames of deep nesting small.
pub(crate) fn eval<'s>(node: &'s Node, scope: &'s Scope<'_>) -> Got<'s> {
    if let Node::Constant(value) = node {
        return Ok(Cow::Borrowed(value));
    }
    scope.env.charge_steps(1)?;
    match node {
        Node::Constant(value) => Ok(Cow::Borrowed(value)),
        Node::Path(path) => path::read(path, scope),
        Node::NameOrText(named) => Ok(name_or_text(named, scope)),
        Node::RangeGet(get) => path::read_range(&get.0, get.1, scope),
        Node::Range(range) => count(*range, scope.env).map(Cow::Owned),
        Node::List(items) => list(items, scope).map(Cow::Owned),
        Node::Call(function, arguments) => call(function, arguments, scope).map(Cow::Owned),
        Node::Case(case) => first_true(case, scope),
        Node::Switch(switch) => first_equal(&switch.0, &switch.1, scope),
        Node::Or(_) | Node::And(_) | Node::Not(_) | Node::Compare(..) | Node::In(_) => {
            condition::is_true(node, scope).map(|is| Cow::Owned(Value::Bool(is)))
        }
        Node::Arithmetic(chain) => chained(&chain.0, &chain.1, scope).map(Cow::Owned),
        Node::Plus(operand) => number(operand, scope),
        Node::Minus(operand) => {
            let operand = eval(operand, scope)?;
            arithmetic::neg(&operand).map(Cow::Owned)
        }
    }
}

fn name_or_text<'s>(named: &'s (Name, Value), scope: &'s Scope<'_>) -> Cow<'s, Value> {
    match scope.named(&named.0) {
        Cow::Owned(Value::Undefined) => Cow::Borrowed(&named.1),
        value => value,
    }
}

/// The integers of a range. One step down is an empty one.
fn count(range: Range, env: &Env<'_>) -> Result<Value, RowError> {
    let Range { first, last, .. } = range;
    if last < first && last.checked_add(1) != Some(first) {
        return Err(RowError::new(format!("[{first}..{last}] counts down")));
    }
    let len = last.abs_diff(first).saturating_add(1);
    if first <= last && len > env.limits.max_array_items as u64 {
        return Err(RowError::new(format!(
            "[{first}..{last}] has more than max_array_items items"
        )));
    }
    if last < first {
        return Ok(Value::Array(Vec::new().into()));
    }
    env.charge_steps(len / 16)?;
    Ok(Value::Array((first..=last).map(Value::Int).collect::<Vec<_>>().into()))
}

fn list(items: &[Node], scope: &Scope<'_>) -> Result<Value, RowError> {
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.push(eval(item, scope)?.into_owned());
    }
    let list = Value::Array(values.into());
    scope.env.check_depth(&list, scope.env.limits.json_max_depth)?;
    Ok(list)
}

fn call(
    function: &'static Function,
    arguments: &[Node],
    scope: &Scope<'_>,
) -> Result<Value, RowError> {
    /// Arguments that lie on the stack.
    const FEW: usize = 4;
    let mut few: [Value; FEW] = Default::default();
    let mut many = Vec::new();
    let values = match few.get_mut(..arguments.len()) {
        Some(few) => few,
        None => {
            many.resize(arguments.len(), Value::Undefined);
            &mut many
        }
    };
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = eval(argument, scope)?.into_owned();
    }
    function.apply(values, scope.row, scope.env)
}

fn first_true<'s>(case: &'s Case, scope: &'s Scope<'_>) -> Got<'s> {
    for (when, then) in &case.branches {
        if matches!(*eval(when, scope)?, Value::Bool(true)) {
            return eval(then, scope);
        }
    }
    otherwise(case, scope)
}

fn first_equal<'s>(operand: &'s Node, case: &'s Case, scope: &'s Scope<'_>) -> Got<'s> {
    let operand = eval(operand, scope)?;
    for (when, then) in &case.branches {
        if is_exactly(&operand, &*eval(when, scope)?, scope.env)? {
            return eval(then, scope);
        }
    }
    otherwise(case, scope)
}

fn otherwise<'s>(case: &'s Case, scope: &'s Scope<'_>) -> Got<'s> {
    match &case.otherwise {
        Some(otherwise) => eval(otherwise, scope),
        None => Ok(Cow::Owned(Value::Undefined)),
    }
}

/// Whether IN finds its value.
fn is_in(contained: &In, scope: &Scope<'_>) -> Result<bool, RowError> {
    let value = eval(&contained.value, scope)?;
    for item in &contained.items {
        if is_exactly(&value, &*eval(item, scope)?, scope.env)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_exactly(a: &Value, b: &Value, env: &Env<'_>) -> Result<bool, RowError> {
    charge_comparison(a, b, env)?;
    Ok(compare::exact_eq(a, b))
}

/// Counts the steps of comparing two arrays or maps, which is done in depth.
fn charge_comparison(a: &Value, b: &Value, env: &Env<'_>) -> Result<(), RowError> {
    match (a, b) {
        (Value::Array(_), Value::Array(_)) | (Value::Map(_), Value::Map(_)) => {
            // No value is deeper: it would not have been made.
            env.check_depth(a, usize::MAX)
        }
        _ => env.charge_steps(1),
    }
}

fn chained(first: &Node, rest: &[(Operator, Node)], scope: &Scope<'_>) -> Result<Value, RowError> {
    let mut value = eval(first, scope)?;
    for (operator, operand) in rest {
        let operand = eval(operand, scope)?;
        value = Cow::Owned(calculate(*operator, &value, &operand, scope.env)?);
    }
    Ok(value.into_owned())
}

fn calculate(operator: Operator, a: &Value, b: &Value, env: &Env<'_>) -> Result<Value, RowError> {
    match operator {
        Operator::Add => {
            if let (Value::Str(a), Value::Str(b)) = (a, b) {
                env.charge_steps((a.len() as u64 + b.len() as u64) / 256)?;
            }
            arithmetic::add(a, b, env.limits)
        }
        Operator::Subtract => arithmetic::sub(a, b),
        Operator::Multiply => arithmetic::mul(a, b),
        Operator::Divide => arithmetic::div(a, b),
        Operator::Div => arithmetic::int_div(a, b),
        Operator::Mod => arithmetic::int_mod(a, b),
    }
}

fn number<'s>(operand: &'s Node, scope: &'s Scope<'_>) -> Got<'s> {
    let operand = eval(operand, scope)?;
    match &*operand {
        Value::Int(_) | Value::Float(_) => Ok(operand),
        other => Err(RowError::new(format!("+: expected a number, found {}", other.kind()))),
    }
}
