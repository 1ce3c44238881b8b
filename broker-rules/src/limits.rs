//! Limits: how much a statement and its event may cost.

/// The limits of the rule engine. Each is a key below `rules.` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a statement.
    pub max_sql_bytes: usize,
    /// Levels of nesting in a statement.
    pub max_depth: usize,
    /// Fields of a statement, and elements of an IN or list literal.
    pub max_fields: usize,
    /// Levels of nesting in JSON, and in any value that a statement builds.
    pub json_max_depth: usize,
    /// Bytes of one JSON text.
    pub json_max_bytes: usize,
    /// Bytes of all JSON texts that are decoded for one event.
    pub json_max_event_bytes: usize,
    /// Bytes of a string that is built.
    pub max_value_bytes: usize,
    /// Elements of an array that is built.
    pub max_array_items: usize,
    /// Bytes of the output as JSON.
    pub max_output_bytes: usize,
    /// Elements that FOREACH walks through.
    pub max_foreach_items: usize,
    /// Steps of evaluation per event and rule.
    pub max_steps: u64,
    /// Bytes of a regular expression.
    pub max_regex_bytes: usize,
    /// Bytes of a regular expression when it is compiled.
    pub max_compiled_regex_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sql_bytes: 64 << 10,
            max_depth: 128,
            max_fields: 1024,
            json_max_depth: 128,
            json_max_bytes: 1 << 20,
            json_max_event_bytes: 4 << 20,
            max_value_bytes: 1 << 20,
            max_array_items: 64 << 10,
            max_output_bytes: 2 << 20,
            max_foreach_items: 10_000,
            max_steps: 1_000_000,
            max_regex_bytes: 4096,
            max_compiled_regex_bytes: 1 << 20,
        }
    }
}
