//! Functions: one table of all that a statement can call, which also documents them.

mod arguments;
mod arrays;
mod bits;
mod compression;
mod encodings;
mod env;
mod hashes;
mod kv_store;
mod maps;
mod math;
mod message;
mod other;
mod out;
mod regexes;
mod sprintf;
mod strings;
mod subbits;
mod table;
mod time;
mod time_format;
mod types_of;

use std::ops::RangeInclusive;

pub use env::Env;
pub use kv_store::KvStore;
pub use regexes::Patterns;
pub use table::{all, find};

use crate::error::RowError;
use crate::limits::Limits;
use crate::row::Row;
use crate::value::Value;

/// A function that a statement can call.
#[derive(Debug)]
pub struct Function {
    /// Its name, in lower case.
    pub name: &'static str,
    /// The heading that it is listed under.
    pub group: &'static str,
    /// How many arguments it takes.
    pub arity: RangeInclusive<usize>,
    /// How it is called.
    pub signature: &'static str,
    /// What it does, in Markdown.
    pub help: &'static str,
    /// Calls, and what they give: JSON, `undefined`, or `error: ` and the message. Each is tested.
    pub examples: &'static [(&'static str, &'static str)],
    /// What its result depends on.
    pub reads: Reads,
    /// The function itself. [`Function::apply`] is what callers want.
    pub call: fn(&mut Call<'_>) -> Result<Value, RowError>,
    /// Checks the arguments that are constants, when a rule is made.
    pub check: Option<fn(&[Option<&Value>], &Limits) -> Result<(), RowError>>,
}

/// What a function's result depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The arguments alone: a call with constants is a constant.
    Arguments,
    /// The event too.
    Row,
    /// Clock, chance, or what is stored, and it may change that.
    World,
}

/// One call of a function.
pub struct Call<'a> {
    /// The arguments, as many as its arity allows. The function may take them out.
    pub args: &'a mut [Value],
    /// The event.
    pub row: &'a dyn Row,
    /// What is not a value.
    pub env: &'a Env<'a>,
}

impl Function {
    /// Calls it. `args` has as many as its arity allows, and they are used up.
    ///
    /// # Errors
    /// The function's name, and what is wrong: with which argument, what was expected and what kind it is.
    pub fn apply(
        &self,
        args: &mut [Value],
        row: &dyn Row,
        env: &Env<'_>,
    ) -> Result<Value, RowError> {
        debug_assert!(self.arity.contains(&args.len()), "the plan has checked the arity");
        let result = charge_strings(args, env)
            .and_then(|()| (self.call)(&mut Call { args, row, env }))
            .and_then(|result| charge_strings(std::slice::from_ref(&result), env).map(|()| result));
        result.map_err(|RowError(cause)| RowError(format!("{}: {cause}", self.name)))
    }

    /// Checks the arguments that are constants, those that are `Some`, when a rule is made.
    ///
    /// # Errors
    /// A call with these never gives a result: a regular expression that is none, for instance.
    pub fn check(&self, args: &[Option<&Value>], limits: &Limits) -> Result<(), RowError> {
        let Some(check) = self.check else { return Ok(()) };
        check(args, limits).map_err(|RowError(cause)| RowError(format!("{}: {cause}", self.name)))
    }
}

/// Counts the steps of strings: a call walks through them once, and makes them byte by byte.
fn charge_strings(values: &[Value], env: &Env<'_>) -> Result<(), RowError> {
    let bytes = |value: &Value| if let Value::Str(bytes) = value { bytes.len() } else { 0 };
    env.charge_steps(1 + values.iter().map(bytes).sum::<usize>() as u64 / 256)
}

#[cfg(test)]
mod tests;
