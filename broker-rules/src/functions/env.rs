//! Env: what a call needs that is not a value.

use std::cell::Cell;

use bytes::Bytes;

use super::{KvStore, Patterns};
use crate::error::RowError;
use crate::limits::Limits;
use crate::value::{Value, json};

/// What one event brings to a rule's functions: limits and what of them is left, clock, chance and stores.
pub struct Env<'a> {
    /// The limits.
    pub limits: &'a Limits,
    /// Wall clock: nanoseconds since the Unix epoch.
    pub wall_ns: i64,
    /// Fills a slice with random bytes.
    pub random: &'a dyn Fn(&mut [u8]),
    /// What `kv_store_put` has stored, for the whole node.
    pub store: &'a KvStore,
    /// The rule's compiled regular expressions.
    pub patterns: &'a Patterns,
    steps_left: Cell<u64>,
    json_left: Cell<usize>,
}

impl<'a> Env<'a> {
    /// For one event and rule.
    #[must_use]
    pub fn new(
        limits: &'a Limits,
        wall_ns: i64,
        random: &'a dyn Fn(&mut [u8]),
        store: &'a KvStore,
        patterns: &'a Patterns,
    ) -> Self {
        let steps_left = Cell::new(limits.max_steps);
        let json_left = Cell::new(limits.json_max_event_bytes);
        Self { limits, wall_ns, random, store, patterns, steps_left, json_left }
    }

    /// Counts steps of evaluation.
    ///
    /// # Errors
    /// There were more than `max_steps`.
    pub fn charge_steps(&self, steps: u64) -> Result<(), RowError> {
        let left = self.steps_left.get().checked_sub(steps);
        self.steps_left.set(left.unwrap_or_default());
        left.map(drop).ok_or_else(|| RowError::new("more than max_steps steps of evaluation"))
    }

    /// Steps of evaluation that are left.
    pub(crate) fn steps_left(&self) -> u64 {
        self.steps_left.get()
    }

    /// Decodes JSON that lies in a string; `None` if it is none, or too large, or too much for one event.
    #[must_use]
    pub fn decode_json(&self, text: &Bytes) -> Option<Value> {
        let left = self.json_left.get().checked_sub(text.len())?;
        self.json_left.set(left);
        json::decode(text, self.limits)
    }

    /// Checks that a value has at most so many levels. What a statement builds by and by, out of what it has built,
    /// must not become so deep that walking or dropping it overflows the stack, nor so large that it has no end.
    ///
    /// # Errors
    /// It is nested deeper, or walking through it takes more than `max_steps`.
    pub fn check_depth(&self, value: &Value, levels: usize) -> Result<(), RowError> {
        let deeper = || levels.checked_sub(1).ok_or_else(Self::too_deep);
        match value {
            Value::Array(items) => {
                let levels = deeper()?;
                self.charge_steps(1 + items.len() as u64 / 16)?;
                items.iter().try_for_each(|item| self.check_depth(item, levels))
            }
            Value::Map(map) => {
                let levels = deeper()?;
                self.charge_steps(1 + map.len() as u64 / 16)?;
                map.iter().try_for_each(|(_, value)| self.check_depth(value, levels))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn too_deep() -> RowError {
        RowError::new("the value is nested deeper than json_max_depth")
    }
}
