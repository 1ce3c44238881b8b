//! A statement as the engine runs it: the order of its clauses, and what comes out.

use std::sync::Arc;

use crate::error::RowError;
use crate::eval::{Scope, eval, holds};
use crate::functions::{Env, KvStore, Patterns};
use crate::limits::Limits;
use crate::path;
use crate::plan::{Body, Field, Foreach, Plan, Target, plan};
use crate::row::Row;
use crate::select::{Compile, Select, Selected};
use crate::sql::{self, SqlError};
use crate::value::{Map, Value, json};

/// What reads the SQL of rules: the `compile` of an engine. All statements of one compiler share what `kv_store_put`
/// keeps; `random` fills a slice with random bytes.
#[must_use]
pub fn compiler(limits: Arc<Limits>, random: Box<dyn Fn(&mut [u8]) + Send + Sync>) -> Box<Compile> {
    let world = Arc::new(World { limits, random, store: KvStore::default() });
    Box::new(move |text| match Statement::compile(text, Arc::clone(&world)) {
        Ok(statement) => Ok(Box::new(statement)),
        Err(error) => Err(error.to_string()),
    })
}

/// What all statements share.
struct World {
    limits: Arc<Limits>,
    random: Box<dyn Fn(&mut [u8]) + Send + Sync>,
    store: KvStore,
}

struct Statement {
    plan: Plan,
    patterns: Patterns,
    world: Arc<World>,
}

impl Statement {
    fn compile(text: &str, world: Arc<World>) -> Result<Self, SqlError> {
        let tree = sql::parse(text, &world.limits)?;
        let plan = plan(text, &tree, &world.limits)?;
        Ok(Self { plan, patterns: Patterns::default(), world })
    }
}

impl Select for Statement {
    fn sources(&self) -> &[String] {
        &self.plan.sources
    }

    fn columns(&self) -> &[String] {
        &self.plan.columns
    }

    fn apply(&self, row: &dyn Row, now_ns: i64) -> Result<Selected, RowError> {
        let World { limits, random, store } = &*self.world;
        let env = Env::new(limits, now_ns, random, store, &self.patterns);
        let mut scope = Scope::new(row, &env);
        if self.plan.is_condition_first && !self.is_wanted(&scope)? {
            return Ok(Selected::Nothing);
        }
        match &self.plan.body {
            Body::Select(fields) => {
                let output = make("SELECT", fields, &mut scope, None)?;
                if !self.plan.is_condition_first && !self.is_wanted(&scope)? {
                    return Ok(Selected::Nothing);
                }
                check_size(std::slice::from_ref(&output), limits)?;
                Ok(Selected::Row(output))
            }
            Body::Foreach(foreach) => {
                let array = collect(foreach, &mut scope)?;
                if !self.plan.is_condition_first && !self.is_wanted(&scope)? {
                    return Ok(Selected::Nothing);
                }
                let rows = each(foreach, array, scope)?;
                check_size(&rows, limits)?;
                Ok(Selected::Rows(rows))
            }
        }
    }
}

impl Statement {
    fn is_wanted(&self, scope: &Scope<'_>) -> Result<bool, RowError> {
        self.plan.condition.as_ref().map_or(Ok(true), |condition| holds(condition, "WHERE", scope))
    }
}

/// The row that fields make. `element` is where FOREACH has put an element, which `*` shows too.
fn make(
    clause: &str,
    fields: &[Field],
    scope: &mut Scope<'_>,
    element: Option<&Target>,
) -> Result<Map, RowError> {
    let mut output = Map::default();
    for (at, field) in fields.iter().enumerate() {
        let made = match field {
            Field::All => {
                add_all(&mut output, scope, element);
                Ok(())
            }
            Field::Value { node, target } => {
                let value = eval(node, scope).map(|value| value.into_owned());
                value.and_then(|value| give(value, target, &mut output, scope))
            }
        };
        made.map_err(|RowError(cause)| RowError(format!("{clause}, field {}: {cause}", at + 1)))?;
    }
    Ok(output)
}

