//! Report: what an alarm says.

use std::borrow::Cow;

/// What an alarm says: how bad it is, and what is the matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of trouble it is, a few words; if empty, the alarm's name says it.
    pub title: Cow<'static, str>,
    /// What is the matter, one sentence.
    pub summary: String,
    /// The value that was measured, where EMQ X 3.1 has the same alarm and says just that.
    pub value: Option<String>,
    /// Further values by name.
    pub details: Vec<(Cow<'static, str>, String)>,
}

/// How bad an alarm is, with the original's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Notice,
    /// Something may be lost if it goes on.
    Warning,
    /// Something is lost or refused.
    Error,
    /// The broker does not do its work.
    Critical,
}

impl Severity {
    const ALL: [Self; 4] = [Self::Notice, Self::Warning, Self::Error, Self::Critical];

    /// `notice`, `warning`, `error`, `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

impl Report {
    /// A report without a value and details.
    pub fn new(
        severity: Severity,
        title: impl Into<Cow<'static, str>>,
        summary: impl Into<String>,
    ) -> Self {
        let (title, summary) = (title.into(), summary.into());
        Self { severity, title, summary, value: None, details: Vec::new() }
    }

    /// The same with the value that the original says.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// The same with a further value.
    #[must_use]
    pub fn with_detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name.into(), value.into()));
        self
    }
}

/// A warning that says this.
impl From<String> for Report {
    fn from(summary: String) -> Self {
        Self::new(Severity::Warning, "", summary)
    }
}

/// A warning that says this.
impl From<&str> for Report {
    fn from(summary: &str) -> Self {
        summary.to_owned().into()
    }
}
