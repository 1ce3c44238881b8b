//! Why a row could not be made.

use thiserror::Error;

/// The statement does not apply to this event: a wrong type, a division by zero, a bound that was reached.
///
/// No action runs then, the rule counts a failure, and nobody else notices.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RowError(pub String);

impl RowError {
    /// An error that says `cause`. Never with a payload or a parameter in it: it goes into the log.
    pub fn new(cause: impl Into<String>) -> Self {
        Self(cause.into())
    }

    /// The same without the operator or function it is from, for one that stands in its place.
    pub(crate) fn without_place(self) -> Self {
        match self.0.split_once(": ") {
            Some((_, cause)) => Self(cause.to_owned()),
            None => self,
        }
    }
}
