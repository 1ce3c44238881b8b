//! Paging: which rows of a list are asked for.

/// `_page` and `_limit`, both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// From 1.
    pub(crate) number: u64,
    /// Rows, at most.
    pub(crate) limit: usize,
}
