//! Paging: which rows of a list are asked for.

/// `_page` and `_limit`, both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// From 1.
    pub(crate) number: u64,
    /// Rows, at most.
    pub(crate) limit: usize,
}

impl Page {
    /// Rows before this page.
    pub(crate) fn offset(self) -> usize {
        let before = (self.number - 1).saturating_mul(self.limit as u64);
        usize::try_from(before).unwrap_or(usize::MAX)
    }

    /// The rows of this page out of all.
    pub(crate) fn of<T>(self, rows: &[T]) -> &[T] {
        let from = self.offset().min(rows.len());
        &rows[from..rows.len().min(from.saturating_add(self.limit))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_disjoint_and_complete() {
        let rows: Vec<_> = (0..10).collect();
        let page = |number, limit| Page { number, limit }.of(&rows);
        assert_eq!(page(1, 4), [0, 1, 2, 3]);
        assert_eq!(page(2, 4), [4, 5, 6, 7]);
        assert_eq!(page(3, 4), [8, 9]);
        assert_eq!(page(4, 4), [0; 0]);
        assert_eq!(page(u64::MAX, usize::MAX), [0; 0]);
        assert_eq!(page(1, usize::MAX).len(), 10);
    }
}
