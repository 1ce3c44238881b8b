//! Configuration errors: where a value stands, which key it is for, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The file as a whole.
    File(Arc<str>),
    /// A place in the file; line and column count from 1, columns in characters.
    Place {
        /// The file as it was named.
        file: Arc<str>,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// An environment variable.
    Env(String),
    /// An order to the running broker.
    RunTime,
    /// Nowhere: a default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(file),
            Self::Place { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Env(name) => f.write_str(name),
            Self::RunTime => f.write_str("set at run time"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing the operator must correct.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) struct ConfigError {
    /// Where it stands.
    pub(crate) origin: Origin,
    /// The dotted key; empty if the file cannot be read so far.
    pub(crate) key: String,
    /// The value as TOML; `None` where the key itself is the error.
    pub(crate) value: Option<String>,
    /// What is wrong and what would be right.
    pub(crate) problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Everything wrong with a configuration, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}
