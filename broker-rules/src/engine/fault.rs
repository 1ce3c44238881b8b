//! Why the engine does not do what it is asked to, in the words of the original.

use thiserror::Error;

use crate::event::SourceError;
use crate::params::ParamError;

/// Why a rule or a resource is not created, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// What was asked for is not in order.
    #[error("Bad Arguments: {0}")]
    Bad(String),
    /// `for` or FROM names no event, or no filter.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no such action.
    #[error("Action {0} Not Found")]
    NoAction(String),
    /// There is no such resource.
    #[error("Resource {0} Not Found")]
    NoResource(String),
    /// There is no such type of resources.
    #[error("Resource Type {0} Not Found")]
    NoResourceType(String),
    /// There is no such rule.
    #[error("Not Found")]
    NoRule,
    /// A resource did not start.
    #[error("Start Resource {id} Failed: {reason}")]
    NotStarted {
        /// Which.
        id: String,
        /// Why.
        reason: String,
    },
}

impl EngineError {
    /// The field `code` of an answer.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::NoRule => 404,
            _ => 400,
        }
    }

    pub(super) fn bad(words: impl Into<String>) -> Self {
        Self::Bad(words.into())
    }
}

impl From<ParamError> for EngineError {
    fn from(error: ParamError) -> Self {
        Self::Bad(error.to_string())
    }
}
