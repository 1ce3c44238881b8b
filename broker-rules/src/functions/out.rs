//! Out: a string that is being built, and does not grow beyond its bound.

use crate::error::RowError;
use crate::value::Value;

/// Bytes, and how many there may be.
#[derive(Debug)]
pub(super) struct Out {
    bytes: Vec<u8>,
    max: usize,
}

impl Out {
    pub(super) const fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), RowError> {
        if bytes.len() > self.left() {
            return Err(too_long());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn push_char(&mut self, char: char) -> Result<(), RowError> {
        self.push(char.encode_utf8(&mut [0; 4]).as_bytes())
    }

    /// Appends `unit` as often as said, having looked whether that fits.
    pub(super) fn repeat(&mut self, unit: &[u8], times: usize) -> Result<(), RowError> {
        if unit.len().checked_mul(times).is_none_or(|bytes| bytes > self.left()) {
            return Err(too_long());
        }
        if let [byte] = unit {
            self.bytes.resize(self.bytes.len() + times, *byte);
        } else {
            self.bytes.extend(unit.iter().cycle().take(unit.len() * times));
        }
        Ok(())
    }

    pub(super) const fn left(&self) -> usize {
        self.max - self.bytes.len()
    }

    pub(super) fn done(self) -> Value {
        Value::Str(self.bytes.into())
    }
}

pub(super) fn too_long() -> RowError {
    RowError::new("the string is longer than max_value_bytes")
}