/// Puts a value into the output, and to where the rest of the statement finds it.
fn give(
    value: Value,
    target: &Target,
    output: &mut Map,
    scope: &mut Scope<'_>,
) -> Result<(), RowError> {
    if let Value::Undefined = value {
        return Ok(());
    }
    if target.is_read {
        remember(value.clone(), target, scope)?;
    }
    path::write(output, target, value, scope)
}

/// Has the rest of the statement find a value: in the column that is there, if only a part of it is written.
fn remember(value: Value, target: &Target, scope: &mut Scope<'_>) -> Result<(), RowError> {
    let mut made = std::mem::take(&mut scope.made);
    if !target.steps.is_empty() && made.get(&target.name).is_none() {
        made.insert(Arc::clone(&target.name), scope.row.column(&target.name));
    }
    let written = path::write(&mut made, target, value, scope);
    scope.made = made;
    written
}

/// Adds all columns. What has a name by a field before stays.
fn add_all(output: &mut Map, scope: &Scope<'_>, element: Option<&Target>) {
    if output.is_empty() && scope.made.is_empty() {
        *output = scope.row.all();
        return;
    }
    for (key, column) in scope.row.all().iter() {
        match scope.made.get(key) {
            Some(made) => output.insert(Arc::clone(key), made.clone()),
            None if output.get(key).is_none() => output.insert(Arc::clone(key), column.clone()),
            None => {}
        }
    }
    if let Some((key, value)) = element.and_then(|at| Some((&at.name, scope.made.get(&at.name)?)))
        && output.get(key).is_none()
    {
        output.insert(Arc::clone(key), value.clone());
    }
}

/// The array that FOREACH walks through; undefined if it is none.
fn collect(foreach: &Foreach, scope: &mut Scope<'_>) -> Result<Value, RowError> {
    make("FOREACH", &foreach.before, scope, None)?;
    let array = eval(&foreach.array, scope).map(|value| value.into_owned());
    let array = match array.map_err(|RowError(cause)| RowError(format!("FOREACH: {cause}")))? {
        Value::Str(_) if foreach.is_payload => path::decoded_payload(scope).into_owned(),
        array => array,
    };
    if let Value::Array(items) = &array
        && items.len() > scope.env.limits.max_foreach_items
    {
        return Err(RowError::new("FOREACH: the array has more than max_foreach_items elements"));
    }
    if !matches!(array, Value::Undefined) {
        remember(array.clone(), &foreach.element, scope)?;
    }
    Ok(array)
}

/// The rows of the elements that count.
fn each(foreach: &Foreach, array: Value, mut scope: Scope<'_>) -> Result<Vec<Map>, RowError> {
    let Value::Array(items) = array else { return Ok(Vec::new()) };
    let before = std::mem::take(&mut scope.made);
    let mut rows = Vec::new();
    for item in items.iter() {
        scope.env.charge_steps(1)?;
        scope.made = before.clone();
        // What is no value is not there for an element either.
        let item = if let Value::Undefined = item { Value::Null } else { item.clone() };
        remember(item, &foreach.element, &mut scope)?;
        if let Some(condition) = &foreach.condition
            && !holds(condition, "INCASE", &scope)?
        {
            continue;
        }
        rows.push(match &foreach.each {
            Some(fields) => make("DO", fields, &mut scope, Some(&foreach.element))?,
            None => {
                let mut output = Map::default();
                add_all(&mut output, &scope, Some(&foreach.element));
                output
            }
        });
    }
    Ok(rows)
}

/// Refuses an output that is too large, before an action writes it.
fn check_size(rows: &[Map], limits: &Limits) -> Result<(), RowError> {
    let mut left = limits.max_output_bytes;
    for row in rows {
        left = json::room_left(row, left)
            .ok_or_else(|| RowError::new("the output has more than max_output_bytes as JSON"))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
