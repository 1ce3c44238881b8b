//! Arguments of a call: as the types that a function wants, or an error that says which is another.

use bytes::Bytes;

use super::Call;
use super::out::Out;
use crate::error::RowError;
use crate::value::{Value, arithmetic};

impl Call<'_> {
    /// Takes argument `at`, from 0. Undefined if there is none.
    pub(super) fn take(&mut self, at: usize) -> Value {
        self.args.get_mut(at).map(std::mem::take).unwrap_or_default()
    }

    /// True if the call has argument `at`, from 0.
    pub(super) fn has(&self, at: usize) -> bool {
        at < self.args.len()
    }

    pub(super) fn arg(&self, at: usize) -> &Value {
        self.args.get(at).unwrap_or(&Value::Undefined)
    }

    pub(super) fn string(&self, at: usize) -> Result<&Bytes, RowError> {
        match self.arg(at) {
            Value::Str(bytes) => Ok(bytes),
            _ => Err(self.unexpected(at, "a string")),
        }
    }

    /// A string that is UTF-8.
    pub(super) fn utf8(&self, at: usize) -> Result<&str, RowError> {
        std::str::from_utf8(self.string(at)?).map_err(|_| {
            RowError::new(format!("argument {}: expected UTF-8, found other bytes", at + 1))
        })
    }

    /// A string that is UTF-8, or `default` without the argument.
    pub(super) fn utf8_or<'s>(&'s self, at: usize, default: &'s str) -> Result<&'s str, RowError> {
        if self.has(at) { self.utf8(at) } else { Ok(default) }
    }

    pub(super) fn int(&self, at: usize) -> Result<i64, RowError> {
        match self.arg(at) {
            Value::Int(int) => Ok(*int),
            _ => Err(self.unexpected(at, "an integer")),
        }
    }

    /// An integer that is not negative, as a count. More than there can be of anything is as much as there can be.
    pub(super) fn count(&self, at: usize) -> Result<usize, RowError> {
        let int = self.int(at)?;
        if int < 0 {
            return Err(RowError::new(format!("argument {}: expected 0 or more", at + 1)));
        }
        Ok(usize::try_from(int).unwrap_or(usize::MAX))
    }

    pub(super) fn number(&self, at: usize) -> Result<f64, RowError> {
        arithmetic::float_of(self.arg(at)).ok_or_else(|| self.unexpected(at, "a number"))
    }

    pub(super) fn array(&self, at: usize) -> Result<&[Value], RowError> {
        match self.arg(at) {
            Value::Array(items) => Ok(items),
            _ => Err(self.unexpected(at, "an array")),
        }
    }

    /// The one of `names` that the argument is.
    pub(super) fn one_of(
        &self,
        at: usize,
        default: &'static str,
        names: &[&'static str],
    ) -> Result<&'static str, RowError> {
        if !self.has(at) {
            return Ok(default);
        }
        let given = self.string(at)?;
        names.iter().find(|name| name.as_bytes() == &given[..]).copied().ok_or_else(|| {
            RowError::new(format!("argument {}: expected one of {}", at + 1, names.join(", ")))
        })
    }

    pub(super) fn unexpected(&self, at: usize, expected: &str) -> RowError {
        let kind = self.arg(at).kind();
        RowError::new(format!("argument {}: expected {expected}, found {kind}", at + 1))
    }

    /// A string that is being built.
    pub(super) fn out(&self) -> Out {
        Out::new(self.env.limits.max_value_bytes)
    }

    /// A part of a string argument, without a copy.
    pub(super) fn part(&self, at: usize, part: &str) -> Value {
        match self.arg(at) {
            Value::Str(bytes) => Value::Str(bytes.slice_ref(part.as_bytes())),
            _ => Value::Undefined,
        }
    }

    /// An array, if it is not too long. Every item counts as a step.
    pub(super) fn new_array(&self, items: Vec<Value>) -> Result<Value, RowError> {
        self.check_items(items.len())?;
        Ok(Value::Array(items.into()))
    }

    pub(super) fn check_items(&self, len: usize) -> Result<(), RowError> {
        if len > self.env.limits.max_array_items {
            return Err(RowError::new("the array has more than max_array_items items"));
        }
        Ok(())
    }
}
